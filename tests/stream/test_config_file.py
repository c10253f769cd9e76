"""Errors say file, line, key, value and what was expected; and show no secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.config_file import load_config
from stream.config_problem import ConfigError
from stream.security import make_keys

ROOT = Path(__file__).parents[2]
GOOD = "cameras:\n  - name: yard\n    uri: rtsp://cam/x\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cameras.yaml"


def problems(file: Path, text: str | bytes, **environment: str) -> list[str]:
    """The lines of the error, without the file's name."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(file, environment)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(str(file)) for line in lines)
    return [line.removeprefix(str(file)) for line in lines]


def test_a_good_one(file: Path) -> None:
    file.write_text(GOOD)
    assert load_config(file).cameras[0].name == "yard"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            GOOD + "    transport: tpc\n",
            ":4: cameras[0].transport: 'tpc': expected 'tcp', 'udp' or 'auto'",
        ),
        (GOOD + "    latency: 3\n", ":4: cameras[0].latency: unknown key; did you mean latency_ms?"),
        (GOOD + "zzz: 3\n", ":4: zzz: unknown key; known here: model, cameras, "),
        (GOOD + "engine: {kind: [1]}\n", ":4: engine.kind: expected 'auto', "),
        (GOOD + "publish:\n  queue: many\n", ":5: publish.queue: 'many': expected a valid integer"),
        (
            GOOD + "events: {labels: {run: {exclusive: [1]}}}\n",
            ":4: events.labels.run.exclusive: expected a valid bool",
        ),
        (GOOD + "events: {labels: {run: {entr: 1}}}\n", ":4: events.labels.run.entr: unknown key; did you mean enter?"),
        (
            GOOD + "events: {labels: {run: {enter: 2}}}\n",
            ":4: events.labels.run.enter: '2': expected less than or equal",
        ),
        (
            GOOD + "events:\n  defaults:\n    exit: 0.9\n",
            ":5: events.defaults: exit (0.9) must not be above enter (0.6)",
        ),
        (GOOD + "  - name: yard\n    uri: x.mp4\n", ":4: cameras[1].name: 'yard': two cameras are named 'yard'"),
        (GOOD + "  - uri: x.mp4\n", ":4: cameras[1].name: missing"),
        (GOOD + "  - name: 7\n    uri: x.mp4\n", ":4: cameras[1].name: '7': expected a valid string"),
        (GOOD + "  - name: Yard\n    uri: x\n", ":4: cameras[1].name: 'Yard': expected small letters a-z, digits and"),
        (
            GOOD + "    zones:\n      - {name: a, x: 0.5, y: 0, width: 0.6, height: 1}\n",
            ":5: cameras[0].zones[0]: zone (x 0.5, y 0, width 0.6, height 1 of the picture) reaches outside",
        ),
        (
            GOOD + "    zones: [{name: a, x: 0, y: 2, width: 1, height: 1}]\n",
            ":4: cameras[0].zones[0].y: '2': expected",
        ),
        (GOOD + "    zones: []\n", ":4: cameras[0].zones: expected at least 1"),
        (
            "cameras:\n  - name: a\n    uri: nope://x\n",
            ":3: cameras[0].uri: 'nope://***': cannot open 'nope://' addresses",
        ),
        ("cameras: []\n", ":1: cameras: expected at least 1"),
        ("cameras: x\n", ":1: cameras: 'x': expected a valid tuple"),
        ("model: movements\n", ":1: cameras: missing"),
        (
            GOOD + "publish: {address: 'tcp://0.0.0.0:5556'}\n",
            ":4: publish.address: 'tcp://0.0.0.0:5556': refusing to s",
        ),
        (
            GOOD + "publish: {address: here}\n",
            ":4: publish.address: 'here': 'here' is no address: expected tcp://HOST:P",
        ),
        (GOOD + "security: {server_key: nothing}\n", ":4: security.server_key: 'nothing': cannot read the secret key"),
        # YAML itself
        ("cameras:\n  - name: [a\n    uri: x\n", ":3: not valid YAML: expected ',' or ']'"),
        ("cameras:\n\t- x\n", ":2: not valid YAML: found character '\\t'"),
        ("a: 1\n---\nb: 2\n", ":2: not valid YAML: but found another document"),
        ("a: *x\n", ":1: not valid YAML: found undefined alias 'x'"),
        ("a: !!python/object:os.system x\n", ":1: not valid YAML: could not determine a constructor"),
        ("a: 2026-13-45\n", ": not valid YAML: month must be in 1..12"),
        ("a: \x07\n", ": not valid YAML: "),
        ("? [a]\n: 2\n", ":1: ?: expected a key"),
        ("cameras:\n  - name: a\n    name: b\n", ":3: cameras[0].name: given twice, first in line 2"),
        ("[1, 2]", ":1: expected keys and values"),
        ("just text", ":1: expected keys and values"),
        ("", ": the file is empty"),
        ("# only a comment\n", ": the file is empty"),
        (b"cameras:\n  - name: \xff\n", ":2: not UTF-8"),
        ("[" * 100_000, ": not valid YAML"),
        (
            "a0: &a0 [x, x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{f'*a{i}, ' * 6}]\n" for i in range(9)),
            ":1: the file stands",
        ),
    ],
)
def test_a_wrong_one(file: Path, text: str | bytes, expected: str) -> None:
    (line, *_) = problems(file, text)
    assert line.startswith(expected)


@pytest.mark.parametrize("password", ["pa/ss", "s3c#ret", "wh?o", "x/y z@q"])
def test_a_password_in_an_address_that_cannot_be_parsed(file: Path, password: str) -> None:
    (line,) = problems(file, f"cameras:\n  - name: a\n    uri: 'rtsp://admin:{password}@h/x'\n")
    assert line.startswith(":3: cameras[0].uri: 'rtsp://***': ")
    assert password not in line
    assert "admin" not in line


def test_every_problem_has_its_line(file: Path) -> None:
    lines = problems(file, GOOD + "    transport: x\n    timeout_s: never\nengin: {}\n")
    assert [line.split(":")[1] for line in lines] == ["4", "5", "6"]


def test_no_more_than_can_be_read(file: Path) -> None:
    lines = problems(file, GOOD + "".join(f"key{i}: 1\n" for i in range(30)))
    assert len(lines) == 11
    assert lines[-1] == ": and 20 more problems"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_config(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    big = tmp_path / "big.yaml"
    big.write_bytes(b"#" * (5 << 20))
    with pytest.raises(ConfigError, match="more than 4 MiB"):
        load_config(big)


class TestEnvironment:
    def test_values(self, file: Path) -> None:
        file.write_text(GOOD + "    user: ${WHO}-${WHO}$$\n    latency_ms: ${MS}\n")
        camera = load_config(file, {"WHO": "me", "MS": "70"}).cameras[0]
        assert (camera.user, camera.latency_ms) == ("me-me$", 70)

    def test_within_an_address_any_password_works(self, file: Path) -> None:
        file.write_text(GOOD.replace("rtsp://cam/x", "rtsp://me:${PW}@cam/x"))
        address = load_config(file, {"PW": "a@b:c/d#e?f%20"}).cameras[0].address
        assert (address.password, address.host, address.path) == ("a@b:c/d#e?f%20", "cam", "/x")

    def test_the_path_of_an_address_is_not_escaped(self, file: Path) -> None:
        file.write_text(GOOD.replace("rtsp://cam/x", "rtsp://me@${HOST}/${PATH_}"))
        address = load_config(file, {"HOST": "cam:99", "PATH_": "a/b"}).cameras[0].address
        assert (address.port, address.path) == (99, "/a/b")

    def test_one_that_is_not_set(self, file: Path) -> None:
        assert problems(file, GOOD + "    password: ${PW}\n") == [
            ":4: cameras[0].password: the environment variable PW is not set"
        ]

    def test_one_that_is_no_name(self, file: Path) -> None:
        (line,) = problems(file, GOOD + "    password: ${hunter2!}\n")
        assert "write $$ for a dollar sign" in line
        assert "hunter2" not in line

    def test_a_value_stands_for_itself_and_is_no_yaml(self, file: Path) -> None:
        file.write_text(GOOD + "    user: ${WHO}\n")
        assert load_config(file, {"WHO": "[a, b]: ${PW}"}).cameras[0].user == "[a, b]: ${PW}"


@pytest.mark.parametrize(
    "text",
    [
        "    password: [hunter2]\n",
        "    password: hunter2\n    password_file: nothing\n",
        "    pw: hunter2\n",
        "    user: {hunter2: hunter2}\n",
        "  - name: rtsp://me:hunter2@cam/\n    uri: x\n",
        "  - name: b\n    uri: rtsp://me:hunter2@/\n",
        "  - name: b\n    uri: rtsp://me:hunter2@cam:port/\n",
        "  - name: b\n    uri: nope://me:hunter2@cam/\n",
        "  - name: b\n    uri: rtsp://me:${PW}@cam:port/\n",
        "    transport: ${PW}\n",
        "    latency_ms: ${PW}\n",
    ],
)
def test_errors_show_no_secret(file: Path, text: str) -> None:
    lines = problems(file, GOOD + text, PW="hunter2")
    assert "hunter2" not in "".join(lines).replace("user.hunter2", "")


def test_merge_keys_of_yaml(file: Path) -> None:
    file.write_text(
        "cameras:\n"
        "  - &base {name: a, uri: rtsp://cam/a, user: me, latency_ms: 50}\n"
        "  - {<<: *base, name: b, uri: rtsp://cam/b}\n"
    )
    assert [(c.name, c.user, c.latency_ms) for c in load_config(file).cameras] == [("a", "me", 50), ("b", "me", 50)]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(max_size=200)
    | st.binary(max_size=100)
    | st.lists(
        st.sampled_from(
            [
                *GOOD.split("\n"),
                "- a",
                "  zones:",
                "? x",
                "&a",
                "*a",
                "<<: *a",
                "events: {labels: {x: 1}}",
                "[",
                "a: ${",
            ]
        ),
        max_size=8,
    ).map("\n".join)
)
def test_nothing_but_config_errors(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "any.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    said = f"{file}: "
    try:
        load_config(file, {})
    except ConfigError as error:
        said = str(error)
    assert re.match(re.escape(str(file)) + r"(:\d+)?: ", said)


class TestExamples:
    @pytest.mark.parametrize("name", ["one-camera", "shop", "encrypted"])
    def test_can_be_loaded(self, name: str, tmp_path: Path) -> None:
        text = (ROOT / "configs" / "cameras" / f"{name}.yaml").read_text()
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets" / "yard-password").write_text("x")
        (tmp_path / "secrets" / "camera-ca.pem").write_text("x")
        for key in ("server", "office", "phone-gateway"):
            make_keys(tmp_path / "secrets", key)
        (tmp_path / "example.yaml").write_text(text)
        config = load_config(tmp_path / "example.yaml", {"CAMERA_PASSWORD": "p@ss", "SHOP_PASSWORD": "p@ss"})
        assert config.cameras

    def test_are_what_there_is(self) -> None:
        assert sorted(p.stem for p in (ROOT / "configs" / "cameras").iterdir()) == ["encrypted", "one-camera", "shop"]


def test_an_alias_inside_what_it_stands_for(tmp_path: Path) -> None:
    path = tmp_path / "endless.yaml"
    path.write_text("&0\n0000000:\n0: *0\n0000000:", encoding="utf-8")
    with pytest.raises(ConfigError, match="an alias stands inside what it stands for"):
        load_config(path)
