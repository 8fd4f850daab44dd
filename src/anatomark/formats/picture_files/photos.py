"""Pictures: PNG, JPEG, TIFF, BMP, WebP; 2D, and without a spacing, for their density is one for printing.

They come as people see them: turned as EXIF or TIFF say, bright is high, in the number type that is stored. A file is
read by its content, whatever its ending says. Pillow decodes; TIFF is read by `tiff`, and colours of 16 bits in PNG,
which Pillow cuts to 8, by ITK.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Grid
from anatomark.errors import ImageError
from anatomark.formats import itk
from anatomark.formats.header import Header, Orientation
from anatomark.formats.picture_files import png, tiff, tiff_pages, tiff_tags, turned
from anatomark.formats.picture_files.picture_kinds import kind_of, require_common_jpeg
from anatomark.formats.picture_files.pillow import opened
from anatomark.formats.picture_files.wholeness import require_whole

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


@dataclass(frozen=True)
class _Stored:
    """What a picture's header says: its kind, (rows, columns) as stored, numbers in each pixel, orientation 1 to 8,
    remarks, the number of pictures in the file, and what PNG or TIFF say beyond that."""

    kind: str
    shape: tuple[int, int]
    samples: int
    orientation: int
    remarks: tuple[str, ...] = ()
    pages: int = 1
    more: png.Chunks | tiff_pages.Page | None = None


def read_header(path: Path, orientation: Orientation = "shown", page: int | None = None) -> Header:
    """The Header of a picture, its pixels not read. Raises `ImageError`."""
    return _header(_stored(path, page), orientation)


def read(path: Path, orientation: Orientation = "shown", page: int | None = None) -> tuple[NDArray[Any], Header]:
    """Grey values (rows, columns) and Header of a picture. Raises `ImageError`.

    Transparency is left out, and a remark says so. `orientation` "stored" leaves the pixels as they lie in the file.
    `page` is one of several pictures in a TIFF file, counted from 1.
    """
    about = _stored(path, page)
    require_whole(path, about.more if isinstance(about.more, png.Chunks) else None)
    if isinstance(about.more, tiff_pages.Page):
        array, remarks = tiff.grey(about.more)
    else:
        array, remarks = _grey(path, about)
    header = _header(
        replace(about, remarks=(*about.remarks, *(r for r in remarks if r not in about.remarks))), orientation
    )
    if orientation == "shown":
        array = turned.upright(array, about.orientation)
    return array, header


def declared(path: Path) -> int:
    """Numbers that decoding a picture would make, by its header: pixels times numbers in each. Raises `ImageError`."""
    about = _stored(path)
    return about.more.decoded if isinstance(about.more, tiff_pages.Page) else math.prod(about.shape) * about.samples


def _header(about: _Stored, orientation: Orientation) -> Header:
    shape = about.shape if orientation == "stored" else turned.upright_shape(about.shape, about.orientation)
    return Header(Grid.without_spacing(shape), about.remarks, about.orientation, about.pages)


def _stored(path: Path, page: int | None = None) -> _Stored:
    """What the header of a picture says. Raises `ImageError` for what is none, and for several pictures in one file."""
    kind = kind_of(path)
    if kind == "TIFF":
        found = tiff_pages.open_page(path, page)
        return _Stored(kind, found.shape, found.samples, found.stored, found.others, found.pages, found)
    if page not in (None, 1):
        raise ImageError(f"{path} has 1 page, page {page} was requested; count them from 1")
    if kind == "JPEG":
        require_common_jpeg(path)
    chunks = png.chunks(path) if kind == "PNG" else None
    with _opened(path, kind) as picture:
        shape = picture.height, picture.width
        samples = png.SAMPLES[chunks.colour] if chunks is not None else len(picture.getbands())
        frames = chunks.frames if chunks is not None else getattr(picture, "n_frames", 1)
        if chunks is not None:
            exif, xmp = chunks.exif, chunks.xmp
        else:
            exif, xmp = (picture.info.get(name) for name in ("exif", "xmp"))
            exif = turned.in_exif(exif) if isinstance(exif, bytes) else None
            xmp = turned.in_xmp(xmp) if isinstance(xmp, bytes) else None
        mp = picture.info.get("mp")
    if frames > 1:
        raise ImageError(
            f"{path} is an animation of {frames} frames ({shape[1]} x {shape[0]} pixels), expected a single picture; "
            "save each frame as a file of its own"
        )
    if min(shape) < 1:
        raise ImageError(f"{path} has no pixels ({shape[1]} x {shape[0]}); export or copy it again")
    remarks = ()
    if exif is None and xmp is not None and xmp != turned.UPRIGHT:
        remarks = (
            f"{path} is turned by its XMP (orientation {xmp}), which browsers ignore, and not by its EXIF; it "
            "is turned here, so see whether the points fit",
        )
    if (several := _of_equal_rank(mp)) > 1:
        remarks += (f"{path} holds {several} pictures, as cameras for depth or panoramas make; the first is read",)
    return _Stored(kind, shape, samples, exif or xmp or turned.UPRIGHT, remarks, frames, chunks)


def _of_equal_rank(mp: object) -> int:
    """How many pictures of a JPEG's list of pictures (MPF) are no thumbnails and no gain maps."""
    if not isinstance(mp, bytes) or not (order := tiff_tags.byte_order(mp)):
        return 1
    try:
        first: tiff_tags.Directory = next(tiff_tags.directories(io.BytesIO(mp), "MPF"), {})
    except ImageError:
        return 1
    entries = tiff_tags.text(first, tiff_tags.MP_ENTRIES)
    kinds = [struct.unpack_from(order + "I", entries, at)[0] & 0xFFFFFF for at in range(0, len(entries) - 15, 16)]
    return sum(kind in (0x020001, 0x020002, 0x020003) for kind in kinds)


@contextmanager
def _opened(path: Path, kind: str, data: bytes | None = None) -> Generator[Any]:
    """The Pillow image of a file of this kind (or of `data` in its place), its pixels not yet read.

    Raises `ImageError`, also for what fails while the image is used.

    The classes are called, not `PIL.Image.open`, which tries other kinds too: for PostScript it starts a program.
    """
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    opener: Any = {
        "PNG": PngImagePlugin.PngImageFile,
        "JPEG": JpegImagePlugin.JpegImageFile,
        "BMP": BmpImagePlugin.BmpImageFile,
        "WebP": WebPImagePlugin.WebPImageFile,
    }[kind]
    try:
        with opened(lambda: opener(str(path) if data is None else io.BytesIO(data))) as picture:
            yield picture
    except ImageError:
        raise
    except (OSError, ValueError, SyntaxError, KeyError, IndexError, RuntimeError, MemoryError, OverflowError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ImageError(
            f"{path} cannot be read as {kind} ({reason or type(error).__name__}): it is damaged or cut short; copy or "
            "export it again"
        ) from error


def _grey(path: Path, about: _Stored) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Grey values (rows, columns) as stored of a picture that is no TIFF, and a remark where it is transparent."""
    array, alpha = _decoded(path, about)
    if array.ndim == 3:
        array = itk.to_grey(array, array.shape[2], path)
    opaque = alpha is None or bool((alpha == np.iinfo(alpha.dtype).max).all())
    return array, () if opaque else (tiff.see_through(path),)


def _decoded(path: Path, about: _Stored) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """(rows, columns[, 3]) of grey or colours, and (rows, columns) of alpha or None."""
    chunks = about.more
    if isinstance(chunks, png.Chunks) and chunks.bits == 16 and chunks.colour != png.GREY:
        array = _deep_grey_alpha(path) if chunks.colour == png.GREY_ALPHA else _deep_colours(path)
        return (array[..., 0] if array.shape[2] == 2 else array[..., :3]), (
            array[..., -1] if array.shape[2] != 3 else None
        )
    with _opened(path, about.kind) as picture:
        key = picture.info.get("transparency")
        if picture.mode == "P":
            picture = picture.convert("RGB" if key is None else "RGBA")
            key = None
        elif picture.mode == "1":
            picture = picture.convert("L")
        elif picture.mode not in ("L", "I;16", "I", "LA", "RGB", "RGBA", "RGBX", "CMYK"):
            raise ImageError(f"{path} holds colours of kind {picture.mode}; save it as grey or RGB")
        array = np.array(picture)
        mode = picture.mode
    if mode == "I":  # how Pillow once gave 16 bits
        array = array.astype(np.uint16)
    if mode == "CMYK":
        return tiff.cmyk_to_rgb(array, path), None
    if mode in ("LA", "RGBA"):
        return (array[..., 0] if mode == "LA" else array[..., :3]), array[..., -1]
    alpha = None
    if key is not None and not isinstance(key, bytes):  # the one value that stands for transparent
        bits = chunks.bits if isinstance(chunks, png.Chunks) else 8
        value = np.asarray(key) * (255 // (2**bits - 1) if 1 < bits < 8 else 1)
        same = array == value if array.ndim == 2 else (array[..., :3] == value).all(axis=-1)
        alpha = np.where(same, 0, 255).astype(np.uint8)
    return array[..., :3] if array.ndim == 3 else array, alpha


def _deep_colours(path: Path) -> NDArray[np.uint16]:
    """(rows, columns, 3 or 4) of a PNG with colours of 16 bits."""
    image, array = itk.voxels(itk.header(path, "PNGImageIO"), path)
    return array.reshape(*array.shape[:2], image.GetNumberOfComponentsPerPixel())


def _deep_grey_alpha(path: Path) -> NDArray[np.uint16]:
    """(rows, columns, 2) of a PNG with grey and alpha of 16 bits, which neither Pillow nor ITK gives whole.

    Its pixels are 4 bytes, and a PNG is packed by bytes: read as 8 bits of red, green, blue and alpha it is the same.
    """
    data = bytearray(path.read_bytes())
    at = len(png.SIGNATURE) + 8
    data[at + 8 : at + 10] = bytes((8, png.RGB_ALPHA))
    data[at + 13 : at + 17] = struct.pack(">I", zlib.crc32(data[at - 4 : at + 13]))
    with _opened(path, "PNG", bytes(data)) as picture:
        return np.array(picture).view(">u2").astype(np.uint16)
