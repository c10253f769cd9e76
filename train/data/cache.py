"""Decoded clips on disk, a file each, mapped into memory when they are used.

A clip is decoded once; training then reads single frames at the speed of the page cache, in any number of processes,
and a data set need not fit into memory. Files are safetensors (raw arrays behind a header that says where) and
are written whole or not at all. Their names are digests of everything that changes their contents, so nothing in the
folder is ever out of date, and all of it may be deleted at any time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import platformdirs
from safetensors.numpy import save

from stream.gstreamer import Gst
from train.config import TrainError
from train.data.clips import ClipRef

FORMAT = 1  # of what is stored, and of the code that makes it: another number, another file
OPEN_FILES = 256  # a mapped file holds a file descriptor
LEFTOVER_S = 3600.0  # a part file this old belongs to a process that is gone

T = TypeVar("T")
Arrays = dict[str, npt.NDArray[Any]]

_SUFFIX = ".safetensors"
_DTYPES = {"U8": np.uint8, "F16": np.float16, "F64": np.float64}


class CacheError(TrainError):
    """The cache's folder can't be made, or its disk is full: no clip's fault."""


class Stored(NamedTuple):
    """A file of the cache. arrays are read-only views into the mapped file."""

    arrays: Arrays
    notes: dict[str, str]


def cache_folder(setting: str | None) -> Path | None:
    """What `data.cache` names. Raises CacheError if the folder can't be made or written to."""
    if setting is None:
        return None
    folder = Path(platformdirs.user_cache_dir("swinstream")) / "clips" if setting == "auto" else Path(setting)
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob("*.part"):
            if time.time() - part.stat().st_mtime > LEFTOVER_S:
                part.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        raise CacheError(f"data.cache: {folder} can't be made: {error}; name another folder") from None
    if not os.access(folder, os.W_OK):
        raise CacheError(f"data.cache: no permission to write to {folder}; name another folder")
    return folder


class ClipCache(ABC, Generic[T]):
    """Something that is made of clips once, each in a file below `folder`; None: in memory instead.

    May be sent to another process. settings: what changes it besides the clip itself.
    """

    def __init__(self, folder: Path | None, **settings: object) -> None:
        self.folder = folder
        self._settings = settings
        self._kept: dict[ClipRef, T] = {}  # without a folder
        self._opened = lru_cache(OPEN_FILES)(self._open)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_opened"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._opened = lru_cache(OPEN_FILES)(self._open)

    def __getitem__(self, ref: ClipRef) -> T:
        """From the cache, or made now and kept. Raises what `make` raises."""
        return self._opened(ref)

    def has(self, ref: ClipRef) -> bool:
        """Raises TrainError if there is no such file."""
        key = self._key(ref)
        return ref in self._kept if self.folder is None else stored(self.folder, key) is not None

    def make(self, ref: ClipRef) -> T:
        """Raises SourceError and TrainError for a clip that is of no use, CacheError for a full disk."""
        made = self._make(ref)
        if self.folder is None:
            self._kept[ref] = made
            return made
        arrays, notes = self._pack(made)
        store(self.folder, self._key(ref), arrays, notes)
        return made

    def _open(self, ref: ClipRef) -> T:
        if self.folder is None:
            return self._kept[ref] if ref in self._kept else self.make(ref)
        found = stored(self.folder, self._key(ref))
        return self.make(ref) if found is None else self._unpack(ref, found)

    def _key(self, ref: ClipRef) -> str:
        """The digest of a stretch of a file as it is now, and of the settings."""
        try:
            file = ref.path.stat()
        except OSError as error:
            raise TrainError(f"{ref.path}: {(error.strerror or 'cannot be read').lower()}") from None
        said = {
            "what": type(self).__name__,
            "file": [str(ref.path.resolve()), file.st_size, file.st_mtime_ns],
            "part": [ref.start_s, ref.end_s],
            "made by": [FORMAT, Gst.version_string(), cv2.__version__],
            **self._settings,
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @abstractmethod
    def _make(self, ref: ClipRef) -> T: ...

    @abstractmethod
    def _pack(self, made: T) -> tuple[Arrays, dict[str, str]]: ...

    @abstractmethod
    def _unpack(self, ref: ClipRef, found: Stored) -> T: ...


def store(folder: Path, key: str, arrays: Arrays, notes: Mapping[str, str]) -> None:
    """Write a file, whole or not at all. Raises CacheError for a full disk."""
    part = None
    try:
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
            part = Path(file.name)
            file.write(save(arrays, dict(notes)))
        part.replace(folder / (key + _SUFFIX))
    except OSError as error:
        if part is not None:
            part.unlink(missing_ok=True)
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        raise CacheError(
            f"data.cache: {folder}: {'the disk is full' if full else error.strerror}; what is there stays good: make "
            "room, or name a folder on another disk, and start again"
        ) from None


def stored(folder: Path, key: str) -> Stored | None:
    """A file of the cache, mapped; None where there is none, or none that is whole."""
    path = folder / (key + _SUFFIX)
    try:
        data: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        begin = 8 + int.from_bytes(data[:8].tobytes(), "little")
        header = json.loads(data[8:begin].tobytes())
    except (OSError, ValueError):
        return None
    notes = header.pop("__metadata__", {})
    if begin + max(entry["data_offsets"][1] for entry in header.values()) != len(data):
        return None
    arrays: Arrays = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        arrays[name] = np.asarray(data[begin + first : begin + last].view(_DTYPES[entry["dtype"]]))
        arrays[name] = arrays[name].reshape(entry["shape"])
    return Stored(arrays, notes)
