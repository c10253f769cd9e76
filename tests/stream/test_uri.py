from __future__ import annotations

import pickle
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.uri import CameraUri, UriError, redact, without_address

SECRET = "p@ss/w:rd#1"


def test_credentials_are_decoded_and_never_shown() -> None:
    uri = CameraUri.parse(f"rtsp://us%20er:{quote(SECRET, safe='')}@cam.local/stream?channel=1")
    assert (uri.user, uri.password) == ("us er", SECRET)
    assert (uri.host, uri.port, uri.path) == ("cam.local", 554, "/stream?channel=1")
    assert uri.location == "rtsp://cam.local:554/stream?channel=1"
    assert str(uri) == "rtsp://***@cam.local:554/stream?channel=1"
    assert repr(uri) == "CameraUri('rtsp://***@cam.local:554/stream?channel=1')"
    assert SECRET not in f"{uri} {uri!r} {[uri]}"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=6, max_size=20))
def test_no_password_survives_printing_or_redaction(password: str) -> None:
    uri = CameraUri.parse(f"rtsp://user:{quote(password, safe='')}@host/path")
    assert uri.password == password
    for text in (str(uri), repr(uri), uri.redact(f"x {password} y {quote(password)} z {quote(password, safe='')}")):
        assert password not in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://h/x?user=admin&password=abc123&ch=1", "rtsp://h:554/x?user=admin&password=***&ch=1"),
        ("rtsp://h/user=admin&password=abc123&channel=1.sdp", "rtsp://h:554/user=admin&password=***&channel=1.sdp"),
        ("rtsp://h/x?token=abc123", "rtsp://h:554/x?token=***"),
        ("rtsp://h/x?accessKey=abc123&stream=0", "rtsp://h:554/x?accessKey=***&stream=0"),
    ],
)
def test_secrets_in_path_and_query_are_hidden_but_sent(text: str, shown: str) -> None:
    uri = CameraUri.parse(text)
    assert str(uri) == shown
    assert "abc123" in uri.location
    assert "abc123" not in uri.redact(f"failed to open {uri.location}: abc123")


def test_any_text_can_be_redacted() -> None:
    assert redact("cannot open rtsp://a:b@h/x?pwd=c rtsp://d@e") == "cannot open rtsp://***@h/x?pwd=*** rtsp://***@e"


@pytest.mark.parametrize(
    "text",
    [
        "rtsp:/admin:abc123@h/x",
        "rtsp//admin:abc123@h/x",
        "rtsp:admin:abc123@h/x",
        "/etc/cameras/rtsp:/admin:abc123@h/x",
        "admin:abc123@h/x",
        "//h/user=admin_password=abc123",
        "HTTP:/h/x",
    ],
)
def test_an_address_without_its_scheme_is_no_path(text: str) -> None:
    with pytest.raises(UriError, match="needs `://`"):
        CameraUri.parse(text)
    assert without_address(text) == "***"


def test_secrets_in_a_file_s_path_are_hidden() -> None:
    uri = CameraUri.parse("file:///films/user=admin&password=abc123/a b.mp4")
    assert str(uri) == "file:///films/user%3Dadmin%26password%3D***/a%20b.mp4"
    assert uri.path == "/films/user=admin&password=abc123/a b.mp4"


@pytest.mark.parametrize("password", ["pa/ss", "s3c#ret", "who?", "p@ss/w", "%zz"])
def test_an_unescaped_password_is_hidden_in_any_text(password: str) -> None:
    text = f"rtsp://admin:{password}@h/x"
    assert redact(f"a {text}: b") == "a rtsp://***@h/x: b"
    assert without_address(text) == "rtsp://***"
    assert without_address("film.mp4") == "film.mp4"


def test_the_home_of_a_user_who_does_not_exist() -> None:
    with pytest.raises(UriError, match=r"~nosuchuser/x\.mp4: ~nosuchuser is the home folder of nobody"):
        CameraUri.parse("~nosuchuser/x.mp4")


@pytest.mark.parametrize(
    "text",
    [
        f"rtsp://user:{SECRET}@host/path",
        "rtsp://user:pa/ss@host:554/path",
        "rtsp://user:secret@host:port/path",
        "rtsp://user:secret@/path",
        "rtsp://user:secret@[::1/path",
        "http://user:secret@host/path",
    ],
)
def test_an_address_that_is_wrong_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(UriError) as caught:
        CameraUri.parse(text)
    for part in ("secret", "pa/ss", "p@ss", "w:rd"):
        assert part not in str(caught.value)


def test_a_plain_path_is_a_file() -> None:
    uri = CameraUri.parse("some dir/clip%20.mp4")
    assert (uri.scheme, uri.live) == ("file", False)
    assert uri.path == str(Path("some dir/clip%20.mp4").absolute())
    assert CameraUri.parse("file:///tmp/a%20b.mp4").path == "/tmp/a b.mp4"


def test_other_schemes() -> None:
    device = CameraUri.parse("v4l2:///dev/video0")
    assert (device.path, device.live) == ("/dev/video0", True)
    assert CameraUri.parse("demo://").live
    secure = CameraUri.parse("rtsps://[fe80::1]/x")
    assert (secure.host, secure.port, secure.location) == ("fe80::1", 322, "rtsps://[fe80::1]:322/x")


@pytest.mark.parametrize("text", ["", "  ", "v4l2://video0", "file://clip.mp4", "gopher://x"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(UriError):
        CameraUri.parse(text)


def test_it_crosses_to_a_worker_and_compares_by_value() -> None:
    uri = CameraUri.parse("rtsp://u:p@h/x")
    assert pickle.loads(pickle.dumps(uri)) == uri
    assert uri != CameraUri.parse("rtsp://u:q@h/x"), "a changed password is a changed address"
