"""MetaImage (.mha, .mhd). Rare kinds of voxels are left to ITK, but not the header: it dies of wrong numbers in it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anatomark.core.grid import Grid
from anatomark.errors import ImageError
from anatomark.formats import itk
from anatomark.formats.header import Header
from anatomark.formats.on_disk import is_file
from anatomark.formats.units import mm_of
from anatomark.formats.volume_files.raw import RawStack

SUFFIXES = (".mha", ".mhd")
_LONGEST = 1 << 20  # bytes of a header
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "I": "S", "S": "I"}


def begins_as_meta_image(head: bytes) -> bool:
    """Whether these first bytes of a file are those of a MetaImage header."""
    return re.match(rb"\s*(ObjectType|ObjectSubType|Comment|TransformType|NDims|Name|ID)\s*[=:]", head) is not None


@dataclass(frozen=True)
class _Meta:
    """What a header states: `shape` in array order and `components` of a voxel, with all `stated` and its `end`."""

    shape: tuple[int, ...]
    components: int
    stated: dict[str, str]
    end: int


def read_header(path: Path) -> Header:
    """Where the voxels of a file lie, from its header alone. Raises `ImageError`."""
    return _header(_meta(path), path)


def read(path: Path, page: int | None = None) -> tuple[NDArray[Any], Header]:
    """Grey values (*spatial) and Header of a file; of one slice (1, rows, columns) where a `page` (from 1) is wanted.

    The Header is the whole file's. Raises `ImageError`.
    """
    meta = _meta(path)
    header = _header(meta, path)
    shape, components = header.grid.shape, meta.components
    stack = _raw(meta, shape, path)
    if stack is not None:  # where the size of what is compressed is not stated, ITK reads zeros
        array = stack.whole() if page is None else stack.page(page)
    else:
        data = meta.stated.get("ElementDataFile", "")
        if data not in ("LOCAL", "LIST") and "%" not in data and not is_file(path.parent / data):
            raise ImageError(f"{path} keeps its voxels in {data:.60}, which is not beside it; bring that file as well")
        itk.require_numbered(data, path)
        reader = itk.header(path, "MetaImageIO")
        array = itk.voxels(reader, path)[1]
        if array.size != math.prod(shape) * components:
            raise ImageError(_damaged(path, "size of its voxels", str(array.shape)))
        array = array.reshape(*shape, *([components] if components > 1 else []))
        array = array if page is None else array[page - 1 : page]
    return itk.grey_of(array, components, path), header


def declared(path: Path) -> int:
    """How many numbers a header states. Raises `ImageError`."""
    meta = _meta(path)
    return math.prod(meta.shape) * meta.components


def _meta(path: Path) -> _Meta:
    stated, end = fields(path)
    try:
        d = int(stated["NDims"])
        sizes = tuple(int(word) for word in stated["DimSize"].split())
        components = int(stated.get("ElementNumberOfChannels", "1"))
    except (KeyError, ValueError):
        d, sizes, components = 0, (), 0
    if not 1 <= d <= 10 or len(sizes) < d or min(sizes[:d]) < 1 or components < 1:
        asked = ", ".join(f"{key} = {stated.get(key, '')}" for key in ("NDims", "DimSize"))
        raise ImageError(_damaged(path, "size", asked))
    return _Meta(sizes[d - 1 :: -1], components, stated, end)


def _damaged(path: Path, what: str, stated: str) -> str:
    return f"{path} is damaged: its header states no {what} that can be ({stated:.60}); export or copy it again"


def fields(path: Path) -> tuple[dict[str, str], int]:
    """{key: value} of a header, and the byte after it, where voxels in the same file begin."""
    with open(path, "rb") as file:
        head = file.read(_LONGEST)
    found: dict[str, str] = {}
    at = 0
    while (end := head.find(b"\n", at)) >= 0:
        key, _, value = re.sub(r"[=:]", "\0", head[at:end].decode("utf-8", "replace"), count=1).partition("\0")
        at = end + 1
        found.setdefault(key.strip(), value.strip())
        if key.strip() == "ElementDataFile":
            break
    return found, at


def _header(meta: _Meta, path: Path) -> Header:
    stated, d = meta.stated, len(meta.shape)
    terms: dict[str, Any] = {
        "spacing": _numbers(stated, ("ElementSpacing", "ElementSize"), [1.0] * d, path),
        "origin": _numbers(stated, ("Offset", "Position", "Origin"), [0.0] * d, path),
        "direction": _axes(_numbers(stated, ("TransformMatrix", "Rotation", "Orientation"), np.eye(d).ravel(), path)),
    }
    shape, terms = itk.spatial(meta.shape, terms, path)
    if "ElementSpacing" not in stated and "ElementSize" not in stated:
        return Header(Grid.without_spacing(shape))
    unit = stated.get("DistanceUnits", "")
    factor = mm_of(unit)
    if factor is None:
        raise ImageError(f"{path} states its lengths in {unit!r}, which is not a known unit; correct its DistanceUnits")
    terms["spacing"] = [factor * step for step in terms["spacing"]]
    terms["origin"] = [factor * place for place in terms["origin"]]
    return Header(itk.grid(shape, terms, path), tuple(_remarks(stated, terms, path)))


def _numbers(stated: dict[str, str], keys: Sequence[str], default: ArrayLike, path: Path) -> NDArray[np.float64]:
    """The numbers of the first of `keys` that is stated, as many as of `default`. Raises `ImageError`."""
    wanted = np.asarray(default, dtype=float)
    key = next((key for key in keys if key in stated), None)
    if key is None:
        return wanted
    try:
        found = np.array([float(word) for word in stated[key].split()[: wanted.size]])
    except ValueError:
        found = np.zeros(0)
    if found.shape != wanted.shape or not np.isfinite(found).all():
        raise ImageError(_damaged(path, key, stated[key]))
    return found


def _axes(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The direction (d * d,) of a matrix that has an axis in each row."""
    d = math.isqrt(rows.size)
    return rows.reshape(d, d).T.ravel()


def _remarks(stated: dict[str, str], terms: dict[str, Any], path: Path) -> list[str]:
    d = len(terms["spacing"])
    matrix = np.reshape(terms["direction"], (d, d))
    remarks: list[str] = []
    lengths = np.linalg.norm(matrix, axis=0)
    if (np.abs(lengths - 1) > 1e-3).any():
        listed = ", ".join(f"{length:.4g}" for length in lengths)
        remarks.append(
            f"{path}: the axes of its TransformMatrix are {listed} long, not 1; they were multiplied with the spacing, "
            "as by ITK"
        )
    letters = stated.get("AnatomicalOrientation", "").upper()
    if d == 3 and sorted(min(c, _OPPOSITE.get(c, c)) for c in letters) == ["A", "I", "L"]:
        order, flipped = Grid.from_geometry((1,) * d, **terms).canonical_axes()
        from_letters = [""] * d
        for world, (axis, flip) in enumerate(zip(order[::-1], flipped[::-1], strict=True)):
            letter = "RAI"[world]
            from_letters[d - 1 - axis] = _OPPOSITE[letter] if flip else letter
        expected = "".join(from_letters)
        # RAI names where the axes come from, and by some writers where they lead
        if letters not in (expected, "".join(_OPPOSITE[c] for c in expected)):
            remarks.append(
                f"{path}: its AnatomicalOrientation {letters} contradicts its TransformMatrix, which is {expected}; "
                "the matrix was followed"
            )
    return remarks


def _raw(meta: _Meta, shape: tuple[int, ...], path: Path) -> RawStack | None:
    """Where the numbers stand, None for files that only ITK reads."""
    stated = meta.stated
    kind = _TYPES.get(stated.get("ElementType", "").removesuffix("_ARRAY"))
    plain = stated.get("BinaryData", "").lower().startswith("t") and stated.get("HeaderSize", "0") in ("0", "-1")
    data = stated.get("ElementDataFile", "")
    voxels = path if data == "LOCAL" else path.parent / data
    if kind is None or not plain or not data or not is_file(voxels):
        return None
    big = stated.get("BinaryDataByteOrderMSB", stated.get("ElementByteOrderMSB", "False")).lower().startswith("t")
    packed = stated.get("CompressedData", "False").lower().startswith("t")
    start = meta.end if data == "LOCAL" else 0
    if stated.get("HeaderSize") == "-1":
        start = max(0, voxels.stat().st_size - math.prod(shape) * meta.components * int(kind[1]))
    dtype = np.dtype((">" if big else "<") + kind)
    return RawStack(voxels, start, "zlib" if packed else "none", dtype, shape, meta.components)
