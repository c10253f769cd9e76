"""A camera that can misbehave: what it does wrong now (`Faults`), and the pictures that it sends accordingly."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.rtp import CLOCK_HZ, AccessUnit, Packetizer, interleaved

MAX_HELD_BYTES = 8 << 20
"""What a stalled network keeps; what comes after is lost, as with a camera whose own buffer is full."""
REPORT_EVERY_S = 1.0


@dataclass
class Faults:
    """What a camera does wrong. As it is here, it does nothing wrong.

    Asked when a connection is made:
    refuse: "connection" (nothing listens), or the RTSP status of DESCRIBE's answer, "404" say. hang: after answering
    this method it answers no more ("connect": not even the first; "PLAY": no picture comes). user, password: wanted
    by digest authentication. wrap_s: RTP timestamps wrap so many seconds after PLAY.

    At any time:
    loss: share of the RTP packets that are not sent. garbage: share of the pictures whose NAL units are noise, of the
    same or any other type. alien: share of the pictures whose NAL units are of types that RTP does not know.
    held: nothing is sent, and then all at once. mute: nothing is sent, and it is lost. frozen: all pictures have one
    timestamp. fps: of sending and of the timestamps; None: as filmed. film: which one, from its beginning (another may
    have another size). reports: sender reports are sent. clock_offset_s: by which these are off.
    """

    refuse: str = ""
    hang: str = ""
    user: str = "admin"
    password: str = ""
    wrap_s: float | None = None
    loss: float = 0.0
    garbage: float = 0.0
    alien: float = 0.0
    held: bool = False
    mute: bool = False
    frozen: bool = False
    fps: float | None = None
    film: int = 0
    reports: bool = True
    clock_offset_s: float = 0.0


class Player:
    """Plays the camera's film to one connection."""

    def __init__(self, camera: FaultyCamera, writer: asyncio.StreamWriter, channel: int) -> None:
        self._camera = camera
        self._writer = writer
        self._channel = channel
        wrap_s = camera.faults.wrap_s
        start = camera.chance.getrandbits(32) if wrap_s is None else 2**32 - round(wrap_s * CLOCK_HZ)
        self.rtp = Packetizer(camera.chance.getrandbits(32), camera.chance.getrandbits(16))
        self._timestamp = float(start)  # not wrapped
        self.cut = False
        self._reported_s = -REPORT_EVERY_S
        self._held: list[bytes] = []
        self._held_bytes = 0

    @property
    def timestamp(self) -> int:
        return round(self._timestamp) & 0xFFFFFFFF

    def jump(self, seconds: float) -> None:
        self._timestamp += seconds * CLOCK_HZ

    async def run(self) -> None:
        """Until the connection breaks, or is to be cut."""
        film, n = self._camera.faults.film, 0
        due_s = time.monotonic()
        while True:
            faults = self._camera.faults
            if faults.film != film:
                film, n = faults.film, 0
            units = self._camera.films[film]
            await self._send(faults, units[n % len(units)])
            if self.cut:
                return
            n += 1
            step_s = 1 / (faults.fps or self._camera.fps)
            if not faults.frozen:
                self._timestamp += step_s * CLOCK_HZ
            due_s = max(due_s + step_s, time.monotonic() - 1.0)
            await asyncio.sleep(due_s - time.monotonic())

    async def _send(self, faults: Faults, unit: AccessUnit) -> None:
        chance = self._camera.chance
        nals = unit.nals
        if chance.random() < faults.garbage:
            nals = tuple(_noise(nal, chance) for nal in nals)
        if chance.random() < faults.alien:
            nals = tuple(bytes([chance.randrange(30, 32)]) + nal[1:] for nal in nals)
        packets = self.rtp.packets_of(nals, self.timestamp)
        data = b"".join(interleaved(self._channel, p) for p in packets if chance.random() >= faults.loss)
        now_s = time.monotonic()
        if faults.reports and now_s - self._reported_s >= REPORT_EVERY_S:
            self._reported_s = now_s
            utc_ns = time.time_ns() + round(faults.clock_offset_s * 1e9)
            data += interleaved(self._channel + 1, self.rtp.sender_report(utc_ns, self.timestamp))
        if self.cut:
            self._writer.write(data[: len(data) // 2])
        elif faults.held:
            if self._held_bytes + len(data) <= MAX_HELD_BYTES:
                self._held.append(data)
                self._held_bytes += len(data)
        elif not faults.mute:
            self._writer.write(b"".join([*self._held, data]))
            self._held, self._held_bytes = [], 0
        await self._writer.drain()


class FaultyCamera:
    """films: of coded pictures, each beginning with a key frame; the first describes the camera."""

    def __init__(self, name: str, films: Sequence[Sequence[AccessUnit]], fps: float, chance: random.Random) -> None:
        self.name = name
        self.films = films
        self.fps = fps
        self.chance = chance
        self.faults = Faults()
        self.players: set[Player] = set()
        self.asked = 0  # requests
        self.played = 0  # connections that came as far as PLAY

    def change(self, **faults: object) -> None:
        """Raises AttributeError for a fault that there is not."""
        for name, value in faults.items():
            getattr(self.faults, name)
            setattr(self.faults, name, value)

    def jump(self, seconds: float) -> None:
        """The timestamps of the connections that there are go on so much later, or earlier."""
        for player in self.players:
            player.jump(seconds)

    def cut(self) -> None:
        """Close the connections in the middle of a picture."""
        for player in self.players:
            player.cut = True


def _noise(nal: bytes, chance: random.Random) -> bytes:
    """As long, of the same or any other type that a stream can have."""
    return bytes([chance.choice([nal[0], chance.randrange(1, 24)])]) + chance.randbytes(len(nal) - 1)
