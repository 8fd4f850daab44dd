"""Bytes of files that may be compressed, whatever their names say, from any place in them.

zlib allows a copy of its state, so a place that was reached once can be gone on from: pages of a compressed stack are
read one after another without unpacking what lies before them again.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from anatomark.errors import ImageError

Packing = Literal["none", "zlib", "gzip"]
_WBITS = {"zlib": 15, "gzip": 31}
_GZIP = b"\x1f\x8b"
_BLOCK, _MOST = 1 << 18, 1 << 22  # bytes taken from a file, and given by zlib, at a time
_DENSEST = 1032  # bytes that one compressed byte can stand for
_Key = tuple[str, int, int, int, int]  # path, size, time of change, byte where the stream begins, zlib's wbits
_lock = threading.Lock()
_marks: OrderedDict[_Key, list[_Mark]] = OrderedDict()  # of the last files of which pages were read
_FILES = 4


class _Unpacker(Protocol):
    """What zlib.decompressobj gives; zlib does not name its type."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...
    def copy(self) -> Self: ...


@dataclass(frozen=True)
class _Mark:
    """A place in a compressed stream: unpacked bytes before it, where its input goes on, and zlib's state there."""

    at: int
    offset: int
    unpacker: _Unpacker


def is_gzipped(path: Path) -> bool:
    """Whether a file is gzip's by its first bytes."""
    with open(path, "rb") as file:
        return file.read(2) == _GZIP


def packing_of(path: Path) -> Packing:
    """How a whole file is packed, by its content."""
    return "gzip" if is_gzipped(path) else "none"


def first_bytes(path: Path, count: int) -> bytes:
    """Up to `count` bytes from the beginning of a file's content, unpacked where it is gzipped."""
    with open(path, "rb") as file:
        head = file.read(_BLOCK if count < _BLOCK else count)
    if not head.startswith(_GZIP):
        return head[:count]
    try:
        return zlib.decompressobj(_WBITS["gzip"]).decompress(head, count)
    except zlib.error as error:
        raise ImageError(damaged(path)) from error


def read_bytes(
    path: Path, start: int, size: int, *, packing: Packing, stream: int = 0, page: bool = False
) -> NDArray[np.uint8]:
    """(size,) bytes of a file's content from `start` on; of what begins at byte `stream` of the file, if it is packed.

    Never unpacks more than is asked for. Where it is a `page` of several, the place is kept for the next. Otherwise a
    stream that ends with these bytes is checked to its end. Raises `ImageError` for a file that ends before.
    """
    available = path.stat().st_size
    needed = stream + start + size if packing == "none" else stream + (start + size) // _DENSEST
    if available < needed:
        raise ImageError(cut_short(path))
    try:
        bytes_ = np.empty(size, np.uint8)
    except (MemoryError, ValueError) as error:
        raise ImageError(f"{path} needs {size / 2**30:.0f} GiB of memory; crop or resample it") from error
    with open(path, "rb") as file:
        if packing == "none":
            file.seek(stream + start)
            if file.readinto(bytes_.data) < size:
                raise ImageError(cut_short(path))
            return bytes_
        try:
            _unpack(file, path, start, bytes_, _WBITS[packing], stream, page)
        except zlib.error as error:
            raise ImageError(damaged(path)) from error
    return bytes_


def _unpack(
    file: BinaryIO, path: Path, start: int, bytes_: NDArray[np.uint8], wbits: int, stream: int, page: bool
) -> None:
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns, stream, wbits)
    mark = _Mark(0, stream, zlib.decompressobj(wbits))
    if page:
        with _lock:
            earlier = [m for m in _marks.get(key, ()) if m.at <= start]
            if earlier:
                nearest = max(earlier, key=lambda m: m.at)
                mark = _Mark(nearest.at, nearest.offset, nearest.unpacker.copy())
    unpacker, at = mark.unpacker, mark.at
    file.seek(mark.offset)
    tail, unpacked_after = b"", 0
    end = start + len(bytes_)
    view = bytes_.data
    while at < end or not page:
        if at == start and page:
            _keep(key, at, file.tell() - len(tail), unpacker)
        if unpacker.eof:  # gzip allows several members, one after another, and padding after the last
            tail = unpacker.unused_data or file.read(_BLOCK)
            if not tail.startswith(_GZIP):
                if at < end:
                    raise ImageError(cut_short(path))
                return
            unpacker = zlib.decompressobj(wbits)
        tail = tail or file.read(_BLOCK)
        missing = (start if at < start else end) - at
        block = unpacker.decompress(tail, min(missing, _MOST) or _BLOCK)
        if not (tail or block or unpacker.eof):
            raise ImageError(cut_short(path))
        tail = unpacker.unconsumed_tail
        if at >= end:
            unpacked_after += len(block)
            if unpacked_after > _BLOCK or unpacker.eof:  # it goes on and on, or its checksum has been compared
                return
            continue
        if at >= start:
            view[at - start : at - start + len(block)] = block
        at += len(block)
    if page:
        _keep(key, at, file.tell() - len(tail), unpacker)


def _keep(key: _Key, at: int, offset: int, unpacker: _Unpacker) -> None:
    """Keeps a place, unless it is kept already."""
    if unpacker.eof:
        return
    with _lock:
        marks = _marks.setdefault(key, [])
        _marks.move_to_end(key)
        while len(_marks) > _FILES:
            _marks.popitem(last=False)
        if all(mark.at != at for mark in marks):
            marks.append(_Mark(at, offset, unpacker.copy()))


def cut_short(path: Path) -> str:
    """The line for a file that ends before its image does."""
    return f"{path} is cut short or damaged: it ends before its image does; copy or export it again"


def damaged(path: Path) -> str:
    """The line for compressed bytes that do not unpack."""
    return f"{path} is damaged: what it holds compressed cannot be unpacked; copy or export it again"
