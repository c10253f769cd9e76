"""The fault server's H.264 and RTP against GStreamer's: what it cuts up is put together again, and shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.frame import ClockSource
from stream.source import Source, SourceOptions
from tests.faults.rtp import FU_A, IDR, MTU, AccessUnit, Packetizer, access_units, kind
from tests.faults.server import FaultServer


def test_a_film_s_pictures(films: list[Path]) -> None:
    pictures = access_units(films[0].read_bytes())
    assert len(pictures) == 7 * 15
    assert [n for n, picture in enumerate(pictures) if picture.is_key][:3] == [0, 10, 20]
    assert all(nal in films[0].read_bytes() for nal in pictures[33].nals)


def test_fragments_are_the_whole() -> None:
    nal = bytes([0x60 | IDR]) + bytes(range(256)) * 20
    packets = Packetizer(7, 0xFFFF).packets_of([b"\x67abc", nal], 2**32 + 5)
    assert [int.from_bytes(p[2:4], "big") for p in packets] == [0xFFFF, *range(len(packets) - 1)]  # wrapped
    assert {int.from_bytes(p[4:8], "big") for p in packets} == {5}
    assert [bool(p[1] & 0x80) for p in packets] == [False] * (len(packets) - 1) + [True]
    assert max(map(len, packets)) <= 12 + MTU
    fragments = [p[12:] for p in packets[1:]]
    assert {kind(f) for f in fragments} == {FU_A}
    assert fragments[0][1] & 0x80
    assert fragments[-1][1] & 0x40
    assert bytes([nal[0]]) + b"".join(f[2:] for f in fragments) == nal


def test_pictures_of_several_slices() -> None:
    def slice_(first: bool) -> bytes:
        return b"\x00\x00\x01\x41" + (b"\x80" if first else b"\x40") + b"x"

    parameters = b"\x00\x00\x00\x01\x67s" + b"\x00\x00\x01\x68p"
    film = (
        parameters + slice_(True) + slice_(False) + b"\x00\x00\x01\x09\x10" + slice_(True) + parameters + slice_(True)
    )
    assert [len(picture.nals) for picture in access_units(film)] == [4, 1, 3]
    assert not AccessUnit((b"\x41\x80",)).is_key


@pytest.mark.parametrize("film", [0, 1])
def test_a_player_sees_it(films: list[Path], film: int) -> None:
    """GStreamer does, with the camera's own time: sizes, rate and clock are right."""
    with FaultServer([films[film]], ["a"]) as server, Source(server.url("a"), SourceOptions(timeout_s=5)) as source:
        frames = [frame for frame in (source.read(2.0) for _ in range(20)) if frame is not None]
        assert server.played("a") == 1
    assert frames[0].y.shape == [(120, 160), (144, 192)][film]
    assert len(frames) == 20
    assert (frames[-1].pts_ns - frames[0].pts_ns) / 19 == pytest.approx(1e9 / 15, rel=0.05)
    assert frames[-1].clock is ClockSource.RTCP


def test_a_fault_that_there_is_not(films: list[Path]) -> None:
    with FaultServer(films, ["a"]) as server:
        with pytest.raises(ValueError, match="no attribute 'los'"):
            server.set("a", los=0.1)
        server.set("a", loss=0.1)
