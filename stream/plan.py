"""From a configuration to what the service runs: models loaded, rules made, cameras worded as tasks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from engine.bundle import Bundle
from engine.runtime.base import Engine
from engine.runtime.choose import choose_engine
from stream.capture import zone_task
from stream.config import Config
from stream.config_camera import CameraConfig
from stream.config_problem import ConfigError
from stream.demo.camera import DemoCamera
from stream.messages import CameraTask
from stream.roster import CameraPlan, ZonePlan
from stream.thresholds import Thresholds
from stream.uri import CameraUri


@dataclass(frozen=True)
class Plan:
    """cameras; how to make the engines they use, by the models' names as configured; and the cameras that are to be
    started with them, by name."""

    cameras: tuple[CameraPlan, ...]
    engines: dict[str, Callable[[], Engine]]
    demos: dict[str, DemoCamera]


def make_plan(config: Config) -> Plan:
    """Load every model that is used. Raises ConfigError, engine.bundle.BundleError, ThresholdsError."""
    used = {config.model_of(camera, zone) for camera in config.cameras for zone in camera.zones}
    bundles = {name: Bundle.load(name) for name in sorted(used)}
    known = sorted({label for bundle in bundles.values() for label in bundle.spec.actions})
    for where, events in (("", config.events), *((f"camera {c.name}: ", c.events) for c in config.cameras)):
        if events is not None and (unknown := events.unknown(known)):
            raise ConfigError(
                f"{where}events.labels: no model in use knows {', '.join(unknown)}; they know {', '.join(known)}"
            )
    threads = config.engine.threads or max(1, os.cpu_count() or 2)
    engines: dict[str, Callable[[], Engine]] = {
        name: partial(choose_engine, bundle, config.engine.kind, config.engine.precision, threads=threads)
        for name, bundle in bundles.items()
    }
    demos = {camera.name: _demo(camera) for camera in config.cameras if camera.address.scheme == "demo"}
    return Plan(tuple(_camera(config, camera, bundles) for camera in config.cameras), engines, demos)


def _demo(camera: CameraConfig) -> DemoCamera:
    try:
        return DemoCamera.at(camera.address.path)
    except ValueError as error:
        raise ConfigError(f"camera {camera.name}: {error}") from None


def _camera(config: Config, camera: CameraConfig, bundles: dict[str, Bundle]) -> CameraPlan:
    zones, tasks = [], []
    for zone in camera.zones:
        name = config.model_of(camera, zone)
        spec = bundles[name].spec
        thresholds = Thresholds.parse(bundles[name].thresholds)
        rules = config.events.rules(spec.actions, thresholds, camera.events)
        gating = config.idle_gating_of(camera, zone)
        zones.append(ZonePlan(zone.name, name, spec, rules, bundles[name].identity, thresholds.temperature, gating))
        tasks.append(zone_task(zone.name, spec, zone.rectangle))
    task = CameraTask(
        camera.name,
        camera.address,
        tuple(tasks),
        transport=camera.transport,
        latency_ms=camera.latency_ms,
        timeout_s=camera.timeout_s,
        tls_verify=camera.tls_verify,
        tls_ca=None if camera.tls_ca is None else str(camera.tls_ca),
    )
    return CameraPlan(task, tuple(zones))


def with_uri(plan: CameraPlan, uri: str) -> CameraPlan:
    """The same camera at another address: where the demo camera turned out to be."""
    return replace(plan, task=replace(plan.task, uri=CameraUri.parse(uri)))
