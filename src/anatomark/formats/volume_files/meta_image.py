"""MetaImage (.mha, .mhd): ITK reads its geometry and rare kinds of voxels; its unit of length is read here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Grid
from anatomark.errors import ImageError
from anatomark.formats import itk
from anatomark.formats.header import Header
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


def read_header(path: Path) -> Header:
    """Where the voxels of a file lie, from its header alone. Raises `ImageError`."""
    return _header(itk.header(path, "MetaImageIO"), path)


def read(path: Path, page: int | None = None) -> tuple[NDArray[Any], Header]:
    """Grey values (*spatial) and Header of a file; of one slice (1, rows, columns) where a `page` (from 1) is wanted.

    The Header is the whole file's. Raises `ImageError`.
    """
    reader = itk.header(path, "MetaImageIO")
    header = _header(reader, path)
    components = reader.GetNumberOfComponents()
    stack = _raw(path, header.grid.shape, components)
    if stack is not None:  # where the size of what is compressed is not stated, ITK reads zeros
        array = stack.whole() if page is None else stack.page(page)
    else:
        array = itk.voxels(reader, path)[1]
        array = array.reshape(*header.grid.shape, *([components] if components > 1 else []))
        array = array if page is None else array[page - 1 : page]
    return itk.grey_of(array, components, path), header


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


def _header(reader: itk.Reader, path: Path) -> Header:
    shape, terms = itk.geometry(reader)
    shape, terms = itk.spatial(shape, terms, path)
    stated, _ = fields(path)
    if "ElementSpacing" not in stated and "ElementSize" not in stated:
        return Header(Grid.without_spacing(shape))
    unit = stated.get("DistanceUnits", "")
    factor = mm_of(unit)
    if factor is None:
        raise ImageError(f"{path} states its lengths in {unit!r}, which is not a known unit; correct its DistanceUnits")
    terms["spacing"] = [factor * step for step in terms["spacing"]]
    terms["origin"] = [factor * place for place in terms["origin"]]
    return Header(itk.grid(shape, terms, path), tuple(_remarks(stated, terms, path)))


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


def _raw(path: Path, shape: tuple[int, ...], components: int) -> RawStack | None:
    """Where the numbers stand, None for files that only ITK reads."""
    stated, end = fields(path)
    kind = _TYPES.get(stated.get("ElementType", "").removesuffix("_ARRAY"))
    plain = stated.get("BinaryData", "").lower().startswith("t") and stated.get("HeaderSize", "0") in ("0", "-1")
    data = stated.get("ElementDataFile", "")
    voxels = path if data == "LOCAL" else path.parent / data
    if kind is None or not plain or not data or not voxels.is_file():
        return None
    big = stated.get("BinaryDataByteOrderMSB", stated.get("ElementByteOrderMSB", "False")).lower().startswith("t")
    packed = stated.get("CompressedData", "False").lower().startswith("t")
    start = end if data == "LOCAL" else 0
    if stated.get("HeaderSize") == "-1":
        start = voxels.stat().st_size - int(np.prod(shape)) * components * int(kind[1])
    dtype = np.dtype((">" if big else "<") + kind)
    return RawStack(voxels, start, "zlib" if packed else "none", dtype, shape, components)
