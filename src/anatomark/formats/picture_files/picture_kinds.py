"""What a file with a picture's ending holds, by its first bytes."""

from __future__ import annotations

import re
from pathlib import Path

from anatomark.errors import ImageError
from anatomark.formats.picture_files.tiff_tags import byte_order

_BEGIN = ((b"\x89PNG\r\n\x1a\n", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"BM", "BMP"))
# what else such a file turns out to be, and what to do then
_OTHERS = (
    (rb"GIF8[79]a", "a GIF picture", "save it as PNG"),
    (rb"\s*%PDF", "a PDF document", "export its picture as PNG"),
    (rb"\s*%!PS", "a PostScript document", "export it as PNG"),
    (rb"....ftyp(heic|heix|hevc|hevx|heim|heis|mif1|msf1)", "a HEIC picture, as of iPhones", "export it as JPEG"),
    (rb"....ftypavi[fs]", "an AVIF picture", "save it as PNG"),
    (rb"....ftyp", "a film or a picture of the MPEG-4 family", "save it as PNG"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 picture", "save it as PNG or TIFF"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL picture", "save it as PNG"),
    (rb"8BPS", "a Photoshop document", "save it as PNG or TIFF"),
    (rb".{128}DICM", "a DICOM file", "rename it to end in .dcm"),
    (rb"NRRD000", "an NRRD image", "rename it to end in .nrrd"),
    (rb"(ObjectType|NDims)\s*=", "a MetaImage", "rename it to end in .mha"),
    (rb".{344}(n\+1|ni1)\0", "a NIfTI image", "rename it to end in .nii"),
    (rb"\x1f\x8b", "a file packed by gzip", "unpack it, or give it its own ending, such as .nii.gz"),
    (rb"PK\x03\x04", "a zip archive", "unpack it"),
    (rb"version https://git-lfs", "a pointer of Git LFS and not the picture itself", "fetch it with `git lfs pull`"),
    (rb"\s*<(!doctype html|html)", "a web page, perhaps the answer to a failed download", "download it again"),
    (rb"\s*(<\?xml[^>]*>\s*)?<svg", "an SVG drawing", "export it as PNG"),
)  # fmt: skip


def kind_of(path: Path) -> str:
    """PNG, JPEG, TIFF, BMP or WebP, whatever the name's ending. Raises `ImageError` for anything else, saying what."""
    with open(path, "rb") as file:
        head = file.read(512)
    for magic, kind in _BEGIN:
        if head.startswith(magic):
            return kind
    if byte_order(head):
        return "TIFF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    for pattern, what, advice in _OTHERS:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            raise ImageError(f"{path} cannot be read as a picture: by its content it is {what}; {advice}")
    raise ImageError(
        f"{path} cannot be read: it does not begin like a PNG, JPEG, TIFF, BMP or WebP picture, so it is damaged or of "
        "another kind; export it again"
    )


def require_common_jpeg(path: Path) -> None:
    """Raises `ImageError` for a JPEG of the lossless kinds or of 12 bits, which Pillow takes for damaged."""
    with open(path, "rb") as file:
        at = 2
        while True:
            file.seek(at)
            head = file.read(9)
            if len(head) < 9 or head[0] != 0xFF:
                return  # its reader says what is wrong
            marker, length, bits = head[1], int.from_bytes(head[2:4], "big"), head[4]
            if marker == 0xFF:
                at += 1
            elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
                if marker not in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA) or bits != 8:
                    what = f"with {bits} bits" if bits != 8 else "of a lossless or hierarchical kind"
                    raise ImageError(f"{path} is a JPEG {what}, which is not read; save it as PNG or TIFF")
                return
            else:
                at += 2 + length
