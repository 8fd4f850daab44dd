"""What a NIfTI-1 or NIfTI-2 header states, be it of one file (.nii, .nii.gz) or of a pair (.hdr and .img)."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anatomark.errors import ImageError
from anatomark.formats.volume_files.packed import cut_short, first_bytes, packing_of, read_bytes

HEAD = 540  # bytes of the longer header
# field: (its place, its type) in NIfTI-1 and NIfTI-2
_FIELDS = {
    "magic": ((344, "4s"), (4, "8s")),
    "dim": ((40, "8h"), (16, "8q")),
    "code": ((70, "h"), (12, "h")),
    "bits": ((72, "h"), (14, "h")),
    "pixdim": ((76, "8f"), (104, "8d")),
    "offset": ((108, "f"), (168, "q")),
    "scale": ((112, "2f"), (176, "2d")),
    "units": ((123, "B"), (500, "i")),
    "intent": ((68, "h"), (504, "i")),
    "codes": ((252, "2h"), (344, "2i")),
    "quaternion": ((256, "6f"), (352, "6d")),
    "rows": ((280, "12f"), (400, "12d")),
}
TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
    128: "u1", 2304: "u1",
}  # fmt: skip
_COLOURS = {128: 3, 2304: 4}
_REFUSED = {1: "single bits", 32: "complex numbers", 1792: "complex numbers", 2048: "complex numbers", 1536: "128 bit"}
_VECTORS = (1007, 2003, 2004)  # intents: vector, RGB, RGBA; their numbers stand along the fifth dimension


@dataclass(frozen=True)
class NiftiHeader:
    """A header as it stands in the file.

    `voxels` is the file with the voxels, `offset` where they begin in its content, and `size` where they end (bytes).
    `dim` are the sizes, x first; `components` numbers belong to each voxel, side by side if `interleaved`. `scale` is
    slope and intercept. `codes` are those of qform and sform, `quaternion` is b, c, d and the offset x, y, z, `rows`
    (3, 4) are the sform's; all lengths in the file's own unit, whose code is `units`. `qfac` is 1 or -1.
    """

    voxels: Path
    offset: int
    size: int
    dim: tuple[int, ...]
    components: int
    interleaved: bool
    dtype: np.dtype | None
    type_code: int
    scale: tuple[float, float]
    pixdim: tuple[float, ...]
    qfac: float
    units: int
    codes: tuple[int, int]
    quaternion: tuple[float, ...]
    rows: tuple[float, ...]


def begins_as_nifti(head: bytes) -> bool:
    """Whether these first bytes of a file are those of a NIfTI header, as far as they go."""
    sizes = {head[:4]} & {struct.pack(order + "i", size) for order in "<>" for size in (348, 540)}
    if not sizes:
        return False
    return len(head) < 348 or head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2")


def nifti_header(path: Path) -> NiftiHeader:
    """The header in a file. Raises `ImageError` where it is none, is damaged or cut short."""
    path = header_file(path)
    head = first_bytes(path, HEAD)
    order, version = _order(head, path)
    found = {
        name: struct.unpack_from(order + places[version - 1][1], head, places[version - 1][0])
        for name, places in _FIELDS.items()
    }
    magic = found["magic"][0]
    pair = magic.startswith(b"ni")
    dim, code, (offset,) = found["dim"], found["code"][0], found["offset"]
    if not 1 <= dim[0] <= 7:
        raise ImageError(f"{path} is damaged: its NIfTI header states {dim[0]} dimensions; export it again")
    if not math.isfinite(offset) or offset < 0:
        raise ImageError(f"{path} is damaged: its NIfTI header states that voxels begin at {offset}; export it again")
    used = (*dim[1 : min(dim[0], 3) + 1], *(max(n, 1) for n in dim[4 : dim[0] + 1]))
    whole = math.prod(used)
    if min(used) < 1:
        sizes = " x ".join(map(str, used))
        raise ImageError(f"{path} has no voxels ({sizes}): its header is damaged; export or copy it again")
    if not pair and offset < HEAD - 192:  # 0 stands in files that were never told
        offset = 352 if version == 1 else 544
    components = _COLOURS.get(code, 1)
    if len(used) >= 5 and used[3] == 1 and found["intent"][0] in _VECTORS:
        components, used = used[4], used[:3]
    while len(used) > 3 and used[-1] == 1:
        used = used[:-1]
    dtype = np.dtype(f"{order}{TYPES[code]}") if code in TYPES else None
    bits = dtype.itemsize * 8 * _COLOURS.get(code, 1) if dtype is not None else found["bits"][0]
    size = int(offset) + whole * bits // 8
    return NiftiHeader(
        voxels=_voxel_file(path, pair),
        offset=int(offset),
        size=size,
        dim=tuple(used),
        components=components,
        interleaved=code in _COLOURS,
        dtype=dtype,
        type_code=code,
        scale=found["scale"],
        pixdim=found["pixdim"][1:],
        qfac=-1.0 if found["pixdim"][0] < 0 else 1.0,
        units=found["units"][0] & 7,
        codes=found["codes"],
        quaternion=found["quaternion"],
        rows=found["rows"],
    )


def number_type(header: NiftiHeader, path: Path) -> np.dtype:
    """The type of the voxels' numbers as stored. Raises `ImageError` for one that is not read."""
    if header.dtype is None:
        what = _REFUSED.get(header.type_code, f"type {header.type_code}, which NIfTI does not know")
        raise ImageError(f"{path} holds voxels that are {what}; save them as whole numbers or as float")
    return header.dtype


def header_file(path: Path) -> Path:
    """The file with the header: of a pair the .hdr."""
    if path.name.lower().endswith(".img"):
        beside = _beside(path, ("hdr",))
        if beside is None:
            raise ImageError(f"{path} has no header beside it; bring {path.stem}.hdr, or give a .nii.gz")
        return beside
    return path


def _voxel_file(path: Path, pair: bool) -> Path:
    if not pair:
        return path
    voxels = _beside(path, ("img", "img.gz")) if path.suffix.lower() == ".hdr" else None
    if voxels is None:
        raise ImageError(
            f"{path} is the header of a pair and has no voxels; bring {path.stem}.img and name this {path.stem}.hdr"
        )
    return voxels


def _beside(path: Path, endings: tuple[str, ...]) -> Path | None:
    """The other file of a pair, whichever case its ending is in."""
    names = [f"{path.stem}.{e}" for ending in endings for e in (ending, ending.upper())]
    return next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)


def _order(head: bytes, path: Path) -> tuple[str, int]:
    """(byte order, version) of a header."""
    for order in "<>":
        for version, size in ((1, 348), (2, 540)):
            if head[:4] == struct.pack(order + "i", size):
                if len(head) < size:
                    raise ImageError(cut_short(path))
                if not begins_as_nifti(head):
                    raise ImageError(
                        f"{path} is Analyze 7.5, which does not tell left from right; "
                        "convert it to NIfTI with the program that wrote it"
                    )
                return order, version
    if len(head) < 4:
        raise ImageError(cut_short(path))
    raise ImageError(f"{path} is not a NIfTI file: it does not start like one; export it again, or correct its ending")


def require_whole_nifti(path: Path) -> None:
    """Raises `ImageError` if a NIfTI file ends before its image does."""
    header = nifti_header(path)
    if header.size > HEAD:
        read_bytes(header.voxels, header.size - 1, 1, packing=packing_of(header.voxels))
