"""Footage for benchmarks: H.264 files of a set size and rate, encoded once, and what really happens in them.

Drawn footage shows the demo's actor, labelled to the frame, and lies in the user's cache once it was made; real
footage is transcoded. Both are encoded as an ordinary camera does it: High or Main profile with CABAC, a key frame
every two seconds, no B-frames. A film is made as long as a benchmark needs by joining it to itself without encoding
anything anew.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from engine.spec import NONE_LABEL
from stream.demo.figure import Canvas
from stream.demo.player import Player
from stream.demo.record import RecordError, encoder, write_mp4
from stream.demo.scene import Lens, Scene
from stream.demo.schedule import ROUND_S, Programme, Span
from stream.frame import NS_PER_S
from stream.gstreamer import Gst

DRAWN_FILMS = 4
"""So many programmes are shown in turn, however many cameras there are."""
VIDEO_FILES = {".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".ts"}

_STILL_S = 60.0
_STILL_LENS = Lens(
    shake_px=0.0, gain=1.0, flicker=0.002, drift=0.01, drift_hz=1 / 60, step=0.0, step_s=0.0, noise=2.0, blur=0.6
)
_PRESET = "veryfast"  # `ultrafast` leaves out CABAC and deblocking, which a camera has and a decoder pays for
_BITRATE_KBIT = 1000


class FootageError(Exception):
    """There is no such footage, or it cannot be read. The text says which file."""


@dataclass(frozen=True, slots=True)
class Film:
    """An H.264 file, `seconds` long. truth: its actions in seconds of the film; None: not known."""

    path: Path
    seconds: float
    truth: tuple[Span, ...] | None


@dataclass(frozen=True, slots=True)
class Format:
    """Of a camera's picture."""

    width: int = 640
    height: int = 360
    fps: int = 15

    def __str__(self) -> str:
        return f"{self.width}x{self.height} at {self.fps} fps"


def drawn_film(number: int, picture: Format) -> Film:
    """A round of the demo's programme `number`: ten actions in 70 s. Raises FootageError."""
    programme = Programme(number)
    truth = tuple(span for span in programme.spans(0.0, ROUND_S) if span.label != NONE_LABEL and span.end_s <= ROUND_S)

    def frames() -> Iterator[Canvas]:
        player = Player(programme, picture.width, picture.height)
        try:
            yield from (player.frame(n / picture.fps) for n in range(round(ROUND_S * picture.fps)))
        finally:
            player.close()

    return Film(_cached(f"actor-{number}", picture, repr(truth), frames), ROUND_S, truth)


def still_film(number: int, picture: Format) -> Film:
    """An empty scene with a camera's noise and slowly changing light, for a minute. Raises FootageError."""

    def frames() -> Iterator[Canvas]:
        rng = np.random.default_rng((number, 1))
        segments = [(NONE_LABEL, _STILL_S)]
        scene = Scene(rng, segments, picture.width, picture.height, lens=_STILL_LENS, distractors=0)
        yield from (scene.frame(n / picture.fps) for n in range(round(_STILL_S * picture.fps)))

    return Film(_cached(f"still-{number}", picture, repr(_STILL_LENS), frames), _STILL_S, ())


def real_films(source: Path, picture: Format, folder: Path) -> list[Film]:
    """A file, or every video file of a folder, transcoded into `folder` unless it is there. Raises FootageError."""
    if not source.exists():
        raise FootageError(f"footage {source} does not exist")
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.suffix.lower() in VIDEO_FILES)
    if not files:
        raise FootageError(f"no video file in {source}: looked for {', '.join(sorted(VIDEO_FILES))}")
    films = []
    for number, file in enumerate(files):
        path = folder / f"real-{number}.mp4"
        if not path.exists():
            transcode(file, path, picture)
        films.append(Film(path, _duration_s(path), None))
    return films


def transcode(source: Path, target: Path, picture: Format) -> None:
    """Scale and encode a video file, without sound, as H.264 in MP4. Raises FootageError."""
    _run(
        "filesrc name=in ! decodebin ! videoconvert ! videoscale ! videorate ! "
        f"video/x-raw,format=I420,width={picture.width},height={picture.height},framerate={picture.fps}/1,"
        f"pixel-aspect-ratio=1/1 ! {encoder(picture.fps, _BITRATE_KBIT, _PRESET)}",
        {"in": source, "out": target},
        f"cannot transcode {source}",
    )


def lengthened(film: Film, seconds: float, folder: Path) -> Film:
    """The film, joined to itself until it is at least so long; its coded pictures stay as they are.

    Raises FootageError.
    """
    times = max(1, -(-int(seconds) // max(1, int(film.seconds))))
    target = folder / f"{film.path.stem}-{times}.mp4"
    if not target.exists():
        parts = " ".join(f"filesrc name=in{n} ! qtdemux ! h264parse ! join." for n in range(times))
        files = {f"in{n}": film.path for n in range(times)} | {"out": target}
        _run(
            f"concat name=join ! h264parse ! mp4mux ! filesink name=out {parts}",
            files,
            f"cannot join {film.path} to itself",
        )
    truth = None
    if film.truth is not None:
        truth = tuple(
            Span(span.label, span.start_s + n * film.seconds, span.end_s + n * film.seconds)
            for n in range(times)
            for span in film.truth
        )
    return Film(target, times * film.seconds, truth)


def elementary(film: Film, folder: Path) -> Path:
    """The film's H.264 alone (Annex B), without container and times. Raises FootageError."""
    target = folder / f"{film.path.stem}.h264"
    _run(
        "filesrc name=in ! qtdemux ! h264parse config-interval=-1 ! "
        "video/x-h264,stream-format=byte-stream,alignment=au ! filesink name=out",
        {"in": film.path, "out": target},
        f"cannot unpack {film.path}",
    )
    return target


def _cached(name: str, picture: Format, content: str, frames: Callable[[], Iterator[Canvas]]) -> Path:
    """The film's file in the user's cache. content: what it must show; other content is another file."""
    recipe = f"{content} {_PRESET} {_BITRATE_KBIT}"
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:8]
    folder = user_cache_path("swinstream") / "bench"
    path = folder / f"{name}-{picture.width}x{picture.height}-{picture.fps}-{digest}.mp4"
    if path.exists():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".bench-", dir=folder) as part:
            made = Path(part) / path.name
            write_mp4(made, frames(), picture.fps, bitrate_kbit=_BITRATE_KBIT, speed_preset=_PRESET)
            made.rename(path)
    except (OSError, RecordError, ValueError) as error:
        raise FootageError(f"the drawn footage cannot be made: {error}") from None
    return path


def _run(launch: str, files: dict[str, Path], failure: str) -> None:
    """A pipeline from its start to its end. files: by the name of the element that reads or writes it."""
    Gst.init(None)
    pipeline: Any = Gst.parse_launch(launch)
    for name, path in files.items():
        pipeline.get_by_name(name).set_property("location", str(path))
    try:
        pipeline.set_state(Gst.State.PLAYING)
        message = pipeline.get_bus().timed_pop_filtered(
            Gst.CLOCK_TIME_NONE, Gst.MessageType.EOS | Gst.MessageType.ERROR
        )
        if message.type == Gst.MessageType.ERROR:
            raise FootageError(f"{failure}: {message.parse_error()[0].message}")
    finally:
        pipeline.set_state(Gst.State.NULL)


def _duration_s(path: Path) -> float:
    Gst.init(None)
    pipeline: Any = Gst.parse_launch("filesrc name=in ! qtdemux ! fakesink")
    pipeline.get_by_name("in").set_property("location", str(path))
    try:
        pipeline.set_state(Gst.State.PAUSED)
        pipeline.get_state(10 * NS_PER_S)
        known, duration_ns = pipeline.query_duration(Gst.Format.TIME)
    finally:
        pipeline.set_state(Gst.State.NULL)
    if not known or duration_ns <= 0:
        raise FootageError(f"{path} has no picture")
    return float(duration_ns / NS_PER_S)


def films_for(
    cameras: int, idle: float, picture: Format, source: Path | None, folder: Path, seconds: float
) -> Sequence[tuple[Film, bool]]:
    """For each camera its film, at least so long, and whether it is a still one. Raises FootageError.

    idle: the share of cameras with a still scene, spread evenly over them.
    """
    still = [int((n + 1) * idle + 1e-9) > int(n * idle + 1e-9) for n in range(cameras)]
    real = real_films(source, picture, folder) if source is not None and not all(still) else []
    ready: dict[Path, Film] = {}

    def film(number: int) -> Film:
        if still[number]:
            made = still_film(sum(still[:number]) % DRAWN_FILMS, picture)
        else:
            nth = number - sum(still[:number])
            made = real[nth % len(real)] if real else drawn_film(nth % DRAWN_FILMS, picture)
        return ready.setdefault(made.path, lengthened(made, seconds, folder))

    return [(film(number), still[number]) for number in range(cameras)]
