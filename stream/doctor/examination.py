"""All that is looked at once the libraries are there: machine, models and their engines, and a camera."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from engine.bundle import Bundle, BundleError
from engine.parity import LIMITS, MIN_WINDOWS
from engine.runtime.base import EngineError, Precision
from engine.runtime.choose import Preference, prefer
from stream.config import Config
from stream.config_camera import CameraConfig
from stream.config_file import load_config
from stream.config_problem import ConfigError
from stream.demo.camera import DemoCamera
from stream.doctor.advice import Demand, advice, failure_advice
from stream.doctor.check import Check
from stream.doctor.elements import gstreamer
from stream.doctor.libraries import gpu_libraries
from stream.doctor.machine import gpus, journal, memory, port, precisions, processor, system
from stream.doctor.observation import Observation, observe
from stream.failure import EndOfStream, ErrorClass, SourceError
from stream.receiver import SourceOptions
from stream.stopper import Stopper
from stream.uri import CameraUri, UriError, without_address

Transport = Literal["tcp", "udp", "auto"]

_ANY_CAMERA = "camera=demo://"  # a configuration has one


def examine(
    camera: str | None,
    config_path: Path | None,
    options: dict[str, str | None],
    transport: Transport | None,
    seconds: float,
) -> dict[str, Any]:
    """`engine`, `precision`, `reason`, `parity`, `checks`, and for a camera `camera`. Raises ConfigError, BundleError
    (of a camera's model) and DemoCameraError.

    camera: a name in the configuration, or without one an address.
    """
    config, watched = _configured(camera, config_path, options)
    bundles: dict[str, Bundle] = {}
    models = [_model(name, bundles) for name in _models(config, config.cameras)]
    writes, process = journal(config.journal.path, config.journal.max_size_mb)
    answer, engines = _engines(config, bundles)
    answer["checks"] = [
        *(system(), processor(), precisions(), memory(), gpus(), *gpu_libraries(), *gstreamer()),
        *(*models, *engines, writes),
        *(port(name, address, process) for name, address in _addresses(config)),
    ]
    if watched is not None:
        answer["camera"] = _watch(watched, _demand(config, watched, bundles), transport, seconds)
    return answer


def _configured(
    camera: str | None, path: Path | None, options: dict[str, str | None]
) -> tuple[Config, CameraConfig | None]:
    if path is None:
        if camera is not None:
            try:
                CameraUri.parse(camera)
            except UriError as error:
                raise ConfigError(f"the camera's address: {error}") from None
        config = Config.from_cameras([_ANY_CAMERA if camera is None else f"camera={camera}"]).with_options(**options)
        return config, None if camera is None else config.cameras[0]
    config = load_config(path).with_options(**options)
    if camera is None:
        return config, None
    for named in config.cameras:
        if named.name == camera:
            return config, named
    names = ", ".join(named.name for named in config.cameras[:10])
    raise ConfigError(f"{path} has no camera named {without_address(camera)!r}; it has {names}")


def _models(config: Config, cameras: tuple[CameraConfig, ...]) -> list[str]:
    return sorted({config.model_of(camera, zone) for camera in cameras for zone in camera.zones})


def _model(name: str, bundles: dict[str, Bundle]) -> Check:
    """Loads it into `bundles`."""
    try:
        bundle = bundles[name] = Bundle.load(name)
    except BundleError as error:
        return Check(
            f"model {Path(name).name}", False, str(error), "give a shipped model's name, or a folder", needed=True
        )
    spec = bundle.spec
    found = (
        f"{spec.name} {spec.version}, {spec.width}x{spec.height} at {spec.rate_hz:g} Hz, {len(spec.actions)} actions"
    )
    return Check(f"model {bundle.name}", True, found, needed=True)


def _engines(config: Config, bundles: dict[str, Bundle]) -> tuple[dict[str, Any], list[Check]]:
    """The engine of the configuration's own model (or the first), and a check for each model."""
    answers, checks = [], []
    for name, bundle in sorted(bundles.items(), key=lambda item: item[0] != config.model):
        found, ok, how = "", True, ""
        try:
            choice = prefer(bundle, config.engine.kind, config.engine.precision)
        except (EngineError, BundleError) as error:
            found, ok = str(error), False
            how = (
                "--engine auto takes what is there" if config.engine.kind != "auto" else "set engine.precision to auto"
            )
            answers.append(_no_engine(found))
        else:
            answers.append(_told(choice, config))
            found = f"{answers[-1]['engine']} {choice.precision}"
            if choice.library:
                build = f"swinstream build {name} --target {choice.library} --precision {choice.precision}"
                how = f"`{build}` makes it now, which takes minutes; else the first start does"
        checks.append(Check(f"engine of {bundle.name}", ok, found, how, needed=True))
    return answers[0] if answers else _no_engine("no model could be loaded"), checks


def _no_engine(reason: str) -> dict[str, Any]:
    return {"engine": None, "precision": None, "reason": reason, "parity": None}


def _told(choice: Preference, config: Config) -> dict[str, Any]:
    asked = "the first choice, and all that it takes is here" if config.engine.kind == "auto" else "it was asked for"
    return {
        "engine": "tensorrt" if choice.library else "openvino",
        "precision": choice.precision,
        "reason": choice.reason or asked,
        "parity": _parity(choice.precision),
    }


def _parity(precision: Precision) -> str:
    limits = LIMITS[precision]
    return (
        f"not run here: before it serves, {MIN_WINDOWS} or more of the model's reference windows must agree in "
        f"{precision}: logits within {limits.logits:.1%}, states {limits.states_rms:.2%} RMS, "
        f"scores {limits.scores:g}, the best label in {limits.top1:.0%} of steps"
    )


def _addresses(config: Config) -> Iterator[tuple[str, str]]:
    """What `run` would listen on, in ZeroMQ's words."""
    yield "publish", config.publish.address
    yield "replay", config.replay_address
    if config.metrics.address is not None:
        yield "metrics", f"tcp://{config.metrics.address}"


def _demand(config: Config, camera: CameraConfig, bundles: dict[str, Bundle]) -> Demand:
    """Raises BundleError for a model that was not loaded."""
    specs = [(bundles.get(name) or Bundle.load(name)).spec for name in _models(config, (camera,))]
    fastest = max(specs, key=lambda spec: spec.rate_hz)
    return Demand(fastest.name, fastest.rate_hz, fastest.width, fastest.height)


def _watch(camera: CameraConfig, demand: Demand, transport: Transport | None, seconds: float) -> dict[str, Any]:
    options = SourceOptions(
        transport=transport or camera.transport,
        latency_ms=camera.latency_ms,
        timeout_s=camera.timeout_s,
        tls_verify=camera.tls_verify,
        tls_ca=None if camera.tls_ca is None else str(camera.tls_ca),
    )
    told: dict[str, Any] = {"name": camera.name, "uri": str(camera.address), "ok": False, "error": None, "message": ""}
    with _address(camera) as uri:
        try:
            seen = _observed(uri, options, seconds)
        except SourceError as error:
            text = str(error).removeprefix(f"{uri}: ")
            told |= {"error": error.error_class.value, "message": text, "advice": [failure_advice(error, uri)]}
        except EndOfStream:
            told |= {"error": ErrorClass.EOF.value, "message": "it has no picture", "advice": []}
        else:
            told |= {"ok": True, "advice": list(advice(seen, demand, live=uri.live))}
            return told | {name: _rounded(value) for name, value in dataclasses.asdict(seen).items()}
    return told | dict.fromkeys(field.name for field in dataclasses.fields(Observation))


@contextlib.contextmanager
def _address(camera: CameraConfig) -> Iterator[CameraUri]:
    """Where it is; a demo camera runs for as long."""
    uri = camera.address
    if uri.scheme != "demo":
        yield uri
        return
    try:
        demo = DemoCamera.at(uri.path)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    with demo:
        yield CameraUri.parse(demo.url)


def _observed(uri: CameraUri, options: SourceOptions, seconds: float) -> Observation:
    """With a bar in a terminal. Ctrl-C ends it early, with what was seen."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with (
        Stopper() as stopper,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task(f"watching {uri}", total=seconds)
        return observe(uri, options, seconds, stopper.event, lambda done: progress.update(task, completed=done))


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
