"""EngineCache: compiled engines as files, found by everything that can change what they compute.

A file is a line of JSON (the key, and the payload's SHA-256) and the payload. It is written beside its place and
renamed, so that there is a whole file or none. What is damaged, or of another key, counts as not there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from platformdirs import user_cache_path

FORMAT = "swinstream.engine/1"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineKey:
    """What an engine was made of, by what, and for what.

    model: for people. graph: SHA-256 of the ONNX that was compiled. inputs: name, type and shape of each, with the
    batch as N. batches: sizes that it serves. library, device, driver: with their versions; "" where the engine does
    not depend on it. options: of the compiler, as name=value.
    """

    model: str
    graph: str
    inputs: tuple[str, ...]
    precision: str
    batches: tuple[int, ...]
    target: str
    library: str
    device: str
    driver: str
    options: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def file_name(self) -> str:
        return f"{self.model}-{self.target}-{self.precision}-{self.digest[:16]}.engine"

    @property
    def device_digest(self) -> str:
        """Of what timings depend on: library, device and driver."""
        return hashlib.sha256(f"{self.library}\n{self.device}\n{self.driver}".encode()).hexdigest()[:16]

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


class EngineCache:
    """Engines in a folder; by default the user's cache."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = user_cache_path("swinstream") / "engines" if folder is None else folder

    def path(self, key: EngineKey) -> Path:
        """Where the key's engine lies, or would."""
        return self.folder / key.file_name

    def load(self, key: EngineKey) -> bytes | None:
        """The key's engine; None if there is none, or none that can be trusted: then the log says why."""
        path = self.path(key)
        try:
            with path.open("rb") as file:
                header, payload = file.readline(), file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s cannot be read and is built again: %s", path, error.strerror)
            return None
        reason = _distrust(header, payload, key)
        if reason:
            log.warning("%s %s: it is built again", path, reason)
            return None
        return payload

    def store(self, key: EngineKey, payload: bytes) -> Path:
        """Keep an engine. Raises OSError where the folder cannot be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        header = {"format": FORMAT, "key": asdict(key), "sha256": hashlib.sha256(payload).hexdigest()}
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=f".{key.model}-", delete=False) as file:
            try:
                file.write(json.dumps(header, sort_keys=True).encode() + b"\n")
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, self.path(key))
            except BaseException:
                os.unlink(file.name)
                raise
        return self.path(key)


def _distrust(header: bytes, payload: bytes, key: EngineKey) -> str:
    """Why a file must not be used as the key's engine; empty if it may."""
    try:
        content = json.loads(header)
        if content["format"] != FORMAT:
            return f"is of format {content['format']}"
        got, digest = content["key"], content["sha256"]
    except (ValueError, KeyError, TypeError):
        return "is no engine file"
    expected = json.loads(key.to_json())
    if got != expected:
        names = [name for name in expected if not isinstance(got, dict) or got.get(name) != expected[name]]
        return f"is of another {', '.join(names)}"
    if hashlib.sha256(payload).hexdigest() != digest:
        return "is damaged"
    return ""
