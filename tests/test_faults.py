"""Bad input and faults, as a user meets them: one clear line, the right exit code, no traceback, no secret, nothing
left behind, and every event that started has ended."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.bundle import Bundle
from stream import subscribe as client
from stream.wire import StatusMessage
from tests import video
from tests.program import Ended, Program, Running, free_sockets, unended
from tests.rtsp_server import RtspServer
from tests.video_file import steady, write_video

SECRET = "hunter2%40x"
PLAIN = "hunter2@x"


def assert_told(ended: Ended, code: int, *words: str) -> None:
    """One clear line for one mistake, and nothing that a user has not to see."""
    assert ended.code == code, ended.text
    lines = [line for line in ended.err.splitlines() if line.startswith("swinstream: ")]
    assert len(lines) == 1, ended.err
    for word in words:
        assert word in lines[0]
    assert_decent(ended)


def assert_decent(ended: Ended) -> None:
    assert "Traceback" not in ended.text
    assert "Exception ignored" not in ended.text
    assert SECRET not in ended.text
    assert PLAIN not in ended.text


# ---- cameras and files that cannot be watched


@dataclass
class Trouble:
    """A camera, and the status that it must come to: state and error class."""

    uri: str
    state: str
    error: str | None


@pytest.fixture(scope="module")
def troubles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Trouble]]:
    folder = tmp_path_factory.mktemp("troubles")
    (folder / "empty.mp4").touch()
    whole = write_video(folder / "whole.mp4", steady(2, 15)).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.mp4").write_text("not a video\n" * 500)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed_port = listener.getsockname()[1]
    user = f"admin:{SECRET}"
    with (
        RtspServer("camera", "--user", "admin", "--password", "another") as guarded,
        RtspServer("camera", "--codec", "audio") as audio,
        RtspServer("camera", "--codec", "unknown") as unknown,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        yield {
            "wrong-host": Trouble(f"rtsp://{user}@no-such-host..invalid/x", "lost", "not_found"),
            "refused-port": Trouble(f"rtsp://{user}@127.0.0.1:{closed_port}/x", "lost", "refused"),
            "wrong-password": Trouble(guarded.url(userinfo=user), "lost", "auth"),
            "unknown-path": Trouble(audio.url("nothing-here", userinfo=user), "lost", "not_found"),
            "audio-only": Trouble(audio.url(userinfo=user), "lost", "codec"),
            "unknown-codec": Trouble(unknown.url(userinfo=user), "lost", "codec"),
            "silent": Trouble(f"rtsp://{user}@127.0.0.1:{silent.getsockname()[1]}/x", "lost", "timeout"),
            "missing": Trouble(str(folder / "missing.mp4"), "failed", "not_found"),
            "empty": Trouble(str(folder / "empty.mp4"), "failed", None),
            "cut": Trouble(str(folder / "cut.mp4"), "failed", None),
            "text": Trouble(str(folder / "text.mp4"), "failed", None),
        }


def test_cameras_in_trouble(
    program: Program, motion_bundle: Bundle, tmp_path: Path, troubles: dict[str, Trouble], walking: Path
) -> None:
    """All at once, beside a camera that works: each comes to its status, and that one is not disturbed."""
    journal = tmp_path / "events.sqlite3"
    cameras = "\n".join(f"  - {{name: {name}, uri: '{t.uri}', timeout_s: 3}}" for name, t in troubles.items())
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""
model: {motion_bundle.path}
publish: {{address: tcp://127.0.0.1:0}}
replay: {{address: tcp://127.0.0.1:0}}
journal: {{path: {journal}}}
cameras:
  - {{name: well, uri: {walking}}}
{cameras}
"""
    )
    running = program.start("run", config, "--json")
    words = json.loads(running.until('"publishing'))["message"].split()
    addresses = dict(word.split("=", 1) for word in words[1:])
    waiting = dict(troubles)
    statuses: list[StatusMessage] = []
    deadline_s = time.monotonic() + 45
    with client.Subscription(addresses["events"], replay=addresses["replay"], since="first") as subscription:
        for message in subscription.messages():  # there is a heartbeat every second
            assert time.monotonic() < deadline_s, (waiting, statuses)
            if not isinstance(message, StatusMessage):
                continue
            statuses.append(message)
            trouble = waiting.get(message.camera)
            if trouble and (message.state, message.error) == (trouble.state, trouble.error or message.error):
                assert message.error, message
                assert message.message
                assert "\n" not in message.message
                if message.state == "lost":
                    assert message.next_try
                del waiting[message.camera]
            if not waiting:
                break
    assert not waiting, statuses
    running.until('"reason":"eof"')  # the camera that works has come to its end
    running.signal(signal.SIGTERM)
    ended = running.wait()
    assert ended.code == 1  # files failed for good
    assert_decent(ended)
    logged = [json.loads(line)["message"] for line in ended.err.splitlines()]
    for name, trouble in troubles.items():
        assert any(line.startswith(f"camera {trouble.state} camera={name} error=") for line in logged), name
    text = "".join(status.json_text() for status in statuses)
    assert "hunter2" not in text
    assert b"hunter2" not in journal.read_bytes()
    assert unended(journal) == set()


# ---- streams that change


def test_a_stream_whose_time_and_size_jump(program: Program, motion_bundle: Bundle, tmp_path: Path) -> None:
    """PTS forward, backward and repeated, another size, another frame rate: one run, each event ended by its reason."""
    journal = tmp_path / "events.sqlite3"
    still = [video.flat(160, 120, 90)] * 15
    repeated = [n * 10**9 // 15 for n in (*range(8), *range(4, 11))]
    files = {
        "forward": write_video(tmp_path / "forward.mkv", steady(2, 15) + steady(2, 15, start_s=60)),
        "backward": write_video(tmp_path / "backward.mkv", steady(2, 15, start_s=60) + steady(2, 15)),
        "size": write_video(tmp_path / "size.ts", steady(2, 15) + steady(2, 15, start_s=2, size=(320, 240))),
        "rate": write_video(tmp_path / "rate.mkv", steady(2, 15) + steady(2, 30, start_s=2)),
        "repeat": video.write_video(tmp_path / "repeat.mkv", still, 160, 120, pts_ns=repeated),
    }
    cameras = [word for name, path in files.items() for word in ("--camera", f"{name}={path}")]
    ended = program.run(
        *("run", *cameras, "--model", motion_bundle.path, "--journal", journal, "--json", *free_sockets())
    )
    assert ended.code == 0, ended.text
    assert_decent(ended)
    reasons = {
        name: [e["reason"] for e in ended.events if e["camera"] == name and e["phase"] == "end"] for name in files
    }
    assert reasons == {
        "forward": ["gap", "eof"],
        "backward": ["gap", "eof"],
        "size": ["reconfigured", "eof"],
        "rate": ["eof"],
        "repeat": [],
    }
    assert unended(journal) == set()


def test_a_camera_that_freezes_and_a_server_that_dies(program: Program, motion_bundle: Bundle, tmp_path: Path) -> None:
    journal = tmp_path / "events.sqlite3"
    config = tmp_path / "config.yaml"
    with (
        RtspServer("camera", "--fps", "15", "--size", "160x120") as freezing,
        RtspServer("camera", "--fps", "15", "--size", "160x120") as dying,
    ):
        config.write_text(
            f"""
model: {motion_bundle.path}
publish: {{address: tcp://127.0.0.1:0}}
replay: {{address: tcp://127.0.0.1:0}}
journal: {{path: {journal}}}
cameras:
  - {{name: freezing, uri: "{freezing.url()}", timeout_s: 2}}
  - {{name: dying, uri: "{dying.url()}", timeout_s: 2}}
"""
        )
        running = program.start("run", config, "--json")
        for _ in range(2):
            running.until('"phase":"start"')
        freezing.say("freeze")
        dying.close()
        for _ in range(2):
            running.until('"reason":"camera_lost"')
        freezing.say("thaw")
        with RtspServer("camera", "--fps", "15", "--size", "160x120", "--port", str(dying.port)):
            for _ in range(2):
                running.until('"phase":"start"')
            running.signal(signal.SIGINT, group=True)
            ended = running.wait()
    assert ended.code == 0
    assert_decent(ended)
    assert unended(journal) == set()


# ---- models


def spoil_missing(folder: Path) -> None:
    (folder / "parity.safetensors").unlink()


def spoil_corrupt(folder: Path) -> None:
    data = bytearray((folder / "network.fp32.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "network.fp32.onnx").write_bytes(data)


def spoil_mismatched(folder: Path) -> None:
    text = (folder / "model.yaml").read_text()
    assert "ticks: 6" in text
    (folder / "model.yaml").write_text(text.replace("ticks: 6", "ticks: 8"))


def spoil_description(folder: Path) -> None:
    (folder / "model.yaml").write_text("format: [\n")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_missing, "parity.safetensors is missing"),
        (spoil_corrupt, "network.fp32.onnx is damaged"),
        (spoil_mismatched, "does not belong to model 'motion'"),
        (spoil_description, "is not YAML"),
        (shutil.rmtree, "does not exist"),
    ],
)
@pytest.mark.usefixtures("own_process")
def test_a_bundle_with_missing_corrupt_or_mismatched_parts(
    motion_bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    words: str,
) -> None:
    folder = tmp_path / "motion"
    shutil.copytree(motion_bundle.path, folder)
    spoil(folder)
    assert_told(in_process(capsys, ["a=x.mp4"], model=str(folder)), 2, words)


# ---- configurations


def in_process(
    capsys: pytest.CaptureFixture[str], cameras: list[str], config: Path | None = None, **options: str
) -> Ended:
    """`swinstream run` without a process of its own, for what is refused before anything is started."""
    from stream.commands import run

    given = dict.fromkeys(("model", "engine", "publish", "replay", "journal")) | options
    code = run(config, cameras, given, as_json=False)
    said = capsys.readouterr()
    return Ended(code, said.out, said.err)


CAMERA = f"cameras: [{{name: a, uri: 'rtsp://admin:{SECRET}@127.0.0.1/x'"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{CAMERA}}}]\nmodle: movements\n", (":2:", "modle", "did you mean model?")),
        (f"{CAMERA}, timeout_s: soon}}]\n", (":1:", "cameras[0].timeout_s", "'soon'")),
        (f"{CAMERA}}}, {{name: a, uri: x.mp4}}]\n", ("two cameras are named 'a'",)),
        (f"{CAMERA}, zones: [{{name: z, x: 0.8, y: 0, width: 0.5, height: 1}}]}}]\n", ("zones[0]", "0.8")),
        (f"{CAMERA}}}]\npublish: {{address: 'tcp://0.0.0.0:5556'}}\n", (":2:", "plain text", "swinstream keys")),
        ("cameras: [{name: a, uri: 'ftp://h/x'}]\n", ("cannot open 'ftp://'",)),
        ("cameras: []\n", ("cameras",)),
        ("cameras: [\n", ("not valid YAML",)),
    ],
)
@pytest.mark.usefixtures("own_process")
def test_a_configuration_that_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: tuple[str, ...]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    assert_told(in_process(capsys, [], config), 2, "config.yaml:", *words)


@pytest.mark.parametrize(
    ("cameras", "config", "words"),
    [
        ([], None, "nothing to watch"),
        (["a=x.mp4"], Path("c.yaml"), "not both"),
        ([f"rtsp://admin:{SECRET}@h/x"], None, "expected NAME=URI"),
        (["A B=x.mp4"], None, "name"),
        (["a=x.mp4", "a=y.mp4"], None, "two cameras are named 'a'"),
        ([], Path("nowhere.yaml"), "there is no such file"),
    ],
)
@pytest.mark.usefixtures("own_process")
def test_a_command_line_that_is_wrong(
    capsys: pytest.CaptureFixture[str], cameras: list[str], config: Path | None, words: str
) -> None:
    assert_told(in_process(capsys, cameras, config), 2, words)


@pytest.mark.usefixtures("own_process")
def test_a_taken_port_and_a_journal_that_cannot_be_written(
    motion_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], walking: Path
) -> None:
    options = {"model": str(motion_bundle.path), "replay": "tcp://127.0.0.1:0"}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        taken = in_process(capsys, [f"a={walking}"], publish=address, journal=str(tmp_path / "e.sqlite3"), **options)
    assert_told(taken, 1, "another program has this port", "--publish")
    nowhere = in_process(
        capsys, [f"a={walking}"], publish="tcp://127.0.0.1:0", journal=str(walking / "e.sqlite3"), **options
    )
    assert_told(nowhere, 1, "--journal")


# ---- Ctrl-C and SIGTERM at any moment


def test_signals_at_any_moment(program: Program, motion_bundle: Bundle, tmp_path: Path) -> None:
    """At random moments from the program's first on, one or two of them, to it or to all its processes."""
    chance = random.Random()
    with RtspServer("camera", "--fps", "15", "--size", "160x120") as server:
        tries: list[tuple[str, Running, Path]] = []
        for n in range(6):
            journal = tmp_path / f"{n}.sqlite3"
            command = ["run", "--camera", f"a={server.url()}", "--camera", "b=demo://", "--model", motion_bundle.path]
            if n == 5:
                command = ["demo", "--model", motion_bundle.path]
            else:
                command += ["--journal", journal]
            running = program.start(*command, *free_sockets())
            number, group = chance.choice([signal.SIGINT, signal.SIGTERM]), chance.random() < 0.5
            moments = sorted(chance.uniform(0.1, 12) for _ in range(chance.choice([1, 2])))
            for moment in moments:
                threading.Timer(moment, running.signal, (number, group)).start()
            tries.append((f"{number.name} to {'all' if group else 'one'} at {moments}", running, journal))
        for what, running, journal in tries:
            begun_s = time.monotonic()
            ended = running.wait()
            assert time.monotonic() - begun_s < 60
            # Before the program has anything to end in order the signal itself ends it.
            killed = {-signal.SIGINT, -signal.SIGTERM} if not ended.text else set()
            assert ended.code in {0, *killed}, f"{what}: {ended.code}\n{ended.text}"
            assert "Traceback" not in ended.text, f"{what}\n{ended.text}"
            if journal.exists():
                assert unended(journal) == set(), what


def test_ctrl_c_as_soon_as_there_are_other_processes(program: Program, motion_bundle: Bundle, tmp_path: Path) -> None:
    """A terminal sends it to all of them, also to those that are only starting."""
    running = program.start(
        *("run", "--camera", f"a={tmp_path}/x.mp4", "--camera", "b=rtsp://127.0.0.1:1/x"),
        *("--model", motion_bundle.path, "--journal", tmp_path / "e.sqlite3", *free_sockets()),
    )
    running.until("publishing")
    deadline_s = time.monotonic() + 30
    while len(program.left_behind()) < 2:
        assert time.monotonic() < deadline_s
    for _ in range(20):
        running.signal(signal.SIGINT, group=True)
        time.sleep(0.02)
    ended = running.wait()
    assert ended.code in {0, 1}, ended.text  # 1: the file had failed by then
    assert_decent(ended)


def test_a_killed_program_leaves_no_process_behind_and_its_events_are_ended_by_the_next(
    program: Program, motion_bundle: Bundle, tmp_path: Path, walking: Path
) -> None:
    journal = tmp_path / "e.sqlite3"
    options = ["--model", motion_bundle.path, "--journal", journal, "--json", *free_sockets()]
    running = program.start("run", "--camera", "a=demo://", *options)
    running.until('"phase":"start"')
    running.signal(signal.SIGKILL)
    running.wait()
    deadline_s = time.monotonic() + 10
    while program.left_behind():
        assert time.monotonic() < deadline_s, program.left_behind()
        time.sleep(0.1)
    assert unended(journal)
    ended = program.run("run", "--camera", f"b={walking}", *options)
    assert ended.code == 0
    assert ended.events[0]["reason"] == "crashed"
    assert unended(journal) == set()
