"""Soak: run the real service for a long time, let everything go wrong that can, and check that it holds.

    python -m tests.faults.soak --seconds 3600 --cameras 6 --report docs/soak.md --seed 1

Faulty cameras (tests/faults/server.py), live reloads, killed and stopped workers, a full disk (where a file system may
be mounted: as root), subscribers that stop, vanish and talk nonsense: mixed at random, from a seed. At the end, and
on the way, what must hold is checked; see the report for what that is. Exit code 1 if something does not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from stream.wire import EventMessage
from tests.faults.chaos import KINDS, SHORT_S, Chaos, Fault
from tests.faults.crowd import Deaf, Subscriber, pester, subscribe_to_everything
from tests.faults.follower import Follower
from tests.faults.invariants import broken, journal_events, undelivered
from tests.faults.server import FaultServer
from tests.faults.soak_report import Report, as_json, as_markdown
from tests.faults.vitals import Sample, Vitals, grown
from tests.faults.world import WELL, Service, World, small_disk, split
from tests.formula_bundle import make_formula_bundle
from tests.program import Program
from tests.video_file import walk_and_rest, write_video

FPS = 12
SIZES = [(320, 240), (256, 192)]
PASSWORD = "swordfish-4711"
TURN_S = 0.2
END_S = 40.0  # how long the service may take to end


@dataclass
class Soak:
    """One run. `run` gives its report."""

    seconds: float
    cameras: int
    seed: int
    every_s: float
    folder: Path
    model: Path | str
    kinds: list[str] | None = None
    violations: list[str] = field(default_factory=list)
    _checked_s: float = 0.0
    _log_at: int = 0

    def run(self) -> Report:
        films = [write_video(self.folder / f"{w}x{h}.h264", walk_and_rest(4, 3, FPS, (w, h))) for w, h in SIZES]
        with contextlib.ExitStack() as stack:
            disk = stack.enter_context(small_disk(self.folder / "disk"))
            servers = [
                stack.enter_context(FaultServer(films, names, fps=FPS, seed=self.seed + number))
                for number, names in enumerate(split(self.cameras))
            ]
            program = Program(self.folder)
            stack.callback(self._nothing_left, program)
            world = World(self.folder, self.model, servers, PASSWORD, disk)
            world.service = Service(program, world.config, self.folder)
            stack.callback(world.service.process.kill)
            return self._in(world, program, stack)

    def _in(self, world: World, program: Program, stack: contextlib.ExitStack) -> Report:
        addresses = world.service.addresses
        chance = random.Random(self.seed)
        world.follower = stack.enter_context(Follower(addresses["events"], addresses["replay"]))
        deaf = Deaf(addresses["events"])
        stack.callback(deaf.close)
        sleeper = Subscriber(program, addresses, self.folder / "sleeper.jsonl")
        stack.callback(sleeper.process.kill)
        world.follower.until(
            lambda: (
                all(s.state == "live" for s in world.follower.latest().values())
                and len(world.follower.latest()) == len(world.cameras)
            ),
            60.0,
            "every camera live",
        )
        sleeper.until(1, 30.0)
        sleeper.stop_reading()
        usual = [name for name, kind in KINDS.items() if not (kind.rare and self.seconds < SHORT_S)]
        kinds = [name for name in self.kinds or usual if world.disk is not None or name != "disk full"]
        chaos = Chaos(world, chance, self.every_s, kinds)
        vitals = Vitals(world.pid)
        vitals.sample()
        begun_s = time.monotonic()
        try:
            self._disturb(world, chaos, vitals, program, begun_s)
            self._look_at_metrics(world)
        except Exception as error:  # noqa: BLE001  # whatever it is, there is to be a report
            self.violations.append(f"stopped after {time.monotonic() - begun_s:.0f} s: {error!r}")
        calm_s = time.monotonic() - begun_s
        sleeper.go_on()
        journal, events = self._end(world, sleeper)
        self.violations += chaos.violations
        self._check(world, chaos, vitals.samples, journal, events)
        return Report(
            seconds=calm_s,
            cameras=self.cameras,
            seed=self.seed,
            events=len(journal),
            reloads=world.reloaded,
            refusals=world.refused,
            streams=world.streams(),
            faults=chaos.done,
            samples=vitals.samples,
            violations=self.violations,
        )

    def _disturb(self, world: World, chaos: Chaos, vitals: Vitals, program: Program, begun_s: float) -> None:
        """For the time there is; the last part of it is for coming to rest, and that may take longer."""
        chance = random.Random(self.seed + 1)
        calm_s = begun_s + self.seconds - min(30.0, 0.3 * self.seconds)
        longest_s = begun_s + self.seconds + 300.0
        guests: list[tuple[float, Subscriber]] = []
        due = dict.fromkeys(("sample", "pester", "guest", "restart", "check"), begun_s)
        every = {
            "sample": 1.0 if self.seconds < 600 else 5.0,
            "pester": 7.0,
            "guest": max(15.0, self.seconds / 60),
            "restart": 25.0,
            "check": 30.0,
        }
        while (now_s := time.monotonic()) < begun_s + self.seconds or chaos.active:
            chaos.turn(begin=now_s < calm_s)
            if world.service.process.poll() is not None:
                raise AssertionError(f"the service ended by itself, with code {world.service.process.returncode}")
            if now_s > longest_s:
                raise AssertionError(f"it does not come to rest: {[fault.kind for fault in chaos.active]}")
            for what in [what for what, at_s in due.items() if now_s >= at_s]:
                due[what] = now_s + every[what]
                match what:
                    case "sample":
                        vitals.sample()
                    case "pester":
                        pester(chance.choice(list(world.service.addresses.values())), chance)
                        pester(world.service.addresses["events"], chance)
                        subscribe_to_everything(world.service.addresses["events"], chance)
                    case "guest" if now_s < calm_s:
                        out = self.folder / "guest.jsonl"
                        guests.append((now_s + chance.uniform(2, 6), Subscriber(program, world.service.addresses, out)))
                    case "restart" if now_s < calm_s:
                        world.follower.restart()
                    case "check":
                        self._look(world)
                    case _:
                        pass
            for gone in [guest for guest in guests if guest[0] < now_s]:
                gone[1].end(signal.SIGKILL)
                guests.remove(gone)
            time.sleep(TURN_S)
        for _, guest in guests:
            guest.end(signal.SIGKILL)

    def _end(self, world: World, sleeper: Subscriber) -> tuple[list[EventMessage], list[EventMessage]]:
        """Stop everything in order. Gives what the journal has, and what the subscriber that slept printed."""
        process = world.service.process
        written = len(journal_events(world.journal))
        sleeper.until(written, 30.0)
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(END_S)
        except subprocess.TimeoutExpired:
            code = None
        if code != 0:
            self.violations.append(f"the service ended with code {code}")
        _, left = psutil.wait_procs(children, timeout=5.0)
        self.violations += [f"process {child.pid} outlived the service" for child in left]
        journal = journal_events(world.journal)
        if world.disk is not None:  # it will be gone
            shutil.copy(world.journal, self.folder)
        with contextlib.suppress(AssertionError):
            world.follower.until(lambda: len(world.follower.events) >= len(journal), 5.0)
        sleeper.until(len(journal), 5.0)
        if (code := sleeper.end()) != 0:
            self.violations.append(f"`swinstream subscribe` ended with code {code}")
        return journal, sleeper.events()

    def _look(self, world: World) -> None:
        """What can be checked on the way."""
        self._look_at_log(world)
        for problem in broken(journal_events(world.journal), over=False)[:3]:
            if problem not in self.violations:
                self.violations.append(problem)

    def _look_at_metrics(self, world: World) -> None:
        text = world.service.metrics()
        if PASSWORD in text:
            self.violations.append("the password is in the metrics")
        for family in text_string_to_metric_families(text):
            if family.name == "swinstream_engine_states":
                states = sum(sample.value for sample in family.samples)
                if states != world.streams():
                    self.violations.append(f"{states:g} recognition states for {world.streams()} streams")

    def _look_at_log(self, world: World) -> None:
        with world.service.log.open("rb") as file:
            file.seek(self._log_at)
            text = file.read()
        self._log_at += len(text)
        for word in (b"Traceback", b"Exception ignored", PASSWORD.encode()):
            if word in text:
                line = next(line for line in text.splitlines() if word in line)
                self.violations.append(f"{word.decode()!r} in the log: {line[:300].decode('utf-8', 'replace')}")

    def _check(
        self, world: World, chaos: Chaos, samples: list[Sample], journal: list[EventMessage], slept: list[EventMessage]
    ) -> None:
        wrong = self.violations
        self._look_at_log(world)
        wrong += broken(journal)[:10]
        wrong += [f"follower: {problem}" for problem in undelivered(journal, world.follower.events)]
        wrong += [f"sleeper: {problem}" for problem in undelivered(journal, slept)]
        wrong += [f"follower: told of a gap: {gap}" for gap in world.follower.gaps]
        if world.follower.failure is not None:
            wrong.append(f"follower: {world.follower.failure!r}")
        wrong += grown(samples)
        wrong += _unwell(world, chaos.done)
        said = [world.service.out, world.journal, self.folder / "sleeper.jsonl"]
        wrong += [f"the password is in {path.name}" for path in said if PASSWORD.encode() in path.read_bytes()]

    def _nothing_left(self, program: Program) -> None:
        _, left = psutil.wait_procs(program.left_behind(), timeout=10.0)
        for process in left:
            self.violations.append(f"left behind: {process.pid}")
            process.kill()


def _unwell(world: World, faults: list[Fault]) -> list[str]:
    """The camera to which nothing was done may only have been lost with its worker."""
    wrong = []
    for at_s, status in world.follower.since(WELL, 0.0):
        worker = any(KINDS[f.kind].target == "worker" and f.begun_s <= at_s <= f.begun_s + 60.0 for f in faults)
        if status.state in {"lost", "failed"} and not worker:
            wrong.append(f"the camera that was well became {status.state}: {status.error} {status.message}")
    return wrong


def soak(
    seconds: float,
    cameras: int,
    seed: int,
    every_s: float,
    folder: Path,
    model: str | None = None,
    kinds: list[str] | None = None,
) -> Report:
    """folder: for all files of the run. kinds: of faults; None: all that fit into the time."""
    chosen = model or make_formula_bundle(folder / "motion").path
    return Soak(seconds, cameras, seed, every_s, folder, chosen, kinds).run()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="coming to rest at the end may take longer")
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--seed", type=int, default=None, help="of all chance; default: another one each time")
    parser.add_argument("--every", type=float, default=2.5, help="seconds between the beginnings of two faults, mean")
    parser.add_argument("--model", help="a bundle; default: a formula that costs nothing")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only this fault; may be given several times")
    parser.add_argument("--report", type=Path, help="a file to write: .md or .json; default: standard output")
    parser.add_argument("--keep", type=Path, help="a new folder that keeps the log, the journal and all else")
    options = parser.parse_args()
    if options.cameras < 3:
        parser.error("--cameras: at least 3")
    # Under nohup it is ignored, and the service would inherit that and not reload.
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # in order: processes end, the file system is unmounted
    seed = random.SystemRandom().getrandbits(31) if options.seed is None else options.seed
    folder = options.keep or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        report = soak(
            options.seconds, options.cameras, seed, options.every, folder.absolute(), options.model, options.kind
        )
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    wanted_json = options.report is not None and options.report.suffix == ".json"
    text = json.dumps(as_json(report), indent=1) if wanted_json else as_markdown(report)
    if options.report is not None:
        options.report.write_text(text + "\n")
    else:
        print(text)
    for violation in report.violations:
        print(f"soak: {violation}", file=sys.stderr)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
