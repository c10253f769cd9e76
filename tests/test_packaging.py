"""What a fresh machine relies on: the pins, the Debian packages, and that README and CONTRIBUTING tell the truth."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = PROJECT["dependencies"]
DEV = RUNTIME + [name for extra in ("train", "calibrate", "test") for name in PROJECT["optional-dependencies"][extra]]
PAGES = ("README.md", "CONTRIBUTING.md")

OURS = {"engine", "stream", "train", "calibration", "swinstream", "swinstream_bench", "swinstream_models", "benchmarks"}
DISTRIBUTIONS = {
    "cuda": "cuda-core",
    "cv2": "opencv-python",
    "gi": "pygobject",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "tensorrt_rtx": "tensorrt-rtx-cu13",
    "ulid": "python-ulid",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
}
"""Whose distribution has another name than its module."""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required(specifiers: list[str]) -> set[str]:
    """Names of the requirements that apply to Linux."""
    here = [text for text in specifiers if "sys_platform != 'linux'" not in text]
    return {canonical(re.split(r"[\[<>=;~! ]", text, maxsplit=1)[0]) for text in here}


def pins(kind: str) -> dict[str, str]:
    found = {}
    for line in (ROOT / "requirements" / f"{kind}.lock").read_text().splitlines():
        if line and not line.lstrip().startswith("#"):
            name, equals, version = line.split(";")[0].strip().partition("==")
            assert equals, f"{kind}.lock: {line!r} is no pin"
            found[canonical(name)] = version
    return found


def imported(package: str) -> set[str]:
    """Top-level modules that a package's files import, wherever they do."""
    files = ROOT.glob("swinstream*.py") if package == "swinstream" else (ROOT / package).rglob("*.py")
    names = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add((node.module or "").split(".")[0])
    return names - OURS - set(sys.stdlib_module_names)


@pytest.mark.parametrize(("kind", "direct"), [("runtime", RUNTIME), ("dev", DEV)])
def test_every_dependency_is_pinned(kind: str, direct: list[str]) -> None:
    assert required(direct) <= pins(kind).keys()


def test_development_has_the_same_pins_as_the_runtime() -> None:
    """So `setup.sh dev` serves `make run` too."""
    assert pins("runtime").items() <= pins("dev").items()


def test_pins_hold_on_every_machine() -> None:
    """No local version, no index of one machine, and no torch where only streaming is wanted."""
    assert not [version for version in pins("dev").values() if "+" in version]
    assert pins("dev")["torch"] == "2.13.0"
    assert not {"torch", "tensorrt", "onnx"} & pins("runtime").keys()
    for kind in ("runtime", "dev"):
        text = (ROOT / "requirements" / f"{kind}.lock").read_text()
        assert "://" not in text
        assert "--" not in text


EXTRAS = {
    "engine": ("train", "gpu", "test"),
    "stream": ("train", "gpu", "export"),
    "train": ("train",),
    "calibration": ("calibrate",),
}


@pytest.mark.parametrize("package", ["engine", "stream", "train", "calibration", "swinstream"])
def test_every_import_is_a_declared_dependency(package: str) -> None:
    declared = required(RUNTIME)
    for extra in EXTRAS.get(package, ()):
        declared |= required(PROJECT["optional-dependencies"][extra])
    assert {canonical(DISTRIBUTIONS.get(name, name)) for name in imported(package)} <= declared


def test_installed_version_is_the_projects() -> None:
    assert importlib.metadata.version("swinstream") == PROJECT["version"]


def debian_packages() -> list[str]:
    lines = (ROOT / "apt-packages.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_debian_packages_are_a_name_a_line() -> None:
    """As scripts/setup.sh reads them."""
    packages = debian_packages()
    assert [name for name in packages if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", name)] == []
    assert len(packages) == len(set(packages))


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="not a Debian system")
def test_what_gstreamer_needs_is_in_the_list() -> None:
    """The files of every typelib and plugin that the code names belong to a listed package."""
    import gi

    gi.require_version("Gst", "1.0")
    from gi.repository import Gst

    from stream.pipeline import RTP_CODECS

    Gst.init(None)
    elements = {"rtspsrc", "filesrc", "parsebin", "decodebin", "v4l2src", "videoconvert", "appsink", "x264enc"}
    elements |= {codec.software[0].split()[0] for codec in RTP_CODECS.values()}
    elements |= {codec.depayload.split()[0] for codec in RTP_CODECS.values()}
    plugins = [Gst.ElementFactory.find(element).get_plugin().get_filename() for element in sorted(elements)]
    typelibs = ("Gst-1.0", "GstApp-1.0", "GstVideo-1.0", "GstRtspServer-1.0")
    files = plugins + [next(Path("/usr/lib").glob(f"*/girepository-1.0/{name}.typelib")) for name in typelibs]
    command = ["dpkg-query", "-S", *sorted({str(Path(file).resolve()) for file in files})]
    asked = subprocess.run(command, capture_output=True, text=True, check=True)  # fails for a file of no package
    owners = {line.split(":")[0] for line in asked.stdout.splitlines()}
    # GStreamer's core elements come with every plugin package.
    assert owners - {"libgstreamer1.0-0"} <= set(debian_packages())


@pytest.mark.parametrize("how", ["command line", "environment"])
def test_make_run_hands_the_camera_on_as_it_is(how: str, tmp_path: Path) -> None:
    """Quotes, dollars and spaces of a password reach the program, and no shell reads them."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", tmp_path)
    stubs = {"scripts/setup.sh": "true", ".venv/bin/swinstream": 'printf "%s\\n" "$@"'}
    for name, body in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    uri = """rtsp://me:it's "$HOME" $(id) `id` #1@192.0.2.7/stream1"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    if how == "environment":
        command, environment["CAMERA"] = ["make", "run"], uri
    else:  # where make itself reads a dollar
        command = ["make", "run", "CAMERA=" + uri.replace("$", "$$")]
    made = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert made.stdout.splitlines() == ["run", "--camera", f"camera={uri}"]


def test_setup_says_what_it_takes() -> None:
    called = subprocess.run([ROOT / "scripts" / "setup.sh"], capture_output=True, text=True, check=False)
    assert called.returncode == 2
    assert "runtime|dev" in called.stderr


# ---- what the pages say


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_make_targets_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", page("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)\b", page(name), re.MULTILINE))
    assert named, f"{name} names no target"
    assert named <= targets


@pytest.mark.parametrize("name", PAGES)
def test_files_that_are_linked_exist(name: str) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page(name))
    assert [link for link in links if not (ROOT / link).exists()] == []


_LIST_COMMANDS = """
import json, swinstream, typer
group = typer.main.get_command(swinstream.app)

def options(command):
    own = [o for p in command.params for o in p.opts]
    return own + [o for inner in getattr(command, "commands", {}).values() for o in options(inner)]

print(json.dumps({name: options(command) for name, command in group.commands.items()}))
"""


@pytest.fixture(scope="module")
def commands() -> dict[str, list[str]]:
    """The command line as it is: every command with its options. Asked in a process, as only that is to import it."""
    asked = subprocess.run([sys.executable, "-c", _LIST_COMMANDS], capture_output=True, text=True, check=True, cwd=ROOT)
    found: dict[str, list[str]] = json.loads(asked.stdout)
    return found


@pytest.mark.parametrize("name", [*PAGES, "docs/operations.md"])
def test_commands_and_options_exist(commands: dict[str, list[str]], name: str) -> None:
    for command, rest in re.findall(r"swinstream ([a-z]+)([^`\n#]*)", code(page(name))):
        assert command in commands, f"{name}: swinstream {command}"
        options = set(re.findall(r"(?<!\S)--[a-z-]+", rest))
        assert options <= {*commands[command], "--help"}, f"{name}: swinstream {command}{rest}"


def code(markdown: str) -> str:
    """Blocks and spans of code, a line each."""
    blocks = re.findall(r"```\w*\n(.*?)```", markdown, re.DOTALL)
    spans = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", markdown, flags=re.DOTALL))
    return "\n".join([*blocks, *(" ".join(span.split()) for span in spans)])


def test_readme_lists_every_command(commands: dict[str, list[str]]) -> None:
    listed = set(re.findall(r"^\| `swinstream ([a-z]+)", page("README.md"), re.MULTILINE))
    assert listed == commands.keys()


def test_the_unit_runs_commands_that_exist(commands: dict[str, list[str]]) -> None:
    started = re.findall(r"^Exec\w+=\S+/swinstream ([a-z]+) (.*)$", page("deploy/swinstream.service"), re.MULTILINE)
    assert [command for command, _ in started] == ["run", "reload"]
    assert {option for _, rest in started for option in rest.split() if option.startswith("-")} <= set(commands["run"])


def test_readme_configuration_is_valid(tmp_path: Path) -> None:
    from stream.config_file import load_config

    for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", page("README.md"), re.DOTALL)):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        assert load_config(file, {"CAMERA_PASSWORD": "secret"}).cameras


def test_readme_event_is_one() -> None:
    from stream.wire import EventMessage

    messages = re.findall(r"```json\n(.*?)```", page("README.md"), re.DOTALL)
    assert len(messages) == 1
    assert EventMessage.parse(messages[0]).reason == "score"


def test_changelog_knows_the_version_or_what_comes_next() -> None:
    headings = re.findall(r"^## (.+)$", page("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0].startswith(PROJECT["version"])
