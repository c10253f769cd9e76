"""Plan: what a configuration comes to."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from engine.bundle import Bundle, BundleError
from engine.runtime.base import Engine, EngineError
from stream.config import Config
from stream.config_file import load_config
from stream.config_problem import ConfigError
from stream.plan import Plan, make_plan, with_uri
from stream.zone import Zone
from tests.formula_bundle import SPEC, make_formula_bundle


def plan_of(folder: Path, text: str) -> Plan:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return make_plan(load_config(path))


def test_cameras_zones_rules_and_models(tmp_path: Path, motion_bundle: Bundle) -> None:
    make_formula_bundle(tmp_path / "other", enter=0.9)
    plan = plan_of(
        tmp_path,
        f"""
model: {motion_bundle.path}
events:
  defaults: {{min_duration_s: 1.5}}
cameras:
  - name: door
    uri: rtsp://user:secret@127.0.0.1/x
    transport: udp
    latency_ms: 50
    timeout_s: 3
    zones:
      - {{name: left, x: 0, y: 0, width: 0.5, height: 1}}
      - {{name: right, x: 0.5, y: 0, width: 0.5, height: 1, model: ./other}}
  - {{name: film, uri: film.mp4}}
""",
    )
    door, film = plan.cameras
    assert (door.task.transport, door.task.latency_ms, door.task.timeout_s) == ("udp", 50, 3.0)
    assert door.task.uri.password == "secret"
    assert "secret" not in repr(plan)
    assert film.task.uri.path == str(tmp_path / "film.mp4")
    assert [zone.name for zone in film.zones] == ["full"]
    left, right = door.zones
    assert [zone.zone for zone in door.task.zones] == [Zone(0, 0, 0.5, 1), Zone(0.5, 0, 0.5, 1)]
    assert [(zone.ticks, zone.rate_hz, zone.width) for zone in door.task.zones] == [(6, 10.0, 64)] * 2
    assert set(plan.engines) == {str(motion_bundle.path), str(tmp_path / "other")}
    assert (left.engine, right.engine) == (str(motion_bundle.path), str(tmp_path / "other"))
    # What the user wrote, then the bundle's, then the default.
    assert (left.rules["move"].min_duration_s, left.rules["move"].enter) == (1.5, 0.6)
    assert right.rules["move"].enter == 0.9
    assert left.spec == SPEC


def test_idle_gating_of_a_zone_goes_before_its_cameras_and_that_before_the_whole(
    tmp_path: Path, motion_bundle: Bundle
) -> None:
    plan = plan_of(
        tmp_path,
        f"""
model: {motion_bundle.path}
idle_gating: false
cameras:
  - {{name: a, uri: a.mp4}}
  - name: b
    uri: b.mp4
    idle_gating: true
    zones:
      - {{name: one, x: 0, y: 0, width: 1, height: 1}}
      - {{name: two, x: 0, y: 0, width: 1, height: 1, idle_gating: false}}
""",
    )
    assert [[zone.idle_gating for zone in camera.zones] for camera in plan.cameras] == [[False], [True, False]]
    usual = make_plan(Config.from_cameras(["a=x.mp4"]).with_options(model=str(motion_bundle.path)))
    assert usual.cameras[0].zones[0].idle_gating


def test_the_engine_is_the_one_that_was_asked_for(motion_bundle: Bundle) -> None:
    config = Config.from_cameras(["a=x.mp4"]).with_options(model=str(motion_bundle.path), engine="openvino")
    engine = make_plan(config).engines[str(motion_bundle.path)]()
    assert engine.info.kind == "openvino"
    assert engine.info.reason == ""
    engine.close()


def test_the_precision_is_the_one_that_was_asked_for(tmp_path: Path, motion_bundle: Bundle) -> None:
    def engine(precision: str) -> Engine:
        plan = plan_of(
            tmp_path,
            f"{{model: {motion_bundle.path}, engine: {{kind: openvino, precision: {precision}, threads: 1}}, "
            "cameras: [{name: a, uri: x.mp4}]}",
        )
        return plan.engines[str(motion_bundle.path)]()

    with contextlib.closing(engine("fp32")) as made:
        assert made.info.precision == "fp32"
    with pytest.raises(BundleError, match="has no int8 graph: `swinstream calibrate int8` makes one"):
        engine("int8")
    try:
        with contextlib.closing(engine("bf16")) as made:
            assert made.info.precision == "bf16"
    except EngineError as error:
        assert "does not compute in bf16" in str(error)  # noqa: PT017  # it depends on the processor


def test_rules_for_a_label_that_no_model_knows(tmp_path: Path, motion_bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"no model in use knows walk; they know count, move"):
        plan_of(
            tmp_path,
            f"{{model: {motion_bundle.path}, events: {{labels: {{walk: {{enter: 0.5}}}}}}, "
            "cameras: [{name: a, uri: x.mp4}]}",
        )


def test_a_cameras_own_rules_go_before_all_others(tmp_path: Path) -> None:
    make_formula_bundle(tmp_path / "model", enter=0.9)
    plan = plan_of(
        tmp_path,
        """
model: ./model
events:
  defaults: {min_duration_s: 1.5, enter: 0.7, exit: 0.65}
  labels: {count: {enter: 0.75}}
cameras:
  - {name: yard, uri: x.mp4}
  - name: door
    uri: x.mp4
    events: {defaults: {cooldown_s: 9}, labels: {move: {enter: 0.6}}}
""",
    )
    yard, door = (camera.zones[0].rules for camera in plan.cameras)
    assert (yard["move"].enter, yard["move"].exit_score, yard["move"].cooldown_s) == (0.7, 0.65, 0.0)
    assert (door["move"].enter, door["move"].min_duration_s, door["move"].cooldown_s) == (0.6, 1.5, 9.0)
    assert door["move"].exit_score == pytest.approx(0.4), "an exit goes with its enter"
    assert (door["count"].enter, door["count"].exit_score) == (0.75, 0.65)
    with pytest.raises(ConfigError, match=r"camera door: events\.labels: no model in use knows walk"):
        plan_of(
            tmp_path,
            "{model: ./model, cameras: [{name: door, uri: x.mp4, events: {labels: {walk: {enter: 0.5}}}}]}",
        )


def test_a_model_that_does_not_exist() -> None:
    with pytest.raises(BundleError, match="no model 'nope'"):
        make_plan(Config.from_cameras(["a=x.mp4"]).with_options(model="nope"))


def test_demo_cameras_are_started_with_the_service(motion_bundle: Bundle) -> None:
    config = Config.from_cameras(["a=demo://7", "b=x.mp4"]).with_options(model=str(motion_bundle.path))
    plan = make_plan(config)
    assert {name: demo.programme.seed for name, demo in plan.demos.items()} == {"a": 7}
    moved = with_uri(plan.cameras[0], "rtsp://127.0.0.1:1234/demo")
    assert (moved.task.uri.port, moved.zones) == (1234, plan.cameras[0].zones)
    with pytest.raises(ConfigError, match=r"camera a: demo:// is followed by"):
        make_plan(Config.from_cameras(["a=demo://x"]).with_options(model=str(motion_bundle.path)))
