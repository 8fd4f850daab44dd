"""A DICOM file opened with care: its attributes, and where its pixels lie.

The lengths that the elements state are followed here before any reader believes them: one that leads out of the file
is a line, not a request for gigabytes. pydicom then sees the bytes before the pixels alone, and no reader sees a
whole file of a user's.
"""

from __future__ import annotations

import math
import mmap
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from anatomark.errors import ImageError

SUFFIXES = (".dcm", ".dicom", ".ima")
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double, whole numbers
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_DEEPEST = 32  # sequences within sequences; the deepest objects of the standard have about ten
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
    dataset: Any = field(repr=False)
    syntax: str
    little_endian: bool = True
    element: int = 0
    start: int = 0
    length: int = 0
    pieces: tuple[tuple[int, int], ...] | None = None
    body: bytes | None = field(default=None, repr=False)

    def bytes_at(self, start: int, length: int) -> bytes:
        """`length` bytes of the content from `start` on."""
        if self.body is not None:
            return self.body[start : start + length]
        with open(self.path, "rb") as file:
            file.seek(start)
            return file.read(length)


@contextmanager
def quiet() -> Iterator[None]:
    """pydicom's warnings of values that the standard would not allow stay away: they are the file's, not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


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


def _opened(path: Path, content: Any) -> DicomFile:
    walk = _Walk(path, content, len(content), implicit=False, order="<")
    syntax, at = _syntax(walk, path, content)
    body = None
    if syntax == DEFLATED:
        body, at = _inflated(path, content, at), 0
        content = body
    order = ">" if syntax == BIG_ENDIAN else "<"
    implicit = order == "<" and not _is_vr(content[at + 4 : at + 6])  # whatever the syntax says: some writers lie
    walk = _Walk(path, content, len(content), implicit, order)
    element, end, start, length, pieces = walk.pixels(at)
    if end - at > _HEADER:
        raise ImageError(f"{path} has {end - at} bytes before its pixels, far more than an image has; export it again")
    from pydicom.filereader import read_dataset

    try:
        with quiet():
            dataset = read_dataset(BytesIO(content[at:end]), implicit, order == "<")
    except Exception as error:  # whatever pydicom makes of bytes that anybody wrote
        raise ImageError(f"{path} cannot be read: its DICOM header is damaged; export or copy it again") from error
    return DicomFile(path, dataset, syntax, order == "<", element, start, length, pieces, body)


def _syntax(walk: _Walk, path: Path, content: Any) -> tuple[str, int]:
    """(transfer syntax, where the dataset begins), from the file's meta elements, which are explicit little endian."""
    at = 132 if content[128:132] == b"DICM" else 0
    if at == 0 and not _is_bare(content[:132]):
        raise ImageError(f"{path} is not a DICOM file despite its name; correct its ending")
    syntax, found = "", False
    while at + 8 <= len(content) and content[at : at + 2] == b"\x02\x00":
        tag, value, length, _ = walk.element(at)
        if tag == 0x00020010:
            syntax = content[value : value + length].decode("latin-1").strip(" \0")
        found, at = True, walk.end_of(value, length, tag)
    if at + 8 > len(content):
        raise ImageError(f"{path} is cut short: it ends before its image; copy or export it again")
    return syntax or (EXPLICIT if found or _is_vr(content[at + 4 : at + 6]) else IMPLICIT), at


def _is_vr(letters: bytes) -> bool:
    return letters.isalpha() and letters.isupper()


def _is_bare(head: bytes) -> bool:
    """Whether bytes begin like the first element of a DICOM dataset."""
    if len(head) < 16 or head[:2] not in (b"\x02\x00", b"\x08\x00") or head[3] != 0:
        return False
    length = struct.unpack("<I", head[4:8])[0]
    return _is_vr(head[4:6]) or length <= 128


def _inflated(path: Path, content: Any, at: int) -> bytes:
    packed = content[at:]
    most = max(_SMALL, min(_INFLATED * len(packed), max(_LARGE, 10 * len(packed))))
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = unpacker.decompress(packed, most)
    except zlib.error as error:
        raise ImageError(f"{path} is damaged: its deflated part does not unpack; export or copy it again") from error
    if unpacker.unconsumed_tail:
        raise ImageError(
            f"{path} unpacks to over {most // len(packed)} times its size, as no image does; export it again"
        )
    if not unpacker.eof or len(body) < 16:
        raise ImageError(f"{path} is cut short: it ends before its image; copy or export it again")
    return body


@dataclass(frozen=True)
class _Walk:
    """Over the elements of a DICOM content, believing no length that leads out of it."""

    path: Path
    content: Any
    size: int
    implicit: bool
    order: str

    def pixels(self, at: int) -> tuple[int, int, int, int, tuple[tuple[int, int], ...] | None]:
        """(tag, end of the attributes, start, length, pieces) of the pixels; the tag is 0 where there are none."""
        while at + 8 <= self.size:
            tag, value, length, vr = self.element(at)
            if tag in _PIXELS:
                if length == _UNDEFINED:
                    pieces, end = self._pieces(value)
                    return tag, at, value, end - value, pieces
                self.end_of(value, length, tag)
                return tag, at, value, length, None
            if length == _UNDEFINED:
                # a sequence of an unknown kind (UN) is written implicitly, whatever the file is
                walk = _Walk(self.path, self.content, self.size, True, "<") if vr == b"UN" else self
                at = walk._past_items(value, 1)
            else:
                at = self.end_of(value, length, tag)
        if at < self.size and any(self.content[at:]):
            raise self._damaged(f"it ends within an element, at byte {at}")
        return 0, self.size, 0, 0, None

    def element(self, at: int) -> tuple[int, int, int, bytes]:
        """(tag, start of the value, its length, VR) of the element at `at`."""
        head = self.content[at : at + 12]
        if len(head) < 8:
            raise self._damaged(f"it ends within an element, at byte {at}")
        group, number = struct.unpack_from(self.order + "HH", head)
        tag, vr = group << 16 | number, head[4:6]
        if self.implicit or group == 0xFFFE or not _is_vr(vr):
            return tag, at + 8, struct.unpack_from(self.order + "I", head, 4)[0], b""
        if vr in _LONG:
            if len(head) < 12:
                raise self._damaged(f"it ends within an element, at byte {at}")
            return tag, at + 12, struct.unpack_from(self.order + "I", head, 8)[0], vr
        return tag, at + 8, struct.unpack_from(self.order + "H", head, 6)[0], vr

    def end_of(self, start: int, length: int, tag: int) -> int:
        if start + length > self.size:
            raise self._damaged(
                f"element ({tag >> 16:04x},{tag & 0xFFFF:04x}) speaks of {length} bytes, of which "
                f"{max(self.size - start, 0)} are there"
            )
        return start + length

    def _past_items(self, at: int, depth: int) -> int:
        """Where a sequence of undefined length ends that begins at `at`."""
        if depth > _DEEPEST:
            raise self._damaged(f"it nests sequences more than {_DEEPEST} deep")
        while True:
            tag, value, length, _ = self.element(at)
            if tag == _SEQUENCE_END:
                return value
            if tag != _ITEM:
                raise self._damaged(f"something else stands where an item of a sequence belongs, at byte {at}")
            at = self._past_item(value, depth) if length == _UNDEFINED else self.end_of(value, length, tag)

    def _past_item(self, at: int, depth: int) -> int:
        while True:
            tag, value, length, vr = self.element(at)
            if tag == _ITEM_END:
                return value
            if length == _UNDEFINED:
                walk = _Walk(self.path, self.content, self.size, True, "<") if vr == b"UN" else self
                at = walk._past_items(value, depth + 1)
            else:
                at = self.end_of(value, length, tag)

    def _pieces(self, at: int) -> tuple[tuple[tuple[int, int], ...], int]:
        """The (start, length) of the items of compressed pixels, and where they end."""
        pieces: list[tuple[int, int]] = []
        while at + 8 <= self.size:
            tag, value, length, _ = self.element(at)
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM or length == _UNDEFINED:
                raise self._damaged(f"something else stands where a compressed piece belongs, at byte {at}")
            at = self.end_of(value, length, tag)
            pieces.append((value, length))
        return tuple(pieces), at

    def _damaged(self, what: str) -> ImageError:
        return ImageError(f"{self.path} cannot be read, for {what}: damaged or cut short; copy or export it again")


def is_image(file: DicomFile) -> bool:
    """Whether a DICOM object has pixels; reports, plans, structures and directories have none."""
    return file.element != 0 and whole(file.dataset, "Rows") > 0 and whole(file.dataset, "Columns") > 0


def frame_count(file: DicomFile) -> int:
    """NumberOfFrames, at least 1."""
    return max(whole(file.dataset, "NumberOfFrames"), 1)


def declared_numbers(path: Path) -> int:
    """How many numbers (pixels times samples) the header of a DICOM file speaks of; 0 where it is no image."""
    file = open_dicom(path)
    if not is_image(file):
        return 0
    header = file.dataset
    samples = max(whole(header, "SamplesPerPixel"), 1)
    return math.prod((whole(header, "Rows"), whole(header, "Columns"), samples, frame_count(file)))


def value(dataset: Any, keyword: str) -> tuple[Any, ...]:
    """The values of an attribute: numbers, or texts as they are written; none where it is absent or empty.

    The bytes are taken apart here, for pydicom warns of, or refuses, what the standard would not allow.
    """
    if dataset is None:
        return ()
    from pydicom.datadict import dictionary_VR
    from pydicom.dataelem import RawDataElement

    raw = _element(dataset, keyword)
    if not isinstance(raw, RawDataElement):
        held = None if raw is None else raw.value
        return () if held is None or held == "" else tuple(held) if isinstance(held, list | tuple) else (held,)
    content = raw.value or b""
    form = _BINARY.get(raw.VR if raw.VR not in (None, "UN") else dictionary_VR(raw.tag))
    if form is not None:
        count = len(content) // struct.calcsize(form)
        return struct.unpack_from(f"{'<' if raw.is_little_endian else '>'}{count}{form}", content)
    try:
        written = content.decode("utf-8")
    except UnicodeDecodeError:
        written = content.decode("latin-1")
    written = written.strip(" \0")
    return tuple(part.strip(" \0") for part in written.split("\\")) if written else ()


def _element(dataset: Any, keyword: str) -> Any:
    """The element as pydicom read it, most often not yet taken apart; None where there is none."""
    try:
        return dataset.get_item(_tag(keyword))
    except Exception:  # it takes some apart all the same, which anybody may have written
        return None


@cache
def _tag(keyword: str) -> Any:
    from pydicom.tag import Tag

    return Tag(keyword)


_BINARY = {"US": "H", "SS": "h", "US or SS": "H", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}


def numbers(dataset: Any, keyword: str) -> tuple[float, ...]:
    """The numbers of an attribute; none where it is absent, or where one is not a finite number."""
    try:
        found = tuple(float(part) for part in value(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return ()
    return found if all(map(math.isfinite, found)) else ()


def number(dataset: Any, keyword: str) -> float | None:
    """The one number of an attribute; None where there is not exactly one."""
    found = numbers(dataset, keyword)
    return found[0] if len(found) == 1 else None


def whole(dataset: Any, keyword: str) -> int:
    """The whole number of an attribute; 0 where there is none."""
    found = number(dataset, keyword)
    return 0 if found is None else int(found)


def text(dataset: Any, keyword: str) -> str:
    """The text of an attribute in one line, several values joined by a backslash; empty where it is absent."""
    return _printable("\\".join(str(part) for part in value(dataset, keyword)))


def uid_name(uid: str) -> str:
    """What the standard calls a UID; the UID itself where it is not the standard's."""
    from pydicom.uid import UID

    with quiet():
        return _printable(UID(uid).name)


def _printable(written: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in written)


def item(dataset: Any, keyword: str) -> Any:
    """The first item of a sequence; None where there is none."""
    found = items(dataset, keyword)
    return found[0] if found else None


def items(dataset: Any, keyword: str) -> list[Any]:
    """The items of a sequence; none where it is absent, or cannot be understood."""
    from pydicom.dataelem import RawDataElement
    from pydicom.sequence import Sequence

    if dataset is None or (found := _element(dataset, keyword)) is None:
        return []
    if not isinstance(found, RawDataElement):
        return list(found.value) if isinstance(found.value, Sequence) else []
    try:
        with quiet():
            held = dataset[_tag(keyword)].value
    except Exception:  # pydicom takes the bytes apart at this moment, which anybody may have written
        return []
    return list(held) if isinstance(held, Sequence) else []


def functional(dataset: Any, frame: int, sequence: str, keyword: str, frames: list[Any] | None = None) -> Any:
    """The item of a functional group that holds `keyword` for a frame: its own, the shared one, or the dataset itself.

    `frames` are the items of PerFrameFunctionalGroupsSequence where the caller has them already.
    """
    frames = items(dataset, "PerFrameFunctionalGroupsSequence") if frames is None else frames
    own = frames[frame] if frame < len(frames) else None
    for group in (own, item(dataset, "SharedFunctionalGroupsSequence")):
        found = item(group, sequence)
        if value(found, keyword):
            return found
    return dataset
