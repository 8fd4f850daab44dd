"""What readers and writers pass over in silence: NIfTI files and pictures cut short."""

from __future__ import annotations

import struct
from pathlib import Path

from anatomark.errors import ImageError
from anatomark.formats.picture_files import png
from anatomark.formats.volume_files.nifti_header import require_whole_nifti
from anatomark.formats.volume_files.packed import cut_short


def require_whole(path: Path, chunks: png.Chunks | None = None) -> None:
    """Raises `ImageError` if a NIfTI, JPEG, PNG, BMP or WebP file ends before its image does; other kinds'
    readers check that themselves. `chunks` are those of a PNG file, where they are known already."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        require_whole_nifti(path)
        return
    with open(path, "rb") as file:
        head = file.read(12)
    if head[:2] == b"\xff\xd8":
        data = path.read_bytes()
        # FF D9 ends an image, FF DA opens its last scan; inside a scan FF is followed by 00 or a restart
        if data.find(b"\xff\xd9", max(data.rfind(b"\xff\xda"), 0)) < 0:
            raise ImageError(cut_short(path))
    elif head[:2] == b"BM":
        _require_whole_bmp(path)
    elif head[:4] == b"RIFF" and head[8:] == b"WEBP":
        if path.stat().st_size < struct.unpack("<I", head[4:8])[0] + 8:
            raise ImageError(cut_short(path))
    elif head[:8] == png.SIGNATURE:
        chunks = chunks or png.chunks(path)
        if chunks is None or not chunks.whole:
            raise ImageError(cut_short(path))


def _require_whole_bmp(path: Path) -> None:
    data = path.read_bytes()
    if len(data) < 34:
        raise ImageError(cut_short(path))
    offset, size = struct.unpack("<II", data[10:18])
    if size == 12:  # of OS/2
        width, height, _, bits = struct.unpack("<4H", data[18:26])
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack("<iiHHI", data[18:34])
    row = (width * bits + 31) // 32 * 4
    if compression in (0, 3, 6) and len(data) < offset + row * abs(height):
        raise ImageError(cut_short(path))
    # run lengths end with a mark of their own, 0 and 1, behind which padding may follow; Pillow fills up with black
    if compression in (1, 2) and not data[offset:].rstrip(b"\0").endswith(b"\0\1"):
        raise ImageError(cut_short(path))
