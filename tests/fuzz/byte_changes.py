"""Bytes changed without knowing what they mean: flipped, overwritten by odd numbers, cut, doubled, spliced."""

from __future__ import annotations

import struct
from random import Random

ODD = (0, 1, -1, 2, 7, 8, 16, 127, 128, 255, 256, 1024, 32767, 32768, 65535, 65536, 1 << 20, 1 << 24)
ODD += ((1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 63) - 1, -(1 << 63), -(1 << 31), -32768, -2, 99999)
PIECES = (b"\0", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\n", b"\r\n", b" ", b"-1", b"1e999", b"nan", b"inf")
PIECES += (b"9" * 20, b"{", b"}", b"[", b"]", b'"', b"'", b",", b":", b";", b"<", b">", b"&a;", b"%n", b"\xef\xbb\xbf")
PIECES += (b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"../../../etc/passwd", b"null", b"true", b"\x1f\x8b", b"PK\x03\x04")
LONGEST = 1 << 20


def change_bytes(content: bytes, rng: Random, others: tuple[bytes, ...] = ()) -> bytes:
    """`content` after one to eight small changes; `others` are what parts may come from."""
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        _change(made, rng, others)
        del made[LONGEST:]
    return bytes(made)


def odd_number(size: int, rng: Random) -> bytes:
    """A number at the edge of what `size` bytes hold, in either byte order."""
    value = rng.choice(ODD) if rng.random() < 0.8 else rng.getrandbits(8 * size)
    return (value % (1 << (8 * size))).to_bytes(size, rng.choice(("little", "big")))


def odd_float(rng: Random, kind: str) -> bytes:
    """A float ("<f", ">d" ...) that arithmetic trips over."""
    values = (0.0, -0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), float("-inf"), 0.5, 1e-45)
    return struct.pack(kind, rng.choice(values))


def _change(made: bytearray, rng: Random, others: tuple[bytes, ...]) -> None:
    near = min(len(made), rng.choice((64, 512, len(made))))  # headers come first, and decide the most
    at = rng.randrange(near + 1)
    until = min(len(made), at + rng.choice((1, 2, 4, 8, 16, 64, 400)))
    kind = rng.randrange(9)
    if kind == 0 and at < len(made):
        made[at] ^= 1 << rng.randrange(8)
    elif kind == 1 and at < len(made):
        made[at] = rng.randrange(256)
    elif kind == 2:
        number = odd_number(rng.choice((1, 2, 4, 8)), rng)
        made[at : at + len(number)] = number
    elif kind == 3:
        del made[at:until]
    elif kind == 4:
        made[at:at] = made[at:until] * rng.choice((1, 1, 2, 50))
    elif kind == 5:
        made[at:at] = rng.choice(PIECES)
    elif kind == 6:
        piece = rng.choice(PIECES)
        made[at : at + len(piece)] = piece
    elif kind == 7:
        del made[rng.randrange(len(made) + 1) :]
    elif others:
        other = rng.choice(others)
        start = rng.randrange(len(other) + 1)
        made[at:until] = other[start : start + until - at]
