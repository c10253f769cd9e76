"""A bundle with some of its files made anew: checked as a whole, and put in place in one step."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from engine.bundle import MODEL, Bundle, BundleError, Manifest


def rewrite(bundle: Bundle, files: Mapping[str, bytes], out: Path | None = None) -> Bundle:
    """Write the bundle with these files, replaced or added, to `out` or in its own place, and load it again.

    At that place there is the old bundle or the new one, whole; the file names are listed in the manifest with their
    SHA-256, and every other file stays as it was. Raises BundleError where the folder cannot be written, or already
    holds something that is no bundle.
    """
    path = (out or bundle.path).absolute()
    if path.exists() and not (path / MODEL).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise BundleError(f"{path} is there already and is no model bundle: give another folder with --out")
    try:
        with _beside(path) as folder:
            new, old = folder / "new", folder / "old"
            shutil.copytree(bundle.path, new, ignore=shutil.ignore_patterns(".*"))
            for name, content in files.items():
                (new / name).write_bytes(content)
            digests = {file.name: _sha256(file) for file in sorted(new.iterdir()) if file.name != MODEL}
            manifest = Manifest(format="swinstream.bundle/1", spec=bundle.spec, files=digests)
            text = yaml.safe_dump(manifest.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
            (new / MODEL).write_text(text, encoding="utf-8")
            Bundle.load(new)
            for file in new.iterdir():
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
            if path.exists():
                path.rename(old)
            new.rename(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be written: {error.strerror}; give another folder with --out") from None
    return Bundle.load(path)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A folder of the same file system, from which a rename is one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        yield Path(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
