from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from stream.failure import EndOfStream, ErrorClass, SourceError
from stream.frame import NS_PER_S, ClockSource, Frame
from stream.source import Source, SourceOptions
from tests.rtsp_server import RtspServer
from tests.video import flat, write_video

CERTIFICATE = str(Path(__file__).parent.parent / "fixtures" / "test-camera.pem")
PASSWORD = "p@ss/w:rd"
LUMAS = [30 + 8 * n for n in range(25)]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same second of rising brightness in every format that is tested."""
    folder = tmp_path_factory.mktemp("films")
    for name, codec in [
        ("h264.mp4", "h264"),
        ("h264-b.mp4", "h264-b"),
        ("h265.mp4", "h265"),
        ("mjpeg.avi", "mjpeg"),
        ("raw.mkv", "raw"),
    ]:
        write_video(folder / name, (flat(320, 240, luma, 90, 160) for luma in LUMAS), 320, 240, codec=codec)
    pictures = (flat(320, 240, LUMAS[n % 25], 90, 160) for n in range(500))
    write_video(folder / "h264-b-long.mp4", pictures, 320, 240, codec="h264-b")
    return folder


@pytest.fixture(scope="module")
def camera() -> Iterator[RtspServer]:
    with RtspServer("camera") as server:
        yield server


def frames_of(path: Path, options: SourceOptions | None = None) -> list[Frame]:
    frames = []
    with Source(str(path), options) as source:
        while True:
            try:
                frame = source.read(5)
            except EndOfStream:
                return frames
            assert frame is not None
            frames.append(frame)


def frames(source: Source, count: int) -> list[Frame]:
    taken: list[Frame] = []
    while len(taken) < count:
        frame = source.read(5)
        assert frame is not None
        taken.append(frame)
    return taken


def failure_of(uri: str, **options: object) -> SourceError:
    """The error that ends a source; nothing else may come out of it, and it may not take long."""
    with pytest.raises(SourceError) as caught, closing(Source(uri, SourceOptions(**options))) as source:  # type: ignore[arg-type]
        open_and_exhaust(source)
    assert "\n" not in str(caught.value)
    return caught.value


def open_and_exhaust(source: Source) -> None:
    source.open()
    exhaust(source)


def exhaust(source: Source) -> None:
    """Read until an exception ends it."""
    begun = time.monotonic()
    while time.monotonic() - begun < 30:
        source.read(0.2)


# ---- files


@pytest.mark.parametrize("name", ["h264.mp4", "h264-b.mp4", "h265.mp4", "mjpeg.avi", "raw.mkv"])
@pytest.mark.parametrize("zero_copy", [True, False])
def test_a_file_gives_every_picture_in_order_with_its_time(films: Path, name: str, zero_copy: bool) -> None:
    got = frames_of(films / name, SourceOptions(zero_copy=zero_copy))
    assert [frame.pts_ns - got[0].pts_ns for frame in got] == pytest.approx(
        [n * NS_PER_S / 25 for n in range(25)], abs=2_000_000
    )
    for frame, luma in zip(got, LUMAS, strict=True):
        assert (frame.height, frame.width) == (240, 320)
        assert frame.u.shape == frame.v.shape == (120, 160)
        got_colour = np.array([plane[5:-5, 5:-5].mean() for plane in (frame.y, frame.u, frame.v)])
        assert np.abs(got_colour - (luma, 90, 160)).max() < 4


def test_motion_jpeg_is_full_range(films: Path) -> None:
    assert frames_of(films / "mjpeg.avi")[0].full_range
    assert not frames_of(films / "h264.mp4")[0].full_range


def test_planes_outlive_later_reads_and_the_source(films: Path) -> None:
    got = frames_of(films / "h264.mp4")
    assert [round(float(frame.y.mean())) for frame in got] == pytest.approx(LUMAS, abs=2)


@pytest.mark.parametrize("size", [(322, 242), (318, 178), (16, 16)])
def test_pictures_with_padding_are_cut_right(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    pictures = [flat(width, height, 200, 60, 190)] * 5
    got = frames_of(write_video(tmp_path / "padded.mp4", pictures, width, height))
    for frame in got:
        assert (frame.width, frame.height) == size
        for plane, value in ((frame.y, 200), (frame.u, 60), (frame.v, 190)):
            assert np.abs(plane.astype(int) - value).max() < 6


def test_a_file_is_dated_from_its_opening_at_its_own_pace(films: Path) -> None:
    before = time.time_ns()
    got = frames_of(films / "h264.mp4")
    assert {frame.clock for frame in got} == {ClockSource.ARRIVAL}
    assert before <= got[0].utc_ns - got[0].pts_ns <= time.time_ns()
    assert len({frame.utc_ns - frame.pts_ns for frame in got}) == 1


def test_a_slow_reader_of_a_file_loses_nothing(films: Path) -> None:
    with Source(str(films / "h264.mp4")) as source:
        assert source.read(5) is not None
        time.sleep(0.3)
        assert len(frames(source, 24)) == 24


@pytest.mark.parametrize(
    ("content", "error_class", "text"),
    [
        (b"", ErrorClass.PROTOCOL, "empty"),
        (b"not a film " * 1000, ErrorClass.PROTOCOL, ""),
        (bytes(range(256)) * 100, ErrorClass.PROTOCOL, ""),
    ],
)
def test_a_file_that_is_no_film(tmp_path: Path, content: bytes, error_class: ErrorClass, text: str) -> None:
    path = tmp_path / "no-film.mp4"
    path.write_bytes(content)
    error = failure_of(str(path))
    assert error.error_class == error_class
    assert str(path) in str(error)
    assert text in str(error)


def test_a_file_cut_off_before_its_index(films: Path, tmp_path: Path) -> None:
    data = (films / "h264.mp4").read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: len(data) // 2])
    assert failure_of(str(path)).error_class == ErrorClass.PROTOCOL


def test_a_file_cut_off_in_its_pictures_ends_where_they_end(films: Path, tmp_path: Path) -> None:
    data = (films / "mjpeg.avi").read_bytes()
    path = tmp_path / "cut.avi"
    path.write_bytes(data[: len(data) // 2])
    assert 8 <= len(frames_of(path)) <= 13


def test_missing_files_folders_and_sound(tmp_path: Path) -> None:
    assert failure_of(str(tmp_path / "nothing.mp4")).error_class == ErrorClass.NOT_FOUND
    assert "folder" in str(failure_of(str(tmp_path)))
    sound = tmp_path / "sound.wav"
    sound.write_bytes(
        b"RIFF" + (36 + 8000).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
        + b"\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data" + (8000).to_bytes(4, "little")
        + b"\x80" * 8000
    )  # fmt: skip
    error = failure_of(str(sound))
    assert (error.error_class, "no video" in str(error)) == (ErrorClass.CODEC, True)


def test_a_device_that_is_not_there_and_a_demo_that_was_not_started() -> None:
    assert failure_of("v4l2:///dev/video-nothing").error_class == ErrorClass.NOT_FOUND
    assert "demo" in str(failure_of("demo://"))


def test_a_closed_source_is_closed_and_opened_only_once(films: Path) -> None:
    source = Source(str(films / "h264.mp4"))
    with pytest.raises(RuntimeError, match="not open"):
        source.read(0)
    source.open()
    source.close()
    source.close()
    with pytest.raises(RuntimeError, match="opened once"):
        source.open()


# ---- cameras


@pytest.mark.parametrize(
    ("server", "options"),
    [
        (("--codec", "h264", "--sound"), SourceOptions()),
        (("--codec", "h265"), SourceOptions()),
        (("--codec", "mjpeg"), SourceOptions()),
        (("--transport", "udp"), SourceOptions(transport="udp")),
        (("--transport", "udp"), SourceOptions(transport="auto")),
        (("--transport", "tcp"), SourceOptions(transport="auto")),
    ],
)
def test_a_camera_over_every_codec_and_transport(server: tuple[str, ...], options: SourceOptions) -> None:
    with RtspServer("camera", *server) as camera, Source(camera.url(), options) as source:
        got = frames(source, 15)
    assert {(frame.width, frame.height) for frame in got} == {(320, 240)}
    steps = np.diff([frame.pts_ns for frame in got])
    assert np.median(steps) == pytest.approx(NS_PER_S / 25, rel=0.1)
    assert got[-1].y.max() > 200, "the ball"
    assert got[-1].arrival_ns <= time.monotonic_ns()
    assert abs(got[-1].utc_ns - time.time_ns()) < 5 * NS_PER_S


def test_a_server_that_is_not_ours(films: Path) -> None:
    with RtspServer("files", str(films)) as server, Source(server.url("h264.mp4/play_count_0")) as source:
        got = frames(source, 40)
    assert all(later.pts_ns >= earlier.pts_ns for earlier, later in itertools.pairwise(got))
    assert len({frame.pts_ns for frame in got}) > 30, "a burst on a busy machine has one time"
    assert got[0].clock == ClockSource.ARRIVAL


def test_times_stamped_in_the_order_of_decoding_are_put_in_order(films: Path) -> None:
    """The server counts up whatever B-frames there are. A stall longer than the jitter buffer's patience is in it."""
    with RtspServer("files", str(films)) as server, Source(server.url("h264-b-long.mp4/play_count_0")) as source:
        frames(source, 25)
        server.pause(3.0)
        after = [frame.pts_ns for frame in frames(source, 200)]
    steps = np.diff(after[100:]) / NS_PER_S * 25
    assert (steps == 0).sum() <= 2
    assert np.median(steps) == pytest.approx(1, abs=0.1)
    assert (np.abs(steps - 1) < 0.2).mean() > 0.9


def test_sender_reports_give_the_time_of_the_camera() -> None:
    """The camera delays its pictures by half a second: their true time is that much before their arrival."""
    with RtspServer("camera", "--delay-ms", "500") as camera, Source(camera.url()) as source:
        assert frames(source, 1)[0].clock == ClockSource.ARRIVAL, "no report has come yet"
        by_reports: list[Frame] = []
        for _ in range(400):
            by_reports += [frame for frame in frames(source, 1) if frame.clock == ClockSource.RTCP]
            if len(by_reports) == 10:
                break
    assert by_reports
    offset = time.time_ns() - time.monotonic_ns()
    ages = [(frame.arrival_ns + offset - frame.utc_ns) / NS_PER_S for frame in by_reports]
    assert np.median(ages) == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("auth", ["digest", "basic"])
def test_credentials(auth: str, capfd: pytest.CaptureFixture[str]) -> None:
    with RtspServer("camera", "--user", "viewer", "--password", PASSWORD, "--auth", auth) as camera:
        with Source(camera.url(userinfo=f"viewer:{quote(PASSWORD, safe='')}")) as source:
            assert frames(source, 3)
        for userinfo in ("viewer:wr0ng-password", ""):
            error = failure_of(camera.url(userinfo=userinfo))
            assert error.error_class == ErrorClass.AUTH
            assert "wr0ng" not in f"{error} {error!r}"
    assert "wr0ng" not in "".join(capfd.readouterr())


def test_an_encrypted_camera_is_watched_only_if_its_certificate_is_trusted() -> None:
    with RtspServer("camera", "--tls", CERTIFICATE) as camera:
        error = failure_of(camera.url())
        assert error.error_class == ErrorClass.TLS
        assert "unknown-ca" in str(error)
        for options in (SourceOptions(tls_ca=CERTIFICATE), SourceOptions(tls_verify=False)):
            with Source(camera.url(), options) as source:
                assert frames(source, 3)
        assert failure_of(camera.url(), tls_ca="/nothing.pem").error_class == ErrorClass.TLS
        plain = camera.url().replace("rtsps", "rtsp")
        assert failure_of(plain, timeout_s=3).error_class in {ErrorClass.PROTOCOL, ErrorClass.EOF, ErrorClass.TIMEOUT}


def test_encryption_asked_of_a_plain_port(camera: RtspServer) -> None:
    error = failure_of(camera.url().replace("rtsp", "rtsps"), timeout_s=3)
    assert error.error_class in {ErrorClass.TLS, ErrorClass.TIMEOUT}


@pytest.mark.parametrize(("codec", "text"), [("audio", "no video stream"), ("unknown", "no decoder for X-UNKNOWN")])
def test_a_stream_that_cannot_be_shown(codec: str, text: str) -> None:
    with RtspServer("camera", "--codec", codec) as camera:
        error = failure_of(camera.url())
    assert error.error_class == ErrorClass.CODEC
    assert text in str(error)


def test_addresses_that_lead_nowhere(camera: RtspServer) -> None:
    assert failure_of(camera.url("nothing")).error_class == ErrorClass.NOT_FOUND
    assert failure_of("rtsp://no-such-host..invalid/x").error_class == ErrorClass.NOT_FOUND
    with RtspServer("camera") as gone:
        pass
    error = failure_of(gone.url())
    assert error.error_class == ErrorClass.REFUSED
    assert str(gone.port) in str(error)


def test_a_transport_that_the_camera_refuses() -> None:
    with RtspServer("camera", "--transport", "udp") as camera:
        error = failure_of(camera.url(), transport="tcp")
    assert (error.error_class, "transport" in str(error)) == (ErrorClass.PROTOCOL, True)


def test_a_change_of_size_midway_gives_frames_of_the_new_size(camera: RtspServer) -> None:
    with RtspServer("camera") as own, Source(own.url()) as source:
        assert frames(source, 5)[-1].width == 320
        own.say("size 160x128")
        sizes = {(frame.width, frame.height) for frame in frames(source, 40)}
    assert sizes == {(320, 240), (160, 128)}


def test_a_change_of_frame_rate_midway_shows_in_the_times() -> None:
    with RtspServer("camera") as own, Source(own.url()) as source:
        before = np.diff([frame.pts_ns for frame in frames(source, 10)])
        own.say("fps 5")
        after = np.diff([frame.pts_ns for frame in frames(source, 25)])
    assert np.median(before) == pytest.approx(NS_PER_S / 25, rel=0.1)
    assert np.median(after[-8:]) == pytest.approx(NS_PER_S / 5, rel=0.1)


def test_a_camera_that_freezes() -> None:
    with RtspServer("camera") as own, Source(own.url(), SourceOptions(timeout_s=2)) as source:
        frames(source, 5)
        own.say("freeze")
        begun = time.monotonic()
        with pytest.raises(SourceError) as caught:
            exhaust(source)
    assert caught.value.error_class == ErrorClass.TIMEOUT
    assert 1.5 < time.monotonic() - begun < 4


def test_a_pause_shorter_than_the_timeout_is_none_and_then_goes_on() -> None:
    with RtspServer("camera") as own, Source(own.url()) as source:
        frames(source, 5)
        own.say("freeze")
        while source.read(0.3) is not None:
            pass
        own.say("thaw")
        assert frames(source, 5)


def test_a_camera_that_dies() -> None:
    with RtspServer("camera") as own, Source(own.url()) as source:
        frames(source, 5)
        own.close()
        with pytest.raises(SourceError) as caught:
            exhaust(source)
    assert caught.value.error_class == ErrorClass.EOF


def test_a_live_source_that_is_not_read_drops_the_old_and_shows_the_new(camera: RtspServer) -> None:
    with Source(camera.url()) as source:
        first = frames(source, 1)[0]
        time.sleep(1.5)
        fresh = frames(source, 6)[-1]
    assert fresh.pts_ns - first.pts_ns > NS_PER_S


def test_closing_leaves_nothing_and_is_quick(camera: RtspServer, films: Path) -> None:
    def left() -> tuple[int, int]:
        return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))

    def connect(uri: str, count: int) -> None:
        with Source(uri) as source, suppress(SourceError):
            frames(source, count)

    addresses = [(camera.url(), 0), (camera.url(), 3), (camera.url("nothing"), 1), (str(films / "h264.mp4"), 3)]
    for uri, count in addresses * 2:
        connect(uri, count)
    threads, descriptors = left()
    begun = time.monotonic()
    for uri, count in addresses * 3:
        connect(uri, count)
    assert time.monotonic() - begun < 20
    assert left()[1] <= descriptors
    assert left()[0] <= threads + 3  # GStreamer keeps a pool of idle threads


# ---- a reader that is late


def test_pictures_that_were_not_read_in_time_are_counted() -> None:
    """Against the times of those that were read: the server's pictures are exactly 50 ms apart."""
    with RtspServer("camera", "--fps", "20", "--size", "160x120") as server, Source(server.url()) as source:
        got = frames(source, 25)
        assert source.dropped == 0
        time.sleep(1.5)
        got += frames(source, 45)
    sent = round((got[-1].pts_ns - got[0].pts_ns) / (NS_PER_S / 20)) + 1
    assert source.dropped == sent - len(got)
    assert source.dropped >= 20


def test_a_file_is_never_read_too_late(films: Path) -> None:
    with Source(str(films / "h264.mp4")) as source:
        frames(source, 5)
        time.sleep(1.1)
        frames(source, 20)
        assert source.dropped == 0
