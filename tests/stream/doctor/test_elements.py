from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stream.doctor.elements import PACKAGES, codec_advice, gstreamer
from stream.gstreamer import Gst


def rows(*missing: str) -> dict[str, tuple[bool, str, str]]:
    """By name, as if these elements were not installed and all others were."""
    return {c.name: (c.ok, c.found, c.advice) for c in gstreamer(lambda name: name not in missing)}


def test_nothing_is_missing() -> None:
    assert [name for name, (ok, _, advice) in rows().items() if not ok or advice] == []


def test_one_decoder_of_several_is_enough() -> None:
    ok, found, advice = rows("avdec_h264")["H.264"]
    assert (ok, advice) == (True, "")
    assert "openh264dec" in found
    assert found.endswith("not here: avdec_h264")


def test_a_decoder_that_is_missing_and_how_to_get_it() -> None:
    ok, found, advice = rows("avdec_h265", "libde265dec", "nvh265dec")["H.265"]
    assert (ok, advice) == (False, "apt install gstreamer1.0-libav")
    assert "rtph265depay, h265parse; not here: " in found
    assert advice in codec_advice("H265")


def test_decoders_do_not_replace_a_parser() -> None:
    assert rows("h264parse")["H.264"][::2] == (False, "apt install gstreamer1.0-plugins-bad")


def test_only_one_codec_and_rtsp_are_needed() -> None:
    everything = [check for check in gstreamer(lambda name: False) if not check.ok]
    assert {check.name for check in everything if check.needed} == {"pictures", "RTSP", "H.264"}
    assert all(check.advice.startswith("apt install ") for check in everything)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="Debian's packages")
def test_the_packages_are_debians() -> None:
    """As far as the elements are installed here."""
    Gst.init(None)
    files: dict[str, set[str]] = {}
    for name, package in PACKAGES.items():
        factory = Gst.ElementFactory.find(name)
        if factory is not None:
            files.setdefault(str(Path(factory.get_plugin().get_filename()).resolve()), set()).add(package)
    listed = subprocess.run(["dpkg", "-S", *files], check=True, capture_output=True, text=True).stdout
    owners = {path: {owner.split(":")[0]} for owner, path in (line.split(": ") for line in listed.splitlines())}
    assert files == owners
