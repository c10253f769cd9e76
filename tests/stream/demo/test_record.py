from __future__ import annotations

from pathlib import Path
from typing import Any

import gi
import numpy as np
import pytest

from stream.demo.record import RecordError, render_mp4, write_mp4

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402


def read(path: Path) -> tuple[str, list[int]]:
    """The decoder's caps and the PTS of all frames, by GStreamer."""
    Gst.init(None)
    pipeline = Gst.parse_launch(
        f'filesrc location="{path}" ! qtdemux ! h264parse ! avdec_h264 ! appsink name=out sync=false'
    )
    sink: Any = pipeline.get_by_name("out")
    pipeline.set_state(Gst.State.PLAYING)
    try:
        times, caps = [], ""
        while (sample := sink.emit("try-pull-sample", 10 * Gst.SECOND)) is not None:
            times.append(sample.get_buffer().pts)
            caps = sample.get_caps().to_string()
        return caps, times
    finally:
        pipeline.set_state(Gst.State.NULL)


def test_writes_h264_that_gstreamer_reads_frame_for_frame(tmp_path: Path) -> None:
    path = tmp_path / "drawn.mp4"
    spans = render_mp4(path, [("walk", 2.0), ("none", 1.0), ("jack", 2.0)], seed=5, fps=15, width=180, height=144)
    caps, times = read(path)
    assert "width=(int)180, height=(int)144" in caps
    assert len(times) == 75
    assert np.diff(times) == pytest.approx(1e9 / 15, abs=1e6)
    assert spans[0].start_s == 0
    assert spans[-1].label == "jack"
    assert spans[-1].end_s == pytest.approx(5.0)
    assert (spans[-1].end_s - spans[-1].start_s) == pytest.approx(2.0)


def test_is_the_same_footage_for_the_same_seed(tmp_path: Path) -> None:
    spans = [render_mp4(tmp_path / f"{n}.mp4", [("walk", 1.0), ("none", 1.0)], seed=9) for n in range(2)]
    assert spans[0] == spans[1]


def test_says_what_it_cannot_do(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(ValueError, match="no frames"):
        write_mp4(tmp_path / "a.mp4", [], 15)
    with pytest.raises(ValueError, match="even sizes, not 63x48"):
        write_mp4(tmp_path / "a.mp4", [picture[:, :63]], 15)
    with pytest.raises(ValueError, match="frame 1 is 32x48"):
        write_mp4(tmp_path / "a.mp4", [picture, picture[:, :32]], 15)
    with pytest.raises(RecordError, match=r"cannot write .*/none/a\.mp4"):
        write_mp4(tmp_path / "none" / "a.mp4", [picture], 15)
