"""Reload: a running service takes up what has changed in its configuration, or refuses it whole and says why."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NoReturn, Protocol

from engine.bundle import BundleError
from engine.runtime.base import EngineError
from stream.config import Config
from stream.config_problem import ConfigError
from stream.home import expanded
from stream.journal_file import default_path
from stream.lock import FileLock, LockedError
from stream.logs import fields
from stream.plan import Plan, make_plan, with_uri
from stream.recognition import Recognition
from stream.roster import CameraPlan
from stream.service import Service
from stream.thresholds import ThresholdsError

FIXED = ("engine", "capture", "publish", "replay", "journal", "security", "metrics")
"""Sections that are settled when the program starts."""

_log = logging.getLogger(__name__)


class ReloadRequest(Protocol):
    """Where the wish to reload is read: true once for any number of wishes since the last call."""

    def __call__(self) -> bool: ...


class Reloader:
    """Looks, at every turn of the service's loop, whether a reload was asked for, and carries it out.

    load: reads the configuration again. config, plan: what runs now. urls: of the demo cameras that were started.
    Engines that are new are made by the recognition thread while everything goes on; then all changes at once.
    """

    def __init__(
        self,
        load: Callable[[], Config],
        requested: ReloadRequest,
        config: Config,
        plan: Plan,
        recognition: Recognition,
        urls: Mapping[str, str],
    ) -> None:
        self._load, self._requested, self._recognition, self._urls = load, requested, recognition, urls
        self._config = config
        self._versions = _versions(plan.cameras)  # of all engines that there are
        self._spare: set[str] = set()  # of these, those that are no longer configured
        self._next: tuple[Config, list[CameraPlan]] | None = None

    @property
    def pending(self) -> bool:
        """A reload is under way: its engines are being made."""
        return self._next is not None

    def turn(self, service: Service) -> None:
        """To be called in the service's thread."""
        try:
            if self._next is not None:
                self._finish(service, *self._next)
            else:
                self._close_spare(service)
                if self._requested():
                    self._begin()
        except (ConfigError, BundleError, ThresholdsError, EngineError) as error:
            self._next = None
            for line in str(error).splitlines():
                _log.error(fields("configuration refused, nothing was changed", detail=line))

    def _begin(self) -> None:
        config = self._load()
        if fixed := [name for name in FIXED if getattr(config, name) != getattr(self._config, name)]:
            raise ConfigError(f"{', '.join(fixed)} cannot change while the program runs: start it anew")
        plan = make_plan(config)
        for name, version in _versions(plan.cameras).items():
            if self._versions.get(name, version) != version:
                raise ConfigError(f"the model {name} has changed on disk: give it another folder, or start anew")
        cameras = [self._placed(config, plan, camera) for camera in plan.cameras]
        self._recognition.prepare({name: make for name, make in plan.engines.items() if name not in self._versions})
        self._next = config, cameras

    def _placed(self, config: Config, plan: Plan, camera: CameraPlan) -> CameraPlan:
        """A demo camera is where it was started."""
        name = camera.task.name
        if name not in plan.demos:
            return camera
        addresses = [c.address for cameras in (self._config, config) for c in cameras.cameras if c.name == name]
        if name not in self._urls or len(set(addresses)) > 1:
            raise ConfigError(f"camera {name}: a demo:// camera cannot be added or changed while the program runs")
        return with_uri(camera, self._urls[name])

    def _finish(self, service: Service, config: Config, cameras: list[CameraPlan]) -> None:
        if not self._prepared():
            return
        changes = service.apply(cameras)
        self._config, self._next = config, None
        self._versions |= (wanted := _versions(cameras))
        self._spare = self._versions.keys() - wanted.keys()
        told = {what: ",".join(names) for what, names in changes.items()}
        _log.info(fields("configuration reloaded", **told) if told else "configuration reloaded: nothing has changed")

    def _prepared(self) -> bool:
        """Whatever it is that keeps an engine from being made: what runs is to go on."""
        try:
            return self._recognition.prepared()
        except (BundleError, EngineError):
            raise
        except Exception as error:
            raise EngineError(f"an engine could not be made: {type(error).__name__}: {error}") from error

    def _close_spare(self, service: Service) -> None:
        """Engines that are no longer configured, once the last camera that used them has ended."""
        if not self._spare:
            return
        used = {zone.plan.engine for camera in service.cameras.values() for zone in camera.zones.values()}
        if gone := self._spare - used:
            self._spare -= gone
            self._versions = {name: version for name, version in self._versions.items() if name not in gone}
            self._recognition.retain(self._versions)


def _versions(cameras: Iterable[CameraPlan]) -> dict[str, str]:
    """Of the models that these cameras use, by the engine's name."""
    return {zone.engine: zone.version for camera in cameras for zone in camera.zones}


def running_process(journal: Path | None) -> int:
    """The process that writes this journal (None: the default one). Raises ConfigError where there is none."""
    path = expanded(journal or default_path()).resolve()
    lock = path.with_name(path.name + ".lock")
    try:
        if lock.exists():
            FileLock(lock).release()
    except LockedError as error:
        if error.holder is not None:
            return error.holder
    except OSError as error:
        raise ConfigError(f"{lock}: cannot be read: {error.strerror}") from None
    raise ConfigError(f"no swinstream runs with the journal {path}: nothing to reload")


def ask_to_reload(process: int) -> None:
    """Raises ConfigError where this user may not, or this system can't."""
    if not hasattr(signal, "SIGHUP"):
        _refuse("this system has no SIGHUP: stop the program and start it again")
    try:
        os.kill(process, signal.SIGHUP)
    except ProcessLookupError:
        _refuse(f"process {process} is gone: nothing to reload")
    except PermissionError:
        _refuse(f"process {process} belongs to another user: ask that user, or root, to reload it")


def _refuse(text: str) -> NoReturn:
    raise ConfigError(text)
