from __future__ import annotations

import gi
import pytest

from stream.pipeline import H264, chain_for, decoder, is_video

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

NVIDIA = {"nvh264dec", "nvh265dec", "nvjpegdec", "cudascale", "cudaconvert", "cudadownload"}
SOFTWARE = {"avdec_h264", "avdec_h265", "jpegdec", "openh264dec"}


def test_software_decoders_have_one_thread() -> None:
    chain = chain_for("application/x-rtp", "H264", SOFTWARE.__contains__)
    assert chain is not None
    assert chain.split(" ! ")[1:-1] == [
        "rtph264depay wait-for-keyframe=true",
        "h264parse name=parser",
        "avdec_h264 max-threads=1",
    ]


def test_an_nvidia_machine_decodes_shrinks_and_converts_before_downloading() -> None:
    chain = chain_for("application/x-rtp", "H265", (NVIDIA | SOFTWARE).__contains__, max_size=(320, 240))
    assert chain is not None
    elements = [element.split()[0].split(",")[0] for element in chain.split(" ! ")]
    assert elements == [
        "identity",
        "rtph265depay",
        "h265parse",
        "nvh265dec",
        "cudascale",
        "video/x-raw(memory:CUDAMemory)",
        "cudaconvert",
        "video/x-raw(memory:CUDAMemory)",
        "cudadownload",
        "videoconvert",
    ]
    assert "width=[2,320],height=[2,240]" in chain


def test_without_a_size_nothing_is_shrunk() -> None:
    assert "cudascale !" not in (decoder(H264, NVIDIA.__contains__) or "")


@pytest.mark.parametrize("missing", sorted(NVIDIA - {"nvh265dec", "nvjpegdec"}))
def test_an_incomplete_nvidia_registry_falls_back_to_software(missing: str) -> None:
    assert (
        decoder(H264, (NVIDIA - {missing} | SOFTWARE).__contains__)
        == "h264parse name=parser ! avdec_h264 max-threads=1"
    )


def test_without_any_decoder_there_is_no_chain() -> None:
    assert chain_for("video/x-h264", "", set().__contains__) is None


@pytest.mark.parametrize("media", ["video/mpeg", "video/x-vp8", "video/x-theora"])
def test_other_formats_are_left_to_decodebin(media: str) -> None:
    chain = chain_for(media, "", SOFTWARE.__contains__)
    assert chain is not None
    assert chain.split(" ! ")[1] == "decodebin"


def test_raw_pictures_need_no_decoder() -> None:
    chain = chain_for("video/x-raw", "", set().__contains__)
    assert chain is not None
    assert chain.count("!") == 1


@pytest.mark.parametrize("encoding", ["H264", "H265", "JPEG", "VP8"])
def test_this_machine_can_build_every_chain(encoding: str) -> None:
    """Names and properties exist in the installed GStreamer."""
    Gst.init(None)
    chain = chain_for("application/x-rtp", encoding, lambda name: Gst.ElementFactory.find(name) is not None)
    assert chain is not None
    built = Gst.parse_bin_from_description(chain, False)
    assert built.get_by_name("first") is not None
    assert built.get_by_name("last") is not None


def test_a_range_of_sizes_shrinks_but_never_enlarges() -> None:
    """What cudascale is told, tried with videoscale, which chooses sizes by the same rules."""
    assert size_after("1920x1080", "[2,320]", "[2,240]") == (320, 180)
    assert size_after("160x120", "[2,320]", "[2,240]") == (160, 120)


def size_after(size: str, width: str, height: str) -> tuple[int, int]:
    Gst.init(None)
    source_width, source_height = size.split("x")
    pipeline = Gst.parse_launch(
        f"videotestsrc num-buffers=1 ! video/x-raw,width={source_width},height={source_height} ! videoscale ! "
        f"video/x-raw,width={width},height={height},pixel-aspect-ratio=1/1 ! fakesink name=out"
    )
    pipeline.set_state(Gst.State.PLAYING)
    try:
        message = pipeline.get_bus().timed_pop_filtered(10 * Gst.SECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR)
        assert message is not None
        assert message.type == Gst.MessageType.EOS
        structure = pipeline.get_by_name("out").get_static_pad("sink").get_current_caps().get_structure(0)
        return structure.get_int("width")[1], structure.get_int("height")[1]
    finally:
        pipeline.set_state(Gst.State.NULL)


def test_what_is_video() -> None:
    assert is_video("application/x-rtp", "video")
    assert not is_video("application/x-rtp", "audio")
    assert is_video("image/jpeg")
    assert is_video("video/x-raw")
    assert not is_video("audio/mpeg")
    assert not is_video("text/x-raw")
