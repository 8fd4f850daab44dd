"""A DICOM file opened with care: its attributes, and where its pixels lie.

The lengths that the elements state are followed before any reader believes them: one that leads out of the file is a
one-line error, not a request for gigabytes. pydicom then sees the bytes before the pixels alone, and no reader sees a
whole file of a user's.
"""

from __future__ import annotations

import math
import mmap
import struct
import zlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from anatomark.errors import ImageError
from anatomark.formats.dicom_files.dicom_attributes import quiet, whole
from anatomark.formats.dicom_files.dicom_elements import Content, ElementReader, Pieces, is_vr

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SUFFIXES = (".dcm", ".dicom", ".ima")
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
_INFLATED = 100  # times its packed size is the most that a deflated file may unpack to ...
_SMALL, _LARGE = 64 << 20, 300 << 20  # ... unless it stays below the first; above the second ten times are the most
_HEADER = 256 << 20  # bytes of attributes before the pixels; real ones have kilobytes, multi-frame ones megabytes


@dataclass(frozen=True)
class DicomFile:
    """The attributes of a DICOM file (a pydicom Dataset without its pixels) and where its pixels lie in it.

    `element` is the tag of the pixels (whole numbers, float or double), 0 where there are none. `start` and `length`
    are the bytes of native pixels, or of the whole sequence of compressed pieces, whose (start, length) are in
    `pieces`, the offset table first. `body` is the unpacked content of a deflated file, in which the places then are.
    """

    path: Path
    dataset: Dataset = field(repr=False)
    syntax: str
    little_endian: bool = True
    element: int = 0
    start: int = 0
    length: int = 0
    pieces: Pieces | None = None
    body: bytes | None = field(default=None, repr=False)

    def bytes_at(self, start: int, length: int) -> bytes:
        """`length` bytes of the content from `start` on."""
        if self.body is not None:
            return self.body[start : start + length]
        with open(self.path, "rb") as file:
            file.seek(start)
            return file.read(length)


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its ending or by its first bytes."""
    if path.name.upper() == "DICOMDIR":
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with open(path, "rb") as file:
            head = file.read(132)
    except OSError:
        return False
    if head[128:] == b"DICM":
        return True
    # without the 128 bytes before, as old archives keep it; the name has then no ending or a number's
    return not path.suffix.strip(".0123456789") and _is_bare(head)


def open_dicom(path: Path) -> DicomFile:
    """The DicomFile at `path`; its pixels are found, not read. Raises `ImageError`."""
    try:
        with open(path, "rb") as file:
            if path.stat().st_size < 16:
                raise ImageError(
                    f"{path} is not a complete DICOM file: it has fewer than 16 bytes; export or copy it again"
                )
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _opened(path, content)
    except OSError as error:
        raise ImageError(
            f"{path} cannot be opened: {error.strerror or error}; check its name and permissions"
        ) from error


def _opened(path: Path, content: Content) -> DicomFile:
    syntax, at = _syntax(ElementReader(path, content))
    body = None
    if syntax == DEFLATED:
        content = body = _inflated(path, content[at:])
        at = 0
    order = ">" if syntax == BIG_ENDIAN else "<"
    implicit = order == "<" and not is_vr(content[at + 4 : at + 6])  # whatever the syntax says: some writers lie
    pixels = ElementReader(path, content, implicit, order).pixels(at)
    if pixels.at - at > _HEADER:
        raise ImageError(
            f"{path} has {pixels.at - at} bytes before its pixels, far more than an image has; export it again"
        )
    from pydicom.filereader import read_dataset

    try:
        with quiet():
            dataset = read_dataset(BytesIO(content[at : pixels.at]), implicit, order == "<")
    except Exception as error:  # whatever pydicom makes of bytes that anybody wrote
        raise ImageError(f"{path} cannot be read: its DICOM header is damaged; export or copy it again") from error
    return DicomFile(path, dataset, syntax, order == "<", pixels.tag, pixels.start, pixels.length, pixels.pieces, body)


def _syntax(reader: ElementReader) -> tuple[str, int]:
    """(transfer syntax, where the dataset begins), from the file's meta elements, which are explicit little endian."""
    path, content = reader.path, reader.content
    start = at = 132 if content[128:132] == b"DICM" else 0
    if at == 0 and not _is_bare(content[:132]):
        raise ImageError(f"{path} is not a DICOM file despite its name; correct its ending")
    syntax = ""
    while at + 8 <= len(content) and content[at : at + 2] == b"\x02\x00":
        tag, value, length, _ = reader.element(at)
        if tag == 0x00020010:
            syntax = content[value : value + length].decode("latin-1").strip(" \0")
        at = reader.end_of(value, length, tag)
    if at + 8 > len(content):
        raise ImageError(f"{path} is cut short: it ends before its image; copy or export it again")
    return syntax or (EXPLICIT if at > start or is_vr(content[at + 4 : at + 6]) else IMPLICIT), at


def _is_bare(head: bytes) -> bool:
    """Whether bytes begin like the first element of a DICOM dataset."""
    if len(head) < 16 or head[:2] not in (b"\x02\x00", b"\x08\x00") or head[3] != 0:
        return False
    length = struct.unpack("<I", head[4:8])[0]
    return is_vr(head[4:6]) or length <= 128


def _inflated(path: Path, packed: bytes) -> bytes:
    limit = max(_SMALL, min(_INFLATED * len(packed), max(_LARGE, 10 * len(packed))))
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = unpacker.decompress(packed, limit)
    except zlib.error as error:
        raise ImageError(f"{path} is damaged: its deflated part does not unpack; export or copy it again") from error
    if unpacker.unconsumed_tail:
        raise ImageError(
            f"{path} unpacks to over {limit // len(packed)} times its size, as no image does; export it again"
        )
    if not unpacker.eof or len(body) < 16:
        raise ImageError(f"{path} is cut short: it ends before its image; copy or export it again")
    return body


def is_image(file: DicomFile) -> bool:
    """Whether a DICOM object has pixels; reports, plans, structures and directories have none."""
    return file.element != 0 and whole(file.dataset, "Rows") > 0 and whole(file.dataset, "Columns") > 0


def frame_count(file: DicomFile) -> int:
    """NumberOfFrames, at least 1."""
    return max(whole(file.dataset, "NumberOfFrames"), 1)


def declared_numbers(path: Path) -> int:
    """How many numbers (pixels times samples) the header of a DICOM file states; 0 where it is no image."""
    file = open_dicom(path)
    if not is_image(file):
        return 0
    header = file.dataset
    samples = max(whole(header, "SamplesPerPixel"), 1)
    return math.prod((whole(header, "Rows"), whole(header, "Columns"), samples, frame_count(file)))
