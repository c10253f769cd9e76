"""GStreamer in Python. Everything here that needs it takes it from this module, so that one thing comes first.

Debian's GStreamer loads libunwind, which has the same symbols as the compiler's own unwinder and does not
understand its C++ exceptions: a library loaded later (OpenVINO in `swinstream evaluate`) aborts the process when it
throws one. The unwinder that is loaded first counts.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

if sys.platform == "linux":
    with contextlib.suppress(OSError):  # a system without GCC's runtime has no such conflict
        ctypes.CDLL("libgcc_s.so.1", mode=ctypes.RTLD_GLOBAL)

import gi

for _name in ("Gst", "GstApp", "GstBase", "GstVideo"):
    gi.require_version(_name, "1.0")
from gi.repository import Gio, GLib, Gst, GstApp, GstBase, GstVideo  # noqa: E402

__all__ = ["GLib", "Gio", "Gst", "GstApp", "GstBase", "GstVideo"]
