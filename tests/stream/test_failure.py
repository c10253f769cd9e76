from __future__ import annotations

import pickle
import socket
import threading
import time

import pytest

from stream import source
from stream.failure import ErrorClass, SourceError, classify, connection_failure
from stream.worker import STOP_S


@pytest.mark.parametrize(
    ("domain", "code", "debug", "expected"),
    [
        ("gst-resource-error-quark", 15, "gstrtspsrc.c(6899): \nUnauthorized (401)", ErrorClass.AUTH),
        ("gst-resource-error-quark", 7, "\nForbidden (403)", ErrorClass.AUTH),
        ("gst-resource-error-quark", 3, "gstrtspsrc.c(6895): \nNot Found (404)", ErrorClass.NOT_FOUND),
        ("gst-resource-error-quark", 5, "\nService Unavailable (503)", ErrorClass.REFUSED),
        ("gst-resource-error-quark", 9, "Could not receive message. (Timeout while waiting)", ErrorClass.TIMEOUT),
        ("gst-resource-error-quark", 9, "Could not receive message. (Parse error)", ErrorClass.PROTOCOL),
        ("gst-core-error-quark", 12, "Missing decoder: video/x-odd (video/x-odd)", ErrorClass.CODEC),
        ("gst-stream-error-quark", 7, "", ErrorClass.CODEC),
        ("gst-stream-error-quark", 1, "streaming stopped, reason error (-5)", ErrorClass.PROTOCOL),
        ("some-future-quark", 99, "", ErrorClass.PROTOCOL),
    ],
)
def test_errors_have_a_class(domain: str, code: int, debug: str, expected: ErrorClass) -> None:
    assert classify(domain, code, "It did not work.", debug).error_class == expected


def test_a_line_number_in_the_debug_text_is_no_status() -> None:
    failure = classify("gst-stream-error-quark", 1, "Internal error.", "gstrtspsrc.c(4401): (4041)")
    assert failure.text == "Internal error"


def test_the_missing_codec_is_named_and_nothing_else_of_the_debug_text() -> None:
    debug = "Missing decoder: application/x-rtp (application/x-rtp, media=(string)video, encoding-name=(string)X-ODD, x"
    assert classify("gst-core-error-quark", 12, "", debug).text == "no decoder for X-ODD is installed"


def test_connections_are_diagnosed() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        listening.listen()
        assert connection_failure("127.0.0.1", port, 1) is None
    refused = connection_failure("127.0.0.1", port, 1)
    assert refused is not None
    assert refused.error_class == ErrorClass.REFUSED


@pytest.mark.parametrize(
    ("number", "expected"),
    [(socket.EAI_NONAME, ErrorClass.NOT_FOUND), (socket.EAI_AGAIN, ErrorClass.TIMEOUT)],
)
def test_names_that_cannot_be_resolved(monkeypatch: pytest.MonkeyPatch, number: int, expected: ErrorClass) -> None:
    """One that is wrong is worth little; a name service that is away comes back with the network."""

    def fail(*_: object) -> None:
        raise socket.gaierror(number, "as it says")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    found = connection_failure("no-such-host.invalid", 554, 5)
    assert found is not None
    assert found.error_class == expected


def test_what_can_be_no_name() -> None:
    found = connection_failure("no..name", 554, 5)
    assert found is not None
    assert found.error_class == ErrorClass.NOT_FOUND


def test_a_name_service_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(*_: object) -> None:
        released.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "as it says")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    begun_s = time.monotonic()
    found = connection_failure("camera.local", 554, 0.2)
    assert time.monotonic() - begun_s < 2.0
    released.set()
    assert found is not None
    assert (found.error_class, found.text) == (ErrorClass.TIMEOUT, "no answer from camera.local in 0.2 s")


def test_the_probe_ends_before_a_worker_gives_up() -> None:
    assert source._PROBE_S < STOP_S


def test_an_error_crosses_to_the_core() -> None:
    error = pickle.loads(pickle.dumps(SourceError(ErrorClass.TLS, "not trusted")))
    assert (error.error_class, str(error)) == (ErrorClass.TLS, "not trusted")
