"""TIFF of every depth, turned, min-is-white, packed and cut in every way, beside tifffile, Pillow and ITK."""

import itertools
import struct

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.TiffImagePlugin
import pytest
import SimpleITK as sitk
import tifffile

from anatomark import read_image
from anatomark.core.image import require_usable
from anatomark.errors import AnatomarkError, ImageError
from anatomark.formats.images import load_image, read_header

SHAPE = (13, 19)
TYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]


def numbers(dtype, shape=SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.normal(size=shape).astype(dtype)
    most = np.iinfo(dtype)
    return rng.integers(most.min, most.max, size=shape, dtype=dtype, endpoint=True)


def shown_by_pillow(array, orientation):
    """The pixels of `array` in the order in which Pillow's `exif_transpose` puts them."""
    index = PIL.Image.fromarray(np.arange(array.size, dtype=np.int32).reshape(array.shape))
    index.getexif()[274] = orientation
    return array.ravel()[np.asarray(PIL.ImageOps.exif_transpose(index))]


def turned_round(array):
    """Min-is-white by the rule in the docs, in Python's own unbounded integers."""
    if array.dtype.kind == "f":
        return (array.min() + array.max() - array).astype(array.dtype)
    most = np.iinfo(array.dtype)
    return np.array([int(most.max) + int(most.min) - int(v) for v in array.flat], array.dtype).reshape(array.shape)


def write(path, array, orientation=1, white=False, **how):
    how = {"photometric": "miniswhite" if white else "minisblack", "metadata": None, **how}
    tifffile.imwrite(path, array, extratags=[(274, "H", 1, orientation, True)], **how)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("white", [False, True])
def test_every_depth_and_every_orientation(tmp_path, dtype, white):
    array = numbers(dtype)
    path = tmp_path / "a.tif"
    for orientation in range(1, 9):
        write(path, array.astype(dtype), orientation, white)
        np.testing.assert_array_equal(tifffile.imread(path), array)
        array = array.astype("f4") if dtype == "f2" else array
        bright = turned_round(array) if white else array
        image, header = load_image(path)
        expected = shown_by_pillow(bright, orientation)
        assert image.array.dtype == (np.dtype("f4") if dtype == "f2" else np.dtype(dtype))
        np.testing.assert_array_equal(image.array, expected)
        assert header == read_header(path)
        assert (header.stored, header.grid.shape, header.remarks) == (orientation, expected.shape, ())
        stored, header = load_image(path, orientation="stored")
        np.testing.assert_array_equal(stored.array, bright)
        assert (header.stored, header.grid.shape) == (orientation, SHAPE)
        assert read_header(path, orientation="stored") == header


@pytest.mark.parametrize("white", [False, True])
def test_eight_bits_are_as_pillow_shows_them(tmp_path, white):
    """Pillow itself inverts min-is-white of 8 bits and turns by the tag: nothing of ours is in the expectation.

    Packed, for Pillow maps other pictures into memory and scrambles those whose rows and columns are exchanged.
    """
    path = tmp_path / "a.tif"
    for orientation in range(1, 9):
        write(path, numbers("u1"), orientation, white, compression="zlib")
        with PIL.Image.open(path) as picture:
            expected = np.asarray(PIL.ImageOps.exif_transpose(picture))
        np.testing.assert_array_equal(read_image(path).array, expected)


LAYOUTS = {
    "little": {"byteorder": "<"},
    "big": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
    "BigTIFF, big": {"bigtiff": True, "byteorder": ">"},
    "strips": {"rowsperstrip": 4},
    "tiles": {"tile": (16, 16)},
    "deflate": {"compression": "zlib", "rowsperstrip": 5},
    "deflate, tiles": {"compression": "zlib", "tile": (16, 32), "byteorder": ">"},
}


@pytest.mark.parametrize("how", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4", "f8"])
def test_every_layout(tmp_path, how, dtype):
    path = tmp_path / "a.tif"
    array = numbers(dtype, (37, 45))
    write(path, array, 6, True, **how)
    np.testing.assert_array_equal(tifffile.imread(path), array)
    np.testing.assert_array_equal(read_image(path).array, shown_by_pillow(turned_round(array), 6))
    for planar in ("contig", "separate"):
        colour = numbers(dtype, (37, 45, 3) if planar == "contig" else (3, 37, 45), seed=1)
        if dtype[0] == "f":
            colour = np.abs(colour)
        write(path, colour, 8, photometric="rgb", planarconfig=planar, **how)
        np.testing.assert_array_equal(tifffile.imread(path), colour)
        channels = (colour if planar == "contig" else np.moveaxis(colour, 0, -1)).astype(np.float64)
        luma = channels @ [0.299, 0.587, 0.114]
        got = read_image(path).array
        assert got.dtype == colour.dtype
        np.testing.assert_allclose(got, shown_by_pillow(luma, 8), rtol=1e-6, atol=0 if dtype[0] == "f" else 0.50001)


@pytest.mark.parametrize("packing", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate", "zstd", "lzma"])
@pytest.mark.parametrize("mode", ["L", "I;16", "I", "F"])
@pytest.mark.parametrize("predictor", [1, 2])
def test_packed_by_libtiff_is_as_pillow_reads_it(tmp_path, packing, mode, predictor):
    if predictor == 2 and packing not in ("tiff_lzw", "tiff_adobe_deflate"):
        pytest.skip("has no predictor")
    array = numbers({"L": "u1", "I;16": "u2", "I": "i4", "F": "f4"}[mode], (50, 41))
    path = tmp_path / "a.tif"
    more = PIL.TiffImagePlugin.ImageFileDirectory_v2()
    more[317], more[278] = predictor, 7
    PIL.Image.fromarray(array).save(path, compression=packing, tiffinfo=more)
    with PIL.Image.open(path) as picture:
        np.testing.assert_array_equal(np.asarray(picture), array)
    np.testing.assert_array_equal(read_image(path).array, array)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
def test_packed_by_itk(tmp_path, dtype):
    path = tmp_path / "a.tif"
    array = numbers(dtype, (200, 30))
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.UseCompressionOn()
    for compressor in ("LZW", "Deflate", "PackBits"):
        writer.SetCompressor(compressor)
        writer.Execute(sitk.GetImageFromArray(array))
        with tifffile.TiffFile(path) as file:
            assert file.pages.first.compression.name in ("LZW", "ADOBE_DEFLATE", "DEFLATE", "PACKBITS")
        np.testing.assert_array_equal(read_image(path).array, array)


def test_a_predictor_of_floats(tmp_path):
    """Predictor 3, which no library here writes: by the definition in Adobe's Photoshop TIFF Technical Note 3."""
    import zlib

    for dtype, samples in itertools.product(("f2", "f4", "f8"), (1, 3)):
        array = np.abs(numbers(dtype, (*SHAPE, samples)))
        big = array.astype(array.dtype.newbyteorder(">")).reshape(SHAPE[0], -1)
        split = big.view(np.uint8).reshape(SHAPE[0], -1, array.dtype.itemsize).swapaxes(1, 2).reshape(SHAPE[0], -1)
        packed = split.copy()
        packed[:, samples:] = split[:, samples:] - split[:, :-samples]
        data = zlib.compress(packed.tobytes())
        bits = array.dtype.itemsize * 8
        path = tmp_path / "a.tif"
        tags = {256: SHAPE[1], 257: SHAPE[0], 258: [bits] * samples, 259: 8, 262: 2 if samples == 3 else 1, 273: 8,
                277: samples, 278: SHAPE[0], 279: len(data), 317: 3, 339: [3] * samples}  # fmt: skip
        path.write_bytes(classic(tags, data))
        with PIL.Image.open(path) if (samples, dtype) == (1, "f4") else memoryview(b"") as picture:
            if isinstance(picture, PIL.Image.Image):
                np.testing.assert_array_equal(np.asarray(picture), array[..., 0])
        expected = array[..., 0] if samples == 1 else array.astype(np.float64) @ [0.299, 0.587, 0.114]
        np.testing.assert_allclose(read_image(path).array, expected, rtol=2e-3 if dtype == "f2" else 1e-6)


def classic(tags, data, order="<"):
    """A TIFF file of one directory, its strip at byte 8; {tag: number or numbers}, 16 bits where they fit."""
    at = 8 + len(data) + len(data) % 2
    behind, entries, more = at + 2 + 12 * len(tags) + 4, b"", b""
    for tag, values in sorted(tags.items()):
        values = values if isinstance(values, list) else [values]
        code = "I" if tag in (273, 279) else "H"
        held = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(held) > 4:
            held, more = struct.pack(order + "I", behind + len(more)), more + held
        entries += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[code], len(values)) + held.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at)
    return head + data.ljust(at - 8, b"\0") + struct.pack(order + "H", len(tags)) + entries + bytes(4) + more


@pytest.mark.parametrize("bits", [1, 2, 4, 12])
@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("order", ["<", ">"])
def test_numbers_that_share_bytes(tmp_path, bits, kind, order):
    rng = np.random.default_rng(bits)
    array = rng.integers(0, 2**bits, size=SHAPE, dtype=np.uint16)
    rows = ["".join(f"{v:0{bits}b}" for v in row) for row in array]
    data = b"".join(int(r.ljust(-(-len(r) // 8) * 8, "0"), 2).to_bytes(-(-len(r) // 8), "big") for r in rows)
    tags = {256: SHAPE[1], 257: SHAPE[0], 258: bits, 259: 1, 262: kind, 273: 8, 277: 1, 278: SHAPE[0], 279: len(data)}
    path = tmp_path / "a.tif"
    path.write_bytes(classic(tags, data, order))
    bright = array if kind else 2**bits - 1 - array
    got = read_image(path).array
    if bits == 12:
        assert got.dtype == np.uint16
        np.testing.assert_array_equal(got, bright)
    else:
        np.testing.assert_array_equal(got, bright * (255 // (2**bits - 1)))
        with PIL.Image.open(path) as picture:
            np.testing.assert_array_equal(got, np.asarray(picture.convert("L")))


@pytest.mark.parametrize("packing", ["group3", "group4", "raw", "packbits", "tiff_lzw"])
@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_one_bit_as_pillow_reads_it(tmp_path, packing, orientation):
    path = tmp_path / "a.tif"
    more = PIL.TiffImagePlugin.ImageFileDirectory_v2()
    more[274] = orientation
    picture = PIL.Image.fromarray(numbers("u1", (40, 30)) > 100)
    for kind in (0, 1):
        more[262] = kind
        picture.save(path, compression=None if packing == "raw" else packing, tiffinfo=more)
        with PIL.Image.open(path) as opened:
            expected = np.asarray(PIL.ImageOps.exif_transpose(opened)).astype(np.uint8) * 255
        assert len(np.unique(expected)) == 2
        np.testing.assert_array_equal(read_image(path).array, expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr"])
@pytest.mark.parametrize("tiled", [False, True])
def test_jpeg_within_tiff_as_pillow_reads_it(tmp_path, mode, tiled):
    if tiled and mode == "YCbCr":
        pytest.skip("tifffile writes these without the tags that Pillow wants")
    rng = np.random.default_rng(3)
    smooth = PIL.Image.fromarray(rng.integers(0, 255, (6, 5, 3), dtype=np.uint8)).resize((50, 61)).convert(mode)
    path = tmp_path / "a.tif"
    more = PIL.TiffImagePlugin.ImageFileDirectory_v2()
    more[274] = 5
    if tiled:
        more[322], more[323] = 16, 16
    smooth.save(path, compression="jpeg", tiffinfo=more)
    with PIL.Image.open(path) as picture:
        turned = PIL.ImageOps.exif_transpose(picture)
        expected = np.asarray(turned.convert("L") if mode == "L" else turned.convert("RGB").convert("L"), dtype=int)
    assert np.abs(expected - expected.mean()).max() > 20
    np.testing.assert_allclose(read_image(path).array, expected, atol=1)


def test_palettes_and_inks(tmp_path):
    rng = np.random.default_rng(2)
    picture = PIL.Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8))
    path = tmp_path / "a.tif"
    for mode, packing in itertools.product(("P", "CMYK", "RGB", "RGBA", "LA"), ("raw", "tiff_lzw")):
        picture.convert(mode).save(path, compression=packing)
        with PIL.Image.open(path) as opened:
            assert opened.mode == mode
            expected = np.asarray(opened.convert("RGB").convert("L"), dtype=int)
        np.testing.assert_allclose(read_image(path).array, expected, atol=1)
    ink = numbers("u2", (*SHAPE, 4))
    write(path, ink, photometric="separated")
    rgb = (65535 - ink[..., :3].astype(float)) * (65535 - ink[..., 3:].astype(float)) / 65535
    got = read_image(path).array
    assert got.dtype == np.uint16
    np.testing.assert_allclose(got, rgb @ [0.299, 0.587, 0.114], atol=1)


def test_alpha_is_left_out_and_told_where_it_matters(tmp_path):
    path = tmp_path / "a.tif"
    grey = numbers("u2")
    for alpha, told in ((np.full(SHAPE, 65535, np.uint16), False), (numbers("u2", seed=4), True)):
        write(path, np.stack([grey, alpha], axis=-1), 6, extrasamples=["unassalpha"], planarconfig="contig")
        image, header = load_image(path)
        np.testing.assert_array_equal(image.array, shown_by_pillow(grey, 6))
        assert ["transparent in part" in remark for remark in header.remarks] == [True] * told
    write(path, np.stack([grey, grey], axis=-1), planarconfig="contig")
    with pytest.raises(ImageError, match="has 2 numbers in each pixel, of which grey explains 1"):
        read_image(path)
    write(path, numbers("u1", (*SHAPE, 5)), planarconfig="contig", photometric="rgb")
    with pytest.raises(ImageError, match="has 5 numbers in each pixel, of which RGB explains 3"):
        read_image(path)


def test_nan_in_floats_stays_and_is_refused_where_images_are_judged(tmp_path):
    array = numbers("f4")
    array[3, 4], array[5, 6] = np.nan, np.inf
    path = tmp_path / "a.tif"
    for white in (False, True):
        write(path, array, 3, white)
        image = read_image(path)
        assert np.argwhere(~np.isfinite(image.array)).tolist() == [[7, 12], [9, 14]]
        with pytest.raises(ImageError, match="2 voxels that are NaN or infinite"):
            require_usable(image, path)


def test_pages(tmp_path):
    path = tmp_path / "a.tif"
    first, small = numbers("u1", (60, 40)), numbers("u1", (15, 10))

    def pages(*arrays, kinds=None):
        with tifffile.TiffWriter(path) as writer:
            for array, kind in zip(arrays, kinds or [0] * len(arrays), strict=True):
                writer.write(array, photometric="minisblack", metadata=None, subfiletype=kind)

    pages(first, first[::-1], first)
    for read in (read_image, read_header):
        with pytest.raises(
            ImageError, match=r"holds 3 pages \(40 x 60 pixels\), expected a single picture; if each page is"
        ):
            read(path)
    pages(first, small[:, :8])  # not the same picture made smaller
    with pytest.raises(ImageError, match="holds 2 pages"):
        read_image(path)
    for kinds in ((0, 1), (1, 0)):  # a thumbnail, behind or before
        order = (small, first) if kinds[0] else (first, small)
        pages(*order, kinds=kinds)
        image, header = load_image(path)
        np.testing.assert_array_equal(image.array, first)
        assert (header.pages, header.remarks) == (1, ())
    pages(small, first)
    image, header = load_image(path)
    np.testing.assert_array_equal(image.array, first)
    assert header.remarks == read_header(path).remarks
    assert "holds 2 pages: that of 40 x 60 pixels is read, and 10 x 15 is taken for a preview" in header.remarks[0]
    tifffile.imwrite(path, np.stack([first] * 4), imagej=True)  # its further pages have directories
    with pytest.raises(ImageError, match="holds 4 pages"):
        read_image(path)
    tifffile.imwrite(path, first, description="ImageJ=1.53\nimages=7\nslices=7\n", metadata=None)
    with pytest.raises(ImageError, match="holds 7 pages"):
        read_image(path)


def whole_line(error, path):
    assert str(path) in str(error)
    assert "\n" not in str(error)
    return True


def test_one_of_several_pages_by_its_number(tmp_path):
    path = tmp_path / "a.tif"
    arrays = [numbers("u2", (20 + k, 31), seed=k) for k in range(3)]
    mask = numbers("u1", (20, 31)) > 99
    with tifffile.TiffWriter(path) as writer:
        writer.write(arrays[0][::4, ::4], photometric="minisblack", metadata=None, subfiletype=1)
        for k, array in enumerate(arrays):
            tags = [(274, "H", 1, k + 5, True)]
            kind = "miniswhite" if k == 1 else "minisblack"
            writer.write(array, photometric=kind, metadata=None, extratags=tags, compression="zlib")
        writer.write(mask, photometric="mask", metadata=None, subfiletype=4)
    for k, array in enumerate(arrays):
        image, header = load_image(path, page=k + 1)
        bright = 65535 - array if k == 1 else array
        np.testing.assert_array_equal(image.array, shown_by_pillow(bright, k + 5))
        assert (header.pages, header.stored, header.remarks) == (3, k + 5, ())
        assert read_header(path, page=k + 1) == header
        np.testing.assert_array_equal(read_image(path, page=k + 1, orientation="stored").array, bright)
    for wrong in (0, 4):
        with pytest.raises(ImageError, match=f"has 3 pages, page {wrong} was requested; count them from 1"):
            read_image(path, page=wrong)


@pytest.mark.parametrize("how", LAYOUTS.values(), ids=LAYOUTS)
def test_cut_short_anywhere_is_one_line_or_right(tmp_path, how, capfd):
    array = numbers("u2", (37, 45))
    whole = tmp_path / "whole.tif"
    write(whole, array, **how)
    data = whole.read_bytes()
    path = tmp_path / "cut.tif"
    refused = 0
    for left in (*range(1, 40, 3), *range(40, len(data), 97), len(data) - 1):
        path.write_bytes(data[:left])
        try:
            np.testing.assert_array_equal(read_image(path).array, array)
        except AnatomarkError as error:
            refused += whole_line(error, path)
    assert refused > 20
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("packing", ["tiff_lzw", "packbits", "jpeg", "tiff_adobe_deflate", "raw"])
def test_damage_is_one_line_and_nothing_is_printed(tmp_path, packing, capfd):
    path = tmp_path / "a.tif"
    PIL.Image.fromarray(numbers("u1", (90, 80))).save(path, compression=packing)
    data = path.read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(60):
        broken = bytearray(data)
        for at in rng.integers(4, len(data), 6):
            broken[at] = rng.integers(256)
        broken[-40:] = rng.bytes(40) if rng.random() < 0.5 else broken[-40:]
        path.write_bytes(broken)
        try:
            assert read_image(path).array.ndim == 2
        except AnatomarkError as error:
            whole_line(error, path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({262: 8}, "holds CIELab; save it as grey or RGB"),
        ({259: 6}, "compressed by JPEG of the old kind, which is not read"),
        ({259: 50001}, "compressed by WebP, which is not read"),
        ({258: [8, 16, 8]}, r"numbers of \[8, 16\] bits in one pixel"),
        ({339: [5, 5, 5]}, "complex numbers of 8 bits"),
        ({262: 6}, "YCbCr colours without JPEG"),
        ({277: 2}, "2 numbers in each pixel"),
        ({256: 0}, "has no pixels"),
        ({273: [8, 9]}, "2 strips or tiles of 1"),
        ({279: 10**9}, None),
    ],
)
def test_what_is_not_read_is_named(tmp_path, change, said):
    data = numbers("u1", (*SHAPE, 3)).tobytes()
    tags = {256: SHAPE[1], 257: SHAPE[0], 258: [8, 8, 8], 259: 1, 262: 2, 273: 8, 277: 3, 278: SHAPE[0], 279: len(data)}
    path = tmp_path / "a.tif"
    path.write_bytes(classic(tags | change, data))
    if said is None:
        assert read_image(path).array.shape == SHAPE
        return
    with pytest.raises(ImageError, match=said) as error:
        read_image(path)
    assert str(path) in str(error.value)
