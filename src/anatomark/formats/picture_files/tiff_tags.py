"""The directories of a TIFF file, classic and BigTIFF, in both byte orders; EXIF blocks are written alike."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from anatomark.errors import ImageError

SUBFILE, OLD_SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
FILL_ORDER, DESCRIPTION, STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS = (
    266, 270, 273, 274, 277, 278, 279,
)  # fmt: skip
PLANAR, T4_OPTIONS, T6_OPTIONS, PREDICTOR, COLOUR_MAP, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT = (
    284, 292, 293, 317, 320, 332, 338, 339,
)  # fmt: skip
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS, JPEG_TABLES, DEPTH = 322, 323, 324, 325, 347, 32997
YCBCR_COEFFICIENTS, YCBCR_SUBSAMPLING, YCBCR_POSITION, REFERENCE_BLACK_WHITE = 529, 530, 531, 532
MASK = 4  # of PHOTOMETRIC
MP_ENTRIES = 0xB002  # of a JPEG with several pictures
_WANTED = frozenset(
    (
        SUBFILE, OLD_SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, DESCRIPTION, STRIP_OFFSETS,
        ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, PLANAR, T4_OPTIONS, T6_OPTIONS, PREDICTOR, COLOUR_MAP,
        INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS, JPEG_TABLES, DEPTH,
        YCBCR_COEFFICIENTS, YCBCR_SUBSAMPLING, YCBCR_POSITION, REFERENCE_BLACK_WHITE, MP_ENTRIES,
    )
)  # fmt: skip
# what struct calls the types that TIFF numbers; fractions (5, 10) are two numbers, read as one
_TYPES = {
    1: "B", 2: "c", 3: "H", 4: "I", 5: "2I", 6: "b", 7: "c", 8: "h", 9: "i", 10: "2i", 11: "f", 12: "d", 13: "I",
    16: "Q", 17: "q", 18: "Q",
}  # fmt: skip

Values = tuple[float | bytes, ...]
Directory = Mapping[int, Values]
"""{tag: its values}, of the tags in this file's list; text and bytes are one value."""


def byte_order(head: bytes) -> str:
    """struct's sign for the byte order that a TIFF file begins with; "" where it is no TIFF file."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    return order if order and len(head) >= 4 and struct.unpack(order + "H", head[2:4])[0] in (42, 43) else ""


def integers(values: Values) -> tuple[int, ...]:
    """The whole numbers of a tag; text has none."""
    return tuple(int(value) for value in values if not isinstance(value, bytes) and math.isfinite(value))


def text(tags: Directory, tag: int) -> bytes:
    """The text or bytes of a tag; empty where it is absent, or has numbers."""
    return next((value for value in tags.get(tag, ()) if isinstance(value, bytes)), b"")


def directories(file: BinaryIO, source: object) -> Iterator[Directory]:
    """The directories of a TIFF file one after the other; `source` is its name for messages.

    Raises `ImageError` for what is no TIFF or ends before a directory does.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(16)
    order = byte_order(head)
    big = bool(order) and struct.unpack(order + "H", head[2:4])[0] == 43
    if not order or len(head) < (16 if big else 8):
        raise ImageError(_cut(source))
    count, entry, word = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    at = struct.unpack(order + word, head[8:16] if big else head[4:8])[0]
    seen: set[int] = set()
    while at and at not in seen:
        seen.add(at)
        if at > size:
            raise ImageError(_cut(source))
        file.seek(at)
        (entries,) = _unpack(file, order + count, source)
        if entries * struct.calcsize(order + entry) > size:
            raise ImageError(_cut(source))
        raw = [_unpack(file, order + entry, source) for _ in range(entries)]
        (at,) = _unpack(file, order + word, source)
        yield {
            tag: _values(file, kind, number, inline, order, word, size, source)
            for tag, kind, number, inline in raw
            if tag in _WANTED and kind in _TYPES
        }


def _values(
    file: BinaryIO, kind: int, number: int, inline: bytes, order: str, word: str, size: int, source: object
) -> Values:
    code = _TYPES[kind]
    length = number * struct.calcsize(order + code)
    content = inline[:length]
    if length > len(inline):
        start = struct.unpack(order + word, inline)[0]
        if start + length > size:
            raise ImageError(_cut(source))
        file.seek(start)
        content = file.read(length)
    if code == "c":
        return (content,)
    if len(code) == 2:
        pairs = struct.unpack(f"{order}{2 * number}{code[1]}", content)
        return tuple(a / b if b else 0.0 for a, b in zip(pairs[::2], pairs[1::2], strict=True))
    return struct.unpack(f"{order}{number}{code}", content)


def _unpack(file: BinaryIO, form: str, source: object) -> tuple[Any, ...]:
    length = struct.calcsize(form)
    content = file.read(length)
    if len(content) < length:
        raise ImageError(_cut(source))
    return struct.unpack(form, content)


def written(tags: Directory, segments: list[bytes]) -> bytes:
    """A little-endian classic TIFF file of one directory, its strips or tiles being `segments`, as Pillow takes it."""
    start = 8
    offsets: list[int] = []
    for segment in segments:
        offsets.append(start)
        start += len(segment)
    tiled = TILE_WIDTH in tags
    tags = {
        **tags,
        TILE_OFFSETS if tiled else STRIP_OFFSETS: tuple(offsets),
        TILE_COUNTS if tiled else STRIP_COUNTS: tuple(map(len, segments)),
    }
    start += start % 2
    behind = start + 2 + 12 * len(tags) + 4
    entries: list[bytes] = []
    more = b""
    for tag, values in sorted(tags.items()):
        if isinstance(values[0], bytes):
            kind, number, content = 7, len(values[0]), values[0]
        elif any(isinstance(value, float) for value in values):
            kind, number, content = 11, len(values), struct.pack(f"<{len(values)}f", *values)
        elif tag in (BITS, SAMPLE_FORMAT, PHOTOMETRIC, COMPRESSION, EXTRA_SAMPLES, YCBCR_SUBSAMPLING, PLANAR):
            kind, number, content = 3, len(values), struct.pack(f"<{len(values)}H", *values)
        else:
            kind, number, content = 4, len(values), struct.pack(f"<{len(values)}I", *values)
        if len(content) > 4:
            content, more = struct.pack("<I", behind + len(more)), more + content + b"\0" * (len(content) % 2)
        entries.append(struct.pack("<HHI", tag, kind, number) + content.ljust(4, b"\0"))
    body = b"".join(segments)
    head = b"II*\0" + struct.pack("<I", start)
    return (
        head
        + body
        + b"\0" * (start - 8 - len(body))
        + struct.pack("<H", len(tags))
        + b"".join(entries)
        + bytes(4)
        + more
    )


def _cut(source: object) -> str:
    return f"{source} is cut short or damaged: it ends before its TIFF directory does; copy or export it again"
