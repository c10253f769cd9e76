"""INT8: a bundle's network with its heavy layers in int8, checked against f32 on footage that calibrated nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from calibration import graph
from calibration.agreement import MAX_LOST_CLIPS, MIN_AGREEMENT, Agreement, check_agreement
from calibration.footage import FootageError, Recording
from calibration.network import Inputs, OpenVINONetwork
from calibration.observation import observe
from calibration.reservoir import Coverage, Reservoir, Stratum
from calibration.search import Found, Search
from engine.bundle import Bundle
from engine.softmax import softmax
from stream.failure import SourceError

GRAPH, REPORT, REPORT_JSON = "network.int8.onnx", "int8.md", "int8.json"
SEED = 2026
WANTED_WINDOWS = 2000  # of checking; fewer are told in the report

Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class Int8:
    """What was made and what it was measured to be. f32_ms: of a window on OpenVINO."""

    found: Found
    coverage: list[Coverage]
    agreements: list[Agreement]
    f32_ms: float
    unreadable: list[tuple[str, str]]

    @property
    def passed(self) -> bool:
        return all(agreement.passed for agreement in self.agreements)


def calibrate_int8(
    bundle: Bundle, recordings: Sequence[Recording], windows: int, minutes: float, progress: Progress
) -> Int8:
    """A quarter of the recordings calibrates, the others check; live cameras calibrate, for so many minutes each.

    Raises FootageError where there are too few recordings to do both.
    """
    calibrating, checking = split(recordings)
    reservoir: Reservoir[Inputs] = Reservoir(windows, SEED)
    network = OpenVINONetwork(bundle.onnx().read_bytes(), bundle.spec)
    unreadable = []
    for left, recording in enumerate(calibrating):
        progress("windows", len(calibrating) - left)
        try:
            for seen in observe(network, bundle.spec, recording, minutes):
                label = recording.label or bundle.spec.labels[int(softmax(seen.logits).mean(axis=0).argmax())]
                reservoir.offer(Stratum(label, recording.camera, recording.hour), seen.inputs)
        except SourceError as error:
            unreadable.append((recording.name, str(error)))
    if not len(reservoir):
        raise FootageError("no window could be read from the footage")
    found = Search(graph.load(str(bundle.onnx())), bundle.spec, reservoir.items, progress).run()
    left = len(checking)

    def one_less() -> None:
        nonlocal left
        left -= 1
        progress("check", left)

    agreements, f32_ms = check_agreement(bundle, found.graph, checking, one_less)
    return Int8(found, reservoir.coverage, agreements, f32_ms, unreadable)


def split(recordings: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
    """(to calibrate with, to check with): every fourth of the files calibrates, in an order that a seed gives.

    Raises FootageError for a single file, or live cameras alone.
    """
    files = [recording for recording in recordings if not recording.live]
    live = [recording for recording in recordings if recording.live]
    if len(files) + len(live) < 2 or not files:
        raise FootageError(
            "int8 needs two recordings at least, one to calibrate with and a file to check with: give more --footage"
        )
    order = [files[i] for i in np.random.default_rng(SEED).permutation(len(files))]
    if live and len(order) < 4:
        return live, order
    return [*live, *order[::4]], [recording for i, recording in enumerate(order) if i % 4]


def report_json(bundle: Bundle, made: Int8) -> str:
    """For other programs: everything that was measured."""
    content = {
        "model": bundle.name,
        "of": bundle.identity,
        "bytes": len(made.found.graph),
        "coverage": [row._asdict() for row in made.coverage],
        "layers": [
            {
                "name": row.layer.name,
                "operator": row.layer.operator,
                "parameters": row.layer.parameters,
                "int8": row.int8,
                "method": row.method,
                "limit": row.limit,
                "smoothed": row.smoothed,
                "errors": row.errors,
            }
            for row in made.found.layers
        ],
        "sample_agreement": made.found.agreement,
        "check": [
            {**asdict(row), "parity": row.parity and row.parity._asdict(), "share": row.share}
            for row in made.agreements
        ],
        "f32_ms": made.f32_ms,
        "unreadable": made.unreadable,
    }
    return json.dumps(content, indent=1) + "\n"


def report_markdown(bundle: Bundle, made: Int8) -> str:
    layers = made.found.layers
    quantised = [row for row in layers if row.int8]
    share = sum(r.layer.parameters for r in quantised) / max(1, sum(r.layer.parameters for r in layers))
    methods = Counter(row.method for row in quantised)
    lines = [
        f"# {bundle.name} in int8",
        "",
        f"{len(quantised)} of {len(layers)} layers in int8 ({share:.0%} of their weights), "
        f"{len(made.found.graph):,} bytes. Ranges: {', '.join(f'{name} {count}' for name, count in methods.items())}.",
        "",
        "## Against f32, on recordings that calibrated nothing",
        "",
        "| runtime | windows agreeing | steps agreeing | largest difference of a score | clips right, f32 / int8 "
        "| lost | parity | states |",
        "|---|---|---|---|---|---|---|---|",
        *(_agreement_row(row) for row in made.agreements),
        "",
        f"Required: {MIN_AGREEMENT:.1%} of windows, at most {MAX_LOST_CLIPS} clip lost, and the engine's parity "
        "check passed. Parity: the largest share of that check's limits that is used, on the bundle's reference "
        "windows. States: the largest root mean square error of a channel there, as a share of the channel's own.",
        *(f"\n{row.refusal}" for row in made.agreements if row.refusal),
    ]
    if made.agreements and made.agreements[0].windows < WANTED_WINDOWS:
        lines += ["", f"{made.agreements[0].windows} windows are few: {WANTED_WINDOWS:,} or more say something."]
    lines += [
        "",
        f"A window took {made.f32_ms:.1f} ms in f32 on OpenVINO here, "
        + ", ".join(f"{row.ms:.1f} ms in int8 on {row.runtime}" for row in made.agreements)
        + " (medians, in turn, on this machine as busy as it was).",
        "",
        "## Windows that calibrated",
        "",
        "| | | kept | seen |",
        "|---|---|---|---|",
        *(f"| {row.of} | {row.value} | {row.kept} | {row.seen} |" for row in made.coverage),
        "",
        "## Layers, the most sensitive first",
        "",
        "Error: of the network's outputs with only this layer in int8, root mean square as a share of their own; the "
        "worse of the runtimes.",
        "",
        "| layer | weights | error | range | limit | smoothed | int8 |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {r.layer.name} | {r.layer.parameters:,} | {r.error:.4f} | {r.method} | {r.limit:.3g} | "
            f"{'yes' if r.smoothed else ''} | {'yes' if r.int8 else 'left in f32'} |"
            for r in sorted(layers, key=lambda r: -r.error)
        ),
    ]
    if made.unreadable:
        lines += ["", "## Not read", "", *(f"- {name}: {why}" for name, why in made.unreadable)]
    return "\n".join(lines) + "\n"


def _agreement_row(row: Agreement) -> str:
    steps = f"{row.agreeing_steps / max(1, row.steps):.2%} of {row.steps}"
    clips = f"{row.right_f32} / {row.right} of {row.clips}"
    parity = f"{row.parity.used:.0%} | {row.parity.states_rms:.3f}" if row.parity else "refused |"
    return (
        f"| {row.runtime} | {row.share:.2%} of {row.windows} | {steps} | {row.largest:.2f} | {clips} | "
        f"{len(row.lost)} | {parity} |"
    )
