"""swinstream: the command line. A line or two per command; a package is imported when its command is called."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

# This module is the program, and nothing imports it. Until a command has something to end in order
# (stream.stopper), Ctrl-C ends it at once; Python would print where in the imports it was.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import typer  # noqa: E402

from swinstream_bench import benches  # noqa: E402
from swinstream_models import EngineKind, Json, models  # noqa: E402

app = typer.Typer(
    name="swinstream",
    help="Watches cameras and says what people in front of them do: RTSP in, action events over ZeroMQ out.\n\n"
    "Begin with `swinstream demo`, then `swinstream run --camera NAME=rtsp://...`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"swinstream {version('swinstream')}")
        raise typer.Exit


app.add_typer(models)
app.add_typer(benches)


@app.callback()
def swinstream(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


Publish = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Where events are published (ZeroMQ PUB); port 0 takes a free one.",
        show_default="tcp://127.0.0.1:5556",
    ),
]
Replay = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Where past events can be asked for (ZeroMQ ROUTER).",
        show_default="the port after --publish",
    ),
]
JournalFile = Annotated[
    Path | None,
    typer.Option(
        "--journal", metavar="FILE", help="Where events are kept (SQLite).", show_default="in your state folder"
    ),
]
Model = Annotated[
    str | None,
    typer.Option(metavar="BUNDLE", help="A shipped model's name, or a bundle's folder.", show_default="movements"),
]


@app.command()
def run(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG.yaml", help="A configuration file; see configs/cameras.")
    ] = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=URI", help="A camera, instead of a configuration file; may be given several times."),
    ] = None,
    model: Model = None,
    engine: EngineKind = None,
    publish: Publish = None,
    replay: Replay = None,
    journal: JournalFile = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Where metrics and health are served (HTTP: /metrics, /healthz, /readyz).",
            show_default="nowhere",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Recognize actions on cameras and publish events, until Ctrl-C or until every file has been read.

    A URI is anything GStreamer opens: rtsp://, rtsps://, file://, a plain path, v4l2:///dev/video0, or demo://.
    In a terminal a live table shows the cameras. Elsewhere events are lines on standard output (with --json, JSON)
    and logs are lines on standard error.

    Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.

    Examples:

        swinstream run --camera front-door=rtsp://user:secret@192.0.2.7/stream1

        swinstream run --camera a=rtsp://192.0.2.7/1 --camera b=video.mp4 --json >events.jsonl

        swinstream run configs/cameras/one-camera.yaml --publish tcp://127.0.0.1:6000
    """
    from stream.commands import run as command

    options = {
        "model": model,
        "engine": engine,
        "publish": publish,
        "replay": replay,
        "journal": None if journal is None else str(journal),
        "metrics": metrics,
    }
    sys.exit(command(config, camera or [], options, as_json))


@app.command()
def reload(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The configuration of the running program.")],
    journal: JournalFile = None,
) -> None:
    """Have a running `swinstream run CONFIG.yaml` take up what has changed in its configuration (as SIGHUP does).

    Cameras come, go and change while all others go on. Thresholds and rules change in place, open events stay; a
    camera whose address, zones or model changed begins anew. A file with a mistake changes nothing. Give --journal
    if the program was started with it.

    Example:

        swinstream reload cameras.yaml
    """
    from stream.commands import reload as command

    sys.exit(command(config, journal))


@app.command()
def subscribe(
    address: Annotated[str, typer.Argument(help="The publisher's address.")] = "tcp://127.0.0.1:5556",
    camera: Annotated[str | None, typer.Option(help="Only this camera's events.")] = None,
    label: Annotated[str | None, typer.Option(help="Only this label's events.")] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="RUN:SEQ|first|last", help="Begin after this event; first: with all there are."),
    ] = None,
    replay: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="The publisher's replay address.",
            show_default="the port after the publisher's",
        ),
    ] = None,
    key: Annotated[Path | None, typer.Option(help="This client's secret key, for an encrypted publisher.")] = None,
    server_key: Annotated[str | None, typer.Option(help="The publisher's public key, or its file.")] = None,
    as_json: Json = False,
) -> None:
    """Print events as they are published; none is lost or doubled, also across the publisher's restart.

    Examples:

        swinstream subscribe --camera front-door

        swinstream subscribe tcp://127.0.0.1:5556 --since first --json
    """
    from stream.commands import subscribe as command

    sys.exit(command(address, camera, label, since, replay, key, server_key, as_json))


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="What to write: *.csv or *.parquet.")],
    journal: JournalFile = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="RUN:SEQ|TIME", help="Begin after this event, or at this time (UTC).", show_default="all there is"
        ),
    ] = None,
    file_format: Annotated[
        Literal["csv", "parquet"] | None, typer.Option("--format", help="If the file's name does not say it.")
    ] = None,
) -> None:
    """Write the journal as a table, a row for each event message. The program may be running.

    Parquet needs pyarrow: `pip install 'swinstream[export]'`.

    Examples:

        swinstream export events.csv --since 2026-11-24

        swinstream export events.parquet --journal /var/lib/swinstream/events.sqlite3
    """
    from stream.commands import export as command

    sys.exit(command(out, journal, since, file_format))


@app.command()
def demo(
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another programme.")] = 0,
    seconds: Annotated[float | None, typer.Option(min=1, help="Stop after so long; default: at Ctrl-C.")] = None,
    model: Model = None,
    engine: EngineKind = None,
    publish: Publish = None,
    replay: Replay = None,
    as_json: Json = False,
) -> None:
    """A demo camera, the recognizer and a subscriber, on one screen.

    A drawn figure performs ten actions on a time table that is known, so anyone can see whether the recognizer is
    right. The camera is a real RTSP server; the events on the screen came over ZeroMQ. If the usual ports are taken
    the demo uses free ones.

    Examples:

        swinstream demo

        swinstream demo --seed 7 --seconds 60
    """
    from stream.demo.command import demo as command

    options = {"model": model, "engine": engine, "publish": publish, "replay": replay}
    sys.exit(command(seed, seconds, options, as_json))


@app.command()
def info(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="BUNDLE|CONFIG.yaml...",
            help="A shipped model's name, a bundle's folder, or a training configuration; several are compared.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Say what a model knows, what it needs and what it costs.

    Examples:

        swinstream info movements

        swinstream info configs/train/ucf101/*.yaml
    """
    from stream.info import info as command

    sys.exit(command(models, as_json))


@app.command()
def doctor(
    camera: Annotated[
        str | None,
        typer.Argument(metavar="CAMERA", help="An address, as in `run`; with --config, a name in that file."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="CONFIG.yaml", help="Look at what this configuration needs.")
    ] = None,
    model: Model = None,
    engine: EngineKind = None,
    publish: Publish = None,
    replay: Replay = None,
    journal: JournalFile = None,
    transport: Annotated[
        Literal["tcp", "udp", "auto"] | None,
        typer.Option(help="Of the camera's RTP.", show_default="tcp, or the configuration's"),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="How long the camera is watched.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Say what this machine can do, which engine would be chosen, and what is missing; with a camera, what is wrong
    with it and what to set.

    Exit codes: 0 cameras can be watched, 1 something that is needed is missing or the camera gives no picture,
    2 wrong usage or configuration.

    Examples:

        swinstream doctor

        swinstream doctor rtsp://user:secret@192.0.2.7/stream1 --seconds 60

        swinstream doctor front-door --config cameras.yaml --json
    """
    from stream.doctor.command import doctor as command

    options = {
        "model": model,
        "engine": engine,
        "publish": publish,
        "replay": replay,
        "journal": None if journal is None else str(journal),
    }
    sys.exit(command(camera, config, options, transport, seconds, as_json))


@app.command()
def keys(
    folder: Annotated[Path, typer.Argument(help="Where to write them.")] = Path("keys"),
    name: Annotated[str, typer.Option(help="Whose keys these are.")] = "swinstream",
) -> None:
    """Make a pair of CURVE keys: for the publisher, or for a client.

    Example:

        swinstream keys keys --name publisher
    """
    from stream.commands import keys as command

    sys.exit(command(folder, name))


def main() -> None:
    app()


if __name__ == "__main__":
    main()
