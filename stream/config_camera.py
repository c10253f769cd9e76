"""The part of the configuration that describes cameras, their zones, and when scores become events."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from stream.config_problem import MisplacedError
from stream.events import Rules
from stream.home import expanded
from stream.thresholds import Thresholds, overridden
from stream.uri import CameraUri
from stream.wire import NAME_PATTERN
from stream.zone import FULL, Zone, ZoneError

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64)]


def _folder(info: ValidationInfo) -> Path:
    """What paths are relative to: the configuration file's folder, or the current one."""
    return Path((info.context or {}).get("folder", "."))


def absolute_path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("expected a path")
    return (_folder(info) / expanded(value)).absolute()


def _model(value: object, info: ValidationInfo) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("expected the name of a shipped model, or a folder")
    return str(absolute_path(value, info)) if "/" in value or "\\" in value or value.startswith(".") else value


def _uri(value: object, info: ValidationInfo) -> CameraUri:
    if isinstance(value, CameraUri):
        return value
    if not isinstance(value, str):
        raise ValueError("expected an address such as rtsp://host/path, or the path of a file")
    return CameraUri.parse(value if "://" in value or not value.strip() else str(absolute_path(value, info)))


FilePath = Annotated[Path, PlainValidator(absolute_path, json_schema_input_type=str)]
ModelName = Annotated[str, PlainValidator(_model, json_schema_input_type=str)]
Uri = Annotated[CameraUri, PlainValidator(_uri, json_schema_input_type=str), PlainSerializer(str)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)


class EventsConfig(Section):
    """When scores become events. What is not given here comes from the model's own calibration."""

    defaults: Rules = Field(Rules(), description="for every label")
    labels: dict[str, Rules] = Field({}, description="for one label; goes before `defaults`")

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, data: Any) -> Any:
        # So that a label is checked together with what it inherits.
        if not isinstance(data, dict) or not isinstance(data.get("labels"), dict):
            return data
        defaults = data.get("defaults")
        defaults = defaults if isinstance(defaults, dict) else {}
        labels = {k: {**defaults, **v} if isinstance(v, dict) else v for k, v in data["labels"].items()}
        return data | {"labels": labels}

    def rules(
        self, labels: Sequence[str], thresholds: Thresholds | None = None, camera: EventsConfig | None = None
    ) -> dict[str, Rules]:
        """For each of a model's labels. thresholds: what its bundle says. camera: goes before this, key by key.

        Raises ThresholdsError.
        """
        written = {label: self._written(label) for label in labels}
        if camera is not None:
            written = {label: overridden(rules, camera._written(label)) for label, rules in written.items()}
        return (thresholds or Thresholds()).rules(labels, written)

    def unknown(self, labels: Iterable[str]) -> list[str]:
        """Labels with rules that no model has. labels: of all models in use."""
        return sorted(set(self.labels) - set(labels))

    def _written(self, label: str) -> dict[str, Any]:
        return self.labels.get(label, self.defaults).model_dump(exclude_unset=True)


class ZoneConfig(Section):
    """A rectangle of the picture that is watched on its own. The sides are fractions of the picture's, 0 to 1."""

    name: Name = Field(description="in topics and events")
    x: float = Field(ge=0, lt=1, description="left edge, from the picture's left")
    y: float = Field(ge=0, lt=1, description="upper edge, from the picture's top")
    width: float = Field(gt=0, le=1, description="`x` + `width` is at most 1")
    height: float = Field(gt=0, le=1, description="`y` + `height` is at most 1")
    model: ModelName | None = Field(None, description="of this zone; default: the camera's")
    idle_gating: bool | None = Field(None, description="of this zone; default: the camera's")

    @model_validator(mode="after")
    def _inside(self) -> ZoneConfig:
        try:
            _ = self.rectangle
        except ZoneError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def rectangle(self) -> Zone:
        return Zone(self.x, self.y, self.width, self.height)


FULL_ZONE = ZoneConfig(name="full", x=FULL.x, y=FULL.y, width=FULL.width, height=FULL.height)


class CameraConfig(Section):
    """A camera or a file."""

    name: Name = Field(description="in topics and events")
    uri: Uri = Field(
        description="`rtsp://`, `rtsps://`, `file://`, a path, `v4l2:///dev/video0` or `demo://`; "
        "`rtsp://user:${CAMERA_PASSWORD}@host/path` takes the password from the environment"
    )
    user: str | None = Field(None, description="goes before one in `uri`")
    password_file: FilePath | None = Field(None, description="a file whose first line is the password")
    password: SecretStr | None = Field(None, description="best as `${CAMERA_PASSWORD}`; goes before one in `uri`")
    transport: Literal["tcp", "udp", "auto"] = Field("tcp", description="of RTP; auto tries UDP, then TCP")
    latency_ms: int = Field(200, ge=0, le=10_000, description="how long to wait for packets that are late")
    timeout_s: float = Field(10.0, ge=1, le=600, description="without a picture for so long, the camera is lost")
    tls_verify: bool = Field(True, description="check the certificate of `rtsps://`")
    tls_ca: FilePath | None = Field(None, description="PEM file of authorities to trust instead of the system's")
    model: ModelName | None = Field(None, description="of this camera; default: that of the whole configuration")
    idle_gating: bool | None = Field(None, description="of this camera; default: that of the whole configuration")
    events: EventsConfig | None = Field(
        None, description="of this camera; what is given here goes before what the configuration's `events` says"
    )
    zones: tuple[ZoneConfig, ...] = Field(
        (FULL_ZONE,), min_length=1, max_length=16, description="what is watched; default: `full`, the whole picture"
    )

    @field_validator("tls_ca")
    @classmethod
    def _exists(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError(f"there is no file {path}")
        return path

    @field_validator("password", mode="before")
    @classmethod
    def _from_file(cls, value: object, info: ValidationInfo) -> object:
        path = info.data.get("password_file")
        if path is None:
            return value
        if value is not None:
            raise ValueError("give password or password_file, not both")
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ValueError(f"cannot read password_file {path}: {reason}") from None
        if not lines or not lines[0]:
            raise ValueError(f"password_file {path} is empty")
        return lines[0]

    @field_validator("zones")
    @classmethod
    def _zone_names(cls, zones: tuple[ZoneConfig, ...]) -> tuple[ZoneConfig, ...]:
        unique_names([zone.name for zone in zones], "zones of this camera")
        return zones

    @property
    def address(self) -> CameraUri:
        """The URI with user and password: what to open. It never prints them."""
        user, password = self.user, self.password
        return dataclasses.replace(
            self.uri,
            user=self.uri.user if user is None else user,
            password=self.uri.password if password is None else password.get_secret_value(),
        )


def unique_names(names: Sequence[str], of_what: str) -> None:
    """Raises MisplacedError where two names are the same. names: of the elements of a list."""
    for number, name in enumerate(names):
        if name in names[:number]:
            raise MisplacedError(f"two {of_what} are named '{name}': give each a name of its own", number, "name")
