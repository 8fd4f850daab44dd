"""TIFF pictures of every bit depth: the numbers of a page as stored, and what they mean.

Readers differ in what they turn, invert, round or cut to 8 bits by themselves. So the file's own list of tags is read,
libtiff (through Pillow) only unpacks bytes, and what these mean is decided in this file alone.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.errors import ImageError
from anatomark.formats import itk
from anatomark.formats.picture_files import tiff_tags
from anatomark.formats.picture_files.pillow import opened
from anatomark.formats.picture_files.tiff_pages import Page
from anatomark.formats.picture_files.tiff_tags import Directory

_RAW = 1
_BYTES = {5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits", 34925: "LZMA", 50000: "Zstandard"}
_FAX = {2: "CCITT RLE", 3: "CCITT G3", 4: "CCITT G4"}
_JPEG = 7
_OTHERS = {6: "JPEG of the old kind", 33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000", 34887: "LERC",
           50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL", 34676: "SGI LogLuv", 34677: "SGI LogLuv"}  # fmt: skip
_GREY, _RGB, _PALETTE, _CMYK, _YCBCR = (0, 1), 2, 3, 5, 6
_COLOURS = {0: 1, 1: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}  # numbers in each pixel that are no extra ones
_STRANGE = {8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "a camera sensor's mosaic", 32844: "LogL", 32845: "LogLuv",
            34892: "a camera sensor's raw data"}  # fmt: skip
_MOST = 1 << 26  # bytes that are unpacked at a time


def grey(page: Page) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Grey values (rows, columns) as stored, bright is high, and remarks. Raises `ImageError`.

    Min-is-white is turned round: unsigned numbers of b bits become 2^b - 1 - v, signed ones -1 - v (both exchange the
    lowest and the highest value that the type holds), and floating-point ones, which have no such bounds, the lowest
    plus the highest of the picture minus v. Numbers of 1, 2 and 4 bits are spread over 0 to 255, the others stay as
    they are.
    """
    path, kind = page.path, page.photometric
    if kind not in _COLOURS:
        raise ImageError(f"{path} holds {_STRANGE.get(kind, f'colours of kind {kind}')}; save it as grey or RGB")
    if kind == _CMYK and page.one(tiff_tags.INK_SET, 1) != 1:
        raise ImageError(f"{path} holds inks that are not CMYK; save it as grey or RGB")
    _require_known_samples(page)
    array = _numbers(page)
    remarks = page.others
    base, extra = array[..., : _COLOURS[kind]], array[..., _COLOURS[kind] :]
    bits = page.bits
    if extra.size and (extra != (2**bits - 1 if extra.dtype.kind == "u" else 1)).any():
        remarks += (see_through(path),)
    if kind == _PALETTE:
        base = _coloured(page, base[..., 0])
    elif kind == _CMYK:
        base = cmyk_to_rgb(base, path)
    elif bits in (1, 2, 4):
        base = base * np.uint8(255 // (2**bits - 1))
    if kind == 0:
        base = _inverted(base, 255 if bits in (1, 2, 4) else 2**bits - 1)
    if base.shape[-1] == 1:
        return base[..., 0], remarks
    return itk.to_grey(base, base.shape[-1], path), remarks


def see_through(path: Path) -> str:
    """The remark on a picture that is not opaque."""
    return f"{path} is transparent in part: its grey values are taken as stored, also where viewers show a background"


def cmyk_to_rgb(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """Colours (*spatial, 3) of ink (*spatial, 4), 0 to the type's highest, without a colour profile, as Pillow does."""
    if array.dtype.kind != "u":
        raise ImageError(f"{path} holds CMYK in numbers of type {array.dtype}; save it as grey or RGB")
    most = float(np.iinfo(array.dtype).max)
    rgb = (most - array[..., :3].astype(np.float64)) * (most - array[..., 3:]) / most
    return np.rint(rgb).astype(array.dtype)


def _require_known_samples(page: Page) -> None:
    """Raises `ImageError` for a page whose pixels hold numbers of which nobody knows what they are."""
    colours = _COLOURS[page.photometric]
    alpha = [kind for kind in page.integers(tiff_tags.EXTRA_SAMPLES) if kind in (1, 2)]
    extra = page.samples - colours
    if extra < 0 or extra > 1 or (extra == 1 and not alpha and colours == 1):
        what = {1: "grey", 3: "RGB", 4: "CMYK"}[colours]
        raise ImageError(
            f"{page.path} has {page.samples} numbers in each pixel, of which {what} explains {colours}; save the one "
            "that is meant as a grey picture"
        )


def _coloured(page: Page, index: NDArray[Any]) -> NDArray[np.uint8]:
    """(rows, columns, 3) of a palette's numbers (rows, columns)."""
    table = np.asarray(page.integers(tiff_tags.COLOUR_MAP), dtype=np.int64)
    if index.dtype.kind != "u" or table.size != 3 * 2**page.bits:
        raise ImageError(
            f"{page.path} has a palette of {table.size // 3} colours for numbers of {page.bits} bits; it is damaged, "
            "export it again"
        )
    # written as v * 256 or v * 257; a few writers put 0 to 255 there
    table = (table >> 8 if table.max() > 255 else table).astype(np.uint8)
    return table.reshape(3, -1).T[index]


def _inverted(array: NDArray[Any], most: int) -> NDArray[Any]:
    if array.dtype.kind == "u":
        return array.dtype.type(most) - array
    if array.dtype.kind == "i":
        return ~array
    finite = array[np.isfinite(array)]
    return finite.min() + finite.max() - array if finite.size else array


def _numbers(page: Page) -> NDArray[Any]:
    """(rows, columns, samples) as stored, of the page's own type. Raises `ImageError`."""
    compression = page.one(tiff_tags.COMPRESSION, _RAW)
    if compression in _FAX or compression == _JPEG:
        return _by_codec(page, compression)
    if compression != _RAW and compression not in _BYTES:
        name = _OTHERS.get(compression, f"a way of its own, number {compression}")
        raise ImageError(f"{page.path} is compressed by {name}, which is not read; save it with LZW or without")
    if page.photometric == _YCBCR:
        raise ImageError(f"{page.path} holds YCbCr colours without JPEG compression; save it as grey or RGB")
    dtype = _dtype(page)
    planar = page.one(tiff_tags.PLANAR, 1) == 2 and page.samples > 1
    planes, together = (page.samples, 1) if planar else (1, page.samples)
    tall, wide, tiled = page.segment
    row_bytes = -(-wide * together * page.bits // 8)
    rows, columns = page.shape
    across = -(-columns // wide)
    down = -(-rows // tall)
    segments = _segments(page, planes * down * across, tall * row_bytes if compression == _RAW else 0, planes)
    parts: list[NDArray[Any]] = []
    for plane in range(planes):
        own = segments[plane * down * across : (plane + 1) * down * across]
        last = tall if tiled else rows - (down - 1) * tall  # the last strip ends with the picture
        heights = [tall] * (len(own) - 1) + [last]
        raw = _unpacked(page, own, row_bytes, heights, compression)
        numbers = _typed(page, raw, dtype, wide, together)
        if tiled:
            numbers = numbers.reshape(down, across, tall, wide, together).swapaxes(1, 2)
            numbers = numbers.reshape(down * tall, across * wide, together)[:rows, :columns]
        parts.append(numbers)
    return np.concatenate(parts, axis=-1) if planar else np.ascontiguousarray(parts[0])


def _dtype(page: Page) -> np.dtype:
    kind = {1: "u", 2: "i", 3: "f", 4: "u"}.get(page.one(tiff_tags.SAMPLE_FORMAT, 1), "")
    bits = page.bits
    if bits in ((16, 32, 64) if kind == "f" else (8, 16, 32, 64)) and kind:
        return np.dtype(f"{page.order}{kind}{bits // 8}")
    if kind == "u" and 1 <= bits < 16:
        return np.dtype(np.uint8 if bits < 8 else np.uint16)
    named = {"u": "unsigned", "i": "signed", "f": "floating-point"}.get(kind, "complex")
    raise ImageError(f"{page.path} holds {named} numbers of {bits} bits, which are not read; save it as 8 or 16 bit")


def _segments(page: Page, count: int, each: int, planes: int) -> list[bytes]:
    """The `count` strips or tiles as they lie in the file; `each` bytes where they are not compressed, else 0.

    Raises `ImageError` where the file ends before them.
    """
    tiled = tiff_tags.TILE_WIDTH in page.tags
    offsets = page.integers(tiff_tags.TILE_OFFSETS if tiled else tiff_tags.STRIP_OFFSETS)
    counts = list(page.integers(tiff_tags.TILE_COUNTS if tiled else tiff_tags.STRIP_COUNTS))
    size = page.path.stat().st_size
    if each:  # the sizes are known, and old writers leave them out
        counts = [each] * len(offsets)
        if not tiled and page.shape[0] % page.segment[0]:
            short = each // page.segment[0] * (page.shape[0] % page.segment[0])
            for plane in range(planes):
                if 0 < (plane + 1) * (count // planes) <= len(counts):
                    counts[(plane + 1) * (count // planes) - 1] = short
    if len(offsets) != count or len(counts) != count or any(start == 0 for start in offsets):
        raise ImageError(
            f"{page.path} has {len(offsets)} strips or tiles of {count}; it is damaged, copy or export it again"
        )
    if any(min(start, length) < 0 or start + length > size for start, length in zip(offsets, counts, strict=True)):
        raise ImageError(f"{page.path} is cut short or damaged: it ends before its image does; copy or export it again")
    segments: list[bytes] = []
    with open(page.path, "rb") as file:
        for start, length in zip(offsets, counts, strict=True):
            file.seek(start)
            segments.append(file.read(length))
    return segments


def _unpacked(
    page: Page, segments: Sequence[bytes], row_bytes: int, heights: Sequence[int], compression: int
) -> NDArray[np.uint8]:
    """(sum of `heights`, row_bytes) bytes of strips or tiles that lie one below the other."""
    if compression == _RAW:
        raw = np.frombuffer(b"".join(segments), dtype=np.uint8).reshape(-1, row_bytes)
        if page.one(tiff_tags.FILL_ORDER, 1) == 2 and page.bits < 8:
            raw = np.packbits(np.unpackbits(raw, axis=1, bitorder="little"), axis=1)
        return raw
    at_once = max(1, _MOST // (row_bytes * heights[0]))
    parts: list[NDArray[np.uint8]] = []
    for k in range(0, len(segments), at_once):
        rows = sum(heights[k : k + at_once])
        # a picture of bytes, whatever they mean, so that libtiff unpacks and does nothing else
        tags: dict[int, tiff_tags.Values] = {
            tiff_tags.WIDTH: (row_bytes,), tiff_tags.LENGTH: (rows,), tiff_tags.BITS: (8,), tiff_tags.PHOTOMETRIC: (1,),
            tiff_tags.COMPRESSION: (compression,), tiff_tags.SAMPLES: (1,), tiff_tags.ROWS_PER_STRIP: (heights[k],),
        }  # fmt: skip
        if page.one(tiff_tags.FILL_ORDER, 1) == 2:
            tags[tiff_tags.FILL_ORDER] = (2,)
        parts.append(_by_pillow(page, tags, list(segments[k : k + at_once]), compression))
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _typed(page: Page, raw: NDArray[np.uint8], dtype: np.dtype, columns: int, samples: int) -> NDArray[Any]:
    """(rows, columns, samples) numbers of the bytes (rows, row_bytes) of strips or tiles, predictors undone."""
    predictor = page.one(tiff_tags.PREDICTOR, 1) if page.one(tiff_tags.COMPRESSION, _RAW) != _RAW else 1
    rows, bits = len(raw), page.bits
    if predictor not in (1, 2, 3) or (predictor == 2 and bits % 8) or (predictor == 3 and dtype.kind != "f"):
        raise ImageError(f"{page.path} is compressed with predictor {predictor} of {bits} bits; save it with LZW alone")
    if bits < 16 and bits != 8:
        each = np.unpackbits(raw, axis=1)[:, : columns * samples * bits].reshape(rows, columns * samples, bits)
        numbers = np.zeros(each.shape[:2], dtype=dtype)
        for k in range(bits):
            numbers = (numbers << 1) | each[..., k]
        return numbers.astype(dtype).reshape(rows, columns, samples)
    if predictor == 3:
        # differences of bytes; the first bytes of all numbers of a row come first, then the second ones
        summed = np.cumsum(raw.reshape(rows, -1, samples), axis=1, dtype=np.uint8)
        split = summed.reshape(rows, dtype.itemsize, columns * samples).swapaxes(1, 2)
        numbers = np.ascontiguousarray(split).view(dtype.newbyteorder(">"))
    elif predictor == 2:
        whole = np.dtype(f"{page.order}u{dtype.itemsize}")
        differences = np.ascontiguousarray(raw).view(whole).reshape(rows, columns, samples)
        numbers = np.cumsum(differences, axis=1, dtype=whole.newbyteorder("=")).view(dtype.newbyteorder("="))
    else:
        numbers = np.ascontiguousarray(raw).view(dtype)
    # half precision is for storing: sums of it overflow
    native = np.dtype(np.float32) if dtype == np.float16 else dtype.newbyteorder("=")
    return numbers.reshape(rows, columns, samples).astype(native, copy=False)


def _by_codec(page: Page, compression: int) -> NDArray[Any]:
    """(rows, columns, samples) of JPEG or fax compression, which know of pixels; Pillow neither turns nor inverts."""
    if page.bits != (8 if compression == _JPEG else 1):
        raise ImageError(f"{page.path} is compressed by JPEG with {page.bits} bits; save it with LZW or without")
    tall, wide, tiled = page.segment
    rows, columns = page.shape
    planes = page.samples if page.one(tiff_tags.PLANAR, 1) == 2 else 1
    segments = _segments(page, planes * -(-rows // tall) * -(-columns // wide), 0, planes)
    kept = (
        tiff_tags.WIDTH, tiff_tags.LENGTH, tiff_tags.BITS, tiff_tags.COMPRESSION, tiff_tags.SAMPLES, tiff_tags.PLANAR,
        tiff_tags.FILL_ORDER, tiff_tags.T4_OPTIONS, tiff_tags.T6_OPTIONS, tiff_tags.EXTRA_SAMPLES,
        tiff_tags.JPEG_TABLES, tiff_tags.YCBCR_COEFFICIENTS, tiff_tags.YCBCR_SUBSAMPLING, tiff_tags.YCBCR_POSITION,
        tiff_tags.REFERENCE_BLACK_WHITE, tiff_tags.TILE_WIDTH, tiff_tags.TILE_LENGTH,
    )  # fmt: skip
    tags = {tag: page.tags[tag] for tag in kept if tag in page.tags}
    tags[tiff_tags.PHOTOMETRIC] = (1 if page.photometric in (*_GREY, _PALETTE) else page.photometric,)
    if not tiled:
        tags[tiff_tags.ROWS_PER_STRIP] = (tall,)
    array = _by_pillow(page, tags, segments, compression)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    return array.reshape(rows, columns, -1)


def _by_pillow(page: Page, tags: Directory, segments: list[bytes], compression: int) -> NDArray[Any]:
    """What Pillow's libtiff unpacks from a TIFF file of these tags. Raises `ImageError`."""
    from PIL import TiffImagePlugin

    try:
        file = io.BytesIO(tiff_tags.written(tags, segments))
        with opened(lambda: TiffImagePlugin.TiffImageFile(file)) as picture:
            return np.asarray(picture)
    except (OSError, ValueError, SyntaxError, LookupError, struct.error, TypeError, RuntimeError, MemoryError) as error:
        name = {**_BYTES, **_FAX, _JPEG: "JPEG"}[compression]
        raise ImageError(
            f"{page.path} cannot be unpacked ({name} compression): it is cut short or damaged; copy or export it again"
        ) from error
