"""What Pillow tells of a PNG file only after decoding it: its orientation, its frames, whether it is whole."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from anatomark.formats.picture_files import turned

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
SAMPLES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
_MOST_TEXT = 1 << 22  # bytes of a text; no EXIF or XMP of a picture is longer


@dataclass(frozen=True)
class Chunks:
    """What a PNG file says of itself: `shape` (rows, columns), bits of each number, colour type, frames.

    `exif` and `xmp` are the orientations that these state, `whole` is whether the file goes on to its end mark.
    """

    shape: tuple[int, int]
    bits: int
    colour: int
    exif: int | None
    xmp: int | None
    frames: int
    whole: bool


def chunks(path: Path) -> Chunks | None:
    """What the chunks of a PNG file say, its pixels passed over; None where it does not begin with its header."""
    shape, bits, colour = (0, 0), 0, 0
    exif: int | None = None
    xmp: int | None = None
    frames, whole = 1, False
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        at = len(SIGNATURE)
        while at + 12 <= size:
            file.seek(at)
            length, kind = struct.unpack(">I4s", file.read(8))
            if at == len(SIGNATURE):
                if kind != b"IHDR" or length < 13 or at + 12 + length > size:
                    return None
                columns, rows, bits, colour = struct.unpack(">IIBB", file.read(10))
                shape = rows, columns
            elif at + 12 + length > size:
                break
            elif kind == b"acTL" and length >= 4:
                frames = max(frames, struct.unpack(">I", file.read(4))[0])
            elif kind == b"eXIf" and exif is None and length <= _MOST_TEXT:
                exif = turned.in_exif(file.read(length))
            elif kind in (b"tEXt", b"zTXt", b"iTXt") and length <= _MOST_TEXT:
                name, text = _text(kind, file.read(length))
                if name in (b"Raw profile type exif", b"Raw profile type APP1"):
                    exif = turned.in_exif(_raw_profile(text)) if exif is None else exif
                elif name == b"XML:com.adobe.xmp":
                    xmp = turned.in_xmp(text)
            elif kind == b"IEND":
                whole = True
                break
            at += 12 + length
    return Chunks(shape, bits, colour, exif, xmp, frames, whole) if bits and colour in SAMPLES else None


def _text(kind: bytes, data: bytes) -> tuple[bytes, bytes]:
    """(name, text) of a text chunk; no text where it cannot be unpacked."""
    name, _, rest = data.partition(b"\0")
    packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\1")
    if kind == b"iTXt":
        rest = rest[2:].split(b"\0", 2)[-1]  # behind the language and the translated name
    elif kind == b"zTXt":
        rest = rest[1:]
    if not packed:
        return name, rest
    try:
        return name, zlib.decompressobj().decompress(rest, _MOST_TEXT)
    except zlib.error:
        return name, b""


def _raw_profile(text: bytes) -> bytes:
    """The bytes that ImageMagick writes as text: an empty line, the kind, the length, and hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""
