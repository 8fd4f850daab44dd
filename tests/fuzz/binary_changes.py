"""Changes of binary files by their structure: fields of headers, chunks with right checksums, archives that unpack."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from functools import cache
from random import Random

from tests.fuzz.byte_changes import ODD, change_bytes, odd_float, odd_number
from tests.fuzz.text_changes import change_json

# NIfTI-1: (offset, struct code) of what decides how the rest is read
NIFTI = [
    (0, "i"),
    (42, "h"),
    (44, "h"),
    (46, "h"),
    (48, "h"),
    (50, "h"),
    (70, "h"),
    (72, "h"),
    (76, "f"),
    (80, "f"),
    (84, "f"),
]
NIFTI += [
    (88, "f"),
    (108, "f"),
    (112, "f"),
    (116, "f"),
    (123, "b"),
    (252, "h"),
    (254, "h"),
    (256, "f"),
    (260, "f"),
    (264, "f"),
]
NIFTI += [
    (268, "f"),
    (280, "f"),
    (284, "f"),
    (296, "f"),
    (312, "f"),
    (316, "f"),
    (344, "i"),
    (348, "i"),
    (40, "h"),
    (68, "h"),
]
NIFTI_TYPES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, -1)
BMP = [(2, "I"), (10, "I"), (14, "I"), (18, "i"), (22, "i"), (26, "H"), (28, "H"), (30, "I"), (34, "I"), (46, "I")]
BOMB_BYTES = 1 << 28


@cache
def _packed(count: int) -> bytes:
    """So many zeros, compressed by zlib."""
    return zlib.compress(bytes(count), 9)


@cache
def _gzipped(count: int) -> bytes:
    return gzip.compress(bytes(count), 9)


def change_nifti(content: bytes, rng: Random) -> bytes:
    """A NIfTI file with fields of its header changed; dimensions huge or negative, types and places that lie."""
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at, code = rng.choice(NIFTI)
        if at == 70 and rng.random() < 0.7:
            made[at : at + 2] = struct.pack("<h", rng.choice(NIFTI_TYPES))
        elif code == "f":
            made[at : at + 4] = odd_float(rng, "<f")
        else:
            number = odd_number(struct.calcsize("<" + code), rng)
            made[at : at + len(number)] = number
    return bytes(made)


def change_bmp(content: bytes, rng: Random) -> bytes:
    """A BMP file with fields of its header changed."""
    made = bytearray(content)
    for _ in range(rng.choice((1, 2))):
        at, code = rng.choice(BMP)
        number = odd_number(struct.calcsize(code), rng)
        made[at : at + len(number)] = number
    return bytes(made)


def change_png(content: bytes, rng: Random) -> bytes:
    """A PNG file with a chunk changed, doubled, lost or new, and every checksum right."""
    chunks: list[tuple[bytes, bytes]] = []
    at = 8
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    which = rng.randrange(len(chunks))
    name, data = chunks[which]
    kind = rng.randrange(7)
    if kind <= 1:
        data = bytearray(chunks[0][1])
        if rng.random() < 0.5:
            start = rng.choice((0, 4))
            data[start : start + 4] = odd_number(4, rng)
        else:
            data[rng.randrange(8, 13)] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 32, 255))
        chunks[0] = (b"IHDR", bytes(data))
    elif kind == 2:
        chunks[which] = (name, change_bytes(data, rng))
    elif kind == 3:
        del chunks[which]
    elif kind == 4:
        chunks.insert(which, (name, data))
    elif kind == 5:  # a text that unpacks to 256 MB
        bomb = b"Comment\0\0" + _packed(1 << 26)
        chunks.insert(
            1,
            rng.choice(((b"zTXt", bomb), (b"iCCP", bomb), (b"tRNS", b"\0" * 600), (b"PLTE", b"\0\0"), (b"eXIf", data))),
        )
    else:  # rows that unpack to something else
        packed = _packed(rng.choice((0, 1, 100, 1 << 24)))
        chunks = [(n, packed if n == b"IDAT" else d) for n, d in chunks]
    return content[:8] + b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
    )


def change_tiff(content: bytes, rng: Random) -> bytes:
    """A TIFF file with entries of its directory changed: another tag, type, count or value."""
    made = bytearray(content)
    order = "<" if content[:2] == b"II" else ">"
    (directory,) = struct.unpack(order + "I", made[4:8])
    if directory + 2 > len(made):
        return change_bytes(content, rng)
    (count,) = struct.unpack(order + "H", made[directory : directory + 2])
    for _ in range(rng.choice((1, 1, 2))):
        at = directory + 2 + 12 * rng.randrange(max(1, count))
        kind = rng.randrange(6)
        if kind == 0:
            tags = (
                254,
                256,
                257,
                258,
                259,
                262,
                266,
                273,
                274,
                277,
                278,
                279,
                284,
                317,
                320,
                322,
                323,
                324,
                325,
                338,
                339,
                347,
            )
            made[at : at + 2] = struct.pack(order + "H", rng.choice(tags))
        elif kind == 1:
            made[at + 2 : at + 4] = struct.pack(order + "H", rng.randrange(20))
        elif kind == 2:
            made[at + 4 : at + 8] = odd_number(4, rng)
        elif kind == 3:
            made[at + 8 : at + 12] = odd_number(4, rng)
        elif kind == 4:
            made[at + 8 : at + 12] = struct.pack(
                order + "HH", rng.randrange(10) if rng.random() < 0.7 else rng.choice(ODD) % 65536, 0
            )
        else:  # the next directory is this one again
            end = directory + 2 + 12 * count
            made[end : end + 4] = struct.pack(order + "I", rng.choice((directory, directory, 0, 8, len(made))))
    return bytes(made)


def change_jpeg(content: bytes, rng: Random) -> bytes:
    """A JPEG file with a segment changed: its size, its components, its tables."""
    starts = [k for k in range(len(content) - 4) if content[k] == 0xFF and content[k + 1] in range(0xC0, 0xFE)]
    made = bytearray(content)
    at = rng.choice(starts)
    kind = rng.randrange(4)
    if kind == 0:  # a frame of another size
        frame = next((k for k in starts if content[k + 1] in (0xC0, 0xC1, 0xC2)), at)
        where = frame + rng.choice((5, 7))
        made[where : where + 2] = odd_number(2, rng)
    elif kind == 1:
        made[at + 2 : at + 4] = odd_number(2, rng)
    elif kind == 2:
        made[at + 1] = rng.randrange(0xC0, 0xFF)
    else:
        where = at + 4 + rng.randrange(30)
        made[where : where + 1] = bytes([rng.choice((0, 1, 3, 4, 17, 127, 255))])
    return bytes(made)


def change_gzip(content: bytes, rng: Random, change: object = None) -> bytes:
    """A gzip file whose content was changed, that unpacks to far more, ends early or goes on with something else."""
    kind = rng.randrange(6)
    if kind <= 2:
        plain = gzip.decompress(content)
        inner = change_nifti(plain, rng) if plain[344:346] == b"n+" else change_bytes(plain, rng)
        return gzip.compress(inner, 1)
    if kind == 3:
        return content + rng.choice((b"\0" * 100, b"junk", content, _gzipped(1 << 25)))
    if kind == 4:
        return gzip.compress(gzip.decompress(content)[: rng.randrange(1, 600)], 1)
    return change_bytes(content, rng)


def change_zip(content: bytes, rng: Random) -> bytes:
    """A zip archive with entries changed, names that lead elsewhere, or one that unpacks to 256 MB."""
    kind = rng.randrange(5)
    if kind == 0:
        return change_bytes(content, rng)
    held: list[tuple[str, bytes]] = []
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        held = [(entry.filename, opened.read(entry)) for entry in opened.infolist()]
    at = rng.randrange(len(held))
    if kind == 1:
        names = ("../../x.nii", "/etc/x.nii", "a\0b", "", "." * 300, "x" * 60000, "con", "a/b/c/d.nii", "DICOMDIR", "~")
        held[at] = (rng.choice(names), held[at][1])
    elif kind == 2:
        held[at] = (held[at][0], change_bytes(held[at][1], rng))
    elif kind == 3:
        held.append(("bomb.dcm", bytes(BOMB_BYTES >> rng.choice((0, 4)))))
    else:
        held += [(f"{k}.dcm", held[at][1]) for k in range(rng.choice((2, 50)))]
    made = io.BytesIO()
    with zipfile.ZipFile(
        made, "w", rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED if kind != 3 else zipfile.ZIP_DEFLATED))
    ) as target:
        for name, data in held:
            target.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def change_safetensors(content: bytes, rng: Random) -> bytes:
    """A safetensors file whose header lies: of lengths, types, shapes and places, or of its own length."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    kind = rng.randrange(8)
    names = [name for name in header if name != "__metadata__"]
    if kind == 0:
        return odd_number(8, rng) + content[8:]
    if kind == 1:
        changed = change_json(content[8 : 8 + length], rng)
        return struct.pack("<Q", len(changed)) + changed + data
    if kind == 2 and "about" in header.get("__metadata__", {}):
        try:
            header["__metadata__"]["about"] = change_json(header["__metadata__"]["about"].encode(), rng).decode()
        except UnicodeDecodeError:
            header["__metadata__"]["about"] = "{"
    elif names:
        entry = header[rng.choice(names)]
        if kind == 3:
            entry["dtype"] = rng.choice(("F16", "F64", "I64", "U8", "BOOL", "BF16", "F8_E4M3", "I8", "C64", "X"))
        elif kind == 4:
            shape = entry["shape"]
            odd = rng.choice((0, -1, 1, 1 << 40, 1 << 62))
            entry["shape"] = rng.choice(([], [*shape, 1], shape[::-1], [odd, *shape[1:]], [1 << 32, 1 << 32]))
        elif kind == 5:
            entry["data_offsets"] = rng.choice(([0, 0], [0, 1 << 62], [8, 4], [-1, 4], [0, len(data)]))
        elif kind == 6:  # the numbers themselves: NaN, infinite, denormal or huge
            start, end = entry["data_offsets"]
            code = {"F32": "<f", "F64": "<d"}.get(entry["dtype"])
            made = bytearray(data)
            if code and end > start:
                size = struct.calcsize(code)
                where = start + size * rng.randrange((end - start) // size)
                made[where : where + size] = odd_float(rng, code)
            data = bytes(made)
        else:
            other = rng.choice(names)
            header[other + "x"] = header.pop(other)
    changed = json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(changed)) + changed + data
