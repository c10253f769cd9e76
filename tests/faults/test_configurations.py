"""Any mistake in a configuration is a ConfigError that says where, and never repeats a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.config_file import load_config
from stream.config_problem import ConfigError

SECRET = "s3cr3t-Xq7"

WHOLE: dict[str, Any] = {
    "model": "movements",
    "engine": {"kind": "openvino"},
    "capture": {"workers": 2},
    "publish": {"address": "tcp://127.0.0.1:5556", "queue": 100},
    "replay": {"address": "tcp://127.0.0.1:5557"},
    "journal": {"path": "events.sqlite3", "max_age_days": 3},
    "events": {"defaults": {"enter": 0.6, "exit": 0.4}, "labels": {"walk": {"min_duration_s": 1}}},
    "cameras": [
        {"name": "in-the-address", "uri": f"rtsp://admin:{SECRET}@192.168.1.20:554/stream1", "timeout_s": 5},
        {"name": "beside-it", "uri": "rtsp://192.168.1.21/h264", "user": "admin", "password": SECRET},
        {"name": "in-the-query", "uri": f"rtsp://192.168.1.22/live?user=admin&password={SECRET}&channel=1"},
        {"name": "in-the-path", "uri": f"rtsp://192.168.1.23/user=admin_password={SECRET}_channel=1"},
        {
            "name": "in-the-environment",
            "uri": "rtsp://admin:${CAMERA_PASSWORD}@192.168.1.24/",
            "zones": [{"name": "door", "x": 0, "y": 0.2, "width": 0.5, "height": 0.8}],
        },
    ],
}
TEXT = yaml.safe_dump(WHOLE, sort_keys=False)
# Without the word `password` nobody could know that it is one.
PLAIN_TEXT = yaml.safe_dump(
    WHOLE | {"cameras": [c for c in WHOLE["cameras"] if "password=" not in c["uri"]]}, sort_keys=False
)
ENVIRONMENT = {"CAMERA_PASSWORD": SECRET}

Way = tuple[str | int, ...]

VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([[], {}, [[]], {"a": {"b": []}}, "${", "${NOT_SET}", "rtsp://", "tcp://0.0.0.0:1", "x" * 5000])
)


def ways(value: Any, above: Way = ()) -> list[Way]:
    """To every value in it."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([above] if above else []), *(way for key, below in inside for way in ways(below, (*above, key)))]


@st.composite
def broken_trees(draw: st.DrawFn) -> str:
    """The whole configuration with values replaced, keys renamed, and parts removed, wrapped or doubled."""
    tree: Any = yaml.safe_load(TEXT)
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(ways(tree)))
        parent: Any = tree
        key: Any
        for key in above:
            parent = parent[key]
        match draw(st.sampled_from(["replace", "rename", "remove", "wrap", "double"])):
            case "replace":
                parent[last] = draw(VALUES)
            case "rename" if isinstance(parent, dict):
                parent[draw(st.text(max_size=8)) or str(last)[:-1]] = parent.pop(last)
            case "remove":
                parent.pop(last)
            case "double" if isinstance(parent, list):
                parent.append(parent[last])
            case _:
                parent[last] = draw(st.sampled_from([[parent[last]], {"inside": parent[last]}]))
        if not ways(tree):
            break
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


@st.composite
def broken_texts(draw: st.DrawFn) -> str:
    """The whole configuration with characters and lines removed, inserted and doubled, but for those of a secret."""
    text = PLAIN_TEXT
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        match draw(st.sampled_from(["insert", "remove", "line", "indent", "cut"])):
            case "insert":
                what = draw(st.sampled_from(list(":-[]{}&*!|>'\"%@`#,?\t\n \x00\x85\ufeff${")) | st.characters())
                text = text[:at] + what + text[at:]
            case "remove":
                text = text[:at] + text[at + draw(st.integers(1, 5)) :]
            case "cut":
                text = text[:at]
            case how:
                lines = text.split("\n")
                n = draw(st.integers(0, len(lines) - 1))
                lines[n : n + 1] = {"line": [], "indent": ["  " + lines[n]]}[how]
                text = "\n".join(lines)
    return text


def check(file: Path, text: str) -> None:
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        config = load_config(file, ENVIRONMENT)
    except ConfigError as error:
        said = str(error)
        assert all(line.startswith(f"{file}:") for line in said.splitlines()), said
    else:
        said = f"{config} {config!r}"
    assert SECRET not in said, said


def test_the_whole_one_is_good(tmp_path: Path) -> None:
    check(tmp_path / "whole.yaml", TEXT)
    assert len(load_config(tmp_path / "whole.yaml", ENVIRONMENT).cameras) == 5


ANY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@ANY
@given(broken_trees())
def test_any_change_of_its_values(tmp_path: Path, text: str) -> None:
    check(tmp_path / "any.yaml", text)


@ANY
@given(broken_texts())
def test_any_change_of_its_text(tmp_path: Path, text: str) -> None:
    check(tmp_path / "any.yaml", text)
