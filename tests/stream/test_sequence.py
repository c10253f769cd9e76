"""Sequence: next, seen or ahead; and when something is lost for good."""

from __future__ import annotations

import pytest

from stream.events import Phase
from stream.sequence import Gap, Sequence, Verdict
from stream.wire import EventMessage, HeartbeatMessage, Latency, ModelRef, Position, PtsSpan


def at(run: str, seq: int) -> Position:
    return Position(run=run, seq=seq)


def event(run: str, seq: int, prev: Position | None = None, camera: str = "yard") -> EventMessage:
    return EventMessage(
        run=run,
        seq=seq,
        prev=prev,
        id="id",
        phase=Phase.START,
        camera=camera,
        zone="full",
        label="walk",
        score=1,
        peak=1,
        start="2026-11-24T11:00:00.000Z",
        end=None,
        clock="rtcp",
        pts=PtsSpan(start_ns=0, end_ns=None),
        model=ModelRef(name="m", version="1"),
        latency_ms=Latency(),
        reason=None,
    )


def beat(run: str, seq: int, **last: Position) -> HeartbeatMessage:
    return HeartbeatMessage(run=run, seq=seq, last=last)


class TestAllCameras:
    def test_without_a_cursor_the_first_event_is_as_good_as_any(self) -> None:
        sequence = Sequence(None)
        assert sequence.judge(event("A", 7)) is Verdict.NEXT
        assert not sequence.behind(beat("A", 7))

    @pytest.mark.parametrize(
        ("told", "verdict"),
        [
            (("A", 5), Verdict.SEEN),
            (("A", 1), Verdict.SEEN),
            (("A", 6), Verdict.NEXT),
            (("A", 7), Verdict.AHEAD),
            (("B", 1), Verdict.AHEAD),  # the rest of run A may have been lost
        ],
    )
    def test_after_a_position(self, told: tuple[str, int], verdict: Verdict) -> None:
        assert Sequence(None, at("A", 5)).judge(event(*told)) is verdict

    def test_once_in_a_new_run_its_first_event_is_next_and_the_old_run_is_over(self) -> None:
        sequence = Sequence(None, at("A", 5))
        sequence.move(at("B", 0))
        assert sequence.judge(event("B", 1)) is Verdict.NEXT
        assert sequence.judge(event("A", 9)) is Verdict.SEEN

    @pytest.mark.parametrize(
        ("told", "behind"), [(("A", 5), False), (("A", 4), False), (("A", 6), True), (("B", 0), True)]
    )
    def test_heartbeat(self, told: tuple[str, int], behind: bool) -> None:
        assert Sequence(None, at("A", 5)).behind(beat(*told)) is behind


class TestOneCamera:
    def test_events_of_others_in_between_do_not_matter(self) -> None:
        sequence = Sequence("yard", at("A", 5))
        assert sequence.judge(event("A", 9, prev=at("A", 5))) is Verdict.NEXT
        assert sequence.judge(event("A", 9, prev=at("A", 3))) is Verdict.NEXT  # the cursor was another camera's event
        assert sequence.judge(event("A", 9, prev=at("A", 8))) is Verdict.AHEAD
        assert sequence.judge(event("A", 9, prev=None)) is Verdict.NEXT  # its very first
        assert sequence.judge(event("A", 4, prev=None)) is Verdict.SEEN

    def test_across_a_restart(self) -> None:
        sequence = Sequence("yard", at("A", 5))
        assert sequence.judge(event("B", 3, prev=at("A", 5))) is Verdict.NEXT
        assert sequence.judge(event("B", 3, prev=at("A", 6))) is Verdict.AHEAD
        assert sequence.judge(event("B", 3, prev=at("B", 1))) is Verdict.AHEAD

    def test_heartbeat(self) -> None:
        sequence = Sequence("yard", at("A", 5))
        assert not sequence.behind(beat("A", 90, gate=at("A", 90)))
        assert not sequence.behind(beat("B", 0, yard=at("A", 5)))
        assert sequence.behind(beat("A", 90, yard=at("A", 6)))
        assert sequence.behind(beat("B", 9, yard=at("B", 2)))

    def test_who_began_in_this_run_has_no_need_of_those_before(self) -> None:
        """Whatever their names: only what the message's own run says counts, not how the names sort."""
        for before in ("A", "C"):
            sequence = Sequence("yard", at("B", 5))
            assert not sequence.behind(beat("B", 9, yard=at(before, 7)))
            assert sequence.judge(event("B", 8, prev=at(before, 7))) is Verdict.NEXT
            assert sequence.behind(beat("D", 0, yard=at(before, 7)))
            assert sequence.judge(event("D", 1, prev=at(before, 7))) is Verdict.AHEAD


class TestMissing:
    """What the journal gives shows whether it does not have something before."""

    def test_nothing_is_missing_where_it_goes_on_directly(self) -> None:
        sequence = Sequence(None, at("A", 5))
        assert not sequence.missing_before(event("A", 6))
        assert not sequence.missing_before(event("B", 1))
        assert not Sequence(None).missing_before(event("B", 7))

    def test_numbers_that_are_missing(self) -> None:
        assert Sequence(None, at("A", 5)).missing_before(event("A", 8))
        assert Sequence(None, at("A", 5)).missing_before(event("B", 2))

    def test_one_camera(self) -> None:
        sequence = Sequence("yard", at("B", 5))
        assert not sequence.missing_before(event("B", 9, prev=at("B", 5)))
        assert not sequence.missing_before(event("B", 9, prev=at("A", 5)))  # long before the cursor
        assert not sequence.missing_before(event("B", 9, prev=None))
        assert sequence.missing_before(event("B", 9, prev=at("B", 7)))
        assert sequence.missing_before(event("D", 1, prev=at("C", 7)))


class TestDeleted:
    def test_all_cameras(self) -> None:
        sequence = Sequence(None, at("B", 5))
        for kept_from in (None, at("A", 9), at("B", 2), at("B", 5), at("B", 6)):
            assert sequence.deleted_until(kept_from, event("B", 6)) is None
        for gone_until in (at("B", 7), at("C", 1)):
            assert sequence.deleted_until(gone_until, event("C", 1)) == gone_until
            assert sequence.deleted_until(gone_until, None) == gone_until
        assert Sequence(None).deleted_until(at("B", 7), None) is None  # who asks for all there is misses nothing

    def test_one_camera(self) -> None:
        sequence = Sequence("yard", at("B", 5))
        gone = at("B", 9)
        assert sequence.deleted_until(gone, event("B", 12, prev=at("B", 4))) is None
        assert sequence.deleted_until(gone, event("B", 12, prev=at("A", 4))) is None
        assert sequence.deleted_until(gone, event("B", 12, prev=None)) is None
        assert sequence.deleted_until(gone, event("B", 12, prev=at("B", 8))) == gone
        assert sequence.deleted_until(gone, None) == gone  # it cannot be known


def test_runs_that_are_over_are_not_remembered_for_ever() -> None:
    sequence = Sequence(None)
    for number in range(1500):
        sequence.move(at(f"R{number:04}", 1))
    assert len(sequence._past) == 1000
    assert sequence.covers(at("R1498", 3))


def test_a_gap_in_words() -> None:
    gap = Gap(at("A", 5), at("A", 8), "no replay")
    assert str(gap) == "events after A:5 and before A:8 may be missing: no replay"
    assert "the beginning" in str(Gap(None, at("A", 8), "no replay"))
