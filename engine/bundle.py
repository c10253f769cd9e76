"""A model bundle: a folder that holds one network in every form that serves it, and what is known of it.

model.yaml               format, ModelSpec, SHA-256 of every other file
weights.safetensors      float32 or float16
network.<precision>.onnx the graph that engines compile
parity.safetensors       windows with torch's logits and states, see engine.parity
thresholds.yaml          how scores become events
card.md                  data, measured accuracy, limits
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt
import yaml
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from engine.parity import Reference
from engine.runtime.base import Precision
from engine.spec import ModelSpec, Strict

MODEL, WEIGHTS, PARITY, THRESHOLDS, CARD = (
    "model.yaml",
    "weights.safetensors",
    "parity.safetensors",
    "thresholds.yaml",
    "card.md",
)
REQUIRED = (WEIGHTS, PARITY, THRESHOLDS, CARD, "network.fp32.onnx")
SHIPPED = Path(__file__).parent / "bundles"


class BundleError(ValueError):
    """A bundle that is not there, damaged, or whose parts do not belong together."""


class Manifest(Strict):
    """model.yaml."""

    format: Literal["swinstream.bundle/1"]
    spec: ModelSpec
    files: dict[str, str] = Field(description="file name: SHA-256 in hex")


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: every file was there and whole. thresholds: thresholds.yaml as it stands."""

    path: Path
    spec: ModelSpec
    thresholds: dict[str, Any]
    files: Mapping[str, str]

    @classmethod
    def load(cls, name_or_path: str | Path) -> Bundle:
        """A shipped bundle by name, or a folder. Raises BundleError, saying which file and what to do."""
        try:
            path = _find(name_or_path)
            manifest = _manifest(path / MODEL)
            _verify(path, manifest.files)
            thresholds = _yaml(path / THRESHOLDS)
            bundle = cls(path, manifest.spec, thresholds, manifest.files)
            bundle.reference()
        except OSError as error:
            raise BundleError(f"model {error.filename or name_or_path} cannot be read: {error.strerror}") from error
        return bundle

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def fingerprint(self) -> str:
        """Changes when any file of the bundle does: a key for what is compiled from it."""
        return _sha256(self.path / MODEL)

    @property
    def identity(self) -> str:
        """The first 12 hex digits of the fingerprint: what events name as the model's version."""
        return self.fingerprint[:12]

    @property
    def precisions(self) -> list[str]:
        """Precisions in which the bundle has a graph."""
        graphs = [f for f in self.files if f.startswith("network.") and f.endswith(".onnx")]
        return sorted(f.removeprefix("network.").removesuffix(".onnx") for f in graphs)

    def onnx(self, precision: Precision = "fp32") -> Path:
        """The graph of a precision. Raises BundleError if the bundle has none."""
        if precision not in self.precisions:
            raise BundleError(
                f"model '{self.name}' in {self.path} has no network.{precision}.onnx, only {', '.join(self.precisions)}"
            )
        return self.path / f"network.{precision}.onnx"

    def weights(self) -> Path:
        return self.path / WEIGHTS

    def weights_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Tensors by name, float32 or float16."""
        try:
            arrays: dict[str, npt.NDArray[Any]] = load_file(self.weights())
        except SafetensorError as error:
            raise BundleError(f"{self.weights()} is not a safetensors file: {error}") from error
        return arrays

    def reference(self) -> Reference:
        try:
            return Reference.load(self.path / PARITY, self.spec)
        except ValueError as error:
            raise BundleError(
                f"{self.path / PARITY} does not belong to model '{self.name}': {error}; export the bundle again"
            ) from error


def shipped() -> list[str]:
    """Names of the bundles inside the package."""
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{MODEL}"))


def save_bundle(
    path: Path,
    spec: ModelSpec,
    *,
    weights: Mapping[str, npt.NDArray[Any]],
    graphs: Mapping[Precision, Path],
    reference: Reference,
    thresholds: Mapping[str, Any],
    card: str,
) -> Bundle:
    """Write a bundle and load it again. graphs: ONNX files by precision, copied.

    It is made beside `path` and renamed, so that at `path` there is the old bundle or the new one, whole.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        new, old = Path(folder) / "new", Path(folder) / "old"
        new.mkdir()
        save_file(dict(weights), new / WEIGHTS)
        reference.save(new / PARITY, spec)
        for precision, graph in graphs.items():
            shutil.copyfile(graph, new / f"network.{precision}.onnx")
        (new / THRESHOLDS).write_text(yaml.safe_dump(dict(thresholds), sort_keys=False), encoding="utf-8")
        (new / CARD).write_text(card, encoding="utf-8")
        files = {f.name: _sha256(f) for f in sorted(new.iterdir())}
        manifest = Manifest(format="swinstream.bundle/1", spec=spec, files=files)
        text = yaml.safe_dump(manifest.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        (new / MODEL).write_text(text, encoding="utf-8")
        Bundle.load(new)
        for file in new.iterdir():
            file.chmod(0o644)  # safetensors writes 0600
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        if path.exists():
            path.rename(old)
        new.rename(path)
    return Bundle.load(path)


def _find(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    if isinstance(name_or_path, str) and text in shipped():
        return SHIPPED / text
    path = Path(os.path.expanduser(name_or_path))  # Path.expanduser raises for a user who does not exist
    if not path.is_dir():
        names = ", ".join(shipped()) or "none"
        what = "is a file" if path.exists() else "does not exist"
        raise BundleError(f"no model '{text}': it is not a shipped one ({names}), and the folder {path} {what}")
    return path


def _manifest(path: Path) -> Manifest:
    if not path.is_file():
        raise BundleError(f"{path.parent} is not a model bundle: it has no {MODEL}")
    try:
        return Manifest.model_validate(_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise BundleError(
            f"{path} is not a description this version understands: {where}: {first['msg']}{more}; "
            "export the bundle again with this version"
        ) from error


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is not YAML: {' '.join(str(error).split())}; restore the bundle") from error
    if not isinstance(content, dict):
        raise BundleError(f"{path} must hold a mapping, it holds {type(content).__name__}; restore the bundle")
    return content


def _verify(path: Path, files: Mapping[str, str]) -> None:
    """Each listed file is there and whole, each required one is listed, and nothing else lies in the folder."""
    for name in REQUIRED:
        if name not in files:
            raise BundleError(f"{path / MODEL} lists no {name}: the bundle is incomplete; export it again")
    for name, digest in files.items():
        file = path / name
        if Path(name).name != name:
            raise BundleError(f"{path / MODEL} lists '{name}', which is not a plain file name")
        if not file.is_file():
            raise BundleError(f"{file} is missing: copy the whole bundle again")
        if _sha256(file) != digest:
            raise BundleError(
                f"{file} is damaged or of another bundle (its SHA-256 is not the one in {MODEL}): "
                "copy the whole bundle again"
            )
    for file in sorted(path.iterdir()):
        if file.name not in files and file.name != MODEL and not file.name.startswith("."):
            raise BundleError(f"{file} is not listed in {MODEL}: remove it, or export the bundle again")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
