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
from stream.messages import CameraTask
from stream.service import CameraPlan, ZonePlan
from stream.thresholds import Thresholds
from stream.uri import CameraUri


@dataclass(frozen=True)
class Plan:
    """cameras, and how to make the engines they use, by the models' names as configured."""

    cameras: tuple[CameraPlan, ...]
    engines: dict[str, Callable[[], Engine]]


def make_plan(config: Config) -> Plan:
    """Load every model that is used. Raises ConfigError, engine.bundle.BundleError, ThresholdsError."""
    used = {config.model_of(camera, zone) for camera in config.cameras for zone in camera.zones}
    bundles = {name: Bundle.load(name) for name in sorted(used)}
    if unknown := config.events.unknown(label for bundle in bundles.values() for label in bundle.spec.actions):
        known = sorted({label for bundle in bundles.values() for label in bundle.spec.actions})
        raise ConfigError(f"events.labels: no model in use knows {', '.join(unknown)}; they know {', '.join(known)}")
    threads = config.engine.threads or max(1, (os.cpu_count() or 2) // 2)
    engines: dict[str, Callable[[], Engine]] = {
        name: partial(choose_engine, bundle, config.engine.kind, threads=threads)
        for name, bundle in bundles.items()
    }
    return Plan(tuple(_camera(config, camera, bundles) for camera in config.cameras), engines)


def _camera(config: Config, camera: CameraConfig, bundles: dict[str, Bundle]) -> CameraPlan:
    zones, tasks = [], []
    for zone in camera.zones:
        name = config.model_of(camera, zone)
        spec = bundles[name].spec
        thresholds = Thresholds.parse(bundles[name].thresholds)
        rules = config.events.rules(spec.actions, thresholds)
        zones.append(ZonePlan(zone.name, name, spec, rules, thresholds.temperature))
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
