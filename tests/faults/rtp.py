"""H.264 as RTP, by hand, so that a fault can be put at any place: Annex B, RFC 6184 packets, RFC 3550 reports."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

CLOCK_HZ = 90_000
PAYLOAD_TYPE = 96
MTU = 1400  # bytes of one packet's payload
NTP_TO_UNIX_S = 2_208_988_800
CNAME = b"camera"

SLICE, IDR, SPS, PPS, DELIMITER, FU_A = 1, 5, 7, 8, 9, 28

_START_CODE = re.compile(rb"\x00\x00\x01")


class AccessUnit(NamedTuple):
    """The NAL units of one picture, without start codes."""

    nals: tuple[bytes, ...]

    @property
    def is_key(self) -> bool:
        return any(kind(nal) == IDR for nal in self.nals)


def kind(nal: bytes) -> int:
    """nal_unit_type."""
    return nal[0] & 0x1F


def nal_units(annex_b: bytes) -> list[bytes]:
    starts = [match.end() for match in _START_CODE.finditer(annex_b)]
    ends = [start - 3 for start in starts[1:]] + [len(annex_b)]
    units = [annex_b[start:end].rstrip(b"\x00") for start, end in zip(starts, ends, strict=True)]
    return [unit for unit in units if unit]


def access_units(annex_b: bytes) -> list[AccessUnit]:
    """A picture's slices belong together; what stands before its first slice (parameter sets, SEI) is its own."""
    pictures: list[list[bytes]] = [[]]
    complete = False  # the current one has a slice
    for nal in nal_units(annex_b):
        picture = kind(nal) in (SLICE, IDR)
        if complete and (not picture or nal[1] & 0x80):  # first_mb_in_slice is 0: ue(v) of one bit
            pictures.append([])
            complete = False
        if kind(nal) != DELIMITER:
            pictures[-1].append(nal)
        complete = complete or picture
    return [AccessUnit(tuple(nals)) for nals in pictures if nals]


def sdp(first: AccessUnit, host: str) -> str:
    """Describes a stream that begins with this picture, a key frame."""
    sets = [nal for nal in first.nals if kind(nal) in (SPS, PPS)]
    sprop = ",".join(base64.b64encode(nal).decode() for nal in sets)
    profile = next(nal for nal in sets if kind(nal) == SPS)[1:4].hex()
    lines = [
        "v=0",
        f"o=- 1 1 IN IP4 {host}",
        "s=camera",
        "t=0 0",
        "a=control:*",
        f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
        f"c=IN IP4 {host}",
        f"a=rtpmap:{PAYLOAD_TYPE} H264/{CLOCK_HZ}",
        f"a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={sprop}",
        "a=control:video",
    ]
    return "\r\n".join(lines) + "\r\n"


class Packetizer:
    """One RTP stream: counts its packets, and the wrapping sequence number."""

    def __init__(self, ssrc: int, sequence: int) -> None:
        self.ssrc = ssrc
        self.sequence = sequence & 0xFFFF
        self.packets = 0
        self.payload_bytes = 0

    def packets_of(self, nals: Sequence[bytes], timestamp: int) -> list[bytes]:
        """One picture. timestamp: in ticks of 90 kHz, wrapped here."""
        payloads = [payload for nal in nals for payload in _payloads(nal)]
        last = len(payloads) - 1
        return [self._packet(payload, timestamp, marker=n == last) for n, payload in enumerate(payloads)]

    def sender_report(self, utc_ns: int, timestamp: int) -> bytes:
        """The camera's clock at a timestamp, with the CNAME that belongs to it (RFC 3550, 6.4.1 and 6.5)."""
        seconds, rest = divmod(utc_ns, 10**9)
        ntp = (seconds + NTP_TO_UNIX_S & 0xFFFFFFFF, (rest << 32) // 10**9)
        report = (self.ssrc, *ntp, timestamp & 0xFFFFFFFF, self.packets & 0xFFFFFFFF, self.payload_bytes & 0xFFFFFFFF)
        sender = struct.pack("!BBH6I", 0x80, 200, 6, *report)
        return sender + struct.pack("!BBHIBB10s", 0x81, 202, 4, self.ssrc, 1, len(CNAME), CNAME)

    def _packet(self, payload: bytes, timestamp: int, marker: bool) -> bytes:
        second = PAYLOAD_TYPE | (0x80 if marker else 0)
        header = struct.pack("!BBHII", 0x80, second, self.sequence, timestamp & 0xFFFFFFFF, self.ssrc)
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.packets += 1
        self.payload_bytes += len(payload)
        return header + payload


def _payloads(nal: bytes) -> Iterator[bytes]:
    """A NAL unit as it is, or in fragments (RFC 6184, 5.8)."""
    if len(nal) <= MTU:
        yield nal
        return
    indicator, header, body = (nal[0] & 0xE0) | FU_A, kind(nal), nal[1:]
    for start in range(0, len(body), MTU - 2):
        piece = body[start : start + MTU - 2]
        first, last = start == 0, start + MTU - 2 >= len(body)
        yield bytes((indicator, header | (0x80 if first else 0) | (0x40 if last else 0))) + piece


def interleaved(channel: int, packet: bytes) -> bytes:
    """As it travels in the RTSP connection (RFC 2326, 10.12)."""
    return struct.pack("!cBH", b"$", channel, len(packet)) + packet
