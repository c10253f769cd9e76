"""Why a source gave up: SourceError with its error class, and how GStreamer's errors map to the classes.

GStreamer's codes are coarse (a refused port, an unknown host and a bad certificate are all "could not open"),
so the RTSP status in the debug text counts for more, and a failed connection is tried once more by hand.
"""

from __future__ import annotations

import re
import socket
import threading
from enum import StrEnum
from typing import NamedTuple


class ErrorClass(StrEnum):
    """What kind of trouble it is: sets the pace of reconnecting and is published in `status/<camera>`."""

    AUTH = "auth"
    NOT_FOUND = "not_found"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    CODEC = "codec"
    TLS = "tls"
    PROTOCOL = "protocol"
    EOF = "eof"


class SourceError(Exception):
    """A camera or file cannot be read (any more). The text holds no secret and fits on one line."""

    def __init__(self, error_class: ErrorClass, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class

    def __reduce__(self) -> tuple[type[SourceError], tuple[ErrorClass, str]]:
        return type(self), (self.error_class, str(self))


class EndOfStream(Exception):
    """A file was read to its end."""


class Failure(NamedTuple):
    """What went wrong, in a class and in words."""

    error_class: ErrorClass
    text: str


_STATUS = re.compile(r"\((\d{3})\)")
_STATUSES = {
    401: Failure(ErrorClass.AUTH, "user name or password refused"),
    403: Failure(ErrorClass.AUTH, "access forbidden for this user"),
    404: Failure(ErrorClass.NOT_FOUND, "the server has no stream of this name"),
    410: Failure(ErrorClass.NOT_FOUND, "the stream is gone"),
    415: Failure(ErrorClass.CODEC, "the server cannot send this stream"),
    453: Failure(ErrorClass.REFUSED, "the server has no bandwidth left"),
    461: Failure(ErrorClass.PROTOCOL, "the server refuses this transport; choose another (tcp, udp, auto)"),
    503: Failure(ErrorClass.REFUSED, "the server is busy or has no free connection"),
}

# (domain, code) of GError. https://gstreamer.freedesktop.org/documentation/gstreamer/gsterror.html
_CODES = {
    ("gst-core-error-quark", 12): ErrorClass.CODEC,  # missing plugin
    ("gst-resource-error-quark", 3): ErrorClass.NOT_FOUND,
    ("gst-resource-error-quark", 5): ErrorClass.NOT_FOUND,  # cannot open for reading
    ("gst-resource-error-quark", 15): ErrorClass.AUTH,
    ("gst-stream-error-quark", 3): ErrorClass.CODEC,  # not implemented
    ("gst-stream-error-quark", 6): ErrorClass.CODEC,  # no codec
    ("gst-stream-error-quark", 7): ErrorClass.CODEC,  # decoding failed
    ("gst-stream-error-quark", 11): ErrorClass.CODEC,  # format
    ("gst-stream-error-quark", 12): ErrorClass.CODEC,  # encrypted
    ("gst-stream-error-quark", 13): ErrorClass.CODEC,  # encrypted, no key
}


def classify(domain: str, code: int, message: str, debug: str) -> Failure:
    """What an error on GStreamer's bus means. `debug` is searched, but never shown: it may hold anything."""
    status = _STATUS.search(debug)
    if status is not None and int(status[1]) in _STATUSES:
        failure = _STATUSES[int(status[1])]
        return Failure(failure.error_class, f"{failure.text} ({status[1]})")
    if "timeout" in debug.lower() or "timed out" in debug.lower():
        return Failure(ErrorClass.TIMEOUT, "the server does not answer")
    missing = re.search(r"Missing decoder: (?:.*encoding-name=\(string\)([\w.-]+)|([\w./-]+))", debug)
    if missing is not None:
        return Failure(ErrorClass.CODEC, f"no decoder for {missing[1] or missing[2]} is installed")
    return Failure(_CODES.get((domain, code), ErrorClass.PROTOCOL), " ".join(message.split()).rstrip("."))


def connection_failure(host: str, port: int, timeout_s: float) -> Failure | None:
    """Why a TCP connection cannot be made, found out by trying; None if it can. Takes no longer than timeout_s.

    Asking the name service can take many times as long, and cannot be cut short: it is left to a thread of its own.
    """
    found: list[Failure | None] = []
    thread = threading.Thread(target=lambda: found.append(_attempt(host, port, timeout_s)), daemon=True)
    thread.start()
    thread.join(timeout_s)
    return found[0] if found else Failure(ErrorClass.TIMEOUT, f"no answer from {host} in {timeout_s:g} s")


def _attempt(host: str, port: int, timeout_s: float) -> Failure | None:
    try:
        socket.create_connection((host, port), timeout_s).close()
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:  # as after a network cut, so it is worth trying soon
            return Failure(ErrorClass.TIMEOUT, f"the name service does not answer ({host})")
        return Failure(ErrorClass.NOT_FOUND, f"no host of this name is known ({host})")
    except UnicodeError:
        return Failure(ErrorClass.NOT_FOUND, f"{host} can be no host's name")
    except ConnectionRefusedError:
        return Failure(ErrorClass.REFUSED, f"nothing listens on port {port} there")
    except TimeoutError:
        return Failure(ErrorClass.TIMEOUT, f"no answer from port {port} in {timeout_s:g} s")
    except OSError as error:
        return Failure(ErrorClass.REFUSED, error.strerror or "the connection failed")
    return None
