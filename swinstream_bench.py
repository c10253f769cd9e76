"""The command line's part that measures speed on this machine: bench, capacity.

As in `swinstream.py`, which these commands are added to, a package is imported when its command is called.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from swinstream_models import Json

benches = typer.Typer()

bench = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True, rich_markup_mode="markdown")
benches.add_typer(bench, name="bench")


@bench.command("train")
def bench_train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="A training configuration.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps of its first phase to measure.")] = 30,
    as_json: Json = False,
) -> None:
    """Measure what a step of training costs, stage by stage, and how long it waits for its data.

    Clips are decoded into the cache first. Nothing is kept of what is trained.

    Example:

        swinstream bench train configs/train/movements.yaml --json
    """
    from train.bench_command import bench as command

    sys.exit(command(config, steps, as_json))


@bench.command("engine")
def bench_engine(
    bundles: Annotated[
        list[str] | None, typer.Argument(metavar="[BUNDLE ...]", help="Models.", show_default="all that are shipped")
    ] = None,
    batch: Annotated[str, typer.Option(metavar="N,N,...", help="Batch sizes.")] = "1,16",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="Time for each line.")] = 3,
    torch: Annotated[bool, typer.Option(help="Measure torch too, eager and compiled.")] = True,
    as_json: Json = False,
) -> None:
    """Time the network by backend, precision and batch, and say what share of this machine's peak it reaches.

    Example:

        swinstream bench engine movements --json
    """
    from engine.bench_command import bench as command

    sys.exit(command(bundles or [], batch, threads, seconds, torch, as_json))


Size = Annotated[str, typer.Option(metavar="WIDTHxHEIGHT", help="Of the cameras' pictures.")]
Fps = Annotated[int, typer.Option(min=5, max=120, help="Frames a second of each camera.")]
Footage = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE|DIR",
        help="What the cameras show; files of a folder in turn.",
        show_default="the demo's drawn actor, whose actions are known",
    ),
]
BenchModel = Annotated[
    str | None,
    typer.Option(metavar="BUNDLE", help="A shipped model's name, or a bundle's folder.", show_default="movements"),
]


def _size(text: str) -> tuple[int, int]:
    from stream.bench.command import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        print(f"swinstream: {error}", file=sys.stderr)
        sys.exit(2)


@bench.command("cameras")
def bench_cameras(
    cameras: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 16,
    size: Size = "640x360",
    fps: Fps = 15,
    seconds: Annotated[float, typer.Option(min=5, help="What is measured, after a warm-up of 10 s.")] = 60,
    footage: Footage = None,
    idle: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="This share of the cameras shows a still scene.")
    ] = 0,
    model: BenchModel = None,
    idle_gating: Annotated[
        bool | None,
        typer.Option(
            "--idle-gating/--no-idle-gating",
            help="Whether the service leaves still scenes out.",
            show_default="with --idle",
        ),
    ] = None,
    baseline: Annotated[bool, typer.Option(help="Measure two usual ways to do it, too (needs torch).")] = True,
    check: Annotated[bool, typer.Option("--check", help="Exit code 1 where a bar of the project is missed.")] = False,
    as_json: Json = False,
) -> None:
    """Measure what cameras cost and how late their events are, on the real service and its own RTSP cameras.

    Pre-encoded footage is served by a process of its own. Told are CPU time (core-milliseconds per camera-second, all
    processes of the service), frames a second, what was dropped or skipped and why, delays, and memory. Beside it stand
    the stack that people write first (OpenCV, Farneback, Video Swin-T in torch) and the same network without state.

    Examples:

        swinstream bench cameras --cameras 16 --seconds 60 --json

        swinstream bench cameras --cameras 64 --idle 0.75 --no-baseline

        swinstream bench cameras --cameras 4 --footage recordings --size 1280x720 --fps 25
    """
    from stream.bench.command import Wanted
    from stream.bench.command import cameras as command
    from stream.bench.footage import Format
    from train.comparison import compare, missing

    if baseline and (package := missing()):
        print(f"swinstream: nothing to compare with: that needs {package}", file=sys.stderr)
        baseline = False
    wanted = Wanted(cameras, Format(*_size(size), fps), seconds, footage, idle, model, idle_gating)
    sys.exit(command(wanted, compare if baseline else None, check, as_json))


@benches.command()
def capacity(
    size: Size = "640x360",
    fps: Fps = 15,
    footage: Footage = None,
    idle: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="This share of the cameras shows a still scene.")
    ] = 0,
    model: BenchModel = None,
    seconds: Annotated[float, typer.Option(min=5, help="Of each run.")] = 15,
    as_json: Json = False,
) -> None:
    """Find out how many cameras this machine runs, and what stops it from running more.

    The cost of a few cameras says how many there should be; runs of so many, of more and of fewer find the bound.
    It takes three to five minutes. What is told was run: every frame taken, no window lost, decisions within 500 ms.

    Examples:

        swinstream capacity

        swinstream capacity --size 1920x1080 --fps 25 --footage recordings --json
    """
    from stream.bench.capacity import capacity as command
    from stream.bench.command import Wanted
    from stream.bench.footage import Format

    sys.exit(command(Wanted(0, Format(*_size(size), fps), seconds, footage, idle, model), as_json))
