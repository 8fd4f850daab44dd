"""The elements of a DICOM file, followed by the lengths that they state, none of which is believed beyond its end."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, replace
from pathlib import Path

from anatomark.errors import ImageError

Content = mmap.mmap | bytes
Pieces = tuple[tuple[int, int], ...]
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double, whole numbers
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_DEEPEST = 32  # sequences within sequences; the deepest objects of the standard have about ten


@dataclass(frozen=True)
class PixelElement:
    """Where the pixels lie in a content; without pixels, `tag` is 0 and `at` the end of the content.

    `at` is the start of their element, so the end of the attributes. `start` and `length` are the bytes of native
    pixels, or of the whole sequence of compressed pieces, whose (start, length) are in `pieces`.
    """

    tag: int
    at: int
    start: int = 0
    length: int = 0
    pieces: Pieces | None = None


@dataclass(frozen=True)
class ElementReader:
    """Reads the heads of the elements of a DICOM content in one byte order (`<` or `>`).

    Raises `ImageError` for a length that leads out of the content.
    """

    path: Path
    content: Content
    implicit: bool = False
    order: str = "<"

    @property
    def size(self) -> int:
        return len(self.content)

    def pixels(self, at: int) -> PixelElement:
        """The PixelElement of the dataset that begins at `at`."""
        while at + 8 <= self.size:
            tag, value, length, vr = self.element(at)
            if tag in _PIXELS:
                if length == _UNDEFINED:
                    pieces, end = self._pieces(value)
                    return PixelElement(tag, at, value, end - value, pieces)
                self.end_of(value, length, tag)
                return PixelElement(tag, at, value, length)
            at = self._past_sequence(value, vr, 1) if length == _UNDEFINED else self.end_of(value, length, tag)
        if at < self.size and any(self.content[at:]):
            raise self._damaged(f"it ends within an element, at byte {at}")
        return PixelElement(0, self.size)

    def element(self, at: int) -> tuple[int, int, int, bytes]:
        """(tag, start of the value, its length, VR) of the element at `at`."""
        head = self.content[at : at + 12]
        if len(head) < 8:
            raise self._damaged(f"it ends within an element, at byte {at}")
        group, number = struct.unpack_from(self.order + "HH", head)
        tag, vr = group << 16 | number, head[4:6]
        if self.implicit or group == 0xFFFE or not is_vr(vr):
            return tag, at + 8, struct.unpack_from(self.order + "I", head, 4)[0], b""
        if vr in _LONG:
            if len(head) < 12:
                raise self._damaged(f"it ends within an element, at byte {at}")
            return tag, at + 12, struct.unpack_from(self.order + "I", head, 8)[0], vr
        return tag, at + 8, struct.unpack_from(self.order + "H", head, 6)[0], vr

    def end_of(self, start: int, length: int, tag: int) -> int:
        if start + length > self.size:
            raise self._damaged(
                f"element ({tag >> 16:04x},{tag & 0xFFFF:04x}) states a length of {length} bytes, but only "
                f"{max(self.size - start, 0)} follow"
            )
        return start + length

    def _past_sequence(self, at: int, vr: bytes, depth: int) -> int:
        """Where a sequence of undefined length ends whose items begin at `at`."""
        # one of an unknown kind (UN) is written implicitly, whatever the file is
        reader = replace(self, implicit=True, order="<") if vr == b"UN" else self
        return reader._past_items(at, depth)

    def _past_items(self, at: int, depth: int) -> int:
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
            at = self._past_sequence(value, vr, depth + 1) if length == _UNDEFINED else self.end_of(value, length, tag)

    def _pieces(self, at: int) -> tuple[Pieces, int]:
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


def is_vr(letters: bytes) -> bool:
    """Whether two bytes can be a value representation, which explicit elements state."""
    return letters.isalpha() and letters.isupper()
