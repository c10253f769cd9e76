"""One page of Markdown of what the tests of `make test-gpu` found: the machine, parity, flow, states, and speed.

    python -m benchmarks.gpu_report TESTS.xml >REPORT.md

TESTS.xml is pytest's, of tests that record what they measured. Exit code 1 where one failed, or none was run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from engine.runtime.driver import find_gpu

Told = dict[str, Any]
LIBRARIES = ("swinstream", "tensorrt", "tensorrt-rtx-cu13", "pycuda", "cuda-core", "nvidia-cuda-nvrtc", "torch")


# Title, columns, what the tests record it as, and a row of it.
SECTIONS: tuple[tuple[str, tuple[str, ...], str, Callable[[Told], Sequence[object]]], ...] = (
    (
        "Engines: parity with the network that was trained",
        ("model", "precision", "built by", "MB", "windows", "top-1 agreement", "worst score", "limits used"),
        "parity",
        lambda t: (
            *(t[key] for key in ("model", "precision", "library", "size_mb", "windows")),
            *(f"{t['top1']:.1%}", _g(t["scores"]), f"{t['used']:.0%}"),
        ),
    ),
    (
        "Flow: CUDA against OpenCV's DIS, where DIS says more than 0.5 px (bars: mean 0.25, 95th percentile 1)",
        ("footage", "size", "pixels moving", "mean px", "95th percentile px", "largest px"),
        "flow",
        lambda t: (t["footage"], t["size"], f"{t['share']:.1%}", _g(t["mean"]), _g(t["p95"]), _g(t["largest"])),
    ),
    (
        "Live: flow on the GPU against DIS on the CPU, states carried",
        ("model", "precision", "windows", "worst logit", "of at most", "events, GPU", "events, CPU"),
        "live",
        lambda t: (
            *(t["model"], t["precision"], t["windows"]),
            *(_g(t["logits"]), _g(t["of"]), t["events"], t["events_cpu"]),
        ),
    ),
    (
        "States under stress: streams that come and go in batches of any size",
        ("model", "streams", "windows", "worst logit", "of at most"),
        "stress",
        lambda t: (t["model"], t["streams"], t["windows"], _g(t["logits"]), _g(t["of"])),
    ),
    (
        "Speed of flow, ms a tick, all cameras together",
        ("size", "cameras", "fast kernels", "reference kernels", "expected of an H100"),
        "flow speed",
        lambda t: (t["size"], t["cameras"], *(_ms(t[key]) for key in ("tiled_ms", "reference_ms", "expected_ms"))),
    ),
)
SPEED = "Speed of the network (`swinstream bench engine`)"
SPEED_COLUMNS = ("model", "backend", "precision", "batch", "ms a window", "windows/s", "of the peak", "peak, T/s", "on")


def machine() -> Told:
    """This machine, for the report. Raises EngineError where it has no GPU."""
    gpu = find_gpu()
    module = Path("/sys/module/nvidia/version")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "gpu": str(gpu),
        "driver": f"{module.read_text().strip()}, {gpu.driver}" if module.exists() else gpu.driver,
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def report(tests: ElementTree.Element) -> str:
    """Markdown. tests: the root of pytest's XML."""
    return "\n".join(_lines(tests)) + "\n"


def failures(tests: ElementTree.Element) -> list[str]:
    """Names of the tests that failed."""
    return [_name(case) for case in tests.iter("testcase") if _outcome(case) == "failed"]


def _lines(tests: ElementTree.Element) -> Iterator[str]:
    outcomes = Counter(_outcome(case) for case in tests.iter("testcase"))
    yield "# swinstream on an NVIDIA GPU"
    yield ""
    told = _recorded(tests, "machine")
    if told:
        libraries = ", ".join(f"{name} {found}" for name, found in told[0]["libraries"].items())
        yield f"{told[0]['gpu']}; driver {told[0]['driver']}; {libraries}; {told[0]['date']}."
    else:
        yield "**The machine is not known**: no test that needs a GPU was begun."
    yield ""
    yield f"Tests: {outcomes['passed']} passed, {outcomes['failed']} failed, {outcomes['skipped']} skipped."
    for case in tests.iter("testcase"):
        outcome = _outcome(case)
        if outcome != "passed":
            yield f"- {outcome}: `{_name(case)}`: {_why(case)}"
    for title, columns, name, row in SECTIONS:
        yield from _section(title, columns, (row(told) for told in _recorded(tests, name)))
    yield from _section(SPEED, SPEED_COLUMNS, map(_speed, _cases(tests)))


def _speed(case: Told) -> Sequence[object]:
    what = case["model"], case["backend"], case["precision"], case["batch"]
    if case["windows_per_s"] is None:
        return (*what, "", "", "", "", f"not measured: {case['reason']}")
    share, peak = case["peak_share"], case["peak_gops"]
    of_peak = ("", "") if share is None else (f"{share:.0%}", _ms(peak / 1e3))
    return (*what, _ms(case["ms_per_window"]), f"{case['windows_per_s']:,.0f}", *of_peak, case["device"])


def _section(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield from ("", f"## {title}", "")
    lines = [_row(row) for row in rows]
    if not lines:
        yield "**Nothing was measured.**"
        return
    yield _row(columns)
    yield _row(["---"] * len(columns))
    yield from lines


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(" ".join(str(cell).replace("|", "/").split()) or "-" for cell in cells) + " |"


def _recorded(tests: ElementTree.Element, name: str) -> list[Told]:
    return [json.loads(p.get("value", "")) for p in tests.iter("property") if p.get("name") == name]


def _cases(tests: ElementTree.Element) -> list[Told]:
    """Of `swinstream bench engine --json`, whose lines a test has recorded as they are."""
    texts = [p.get("value", "") for p in tests.iter("property") if p.get("name") == "bench"]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def _outcome(case: ElementTree.Element) -> str:
    kinds = {child.tag for child in case}
    return "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname', '')}.{case.get('name', '')}".removeprefix("tests.")


def _why(case: ElementTree.Element) -> str:
    told = next(child for child in case if child.tag in {"failure", "error", "skipped"})
    words = " ".join((told.get("message") or "").split())
    return words if len(words) <= 200 else words[:200] + "..."


def _g(value: float) -> str:
    return f"{value:.2g}"


def _ms(value: float) -> str:
    return f"{value:.3g}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", type=Path, help="pytest's --junitxml")
    arguments = parser.parse_args()
    try:
        tests = ElementTree.parse(arguments.tests).getroot()
    except (OSError, ElementTree.ParseError) as error:
        print(f"{arguments.tests}: {error}: run `make test-gpu`", file=sys.stderr)
        return 1
    print(report(tests), end="")
    return 1 if failures(tests) or not _recorded(tests, "machine") else 0


if __name__ == "__main__":
    sys.exit(main())
