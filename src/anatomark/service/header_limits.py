"""Limits on what an image's header declares: its size, and where its voxels are, before any voxel is decoded."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path

from anatomark.errors import ImageError
from anatomark.formats.dicom_files import dicom
from anatomark.formats.images import PHOTOS
from anatomark.formats.picture_files import photos
from anatomark.formats.volume_files import meta_image, nrrd, volumes
from anatomark.formats.volume_files.nifti_header import HEAD, begins_as_nifti, nifti_header
from anatomark.formats.volume_files.packed import first_bytes
from anatomark.service.rejected import RequestRejected

_HEAD = 1 << 16
_SLACK = 1 << 20  # bytes of padding that may follow an image in a gzip file
_NRRD_ELSEWHERE = re.compile(rb"^[ \t]*data[ \t]*file[ \t]*:", re.IGNORECASE | re.MULTILINE)
_META_DATA = re.compile(rb"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*(\S+)", re.IGNORECASE | re.MULTILINE)
_HDF5 = b"\x89HDF\r\n\x1a\n"


def require_within_limit(path: Path, *, max_voxels: int) -> None:
    """Raise for a file or folder whose headers declare more than `max_voxels` numbers, or numbers in another file.

    RequestRejected (413) where there are too many; ImageError for a header that cannot be read, or whose voxels would
    be read from another file, which could be any file of this machine.
    """
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.is_file() and dicom.is_dicom(file)]
        _require_count(path, sum(_count(file) for file in files), max_voxels)
        return
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    _require_own_voxels(path, head)
    _require_count(path, _count(path), max_voxels)
    if head[:2] == b"\x1f\x8b" and _is_nifti(path):
        _require_no_trailing_data(path)
    if path.name.lower().endswith(".mha"):
        _require_sound_stream(path, head)


def _count(path: Path) -> int:
    """How many numbers decoding `path` gives: voxels times components."""
    if path.name.lower().endswith(PHOTOS):
        return photos.declared(path)
    if _is_nifti(path):
        header = nifti_header(path)
        return math.prod(header.dim) * header.components
    if dicom.is_dicom(path):
        return dicom.declared_numbers(path)
    if first_bytes(path, 4) == b"NRRD":
        return nrrd.declared(path)
    return meta_image.declared(path)


def _require_count(path: Path, count: int, limit: int) -> None:
    if count > limit:
        raise RequestRejected(
            413,
            f"{path} declares {count} voxels, more than the limit of {limit}; crop or resample it",
            reason="decoded size",
        )


def _require_own_voxels(path: Path, head: bytes) -> None:
    name = path.name.lower()
    is_nrrd, meta = head.startswith(b"NRRD"), name.endswith((".mha", ".mhd"))
    ends = not is_nrrd or re.search(rb"\r?\n\r?\n", head) is not None
    in_another_file = (
        name.endswith((".nhdr", ".mhd", ".hdr", ".img"))
        or (is_nrrd and (not ends or _NRRD_ELSEWHERE.search(head) is not None))
        or any(found != b"LOCAL" for found in _META_DATA.findall(head))
        or (meta and _META_DATA.search(head) is None)
        or _is_hdf5(path)
    )
    if in_another_file:
        raise ImageError(
            f"{path} stores its voxels in another file, which the service does not read; write .nrrd, .mha or .nii.gz"
        )


def _require_sound_stream(path: Path, head: bytes) -> None:
    """ImageError for compressed voxels of a .mha that cannot be unpacked: ITK may never return."""
    start = _META_DATA.search(head)
    if (
        start is None
        or re.search(rb"^[ \t]*CompressedData[ \t]*[=:][ \t]*T", head, re.IGNORECASE | re.MULTILINE) is None
    ):
        return
    unpacker, block = zlib.decompressobj(), 1 << 20
    try:
        with open(path, "rb") as file:
            file.seek(head.index(b"\n", start.end()) + 1)
            while not unpacker.eof:
                packed = unpacker.unconsumed_tail or file.read(block)
                if not packed:
                    break
                unpacker.decompress(packed, block)
    except (zlib.error, ValueError):
        pass
    if not unpacker.eof:
        raise ImageError(f"{path} cannot be read: it is damaged or truncated; export or copy it again")


def _is_nifti(path: Path) -> bool:
    """Whether a file is NIfTI by its content, which decides on the reader, or by its name."""
    named = path.name.lower().endswith((".nii", ".nii.gz"))
    if not named and not path.name.lower().endswith(volumes.SUFFIXES):
        return False
    return begins_as_nifti(first_bytes(path, HEAD)) or (named and not first_bytes(path, HEAD).startswith(b"NRRD"))


def _is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5, whatever it is called: ITK reads it by its content, and it can lead to any file."""
    size, offset = path.stat().st_size, 0
    with open(path, "rb") as file:
        while offset < size:
            file.seek(offset)
            if file.read(len(_HDF5)) == _HDF5:
                return True
            offset = max(512, 2 * offset)  # where the format allows it to begin
    return False


def _require_no_trailing_data(path: Path) -> None:
    """RequestRejected (413) for a .nii.gz that unpacks to far more than its image."""
    header = nifti_header(path)
    with open(path, "rb") as file:
        file.seek(-4, 2)
        if struct.unpack("<I", file.read(4))[0] == header.size % 2**32:
            return  # nothing after the image is ever unpacked
    unpacked = 0
    try:
        with gzip.open(path, "rb") as file:
            while unpacked <= header.size + _SLACK and (block := file.read(_SLACK)):
                unpacked += len(block)
    except (OSError, EOFError, zlib.error):
        return  # truncated: the reader reports it
    if unpacked > header.size + _SLACK:
        raise RequestRejected(
            413, f"{path} unpacks to far more than its header says; compress it again", reason="decoded size"
        )
