"""PNG, JPEG, WebP and BMP as people see them, beside Pillow: turned, transparent, deep, cut, called something else."""

import io
import itertools
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.PngImagePlugin
import pytest
import SimpleITK as sitk

from anatomark import read_image
from anatomark.core.image import require_usable
from anatomark.errors import AnatomarkError, ImageError
from anatomark.formats.images import is_image, list_images, load_image, read_header
from anatomark.formats.picture_files import photos


def smooth(mode="L", shape=(48, 70), seed=0):
    """A picture without symmetry that JPEG keeps nearly exact."""
    rng = np.random.default_rng(seed)
    small = PIL.Image.fromarray(rng.integers(0, 255, (4, 5, 4), dtype=np.uint8))
    return small.resize(shape[::-1], PIL.Image.Resampling.BICUBIC).convert(mode)


def exif(orientation, order="<"):
    """A block of EXIF that holds an orientation and nothing else."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return b"Exif\0\0" + head + struct.pack(order + "HHHIHHI", 1, 274, 3, 1, orientation, 0, 0)


def xmp(orientation, attribute=True):
    inside = (
        f'tiff:Orientation="{orientation}"/>' if attribute else f"><tiff:Orientation>{orientation}</tiff:Orientation>"
    )
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" {inside}</rdf:RDF></x:xmpmeta>'
    ).encode()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(png, *more, before=b"IDAT"):
    """The bytes of a PNG with further chunks put in."""
    at = png.index(before) - 4
    return png[:at] + b"".join(itertools.starmap(chunk, more)) + png[at:]


def encoded(picture, kind, **options):
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def raw_profile(data, name):
    """EXIF as ImageMagick writes it into a text."""
    digits = data.hex()
    lines = [digits[k : k + 72] for k in range(0, len(digits), 72)]
    return f"{name}\0\n{name.split()[-1]}\n{len(data):8}\n".encode() + "\n".join(lines).encode() + b"\n"


def png_with_exif(data, orientation, how):
    block = exif(orientation, ">")
    text = raw_profile(block, "Raw profile type exif")
    name, _, rest = text.partition(b"\0")
    return {
        "eXIf": lambda: with_chunks(data, (b"eXIf", block[6:])),
        "eXIf behind the pixels": lambda: with_chunks(data, (b"eXIf", block[6:]), before=b"IEND"),
        "tEXt": lambda: with_chunks(data, (b"tEXt", text)),
        "zTXt": lambda: with_chunks(data, (b"zTXt", name + b"\0\0" + zlib.compress(rest))),
        "iTXt": lambda: with_chunks(data, (b"iTXt", name + b"\0\0\0en\0profil\0" + rest)),
        "packed iTXt": lambda: with_chunks(data, (b"iTXt", name + b"\0\1\0\0\0" + zlib.compress(rest))),
    }[how]()


TURNED = {
    "JPEG": lambda k: ("a.jpg", encoded(smooth(), "JPEG", quality=95, exif=exif(k))),
    "JPEG, big": lambda k: ("a.jpeg", encoded(smooth("RGB"), "JPEG", quality=95, exif=exif(k, ">"))),
    "JPEG, progressive": lambda k: ("a.jpg", encoded(smooth(), "JPEG", progressive=True, exif=exif(k))),
    "WebP": lambda k: ("a.webp", encoded(smooth("RGB"), "WEBP", lossless=True, exif=exif(k))),
    "WebP, lossy": lambda k: ("a.webp", encoded(smooth("RGBA"), "WEBP", quality=90, exif=exif(k)[6:])),
    "PNG by Pillow": lambda k: ("a.png", encoded(smooth(), "PNG", exif=exif(k))),
    "PNG of 16 bits": lambda k: ("a.png", png_with_exif(deep(1)[0], k, "eXIf")),
    "PNG in JPEG's name": lambda k: ("a.jpg", encoded(smooth(), "PNG", exif=exif(k))),
    **{
        f"PNG, {how}": lambda k, how=how: ("a.png", png_with_exif(encoded(smooth(), "PNG"), k, how))
        for how in ("eXIf", "eXIf behind the pixels", "tEXt", "zTXt", "iTXt", "packed iTXt")
    },
}


def deep(channels, seed=0, shape=(9, 14)):
    """(bytes, numbers) of a PNG of 16 bits, filtered by each row's own rule as the standard has it."""
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 65536, (*shape, channels))
    lines = array.astype(">u2").reshape(shape[0], -1).view(np.uint8)
    sub = lines.copy()
    sub[:, 2 * channels :] -= lines[:, : -2 * channels]
    rows = [b"\1" + sub[k].tobytes() if k % 2 else b"\0" + lines[k].tobytes() for k in range(shape[0])]
    head = struct.pack(">IIBBBBB", shape[1], shape[0], 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return data + chunk(b"IEND", b""), array


@pytest.mark.parametrize("make", TURNED.values(), ids=TURNED)
def test_pictures_are_turned_as_pillow_turns_them(tmp_path, make):
    shapes = set()
    for orientation in range(10):
        name, data = make(orientation)
        path = tmp_path / name
        path.write_bytes(data)
        with PIL.Image.open(path) as picture:
            stored = np.asarray(picture if picture.mode[0] in "LI" else picture.convert("RGB").convert("L"), dtype=int)
            shown = PIL.ImageOps.exif_transpose(picture)
        expected = np.asarray(shown if shown.mode[0] in "LI" else shown.convert("RGB").convert("L"), dtype=int)
        image, header = load_image(path)
        np.testing.assert_allclose(image.array, expected, atol=1)
        assert header.stored == (orientation if 1 <= orientation <= 8 else 1)
        assert header.grid.shape == expected.shape
        assert read_header(path).grid == header.grid
        as_stored, header = load_image(path, orientation="stored")
        np.testing.assert_allclose(as_stored.array, stored, atol=1)
        assert read_header(path, orientation="stored").grid == header.grid
        shapes.add(image.array.shape)
    assert len(shapes) == 2


def test_orientation_in_xmp_alone_turns_and_is_told(tmp_path):
    """Pillow, and what is built on it, turns by XMP; browsers do not."""
    for attribute, name in itertools.product((True, False), ("a.jpg", "a.webp", "a.png")):
        path = tmp_path / name
        if name == "a.png":
            text = PIL.PngImagePlugin.PngInfo()
            text.add_itxt("XML:com.adobe.xmp", xmp(6, attribute).decode())
            smooth().save(path, pnginfo=text)
        else:
            smooth("RGB").save(path, xmp=xmp(6, attribute))
        with PIL.Image.open(path) as picture:
            assert PIL.ImageOps.exif_transpose(picture).size == (48, 70)
        image, header = load_image(path)
        assert image.array.shape == (70, 48)
        (remark,) = header.remarks
        assert str(path) in remark
        assert "turned by its XMP (orientation 6)" in remark
    smooth("RGB").save(tmp_path / "b.jpg", xmp=xmp(6), exif=exif(1))  # EXIF goes before
    image, header = load_image(tmp_path / "b.jpg")
    assert (image.array.shape, header.remarks) == ((48, 70), ())


@pytest.mark.parametrize(
    "block", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"junk" * 9]
)
def test_damaged_exif_is_passed_over(tmp_path, block, capfd):
    path = tmp_path / "a.jpg"
    data = encoded(smooth(), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    path.write_bytes(data[:2] + segment + data[2:])
    image, header = load_image(path)
    assert (image.array.shape, header.stored, header.remarks) == ((48, 70), 1, ())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_of_png_stay_sixteen(tmp_path, channels):
    path = tmp_path / "a.png"
    data, array = deep(channels)
    path.write_bytes(data)
    if channels in (1, 3):
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(path)).reshape(array.shape), array)
    image, header = load_image(path)
    assert image.array.dtype == np.uint16
    expected = array[..., 0] if channels < 3 else np.rint(array[..., :3] @ [0.299, 0.587, 0.114])
    np.testing.assert_array_equal(image.array, expected)
    assert len(header.remarks) == (channels in (2, 4))
    opaque = array.copy()
    opaque[..., -1] = 65535
    assert photos.declared(path) == array.size


def test_transparency_is_left_out_and_told(tmp_path):
    rng = np.random.default_rng(0)
    alpha = PIL.Image.fromarray(rng.integers(0, 255, (48, 70), dtype=np.uint8))
    path = tmp_path / "a.png"

    def told():
        image, header = load_image(path)
        with PIL.Image.open(path) as opened:
            expected = np.asarray(opened.convert("RGBA").convert("RGB").convert("L"), dtype=int)
        np.testing.assert_allclose(image.array, expected, atol=1)
        assert all("a.png is transparent in part" in remark for remark in header.remarks)
        return len(header.remarks)

    for mode in ("LA", "RGBA"):
        picture = smooth(mode)
        picture.putalpha(255)
        picture.save(path)
        assert told() == 0
        picture.putalpha(alpha)
        picture.save(path)
        assert told() == 1
    for mode, key, count in (("L", int(np.asarray(smooth())[0, 0]), 1), ("L", 256, 0), ("RGB", (300, 0, 0), 0)):
        smooth(mode).save(path, transparency=key)
        assert told() == count
    colours = smooth("RGB")
    colours.save(path, transparency=colours.getpixel((3, 4)))
    assert told() == 1
    smooth("RGB").quantize(16).save(path)
    assert told() == 0
    smooth("RGB").quantize(16).save(path, transparency=bytes([0, 128]))
    assert told() == 1
    smooth("RGB").quantize(4).save(path, bits=2, transparency=0)
    assert told() == 1
    four = np.asarray(smooth()) // 85 * 85  # grey of 2 bits, of which one is transparent
    head = struct.pack(">IIBBBBB", 70, 48, 2, 0, 0, 0, 0)
    rows = np.pad(four // 85, ((0, 0), (0, 2))).reshape(48, 18, 4) @ [64, 16, 4, 1]
    packed = zlib.compress(b"".join(b"\0" + row.astype(np.uint8).tobytes() for row in rows))
    parts = [(b"IHDR", head), (b"tRNS", struct.pack(">H", int(four[0, 0]) // 85)), (b"IDAT", packed), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(itertools.starmap(chunk, parts)))
    np.testing.assert_array_equal(read_image(path).array, four)
    assert len(load_image(path)[1].remarks) == 1


def test_a_picture_that_is_in_its_alpha_alone_is_refused_with_its_remark(tmp_path):
    path = tmp_path / "a.png"
    PIL.Image.merge("LA", [PIL.Image.new("L", (70, 48)), smooth()]).save(path)
    image, header = load_image(path)
    assert "transparent in part" in header.remarks[0]
    with pytest.raises(ImageError, match="same value"):
        require_usable(image, path)


def test_print_colours_with_and_without_adobes_inversion(tmp_path):
    path = tmp_path / "a.jpg"
    picture = smooth("CMYK")
    picture.save(path, quality=98)
    data = path.read_bytes()
    assert b"Adobe" in data
    at = data.index(b"\xff\xee")
    plain = data[:at] + data[at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0] :]
    got = []
    for content in (data, plain):
        path.write_bytes(content)
        with PIL.Image.open(path) as opened:
            assert opened.mode == "CMYK"
            expected = np.asarray(opened.convert("RGB").convert("L"), dtype=int)
        got.append(read_image(path).array.astype(int))
        np.testing.assert_allclose(got[-1], expected, atol=1)
    original = np.asarray(picture.convert("RGB").convert("L"), dtype=int)
    assert np.abs(got[0] - original).max() < 12
    np.testing.assert_array_equal(*got)  # as browsers have it: every print JPEG is inverted


def test_bitmaps_of_every_kind(tmp_path):
    path = tmp_path / "a.bmp"
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        smooth("RGB").convert(mode).save(path)
        with PIL.Image.open(path) as opened:
            expected = np.asarray(opened.convert("RGB").convert("L"), dtype=int)
        np.testing.assert_allclose(read_image(path).array, expected, atol=1)
    levels = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20  # of OS/2: a shorter header, a palette of 3 bytes
    palette = bytes(v for k in range(256) for v in (k, k, k))
    head = b"BM" + struct.pack("<IHHIIHHHH", 26 + 768 + 12, 0, 0, 26 + 768, 12, 4, 3, 1, 8)
    path.write_bytes(head + palette + levels[::-1].tobytes())
    np.testing.assert_array_equal(read_image(path).array, levels)
    path.write_bytes((head + palette + levels[::-1].tobytes())[:-1])
    with pytest.raises(ImageError, match="cut short"):
        read_image(path)
    runs = b"".join(b"\4" + bytes([v]) + b"\0\0" for v in (9, 99, 199)) + b"\0\1"  # run lengths of 8 bits
    palette = bytes(v for k in range(256) for v in (k, k, k, 0))
    size = 54 + len(palette) + len(runs)
    head = b"BM" + struct.pack("<IHHIIiiHHIIiiII", size, 0, 0, 54 + 1024, 40, 4, 3, 1, 8, 1, len(runs), 0, 0, 256, 0)
    path.write_bytes(head + palette + runs)
    np.testing.assert_array_equal(read_image(path).array, np.repeat([[199], [99], [9]], 4, axis=1))
    path.write_bytes((head + palette + runs)[:-7])
    with pytest.raises(ImageError, match="cut short"):
        read_image(path)


KINDS = {
    "PNG": lambda: encoded(smooth(), "PNG"),
    "PNG, 16 bits of colour": lambda: deep(3, shape=(48, 70))[0],
    "PNG, 16 bits with alpha": lambda: deep(2, shape=(48, 70))[0],
    "JPEG": lambda: encoded(smooth("RGB"), "JPEG"),
    "JPEG with a thumbnail": lambda: encoded(smooth(), "JPEG", exif=exif(6) + encoded(smooth(shape=(8, 9)), "JPEG")),
    "progressive JPEG": lambda: encoded(smooth("RGB"), "JPEG", progressive=True),
    "BMP": lambda: encoded(smooth("RGB"), "BMP"),
    "WebP": lambda: encoded(smooth("RGB"), "WEBP", lossless=True),
    "lossy WebP": lambda: encoded(smooth("RGB"), "WEBP"),
    "TIFF": lambda: encoded(smooth("RGB"), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_picture_cut_short_is_one_line(tmp_path, make, capfd):
    whole = make()
    path = tmp_path / "a.png"
    path.write_bytes(whole)
    right = read_image(path).array
    for left in (*range(1, 60, 7), *np.linspace(60, len(whole) - 1, 40).astype(int), len(whole) - 2, len(whole) - 1):
        path.write_bytes(whole[:left])
        try:
            got = read_image(path).array
        except AnatomarkError as error:
            line = str(error)
        else:
            assert left > len(whole) - 8  # padding
            np.testing.assert_array_equal(got, right)
            continue
        assert str(path) in line
        assert "\n" not in line
    assert capfd.readouterr() == ("", "")


def test_content_counts_and_not_the_ending(tmp_path):
    for kind, name in itertools.product(("PNG", "JPEG", "WEBP", "BMP", "TIFF"), photos.SUFFIXES):
        path = tmp_path / f"a{name}"
        options = {"lossless": True} if kind == "WEBP" else {}
        smooth().save(path, kind, **options)
        np.testing.assert_allclose(read_image(path).array, np.asarray(smooth()), atol=16)
        assert read_header(path).grid.shape == (48, 70)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is a HEIC picture, as of iPhones; export it as JPEG"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avif", "it is an AVIF picture"),
        (b"%PDF-1.7\n%\xe2\xe3", "it is a PDF document"),
        (b"GIF89a\1\0\1\0", "it is a GIF picture"),
        (b"\0" * 128 + b"DICM\2\0", "it is a DICOM file; rename it to end in .dcm"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "it is a JPEG 2000 picture"),
        (b"\x1f\x8b\x08\0", "it is a file packed by gzip"),
        (b"PK\3\4", "it is a zip archive"),
        (b"NRRD0004\n", "it is an NRRD image; rename it"),
        (b"<!DOCTYPE html><html>", "it is a web page, perhaps the answer to a failed download"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS and not the picture"),
        (b"hello", "does not begin like a PNG, JPEG, TIFF, BMP or WebP picture"),
    ],
)
@pytest.mark.parametrize("name", ["a.png", "b.jpg", "c.webp"])
def test_another_kind_of_file_is_named(tmp_path, content, said, name):
    path = tmp_path / name
    path.write_bytes(content)
    for read in (read_image, read_header, photos.declared):
        with pytest.raises(ImageError, match=said) as error:
            read(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_several_pictures_in_one_file(tmp_path):
    frames = [smooth("RGB", seed=k) for k in range(3)]
    for name, options in (("a.png", {}), ("a.webp", {"lossless": True})):
        path = tmp_path / name
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        with PIL.Image.open(path) as opened:
            assert opened.n_frames == 3
        for read in (read_image, read_header):
            with pytest.raises(ImageError, match=r"is an animation of 3 frames \(70 x 48 pixels\), expected a single"):
                read(path)
    path = tmp_path / "a.jpg"  # as cameras with two lenses write them; gain maps and thumbnails are of other types
    frames[0].save(path, "MPO", save_all=True, append_images=frames[1:])
    image, header = load_image(path)
    np.testing.assert_allclose(image.array, np.asarray(frames[0].convert("L")), atol=20)
    assert not header.remarks
    data = path.read_bytes()
    order = "<" if b"MPF\0II" in data else ">"
    at = data.index(b"MPF\0") + 4 + 50  # behind the three entries of the list's directory
    assert struct.unpack_from(order + "I", data, at) == (0x030000,)
    changed = bytearray(data)
    for k in range(3):
        changed[at + 16 * k : at + 16 * k + 4] = struct.pack(order + "I", 0x020002)
    path.write_bytes(changed)
    (remark,) = load_image(path)[1].remarks
    assert "holds 3 pictures" in remark


@pytest.mark.parametrize(
    ("process", "bits", "said"), [(0xC3, 8, "lossless"), (0xC1, 12, "with 12 bits"), (0xF7, 8, "lossless")]
)
def test_rare_jpegs_are_named(tmp_path, process, bits, said):
    path = tmp_path / "a.jpg"
    data = bytearray(encoded(smooth(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = process, bits
    path.write_bytes(data)
    with pytest.raises(ImageError, match=f"is a JPEG .*{said}.*which is not read; save it as PNG or TIFF"):
        read_image(path)


def test_webp_is_an_image_like_others(tmp_path):
    smooth("RGB").save(tmp_path / "case 1.WEBP", "WEBP")
    assert is_image(tmp_path / "case 1.WEBP")
    assert [path.name for path in list_images(tmp_path)] == ["case 1.WEBP"]
    assert read_image(tmp_path / "case 1.WEBP", spacing=(0.1, 0.2)).grid.spacing == (0.2, 0.1)


def test_size_is_known_before_any_pixel(tmp_path):
    """Also beyond the size at which Pillow refuses of itself."""
    path = tmp_path / "a.png"
    head = struct.pack(">IIBBBBB", 60000, 50000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")
    )
    assert photos.declared(path) == 60000 * 50000 * 3
    assert read_header(path).grid.shape == (50000, 60000)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "raw.tif", "lzw.tif", "jpeg.tif"])
def test_films_beyond_pillows_limit_are_read_and_the_limit_stays(tmp_path, monkeypatch, name):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1000)  # as if the picture of 48 x 70 had a hundred million
    path = tmp_path / name
    options = {
        "lzw.tif": {"compression": "tiff_lzw"},
        "jpeg.tif": {"compression": "jpeg"},
        "a.webp": {"lossless": True},
    }
    smooth("L" if name.endswith("tif") else "RGB").save(path, **options.get(name, {}))
    assert read_image(path).array.shape == (48, 70)
    assert PIL.Image.MAX_IMAGE_PIXELS == 1000
