"""The command line's part that makes and measures models: train, evaluate, build, calibrate.

As in `swinstream.py`, which these commands are added to, a package is imported when its command is called.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import typer

models = typer.Typer()

EngineKind = Annotated[
    Literal["auto", "openvino", "tensorrt"] | None,
    typer.Option(
        "--engine", help="What runs the network. tensorrt refuses to start without a GPU.", show_default="auto"
    ),
]
BundleName = Annotated[str, typer.Argument(metavar="BUNDLE", help="A shipped model's name, or a bundle's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line on standard output.")]


@models.command()
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="A training configuration.")],
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where checkpoints, metrics, curves and at the end the bundle go.",
            show_default="runs/<the configuration's name>",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Overrides a setting, e.g. optim.lr=1e-4; several times."),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None,
        typer.Option(help="What to train on.", show_default="the configuration's"),
    ] = None,
    folds: Annotated[
        bool, typer.Option("--folds", help="Cross-validate: train without each of the configuration's `folds` in turn.")
    ] = False,
) -> None:
    """Train a network and make a bundle of it. Called again after an interruption, it goes on.

    A configuration may start from another one: that is trained first.

    Examples:

        swinstream train configs/train/my-actions.yaml --run runs/first

        nice swinstream train configs/train/my-actions.yaml --device cpu --set threads=4

        swinstream train configs/train/movements-folds.yaml --folds

        torchrun --nproc-per-node 2 -m -- swinstream train configs/train/my-actions.yaml
    """
    from train.commands import train as command

    sys.exit(command(config, run, settings or [], device, folds))


@models.command()
def evaluate(
    bundle: BundleName,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Clips, in a folder per label.")],
    group: Annotated[
        list[str] | None, typer.Option(help="Only clips of this group (subject, camera); may be given several times.")
    ] = None,
    none: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER", help="A folder whose clips show none of the labels; may be given several times."
        ),
    ] = None,
    split: Annotated[
        int | None,
        typer.Option(min=1, max=3, help="DIR is UCF-101 as published: measure on the test list of this split."),
    ] = None,
    views: Annotated[
        int, typer.Option(min=0, help="Measure by the published protocol, too: so many clips in time by three crops.")
    ] = 0,
    online: Annotated[
        bool, typer.Option("--online", help="Join the clips to films and measure the events in them.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="As --online, and play the films to the whole service over RTSP.")
    ] = False,
    cameras: Annotated[
        int | None, typer.Option(min=1, help="Films played at a time, with --live.", show_default="2, or 1 on one core")
    ] = None,
    quiet: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Footage without actions, a file or folder; may be given several times."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write report.md, report.json and plots there; implies --online.")
    ] = None,
    engine: EngineKind = None,
    as_json: Json = False,
) -> None:
    """Measure a model on clips that lie in a folder per label.

    Not every label needs a folder. Groups come from a split.csv (columns path and group) beside the folders.

    Examples:

        swinstream evaluate movements --data my-clips --json

        swinstream evaluate fight --data surv_fight --none noFight --live --report fight-report

        swinstream evaluate runs/ucf101-swin-t-rgb/bundle --data ucf101 --split 1 --views 4
    """
    from train.evaluate_command import evaluate as command
    from train.measurement import Wanted

    wanted = Wanted(
        data,
        groups=tuple(group or ()),
        none_folders=tuple(none or ()),
        split=split,
        engine=engine or "auto",
        views=views,
        online=online or report is not None,
        live=live,
        cameras=cameras or 0,
        quiet=tuple(quiet or ()),
    )
    sys.exit(command(bundle, wanted, report, as_json))


@models.command()
def build(
    bundle: BundleName,
    target: Annotated[
        Literal["tensorrt", "tensorrt-rtx", "openvino"],
        typer.Option(help="tensorrt: the GPU that is here. tensorrt-rtx: GPUs by number, also without one here."),
    ] = "tensorrt",
    precision: Annotated[
        Literal["fp32", "fp16", "bf16", "int8"] | None,
        typer.Option(help="int8 needs `swinstream calibrate int8` first.", show_default="fp16; openvino: fp32"),
    ] = None,
    batch: Annotated[str, typer.Option(metavar="N,N,...", help="Batch sizes of a TensorRT engine.")] = "1,4,16",
    sm: Annotated[
        str,
        typer.Option(
            metavar="N,N,...", help="tensorrt-rtx: compute capabilities.", show_default="the GPU here, or all there are"
        ),
    ] = "",
    workspace: Annotated[
        int | None, typer.Option(metavar="MIB", min=1, help="Memory that the builder may plan with.")
    ] = None,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Let newer TensorRT of the same major version run it.")
    ] = False,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="tensorrt: let every GPU from Ampere on run it.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where engines lie.", show_default="your cache folder")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Build it although it is in the cache.")] = False,
    as_json: Json = False,
) -> None:
    """Compile a model for a GPU or this CPU, and check it against the trained network where it can run.

    Examples:

        swinstream build movements --target tensorrt --precision fp16 --batch 1,4,16

        swinstream build movements --target tensorrt-rtx --sm 75,86,89,120
    """
    from engine.build_command import build as command
    from engine.tensorrt_build import TensorRTOptions

    options = TensorRTOptions((), workspace, version_compatible, hardware_compatible)
    used = precision or ("fp32" if target == "openvino" else "fp16")
    sys.exit(command(bundle, target, used, batch, sm, options, cache, again, as_json))


calibrate = typer.Typer(
    help="Fit a trained model to real footage: int8, the meaning of its scores, and thresholds.\n\n"
    "Each writes its result and a report into the bundle; with --out into a copy of it.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
models.add_typer(calibrate, name="calibrate")

Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write a copy of the bundle there.", show_default="the bundle itself is changed"),
]


def _calibration() -> ModuleType:
    try:
        from calibration import commands
    except ModuleNotFoundError as error:
        print(f"swinstream: calibration needs {error.name}: pip install 'swinstream[calibrate]'", file=sys.stderr)
        sys.exit(2)
    return commands


@calibrate.command("int8")
def calibrate_int8(
    bundle: BundleName,
    footage: Annotated[
        list[str],
        typer.Option(
            metavar="PATH|URI",
            help="A file, a folder (clips in a folder per label are known as such), or a live camera; "
            "may be given several times.",
        ),
    ],
    windows: Annotated[int, typer.Option(min=16, help="Windows to calibrate with, of all classes alike.")] = 256,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long to watch each live camera.")] = 10.0,
    out: Out = None,
) -> None:
    """Make a graph in int8 that decides as f32 does, and measure that it does.

    A quarter of the recordings calibrates, the others check: at least 98.5 % of windows must agree and at most one
    labelled clip may be lost, on OpenVINO and on ONNX Runtime; otherwise nothing is written.

    Examples:

        swinstream calibrate int8 movements --footage recordings --footage weizmann --out movements-int8

        swinstream calibrate int8 my-model --footage recordings --footage rtsp://192.0.2.7/stream1 --minutes 30
    """
    sys.exit(_calibration().int8(bundle, footage, windows, minutes, out))


@calibrate.command("scores")
def calibrate_scores(
    bundle: BundleName,
    data: Annotated[
        list[str], typer.Option(metavar="DIR", help="Clips the model was not trained on, in a folder per label.")
    ],
    group: Annotated[
        list[str] | None, typer.Option(help="Only clips of this group (subject, camera); may be given several times.")
    ] = None,
    out: Out = None,
) -> None:
    """Fit the temperature that makes scores mean what they say: 0.8 is right in 8 of 10.

    Groups come from a split.csv (columns path and group) beside the folders; two are needed.

    Example:

        swinstream calibrate scores movements --data weizmann --group lena --group lyova --out movements-calibrated
    """
    sys.exit(_calibration().scores(bundle, data, group or [], out))


@calibrate.command("thresholds")
def calibrate_thresholds(
    bundle: BundleName,
    quiet: Annotated[
        list[str],
        typer.Option(
            metavar="PATH", help="Footage in which nobody does any of the actions; may be given several times."
        ),
    ],
    budget: Annotated[str, typer.Option(metavar="N/day", help="False events allowed on one camera: 0.5/day, 2/hour.")],
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="Clips in a folder per label, to choose what recognizes the most of them."),
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="For this camera alone: print what goes in its configuration."),
    ] = None,
    out: Out = None,
) -> None:
    """Set enter and exit scores so that false events stay within a budget, with 95 % confidence.

    A budget that so much footage cannot support is refused, with the hours that it would take.

    Examples:

        swinstream calibrate thresholds movements --quiet nights --budget 0.5/day --out movements-quiet

        swinstream calibrate thresholds movements --quiet door --budget 1/day --camera front-door
    """
    sys.exit(_calibration().thresholds(bundle, quiet, budget, data or [], camera, out))
