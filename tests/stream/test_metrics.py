"""Metrics: a real `swinstream run`, scraped, as Prometheus, systemd and Grafana's dashboard see it."""

from __future__ import annotations

import json
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from engine.bundle import Bundle
from tests.program import Program, Running, free_sockets
from tests.systemd import Systemd

ROOT = Path(__file__).parents[2]
DASHBOARD, PAGE = ROOT / "deploy" / "grafana-dashboard.json", ROOT / "docs" / "operations.md"

Scrape = dict[str, Metric]


def get(url: str, timeout_s: float = 10) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scrape(url: str) -> Scrape:
    status, text = get(f"{url}/metrics")
    assert status == 200
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(scraped: Scrape, name: str, **labels: str) -> float:
    """Of the one sample that has these labels, or the sum of several."""
    family = next(f for n, f in scraped.items() if name in {n, f"{n}_total", f"{n}_count", f"{n}_info"})
    found = [s.value for s in family.samples if s.name == name and labels.items() <= s.labels.items()]
    assert found, f"no {name} with {labels}"
    return sum(found)


def cameras(url: str) -> dict[str, dict[str, str | None]]:
    """As /readyz tells."""
    told: dict[str, dict[str, str | None]] = json.loads(get(f"{url}/readyz")[1])["cameras"]
    return told


def until(true: Callable[[], Any], timeout_s: float = 30) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def write_config(path: Path, **uris: str) -> Path:
    path.write_text(yaml.safe_dump({"cameras": [{"name": name, "uri": uri} for name, uri in uris.items()]}))
    return path


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(str(tmp_path / "notify"))
    yield made
    made.close()


def test_a_service_that_is_watched(program: Program, motion_bundle: Bundle, tmp_path: Path, systemd: Systemd) -> None:
    """One camera that acts and one that refuses; the latter is removed; then the service stands still, and ends."""
    config = write_config(tmp_path / "cameras.yaml", stage="demo://3", gone="rtsp://admin:s3cr3t@127.0.0.1:1/x")
    running = program.start(
        *("run", config, "--model", motion_bundle.path, "--metrics", "127.0.0.1:0", "--json", *free_sockets()),
        env={"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "1000000"},
    )
    url = json.loads(running.until('"metrics and health'))["message"].rpartition("address=")[2]
    assert get(f"{url}/healthz")[0] == 200
    assert get(f"{url}/readyz")[0] == 503
    assert systemd.until("READY=1")
    assert "WATCHDOG=1" in systemd.until("STATUS=2 cameras: 1 live, 1 ")
    until(lambda: get(f"{url}/readyz")[0] == 200)
    until(lambda: cameras(url)["gone"]["error"] == "refused")  # not while it is being tried again
    until(lambda: "port 1" in str(cameras(url)["gone"]["why"]))
    assert cameras(url)["stage"] == {"state": "live", "error": None, "why": None}

    running.until('"phase":"start"')
    until(lambda: 'events_total{label="move",phase="start"}' in get(f"{url}/metrics")[1])
    first = scrape(url)
    for name in ("swinstream_camera_frames_decoded_total", "swinstream_windows_computed_total"):
        until(lambda name=name: value(scrape(url), name) > value(first, name))
    until(lambda: 'camera_error{camera="gone",error="refused"} 1' in get(f"{url}/metrics")[1])
    scraped = scrape(url)
    assert value(scraped, "process_cpu_seconds_total") > value(first, "process_cpu_seconds_total")
    assert_that_they_are_right(scraped)
    assert_that_the_dashboard_and_the_page_fit(scraped)
    assert "s3cr3t" not in get(f"{url}/metrics")[1] + get(f"{url}/readyz")[1]

    systemd.heard()
    for text in ("cameras: nonsense", write_config(tmp_path / "next.yaml", stage="demo://3").read_text()):
        config.write_text(text)
        running.signal(signal.SIGHUP)
        assert any(said.startswith("RELOADING=1\nMONOTONIC_USEC=") for said in systemd.until("READY=1"))
    until(lambda: 'camera="gone"' not in get(f"{url}/metrics")[1])
    assert get(f"{url}/readyz")[0] == 200

    assert_that_a_stopped_process_is_found_out(running, url)
    running.signal(signal.SIGTERM)
    ended = running.wait()
    assert ended.code == 0, ended.text
    assert systemd.until("STOPPING=1")
    assert "s3cr3t" not in ended.text


def assert_that_they_are_right(scraped: Scrape) -> None:
    assert value(scraped, "swinstream_camera_state", camera="stage", state="live") == 1
    assert value(scraped, "swinstream_camera_state", camera="stage") == 1  # and 0 for all others
    assert 5 < value(scraped, "swinstream_camera_fps", camera="stage") < 25
    assert value(scraped, "swinstream_camera_clock", camera="stage") == 1
    assert 0 <= value(scraped, "swinstream_camera_jitter_seconds", camera="stage") < 0.2
    computed = value(scraped, "swinstream_windows_computed_total", camera="stage", zone="full")
    assert value(scraped, "swinstream_windows_skipped_total", camera="stage", reason="overwritten") == 0
    for stage in (("queue",), ("infer",), ("decision", "woken")):
        counts = [value(scraped, "swinstream_stage_seconds_count", stage=name) for name in stage]
        assert abs(sum(counts) - computed) <= 1
    assert abs(value(scraped, "swinstream_engine_batch_windows_count") - computed) <= 1
    assert value(scraped, "swinstream_engine_states") == 1
    (info,) = scraped["swinstream_engine_info"].samples
    assert info.labels["kind"] == "openvino"
    assert info.labels["precision"] in {"fp32", "bf16"}
    assert info.labels.keys() == {"model", "kind", "precision", "device", "reason"}
    assert 0 < value(scraped, "swinstream_engine_busy_seconds_total") < 10
    assert 0 < value(scraped, "swinstream_last_decision_seconds", camera="stage", zone="full") < 5
    assert value(scraped, "swinstream_event_start_delay_seconds_count") >= 1
    assert abs(value(scraped, "swinstream_journal_seq") - value(scraped, "swinstream_events_total")) <= 2
    assert value(scraped, "swinstream_journal_size_bytes") > 4096
    assert value(scraped, "swinstream_worker_cpu_seconds_total") > 0
    assert value(scraped, "swinstream_worker_resident_memory_bytes", worker="0") > 10e6
    assert value(scraped, "swinstream_worker_threads", worker="0") > 1
    assert value(scraped, "swinstream_threads") >= 3
    assert value(scraped, "swinstream_snapshot_age_seconds") < 2


def assert_that_the_dashboard_and_the_page_fit(scraped: Scrape) -> None:
    samples = {sample.name for family in scraped.values() for sample in family.samples}
    expressions = re.findall(r'"(?:expr|query)": "(.*)"', DASHBOARD.read_text())
    named = {name for text in expressions for name in re.findall(r"\b(?:swinstream|process)_\w+", text)}
    assert len(named) > 20
    assert named - samples == set()
    ours = [row(family) for name, family in scraped.items() if name.startswith("swinstream")]
    table = "\n".join(["| metric | type | labels | meaning |", "|---|---|---|---|", *ours])
    assert table in PAGE.read_text(), f"the table of metrics in {PAGE} should be:\n{table}"


def row(family: Metric) -> str:
    labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
    name = family.name + ("_total" if family.type == "counter" else "")
    return f"| `{name}` | {family.type} | {', '.join(labels)} | {family.documentation} |"


def assert_that_a_stopped_process_is_found_out(running: Running, url: str) -> None:
    running.signal(signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError):
            get(f"{url}/healthz", timeout_s=0.5)
    finally:
        running.signal(signal.SIGCONT)
    assert get(f"{url}/healthz")[0] == 200
