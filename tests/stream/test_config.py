"""What the configuration means: inheritance, options of the command line, and that it never shows a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from stream.config import Config
from stream.config_camera import FULL_ZONE, CameraConfig
from stream.config_problem import ConfigError
from stream.events import Rules
from stream.security import make_keys
from stream.thresholds import Thresholds
from stream.uri import CameraUri

SECRET = "s3cr3t:/@#?"


def camera(**more: object) -> dict[str, object]:
    return {"name": "yard", "uri": "rtsp://cam.local/x", **more}


def config(**more: object) -> Config:
    return Config.model_validate({"cameras": [camera()], **more})


class TestFromCameras:
    def test_names_and_addresses(self) -> None:
        made = Config.from_cameras(["front-door=rtsp://u:p@cam/x?a=b", "clip=some/clip.mp4"])
        assert [c.name for c in made.cameras] == ["front-door", "clip"]
        assert made.cameras[0].address == CameraUri.parse("rtsp://u:p@cam/x?a=b")
        assert made.cameras[1].address.path == str(Path("some/clip.mp4").absolute())
        assert made.cameras[0].zones == (FULL_ZONE,)

    @pytest.mark.parametrize(
        ("cameras", "error"),
        [
            (["rtsp://u:hunter2@cam/x"], "expected NAME=URI"),
            (["rtsp://u:hunter2@cam/x?a=b"], "expected NAME=URI"),
            (["Front=rtsp://u:hunter2@cam/x"], "small letters"),
            (["a=x.mp4", "a=y.mp4"], r"cameras\[1\].name: two cameras are named 'a'"),
            (["rtsp://u:hun#ter2@cam/x"], "--camera 'rtsp://\\*\\*\\*': expected NAME=URI"),
            (["a=~nosuchuser/x.mp4"], "home folder of nobody"),
            (["a="], "empty"),
            (["a=gopher://u:hunter2@cam"], "cannot open 'gopher://'"),
            ([], "at least 1"),
        ],
    )
    def test_wrong(self, cameras: list[str], error: str) -> None:
        with pytest.raises(ConfigError, match=error) as caught:
            Config.from_cameras(cameras)
        assert "hunter2" not in str(caught.value)
        assert "hun#ter2" not in str(caught.value)


class TestWithOptions:
    def test_go_before_the_file(self) -> None:
        base = config(publish={"queue": 7}, engine={"threads": 2})
        made = base.with_options(
            model="fight",
            engine="openvino",
            publish="tcp://127.0.0.1:1",
            replay="tcp://127.0.0.1:2",
            journal="j.sqlite3",
        )
        assert (made.model, made.engine.kind, made.engine.threads) == ("fight", "openvino", 2)
        assert (made.publish.address, made.publish.queue) == ("tcp://127.0.0.1:1", 7)
        assert made.replay.address == "tcp://127.0.0.1:2"
        assert made.journal.path == Path("j.sqlite3").absolute()
        assert base.with_options() == base

    def test_the_replay_goes_beside_the_publisher(self) -> None:
        assert config().replay_address == "tcp://127.0.0.1:5557"
        assert config().with_options(publish="tcp://127.0.0.1:6000").replay_address == "tcp://127.0.0.1:6001"
        assert config(publish={"address": "tcp://[::1]:6000"}).replay_address == "tcp://[::1]:6001"
        assert config().with_options(publish="tcp://127.0.0.1:0").replay_address == "tcp://127.0.0.1:0"
        assert config().with_options(publish="ipc:///tmp/e").replay_address == "tcp://127.0.0.1:5557"
        given = config(replay={"address": "tcp://127.0.0.1:9"})
        assert given.with_options(publish="tcp://127.0.0.1:6000").replay_address == "tcp://127.0.0.1:9"
        with pytest.raises(ConfigError, match=r"journal.path: ~nosuchuser/e: "):
            config().with_options(journal="~nosuchuser/e")

    def test_are_checked(self) -> None:
        with pytest.raises(ConfigError, match=r"publish.address: refusing to serve tcp://0.0.0.0:1"):
            config().with_options(publish="tcp://0.0.0.0:1")
        with pytest.raises(ConfigError, match=r"replay.address: .*expected 1 to 65535"):
            config().with_options(replay="tcp://127.0.0.1:70000")
        with pytest.raises(ConfigError, match=r"engine.kind: expected 'auto', 'openvino' or 'tensorrt'"):
            config().with_options(engine="abacus")


class TestSecrets:
    def test_are_shown_nowhere(self) -> None:
        made = Config.model_validate(
            {
                "cameras": [
                    camera(user="admin", password=SECRET),
                    {"name": "gate", "uri": "rtsp://admin:s3cr3t%3A%2F@cam/x?token=s3cr3t"},
                ]
            }
        )
        shown = [repr(made), str(made), made.model_dump_json(), json.dumps(made.model_dump(mode="json"))]
        shown += [repr(c.address) + str(c.address) for c in made.cameras]
        assert all("s3cr3t" not in text for text in shown)
        assert made.cameras[0].address.password == SECRET
        assert made.cameras[0].address.user == "admin"

    def test_from_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "pw").write_text(f"{SECRET}\nanything else\n")
        made = CameraConfig.model_validate(camera(password_file="pw"), context={"folder": tmp_path})
        assert made.address.password == SECRET

    @pytest.mark.parametrize(
        ("content", "more", "error"),
        [
            (None, {}, "No such file"),
            ("", {}, "is empty"),
            ("\nx", {}, "is empty"),
            (b"\xff\xfe", {}, "not UTF-8"),
            ("x", {"password": "hunter2"}, "not both"),
        ],
    )
    def test_files_that_are_wrong(
        self, tmp_path: Path, content: str | bytes | None, more: dict[str, object], error: str
    ) -> None:
        if content is not None:
            (tmp_path / "pw").write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ValidationError, match=error) as caught:
            CameraConfig.model_validate(camera(password_file="pw", **more), context={"folder": tmp_path})
        assert "hunter2" not in str(caught.value)

    def test_a_changed_password_is_a_changed_camera(self, tmp_path: Path) -> None:
        """What live reload compares."""
        made = []
        for password in ("one", "one", "two"):
            (tmp_path / "pw").write_text(password)
            made.append(CameraConfig.model_validate(camera(password_file="pw"), context={"folder": tmp_path}))
        assert made[0] == made[1] != made[2]


class TestZonesAndModels:
    def test_the_nearest_model_counts(self, tmp_path: Path) -> None:
        zones = [{"name": n, "x": 0, "y": 0, "width": 1, "height": 1, "model": m} for n, m in (("a", "z"), ("b", None))]
        made = Config.model_validate(
            {"model": "m", "cameras": [camera(zones=zones), camera(name="gate", model="./mine", zones=zones)]},
            context={"folder": tmp_path},
        )
        models = [made.model_of(c, z) for c in made.cameras for z in c.zones]
        assert models == ["z", "m", "z", str(tmp_path / "mine")]

    @pytest.mark.parametrize(
        "zone",
        [
            {"x": 0.5, "width": 0.6},
            {"y": 0.5, "height": 0.51},
            {"x": -0.1},
            {"width": 0},
            {"width": 1.1},
            {"x": float("nan")},
            {"height": float("inf")},
        ],
    )
    def test_outside_the_picture(self, zone: dict[str, float]) -> None:
        whole = {"name": "full", "x": 0, "y": 0, "width": 1, "height": 1}
        with pytest.raises(ValidationError):
            config(cameras=[camera(zones=[whole | zone])])

    def test_a_hair_over_is_rounding(self) -> None:
        zone = {"name": "a", "x": 0.7, "y": 0, "width": 0.3 + 1e-12, "height": 1}
        config(cameras=[camera(zones=[zone])])

    def test_two_of_one_name(self) -> None:
        zone = {"name": "a", "x": 0, "y": 0, "width": 1, "height": 1}
        with pytest.raises(ValidationError, match="two zones of this camera are named 'a'"):
            config(cameras=[camera(zones=[zone, zone])])


class TestEvents:
    def test_labels_inherit_defaults_and_bundles_fill_the_rest(self) -> None:
        events = config(events={"defaults": {"enter": 0.8, "cooldown_s": 3}, "labels": {"run": {"enter": 0.9}}}).events
        bundle = Thresholds.parse({"labels": {"run": {"merge_gap_s": 2.0, "enter": 0.1}, "walk": {"smoothing_s": 1}}})
        rules = events.rules(["run", "walk", "skip"], bundle)
        assert rules["run"] == Rules(enter=0.9, cooldown_s=3, merge_gap_s=2.0)
        assert rules["walk"] == Rules(enter=0.8, cooldown_s=3, smoothing_s=1)
        assert rules["skip"] == Rules(enter=0.8, cooldown_s=3)
        assert events.unknown(["walk", "skip"]) == ["run"]

    def test_a_label_is_checked_with_what_it_inherits(self) -> None:
        with pytest.raises(ValidationError, match=r"exit \(0.9\) must not be above enter \(0.7\)"):
            config(events={"defaults": {"enter": 0.7}, "labels": {"run": {"exit": 0.9}}})


class TestSecurity:
    def test_keys(self, tmp_path: Path) -> None:
        make_keys(tmp_path, "server")
        public, _ = make_keys(tmp_path, "client")
        data = {"server_key": "server.key_secret", "clients": ["client.key"]}
        made = Config.model_validate(
            {"cameras": [camera()], "security": data, "publish": {"address": "tcp://0.0.0.0:5556"}},
            context={"folder": tmp_path},
        )
        curve = made.security.curve
        assert curve is not None
        assert [key.decode() in public.read_text() for key in curve.clients] == [True]
        assert curve.keys.secret.decode() not in repr(made)

    @pytest.mark.parametrize(
        ("security", "error"),
        [
            ({"server_key": "server.key_secret"}, "list the clients"),
            ({"clients": ["client.key"]}, "no server_key"),
            ({"server_key": "nothing", "clients": ["client.key"]}, "cannot read the secret key"),
            ({"server_key": "server.key_secret", "clients": ["nothing"]}, "cannot read the key"),
        ],
    )
    def test_wrong(self, tmp_path: Path, security: dict[str, object], error: str) -> None:
        make_keys(tmp_path, "server")
        make_keys(tmp_path, "client")
        with pytest.raises(ValidationError, match=error):
            Config.model_validate({"cameras": [camera()], "security": security}, context={"folder": tmp_path})

    def test_the_network_needs_keys_or_a_clear_word(self) -> None:
        address = {"address": "tcp://0.0.0.0:5556"}
        with pytest.raises(ValidationError, match="refusing to serve"):
            config(publish=address)
        config(publish=address, security={"allow_plaintext": True})


class TestMetrics:
    def test_nowhere_unless_asked(self) -> None:
        assert config().metrics.address is None
        assert config().with_options(metrics="127.0.0.1:9464").metrics.address == "127.0.0.1:9464"
        assert config(metrics={"address": "127.0.0.1:1"}).with_options(metrics="[::1]:2").metrics.address == "[::1]:2"

    def test_this_machine_only_unless_said_so(self) -> None:
        remote = config(metrics={"allow_remote": True})
        assert remote.with_options(metrics="0.0.0.0:9464").metrics.allow_remote
        with pytest.raises(ConfigError, match=r"metrics.address: 0.0.0.0:9464 is open to the network.*allow_remote"):
            config().with_options(metrics="0.0.0.0:9464")

    def test_an_address(self) -> None:
        with pytest.raises(ConfigError, match=r"metrics.address: '9464' is no address: expected HOST:PORT"):
            config().with_options(metrics="9464")
