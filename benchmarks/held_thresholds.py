"""Do calibrated thresholds hold? False events on quiet footage that had no part in them, beside the bound printed.

    python -m benchmarks.held_thresholds [--model BUNDLE] [--data DIR] [--budget B ...] [--sets N] [--keep FOLDER]
                                          [--json]

Quiet footage of two sources that share no recording. By turns one is given to what `swinstream calibrate thresholds`
does (a third of it sets, the rest checks and gives the bound), and events are counted on the other, by the rules that
the changed bundle would be served with; once without labelled clips, when no score goes below the bundle's, and once
with those of `--data`, when scores may.

Drawn: `--sets` times benchmarks.quiet_footage and three minutes of things that stir where nobody acts (plants,
curtains, a hand that takes something), with seeds of their own. Real: of gmdcsa24, source `a` has the stretches of
daily life in which people only sit, stand or read, `b` the recordings of falls from where nobody walks any more; each
has a half of intel_bottle-detection.mp4. `movements` was trained on those of daily life, and one of its thresholds was
set with the bottles in view. A fall that is told as anything is false here.

What is drawn is alike in both, so there the bound must hold. It promises nothing of footage of another kind, so real
footage is counted by itself. A bound has held where the count on the other source does not contradict it: the count's
own exact 95 % lower bound is not above it. Events come in bursts, for the same hand reaches into the same place again
and again, but a Poisson bound takes each for news; so occasions are counted too: events less than twenty seconds apart
are one. Exit code 1 where a bound did not hold for the occasions on what is drawn.

`--keep`: what the network said of each drawn recording is kept there, and not computed again.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import chi2

from benchmarks.quiet_footage import FPS, SEED, SIZE, Picture, write_quiet_footage
from calibration.footage import FootageError, Recording, find_recordings
from calibration.network import Network, OpenVINONetwork
from calibration.observation import observe
from calibration.poisson import CONFIDENCE, Budget, BudgetError
from calibration.thresholds import choose_thresholds, merged
from calibration.trace import Trace
from engine.bundle import Bundle, BundleError
from engine.spec import ModelSpec
from stream.demo.record import RecordError, write_mp4
from stream.demo.scene import Scene
from stream.demo.score import Span
from stream.failure import SourceError
from stream.frame import NS_PER_S
from stream.thresholds import Thresholds
from train.config import TrainError
from train.data.clips import ClipRef, data_root
from train.data.quiet import SEGMENT, find_quiet
from train.online import Trace as Told
from train.online import events_in

BUDGETS = ("100/day", "300/day", "1000/day", "2000/day")
STIR_S, SHOT_S, BOTTLES_S = 180.0, 20.0, 40.0
OCCASION_S = SHOT_S
SUBJECTS = (1, 2, 3)
MOVES = ("walking", "exercising")  # of gmdcsa24's activities, those that may be one of the model's actions


@dataclass(frozen=True)
class Source:
    """Quiet footage as the network saw it."""

    name: str
    drawn: tuple[Trace, ...]
    real: tuple[Trace, ...]


@dataclass(frozen=True)
class Row:
    """bound_per_day: as `calibrate thresholds` prints it. What follows it is of the other source."""

    set_on: str
    clips: bool
    budget: str
    lowered: int
    recall: float | None
    checked_events: int
    checked_hours: float
    bound_per_day: float
    drawn_events: int
    drawn_occasions: int
    drawn_hours: float
    real_events: dict[str, int]
    real_hours: float

    def per_day(self, count: int) -> float:
        return 24 * count / self.drawn_hours

    def held(self, count: int) -> bool:
        """Whether so many on what is drawn do not contradict the bound."""
        return 24 * lower_bound(count, self.drawn_hours) <= self.bound_per_day


def lower_bound(events: int, hours: float) -> float:
    """Events an hour that the true rate is above with 95 % confidence: the other end of `poisson.upper_bound`."""
    return float(chi2.ppf(1 - CONFIDENCE, 2 * events)) / 2 / hours if events else 0.0


def stirring(rng: np.random.Generator, seconds: float) -> Iterator[Picture]:
    """Another place every twenty seconds, where things move and light changes."""
    for _ in range(round(seconds / SHOT_S)):
        scene = Scene(rng, [("none", SHOT_S)], *SIZE)
        for tick in range(round(SHOT_S * FPS)):
            yield scene.frame(tick / FPS)


def write_drawn(folder: Path, seed: int, share: float = 1.0) -> list[Path]:
    """One set; share: of its full length. Raises RecordError."""
    files, last = write_quiet_footage(folder, share, seed), folder / "stirring.mp4"
    write_mp4(last, stirring(np.random.default_rng([seed, 1]), STIR_S * share), FPS, bitrate_kbit=4000)
    return [*files, last]


def real_stretches() -> tuple[list[ClipRef], list[ClipRef]]:
    """The real footage of each source. Raises TrainError where a table is not there."""
    labels, bottles = data_root() / "gmdcsa24/labels", data_root() / "streams/intel_bottle-detection.mp4"
    still = find_quiet([labels / f"Subject{n}_ADL.csv" for n in SUBJECTS])
    fallen = falls([labels / f"Subject{n}_Fall.csv" for n in SUBJECTS])
    return (
        [*dict.fromkeys(still), ClipRef(bottles, "none", "bottles", 0.0, BOTTLES_S / 2)],
        [*fallen, ClipRef(bottles, "none", "bottles", BOTTLES_S / 2)],
    )


def falls(tables: Sequence[Path]) -> list[ClipRef]:
    """The recordings that are there, each from where nobody walks any more."""
    refs = []
    for table in tables:
        subject, kind = table.stem.split("_")
        with table.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file, skipinitialspace=True):
                path = table.parent.parent / kind / f"{subject}_{row['File Name'].strip()}"
                moves = [m for m in SEGMENT.finditer(row["Classes"] or "") if m["name"].strip().lower() in MOVES]
                if path.exists():
                    refs.append(ClipRef(path, "none", subject, max((float(m["end"]) for m in moves), default=0.0)))
    return refs


def traced(network: Network, spec: ModelSpec, recording: Recording) -> Trace:
    """Raises SourceError, and FootageError where it is shorter than half a window."""
    found = Trace.of(recording, spec, observe(network, spec, recording))
    if found is None:
        raise FootageError(f"{recording.name}: too short")
    return found


def stretch(trace: Trace, ref: ClipRef) -> Trace:
    """The windows within a stretch of a recording; the state is that of all before them."""
    end_ns = 2**62 if ref.end_s is None else ref.end_s * NS_PER_S
    inside = (trace.pts_ns[:, 0] >= ref.start_s * NS_PER_S) & (trace.pts_ns[:, -1] <= end_ns)
    return Trace(trace.recording, trace.spec, trace.logits[inside], trace.pts_ns[inside], trace.epochs[inside])


def look(
    network: Network,
    spec: ModelSpec,
    name: str,
    seeds: Sequence[int],
    real: Sequence[ClipRef],
    keep: Path,
    share: float = 1.0,
) -> Source:
    """Draw a source's sets, one at a time, and run the network over all that it has."""
    drawn = []
    for seed in track(seeds, f"source {name}", console=Console(stderr=True), transient=True):
        if not (keep / str(seed)).is_dir():
            with tempfile.TemporaryDirectory(dir=keep) as folder, tempfile.TemporaryDirectory(dir=keep) as part:
                for file in write_drawn(Path(folder), seed, share):
                    trace = traced(network, spec, find_recordings([str(file)], ())[0])
                    arrays = {"logits": trace.logits, "pts_ns": trace.pts_ns, "epochs": trace.epochs}
                    np.savez(Path(part) / file.stem, **arrays)  # type: ignore[arg-type]
                shutil.copytree(part, keep / f"{seed}.part", dirs_exist_ok=True)
                (keep / f"{seed}.part").rename(keep / str(seed))
        for file in sorted((keep / str(seed)).glob("*.npz")):
            kept, recording = np.load(file), Recording(str(file), None, file.stem, 0)
            drawn.append(Trace(recording, spec, kept["logits"], kept["pts_ns"], kept["epochs"]))
    seen = {ref.path: traced(network, spec, find_recordings([str(ref.path)], ())[0]) for ref in real}
    stretches = [stretch(seen[ref.path], ref) for ref in real]
    return Source(name, tuple(drawn), tuple(part for part in stretches if len(part)))


def told(traces: Sequence[Trace], bundle: Bundle, content: dict[str, Any]) -> list[list[Span]]:
    """The events of each recording, by the rules of a `thresholds.yaml`."""
    thresholds = Thresholds.parse(content)
    rules = thresholds.rules(bundle.spec.actions, {})
    kept = (Told(trace.spec, trace.logits, trace.pts_ns, trace.epochs) for trace in traces)
    return [[event.span for event in events_in(trace, rules, thresholds.temperature)] for trace in kept]


def occasions(events: Sequence[Span]) -> int:
    """Of one recording, in the order of their starts."""
    until_ns, count = -(2**62), 0
    for event in events:
        count += event.start_ns - until_ns >= OCCASION_S * NS_PER_S
        until_ns = max(until_ns, event.end_ns or event.start_ns)
    return count


def held(
    bundle: Bundle, setting: Source, other: Source, clips: Sequence[Trace], budgets: Sequence[Budget]
) -> list[Row]:
    """A row for each budget that the footage supports; tells of the others."""
    present = Thresholds.parse(bundle.thresholds)
    before = present.rules(bundle.spec.actions, {})
    quiet, rows = [*setting.drawn, *setting.real], []
    for budget in budgets:
        try:
            choice = choose_thresholds(bundle.spec, present, quiet, clips, budget, lambda stage, left: None)
        except BudgetError as error:
            Console(stderr=True).print(f"source {setting.name}: {error}", markup=False, soft_wrap=True)
            continue
        content = merged(bundle.thresholds, choice.labels)
        drawn = told(other.drawn, bundle, content)
        rows.append(
            Row(
                setting.name,
                bool(clips),
                budget.text,
                sum(scores["enter"] < before[label].enter for label, scores in choice.labels.items()),
                choice.point.recall,
                choice.point.false_events,
                choice.hours,
                choice.point.bound_per_day,
                sum(map(len, drawn)),
                sum(map(occasions, drawn)),
                sum(trace.hours for trace in other.drawn),
                dict(Counter(event.label for events in told(other.real, bundle, content) for event in events)),
                sum(trace.hours for trace in other.real),
            )
        )
    return rows


def table(rows: Sequence[Row]) -> Table:
    shown = Table(title="false events a day on quiet footage that set nothing", title_justify="left")
    columns = ("set on", "clips", "budget", "lowered", "recall", "bound printed", "other drawn: events", "occasions")
    for name in (*columns, "other real"):
        shown.add_column(name, justify="right")
    for row in rows:
        counts = [
            f"{row.per_day(count):,.0f} ({count} in {row.drawn_hours:.2f} h){'' if row.held(count) else ': NOT HELD'}"
            for count in (row.drawn_events, row.drawn_occasions)
        ]
        real = ", ".join(f"{count} {label}" for label, count in row.real_events.items()) or "none"
        shown.add_row(
            row.set_on,
            "yes" if row.clips else "no",
            row.budget,
            str(row.lowered),
            "" if row.recall is None else f"{row.recall:.1%}",
            f"{row.bound_per_day:,.0f} ({row.checked_events} in {row.checked_hours:.2f} h)",
            *counts,
            f"{real} in {3600 * row.real_hours:.0f} s",
        )
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="movements", help="a shipped model's name, or a bundle's folder")
    parser.add_argument("--data", type=Path, default=data_root() / "weizmann", help="clips, in a folder per label")
    parser.add_argument("--budget", action="append", default=[], help=f"default: {', '.join(BUDGETS)}")
    parser.add_argument("--sets", type=int, default=6, help="drawn sets of 12.5 minutes a source")
    parser.add_argument("--keep", type=Path, help="a folder for what the network said, of this model and these sets")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    budgets = [Budget.parse(text) for text in args.budget or BUDGETS]
    bundle = Bundle.load(args.model)
    network = OpenVINONetwork(bundle.onnx().read_bytes(), bundle.spec)
    seeds = range(SEED + 1, SEED + 1 + 2 * args.sets)
    of_a, of_b = real_stretches()
    with tempfile.TemporaryDirectory(prefix="swinstream-quiet-") as folder:
        keep = args.keep or Path(folder)
        keep.mkdir(parents=True, exist_ok=True)
        a = look(network, bundle.spec, "a", seeds[: args.sets], of_a, keep)
        b = look(network, bundle.spec, "b", seeds[args.sets :], of_b, keep)
    labelled = [clip for clip in find_recordings([str(args.data)], bundle.spec.labels) if clip.label]
    clips = [traced(network, bundle.spec, clip) for clip in labelled]
    rows = [
        row
        for setting, other in ((a, b), (b, a))
        for given in ([], clips)
        for row in held(bundle, setting, other, given, budgets)
    ]
    if args.json:
        found = [
            asdict(row) | {"held": row.held(row.drawn_events), "held_by_occasion": row.held(row.drawn_occasions)}
            for row in rows
        ]
        print(json.dumps({"model": bundle.name, "version": bundle.identity, "rows": found}))
    else:
        Console().print(table(rows))
    return 0 if rows and all(row.held(row.drawn_occasions) for row in rows) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BudgetError, BundleError, FootageError, OSError, RecordError, SourceError, TrainError) as error:
        sys.exit(f"held_thresholds: {error}")
