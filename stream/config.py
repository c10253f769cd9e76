"""What a user may configure, as models: field by field with type, default and meaning.

The reference page (docs/configuration.md) is made from these. `stream.config_file` reads them from YAML. Every
path is relative to the folder of the configuration file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError, ValidationInfo, field_validator, model_validator

from stream.address import AddressError, check_address, host_and_port, is_loopback, replay_address
from stream.config_camera import (
    CameraConfig,
    EventsConfig,
    FilePath,
    ModelName,
    Section,
    ZoneConfig,
    absolute_path,
    unique_names,
)
from stream.config_problem import ConfigError, MisplacedError, inner_loc, key_text, problem_text, problems_of
from stream.journal import Retention
from stream.publish import PUBLISH_ADDRESS, REPLAY_ADDRESS
from stream.security import SecurityError, ServerCurve, check_bind, load_key_pair, load_public_key
from stream.uri import without_address

DEFAULT_MODEL = "movements"

_Key = TypeVar("_Key")
_Loaded = TypeVar("_Loaded")


def _address(text: str) -> str:
    check_address(text, to_bind=True)
    return text


Address = Annotated[str, AfterValidator(_address)]


class EngineConfig(Section):
    """What runs the network."""

    kind: Literal["auto", "openvino", "tensorrt"] = Field(
        "auto", description="auto: TensorRT where it runs, else OpenVINO; tensorrt: refuse to start without it"
    )
    precision: Literal["auto", "fp32", "fp16", "bf16", "int8"] = Field(
        "auto", description="auto: the fastest that this machine does in hardware and the model was checked with"
    )
    threads: int | None = Field(None, ge=1, le=256, description="CPU threads; default: the engine's choice")
    max_batch: int | None = Field(
        None, ge=1, le=256, description="windows in one call of the network; default: what is best for the engine"
    )


class PublishConfig(Section):
    """The socket that events are published on (ZeroMQ PUB)."""

    address: Address = Field(PUBLISH_ADDRESS, description="where to listen; others than this machine need `security`")
    queue: int = Field(1000, ge=1, le=1_000_000, description="messages kept for a subscriber that does not keep up")


class ReplayConfig(Section):
    """The socket that gives past events (ZeroMQ ROUTER)."""

    address: Address | None = Field(
        None, description="default: the port after the PUB socket's, where clients look for it unless told otherwise"
    )
    max_events: int = Field(1000, ge=1, le=10_000, description="in one answer")


class JournalConfig(Section):
    """Where events are kept."""

    path: FilePath | None = Field(
        None, description="an SQLite file; default: in the user's state folder (~/.local/state/swinstream on Linux)"
    )
    max_age_days: float = Field(30.0, gt=0, le=36500, description="older events are deleted")
    max_size_mb: int = Field(256, ge=1, le=1_000_000, description="beyond it the oldest events are deleted")
    move_aside_damaged: bool = Field(
        False, description="rename a damaged journal and begin a new one, instead of refusing to start"
    )

    @property
    def retention(self) -> Retention:
        return Retention(max_age_s=self.max_age_days * 86400, max_bytes=self.max_size_mb << 20)


class SecurityConfig(Section):
    """Who may connect. `swinstream keys` makes keys. Without any, sockets are open to this machine only."""

    server_key: FilePath | None = Field(None, description="this machine's secret key file; turns encryption on")
    clients: tuple[str, ...] = Field((), description="public keys that may connect: 40 characters, or key files")
    allow_plaintext: bool = Field(
        False, description="allow other addresses than this machine's without keys: anyone there can read all events"
    )

    @field_validator("server_key")
    @classmethod
    def _key(cls, path: Path | None) -> Path | None:
        if path is not None:
            _ = _told(load_key_pair, path)
        return path

    @field_validator("clients")
    @classmethod
    def _clients(cls, clients: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if clients and info.data.get("server_key") is None:
            raise ValueError("clients are listed but there is no server_key: without it nothing is encrypted")
        if not clients and info.data.get("server_key") is not None:
            raise ValueError("with a server_key, list the clients that may connect (their public keys)")
        keys = []
        for number, client in enumerate(clients):
            try:
                keys.append(
                    _told(load_public_key, client if len(client) == 40 else absolute_path(client, info)).decode()
                )
            except ValueError as error:
                raise MisplacedError(str(error), number) from None
        return tuple(keys)

    @property
    def curve(self) -> ServerCurve | None:
        """None: no encryption. Raises SecurityError."""
        if self.server_key is None:
            return None
        return ServerCurve(load_key_pair(self.server_key), frozenset(key.encode() for key in self.clients))


class MetricsConfig(Section):
    """Where Prometheus, and whoever asks how the service is, may look: `/metrics`, `/healthz`, `/readyz`."""

    address: str | None = Field(
        None, description="host and port to listen at (HTTP), such as `127.0.0.1:9464`; default: nowhere"
    )
    allow_remote: bool = Field(
        False, description="allow other addresses than this machine's: anyone there can read how the cameras are"
    )

    @model_validator(mode="after")
    def _local(self) -> MetricsConfig:
        try:
            local = self.address is None or is_loopback(host_and_port(self.address)[0])
        except AddressError as error:
            raise MisplacedError(str(error), "address") from None
        if not local and not self.allow_remote:
            raise MisplacedError(
                f"{self.address} is open to the network, which could read how the cameras are: use 127.0.0.1, or say "
                "metrics.allow_remote: true",
                "address",
            )
        return self


class CaptureConfig(Section):
    """How cameras are spread over processes."""

    workers: int | None = Field(None, ge=1, le=64, description="capture processes; default: by the number of cores")
    connects_per_s: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="connects a second over all cameras, at the start and after a cut of the network; "
        "default: 10, or a twentieth of the cameras",
    )


class Config(Section):
    """Everything that `swinstream run` needs to know."""

    model: ModelName = Field(DEFAULT_MODEL, description="a shipped model, or the folder of one")
    cameras: tuple[CameraConfig, ...] = Field(min_length=1, max_length=4096, description="what is watched")
    idle_gating: bool = Field(
        True, description="where nothing moves and no event is open, the network is not run (live cameras only)"
    )
    engine: EngineConfig = Field(EngineConfig(), description="what runs the network")
    capture: CaptureConfig = Field(CaptureConfig(), description="how cameras are spread over processes")
    events: EventsConfig = Field(EventsConfig(), description="when scores become events")
    publish: PublishConfig = Field(PublishConfig(), description="where events are published")
    replay: ReplayConfig = Field(ReplayConfig(), description="where past events are asked for")
    journal: JournalConfig = Field(JournalConfig(), description="where events are kept")
    security: SecurityConfig = Field(SecurityConfig(), description="who may connect")
    metrics: MetricsConfig = Field(MetricsConfig(), description="where metrics and health are asked for")

    @field_validator("cameras")
    @classmethod
    def _camera_names(cls, cameras: tuple[CameraConfig, ...]) -> tuple[CameraConfig, ...]:
        unique_names([camera.name for camera in cameras], "cameras")
        return cameras

    @model_validator(mode="after")
    def _safe(self) -> Config:
        for part, address in (("publish", self.publish.address), ("replay", self.replay_address)):
            try:
                check_bind(address, curve=bool(self.security.server_key), allow_plaintext=self.security.allow_plaintext)
            except SecurityError as error:
                raise MisplacedError(str(error), part, "address") from None
        return self

    @property
    def replay_address(self) -> str:
        """Where past events are asked for: as configured, else the port after the PUB socket's."""
        return self.replay.address or replay_address(self.publish.address) or REPLAY_ADDRESS

    def model_of(self, camera: CameraConfig, zone: ZoneConfig) -> str:
        return zone.model or camera.model or self.model

    def idle_gating_of(self, camera: CameraConfig, zone: ZoneConfig) -> bool:
        for_camera = self.idle_gating if camera.idle_gating is None else camera.idle_gating
        return for_camera if zone.idle_gating is None else zone.idle_gating

    def with_options(
        self,
        *,
        model: str | None = None,
        engine: str | None = None,
        publish: str | None = None,
        replay: str | None = None,
        journal: str | Path | None = None,
        metrics: str | None = None,
    ) -> Config:
        """What the command line says goes before the file. Raises ConfigError."""
        given: dict[str, Any] = {
            "model": model,
            "engine": engine and {"kind": engine},
            "publish": publish and {"address": publish},
            "replay": replay and {"address": replay},
            "journal": journal and {"path": str(journal)},
            "metrics": metrics and {"address": metrics},
        }
        parts = {name: getattr(self, name) for name in type(self).model_fields}
        for name, value in given.items():
            if isinstance(value, dict):
                # Only what was set, so that defaults are not taken for the user's word.
                parts[name] = {**_set_fields(parts[name]), **value}
            elif value is not None:
                parts[name] = value
        return _validated(parts, "command line")

    @classmethod
    def from_cameras(cls, cameras: Sequence[str]) -> Config:
        """From `NAME=URI` of the command line. Raises ConfigError."""
        entries = []
        for text in cameras:
            name, equals, uri = text.partition("=")
            if not equals or "://" in name:
                raise ConfigError(
                    f"--camera {without_address(text)!r}: expected NAME=URI, such as front-door=rtsp://host/path"
                )
            entries.append({"name": name, "uri": uri})
        return _validated({"cameras": entries}, "--camera")


def _validated(data: Mapping[str, Any], origin: str) -> Config:
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        problems = problems_of(error)
        lines = [f"{origin}: {key_text(inner_loc(p))}: {problem_text(p)}" for p in problems]
        raise ConfigError("\n".join(lines)) from None


def _set_fields(section: BaseModel) -> dict[str, Any]:
    return {name: getattr(section, name) for name in section.model_fields_set}


def _told(call: Callable[[_Key], _Loaded], argument: _Key) -> _Loaded:
    """SecurityError as the ValueError that pydantic understands."""
    try:
        return call(argument)
    except SecurityError as error:
        raise ValueError(str(error)) from None
