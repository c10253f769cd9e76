"""`swinstream doctor`, whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.bundle import Bundle
from stream.doctor.command import doctor
from stream.gstreamer import Gst
from tests.rtsp_server import RtspServer

pytestmark = pytest.mark.usefixtures("own_process")

SOCKETS = {"publish": "tcp://127.0.0.1:0", "replay": "tcp://127.0.0.1:0"}


@pytest.fixture
def options(tmp_path: Path, motion_bundle: Bundle) -> dict[str, str | None]:
    journal = str(tmp_path / "events.sqlite3")
    return {**SOCKETS, "model": str(motion_bundle.path), "engine": "openvino", "journal": journal}


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    said = capsys.readouterr()
    (line,) = said.out.splitlines()
    assert said.err == ""
    told = json.loads(line)
    assert isinstance(told, dict)
    return told


def test_a_machine_that_can_watch_cameras(
    options: dict[str, str | None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert doctor(None, None, options, None, 1.0, as_json=True) == 0
    told = answer(capsys)
    assert (told["engine"], told["reason"]) == ("openvino", "it was asked for")
    assert "reference windows must agree" in told["parity"]
    assert "camera" not in told
    checks = {check["name"]: check for check in told["checks"]}
    assert len(checks) == len(told["checks"]) > 25
    assert all(set(check) == {"name", "ok", "found", "advice", "needed"} for check in told["checks"])
    assert checks["model motion"]["ok"]
    assert list(tmp_path.iterdir()) == [], "it only looks"


def test_why_it_is_not_tensorrt(options: dict[str, str | None], capsys: pytest.CaptureFixture[str]) -> None:
    """The words are those of the engine's own choice."""
    if Path("/dev/nvidia0").exists():
        pytest.skip("what is said where there is no GPU")
    assert doctor(None, None, {**options, "engine": "auto"}, None, 1.0, as_json=True) == 0
    assert answer(capsys)["reason"] == "no TensorRT: this machine has no NVIDIA driver"
    assert doctor(None, None, {**options, "engine": "tensorrt"}, None, 1.0, as_json=True) == 1
    told = answer(capsys)
    assert (told["engine"], told["reason"]) == (None, "no TensorRT: this machine has no NVIDIA driver")
    assert doctor(None, None, {**options, "engine": "tensorrt"}, None, 1.0, as_json=False) == 1
    out = capsys.readouterr().out
    assert "MISSING" in out
    assert "cameras cannot be watched yet: engine of motion" in out


def test_a_library_that_does_not_load(
    options: dict[str, str | None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert doctor(None, None, options, None, 1.0, as_json=True) == 1
    told = answer(capsys)
    assert (told["engine"], told["reason"]) == (None, "opencv-python cannot be loaded")


def test_a_camera_of_a_configuration_and_its_wrong_password(
    options: dict[str, str | None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "cameras.yaml"
    with RtspServer("camera", "--user", "viewer", "--password", "s3cr3t", "--fps", "5") as camera:
        door = f"{{name: door, uri: '{camera.url()}', user: viewer, password: "
        config.write_text(f"cameras:\n- {door}s3cr3t}}\n")
        assert doctor("door", config, options, None, 0.7, as_json=False) == 0
        said = capsys.readouterr()
        assert "5 declared" in said.out
        assert "-> it delivers" in said.out
        assert "model 'motion' needs 10" in " ".join(said.out.split())
        config.write_text(f"cameras:\n- {door}wr0ng}}\n")
        assert doctor("door", config, options, None, 1.0, as_json=True) == 1
        text = said.out + said.err
        told = answer(capsys)
    assert told["camera"]["error"] == "auth"
    assert told["camera"]["fps"] is None
    assert "look at the user name and password" in told["camera"]["advice"][0]
    assert not any(secret in text + json.dumps(told) for secret in ("s3cr3t", "wr0ng"))
    assert doctor("back", config, options, None, 1.0, as_json=True) == 2
    assert "has no camera named 'back'; it has door" in capsys.readouterr().err


def test_a_decoder_that_is_missing(options: dict[str, str | None], capsys: pytest.CaptureFixture[str]) -> None:
    """Taken out of GStreamer's registry, as if its package were not installed."""
    Gst.init(None)
    registry = Gst.Registry.get()
    decoders = [registry.find_feature(name, Gst.ElementFactory) for name in ("avdec_h265", "libde265dec")]
    found = [decoder for decoder in decoders if decoder is not None]
    for decoder in found:
        registry.remove_feature(decoder)
    try:
        with RtspServer("camera", "--codec", "h265", "--size", "160x120") as camera:
            assert doctor(camera.url(), None, options, None, 1.0, as_json=True) == 1
    finally:
        for decoder in found:
            registry.add_feature(decoder)
    told = answer(capsys)
    (row,) = (check for check in told["checks"] if check["name"] == "H.265")
    assert (row["ok"], row["needed"], row["advice"]) == (False, False, "apt install gstreamer1.0-libav")
    assert (told["camera"]["error"], told["camera"]["message"]) == ("codec", "no decoder for H265 is installed")
    assert "apt install gstreamer1.0-libav" in told["camera"]["advice"][0]


@pytest.mark.parametrize("uri", ["http://admin:s3cr3t@h/x", "rtsp://admin:s3c#r3t@h/x"])
def test_an_address_that_is_none(uri: str, options: dict[str, str | None], capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(uri, None, options, None, 1.0, as_json=False) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("swinstream: the camera's address: ")
    assert "r3t" not in line


def test_a_demo_camera(options: dict[str, str | None], capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor("demo://", None, options, None, 0.3, as_json=True) == 0
    camera = answer(capsys)["camera"]
    assert (camera["uri"], camera["codec"], camera["width"], camera["fps_declared"]) == ("demo://", "H.264", 640, 15.0)
    assert camera["pictures"] >= 2
