"""Planes of a decoded picture as numpy views into the decoder's own memory.

PyGObject without Debian's overrides gives the contents of a Gst.Buffer only as a copy in bytes (0.35 MB a
frame at 640x360). `gst_buffer_map` through ctypes gives the address instead; a view keeps its buffer mapped
for as long as it lives. Where the library is not found, pictures are copied.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.frame import PlaneArray

_MAP_READ = 1


class Layout(NamedTuple):
    """Where the three planes of an I420 picture lie in a buffer: offset and stride in bytes, size in pixels."""

    height: int
    width: int
    offsets: tuple[int, int, int]
    strides: tuple[int, int, int]


class _MapInfo(ctypes.Structure):
    """GstMapInfo of GStreamer 1.x, whose ABI is stable."""

    _fields_ = (
        ("memory", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("maxsize", ctypes.c_size_t),
        ("user_data", ctypes.c_void_p * 4),
        ("reserved", ctypes.c_void_p * 4),
    )


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libgstreamer-1.0.so.0")
    except OSError:  # not Linux; asked second, because find_library starts a process, in every worker
        name = ctypes.util.find_library("gstreamer-1.0")
        if name is None:
            return None
        library = ctypes.CDLL(name)
    library.gst_buffer_map.argtypes = [ctypes.c_void_p, ctypes.POINTER(_MapInfo), ctypes.c_int]
    library.gst_buffer_map.restype = ctypes.c_int
    library.gst_buffer_unmap.argtypes = [ctypes.c_void_p, ctypes.POINTER(_MapInfo)]
    library.gst_buffer_unmap.restype = None
    return library


class _Mapping:
    """A mapped Gst.Buffer; numpy reads its address and keeps it alive as the base of every view."""

    __slots__ = ("__array_interface__", "_address", "_buffer", "_info", "_library")

    def __init__(self, library: ctypes.CDLL, buffer: Any) -> None:
        self._library = library
        self._buffer = buffer  # the reference that keeps the memory
        self._info = _MapInfo()
        # PyGObject's hash of a boxed type is its address.
        self._address = hash(buffer)
        if not library.gst_buffer_map(self._address, ctypes.byref(self._info), _MAP_READ):
            self._address = 0
            raise MemoryError("GStreamer could not map a decoded picture")
        self.__array_interface__ = {
            "shape": (self._info.size,),
            "typestr": "|u1",
            "data": (self._info.data, True),
            "version": 3,
        }

    def __del__(self) -> None:
        if self._address:
            self._library.gst_buffer_unmap(self._address, ctypes.byref(self._info))


def buffer_bytes(buffer: Any, zero_copy: bool = True) -> npt.NDArray[np.uint8]:
    """The contents of a Gst.Buffer, uint8 [size], read-only: a view where possible, else a copy."""
    library = _library() if zero_copy else None
    if library is None:
        return np.frombuffer(buffer.extract_dup(0, buffer.get_size()), np.uint8)
    return np.asarray(_Mapping(library, buffer))


def planes(data: npt.NDArray[np.uint8], layout: Layout) -> tuple[PlaneArray, PlaneArray, PlaneArray]:
    """Y [h, w], U and V [ceil(h/2), ceil(w/2)] as views of a picture's bytes. Raises ValueError if it is too short."""
    half = ((layout.height + 1) // 2, (layout.width + 1) // 2)
    shapes = ((layout.height, layout.width), half, half)
    y, u, v = (
        np.ndarray(shape, np.uint8, data, offset, (stride, 1))
        for shape, offset, stride in zip(shapes, layout.offsets, layout.strides, strict=True)
    )
    return y, u, v
