"""What idle gating misses, and what it saves, on real footage.

    python -m benchmarks.idle_gating [--below LEVELS ...] [--model BUNDLE] [--json]

Every film is recognized twice, with gating and without, by the code that runs on cameras (`MotionMeter`, `IdleGate`,
`Runner`, `EventMachine`), window by window and without a clock, so that the result is the same on every machine. Films:
each Weizmann subject's ten clips, joined, the last picture standing still for four seconds after each (H.264); the
clips of gmdcsa24 with their timed labels, postures (sitting, standing, sleeping) not counted as action; and the
continuous streams, which have no labels. A window has an action if half of it lies in one.

The threshold was chosen on CHOSEN_ON alone; all other films only report.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from engine.bundle import Bundle
from engine.runtime.openvino import OpenVINOEngine
from stream.event_machine import EventMachine, steps_of
from stream.events import Change, EndReason, Phase
from stream.frame import NS_PER_S, StreamKey, Window
from stream.gate import STILL_BELOW, IdleGate, MotionMeter
from stream.messages import WindowReady
from stream.reader import read_windows
from stream.result import Recognized
from stream.runner import Runner, Slot
from stream.scheduler import Pending
from stream.thresholds import Thresholds
from train.data.clips import ClipRef, data_root
from train.data.join import join_clips

CHOSEN_ON = ("weizmann daria", "weizmann denis", "intel_one-by-one-person-detection.mp4")
STILL_S = 4.0
POSTURES = {"sitting", "standing", "sleeping", "lying", "reading", "writing", "talking"}

Span = tuple[int, int]  # nanoseconds from the first frame


@dataclass
class Film:
    """windows as the network sees them, and the motion of each; actions: when something is done, None: not known."""

    group: str
    name: str
    windows: list[Window]
    motion: list[float]
    actions: list[Span] | None

    def acts(self, window: Window) -> bool:
        start_ns, end_ns = int(window.pts_ns[0]), int(window.pts_ns[-1])
        within = sum(max(0, min(end_ns, b) - max(start_ns, a)) for a, b in self.actions or ())
        return 2 * within >= end_ns - start_ns


@dataclass
class Played:
    """idle: indices into the film's windows that were not computed. events: (label, start_ns, end_ns)."""

    idle: set[int] = field(default_factory=set)
    events: list[tuple[str, int, int]] = field(default_factory=list)


def film(group: str, name: str, path: Path, bundle: Bundle, actions: list[Span] | None) -> Film:
    spec = bundle.spec
    meter = MotionMeter(spec.height, spec.width)
    windows, motion = list(read_windows(path, spec)), []
    for before, window in zip([None, *windows], windows, strict=False):
        if before is not None and before.epoch != window.epoch:
            meter.reset()
        motion.append([meter.tick(p[: spec.height], nth) for nth, p in enumerate(window.pictures)][-1])
    return Film(group, name, windows, motion, actions)


def weizmann(bundle: Bundle, folder: Path) -> Iterable[Film]:
    clips = sorted((data_root() / "weizmann").glob("*/*.avi"))
    for subject in sorted({clip.stem.split("_")[0] for clip in clips}):
        refs = [ClipRef(clip, clip.parent.name, subject) for clip in clips if clip.stem.startswith(f"{subject}_")]
        path = folder / f"{subject}.mp4"
        truth = join_clips(refs, path, still_s=STILL_S)
        actions = [(span.start_ns, span.end_ns or 0) for span in truth if span.label != bundle.spec.labels[-1]]
        yield film("weizmann", f"weizmann {subject}", path, bundle, actions)


def gmdcsa(bundle: Bundle) -> Iterable[Film]:
    root = data_root() / "gmdcsa24"
    for path in sorted(root.glob("*/*.mp4")):
        subject, number = path.stem.split("_")
        with (root / "labels" / f"{subject}_{path.parent.name}.csv").open(newline="", encoding="utf-8") as table:
            (row,) = [row for row in csv.DictReader(table) if row["File Name"].strip() == f"{number}.mp4"]
        yield film("gmdcsa24", f"{path.parent.name}/{path.stem}", path, bundle, labelled(row[" Classes"]))


def labelled(classes: str) -> list[Span]:
    """Of `Falling (SW)[3.4 to 6]; Sitting[0 to 3.4]`, the actions: all but postures."""
    spans = []
    for label, times in re.findall(r"([A-Za-z][A-Za-z ()]*?)\s*\[([^\]\[A-Z]*)", classes):
        if label.split()[0].lower() not in POSTURES:
            for start, end in re.findall(r"([\d.]+)\s*to\s*([\d.]+)", times):
                spans.append((round(float(start) * NS_PER_S), round(float(end) * NS_PER_S)))
    return spans


def streams(bundle: Bundle) -> Iterable[Film]:
    for path in sorted((data_root() / "streams").iterdir()):
        yield film("streams", path.name, path, bundle, None)


class Player:
    """Recognizes films, as the service would if every window came in time."""

    def __init__(self, bundle: Bundle) -> None:
        self._spec = bundle.spec
        thresholds = Thresholds.parse(bundle.thresholds)
        self._rules, self._temperature = thresholds.rules(bundle.spec.actions, {}), thresholds.temperature
        self._windows: dict[WindowReady, Window] = {}
        self._runner = Runner(OpenVINOEngine(bundle), self._windows.get)

    def play(self, film: Film, still_below: float | None) -> Played:
        """still_below None: without gating."""
        self._windows.clear()
        gate = IdleGate(still_below or 0.0, enabled=still_below is not None)
        machine, slot, played = EventMachine(self._spec.actions, self._rules), Slot("m", lossless=False), Played()
        changes: list[Change] = []
        numbers: dict[WindowReady, int] = {}
        epoch = None
        for n, (window, motion) in enumerate(zip(film.windows, film.motion, strict=True)):
            if window.epoch != epoch:
                played.idle |= {numbers[w] for w in gate.end()}
                changes += machine.finish(EndReason.GAP)
                epoch = window.epoch
            ready = WindowReady(StreamKey("film", "full"), window.epoch, window.index, 0, n, motion)
            self._windows[ready], numbers[ready] = window, n
            passed = gate.offer(ready, may_rest=machine.quiet)
            played.idle |= {numbers[w] for w in passed.idle}
            for one in passed.compute:
                (result,) = self._runner.compute([Pending(one, 0, 0, idle_before=gate.idle)], [slot])
                assert isinstance(result, Recognized)
                steps = steps_of(result.logits, result.window.pts_ns, self._spec.rate_hz, self._temperature)
                changes += machine.advance(steps)
        played.idle |= {numbers[w] for w in gate.end()}
        changes += machine.finish(EndReason.EOF)
        self._runner.free(slot)
        played.events = [(c.label, c.start_ns, c.end_ns or 0) for c in changes if c.phase is Phase.END]
        return played


def same(one: tuple[str, int, int], other: tuple[str, int, int], within_ns: int = NS_PER_S // 2) -> bool:
    return one[0] == other[0] and all(abs(a - b) <= within_ns for a, b in zip(one[1:], other[1:], strict=True))


def report(films: Sequence[Film], gated: Sequence[Played], plain: Sequence[Played]) -> dict[str, Any]:
    """Over these films. Shares are None of nothing."""
    marked = [
        (film.acts(w), n in p.idle)
        for film, p in zip(films, gated, strict=True)
        if film.actions is not None
        for n, w in enumerate(film.windows)
    ]
    acting = [idle for acts, idle in marked if acts]
    quiet = [idle for acts, idle in marked if not acts]
    changed = sum(
        sum(not any(same(e, f) for f in b) for e in a)
        for p, q in zip(gated, plain, strict=True)
        for a, b in ((p.events, q.events), (q.events, p.events))
    )
    return {
        "films": len(films),
        "windows": sum(len(film.windows) for film in films),
        "gated_share": share([n in p.idle for f, p in zip(films, gated, strict=True) for n in range(len(f.windows))]),
        "action_windows": len(acting),
        "action_gated": sum(acting),
        "action_gated_share": share(acting),
        "other_windows": len(quiet),
        "other_gated_share": share(quiet),
        "events_plain": sum(len(p.events) for p in plain),
        "events_gated": sum(len(p.events) for p in gated),
        "events_changed": changed,
        "events_not_identical": sum(p.events != q.events for p, q in zip(gated, plain, strict=True)),
    }


def share(flags: Sequence[bool]) -> float | None:
    return round(float(np.mean(flags)), 4) if len(flags) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--below", type=float, nargs="+", default=[STILL_BELOW], help="thresholds in grey levels")
    parser.add_argument("--model", default="movements", help="a shipped model, or the folder of one")
    parser.add_argument("--json", action="store_true", help="an object a line on standard output")
    args = parser.parse_args()
    bundle = Bundle.load(args.model)
    player = Player(bundle)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="swinstream-gating-") as folder:
        films = [*weizmann(bundle, Path(folder)), *gmdcsa(bundle), *streams(bundle)]
    plain = [player.play(film, None) for film in track(films, "without gating", console=console)]
    table = Table(
        "below", "films", "windows", "gated", "actions gated", "others gated", "events", "with gating", "changed"
    )
    for below in args.below:
        gated = [player.play(film, below) for film in track(films, f"below {below:g}", console=console)]
        chosen = [film.name in CHOSEN_ON for film in films]
        groups = {"chosen on": chosen}
        for group in dict.fromkeys(film.group for film in films):
            groups[f"other {group}"] = [f.group == group and not c for f, c in zip(films, chosen, strict=True)]
        for name, mask in groups.items():
            picked = [n for n, wanted in enumerate(mask) if wanted]
            found = report([films[n] for n in picked], [gated[n] for n in picked], [plain[n] for n in picked])
            if args.json:
                print(json.dumps({"below": below, "group": name, **found}), flush=True)
            table.add_row(
                f"{below:g}",
                f"{name} ({found['films']})",
                str(found["windows"]),
                f"{found['gated_share']:.1%}",
                f"{found['action_gated']} of {found['action_windows']}",
                "" if found["other_gated_share"] is None else f"{found['other_gated_share']:.1%}",
                str(found["events_plain"]),
                str(found["events_gated"]),
                str(found["events_changed"]),
            )
    if not args.json:
        Console(file=sys.stdout).print(table)


if __name__ == "__main__":
    main()
