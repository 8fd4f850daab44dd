"""DICOM headers that lie: one line each, soon, and with little memory; any byte may be wrong."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless

from anatomark.errors import AnatomarkError, ImageError
from anatomark.formats.dicom_files import dicom
from anatomark.formats.images import is_image, list_images, read_header, read_image
from tests.formats.dicom_objects import CT, DX, an_object, enhanced, oblique, save

META = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00"
DEFLATED = b"\x02\x00\x10\x00UI\x16\x001.2.840.10008.1.2.1.99"


def element(group, number, vr, value, length=None):
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", group, number, vr)
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return head + struct.pack("<HI", 0, length) + value
    return head + struct.pack("<H", length) + value


def body(rows=8, columns=8, frames=b"1 ", pixels=None, length=None, before=b""):
    numbers = ((0x02, 1), (0x10, rows), (0x11, columns), (0x100, 16), (0x101, 16), (0x102, 15), (0x103, 0))
    held = element(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0") + before + element(0x28, 8, b"IS", frames)
    held += b"".join(element(0x28, n, b"US", struct.pack("<H", v)) for n, v in numbers)
    pixels = bytes(rows * columns * 2) if pixels is None else pixels
    return held + element(0x7FE0, 0x10, b"OW", pixels, length)


def whole(content, meta=META):
    return bytes(128) + b"DICM" + meta + content


def deflated(*contents):
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"".join(packer.compress(content) for content in contents) + packer.flush()


def deep(levels):
    """Sequences of undefined length within sequences."""
    start = element(0x40, 0xA730, b"SQ", b"", 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return start * levels + end * levels


def compressed(syntax, rows, columns, *frames):
    made = an_object(DX, np.zeros((4, 4), np.uint16))
    made.Rows, made.Columns, made.NumberOfFrames = rows, columns, len(frames)
    made.file_meta.TransferSyntaxUID, made.PixelData = syntax, encapsulate(list(frames))
    made["PixelData"].VR = "OB"
    return made


J2K = b"\xff\x4f\xff\x51" + struct.pack(">HH8I", 47, 0, 60000, 60000, 0, 0, 60000, 60000, 0, 0) + bytes(40)
BOMBS = {
    "element": (whole(element(8, 0x5A, b"UT", b"abcd", 0xFFFFFF00) + body()), "states a length of 4294967040 bytes"),
    "unknown": (
        whole(body(before=element(9, 0x1010, b"UN", b"abcd", 0xF0000000))),
        "states a length of 4026531840 bytes",
    ),
    "item": (
        whole(element(8, 0x1140, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFF0), 0xFFFFFFFF) + body()),
        "states a length of 4294967280 bytes",
    ),
    "pixels": (whole(body(length=0xFFFFFFFE)), r"\(7fe0,0010\) states a length of 4294967294 bytes"),
    "rows": (whole(body(60000, 60000, pixels=bytes(128))), r"60000 x 60000 pixels \(7200000000 bytes\), but holds 128"),
    "frames": (whole(body(frames=b"99999999", pixels=bytes(128))), "states 99999999 x 8 x 8 pixels"),
    "deep": (whole(body(before=deep(5000))), "sequences more than 32 deep"),
    "endless": (whole(body(before=deep(20)[:400])), "something else|ends within"),
    "deflated": (whole(deflated(body(), *[bytes(1 << 20)] * 512), DEFLATED), r"unpacks to over \d+ times its size"),
    "deflated lies": (whole(deflated(body(length=0xFFFFFFF0)), DEFLATED), "states a length of 4294967280 bytes"),
    "deflated junk": (whole(b"\xff" * 200, DEFLATED), "does not unpack"),
    "truthful j2k": (compressed(JPEG2000Lossless, 60000, 60000, J2K), "7200000000 bytes"),
    "other j2k": (compressed(JPEG2000Lossless, 100, 100, J2K), "compressed image has 60000 x 60000"),
    "rle": (compressed(RLELossless, 60000, 60000, bytes(200)), "7200000000 bytes"),
    "few frames": (compressed(RLELossless, 8, 8, bytes(64)), None),
}  # fmt: skip
BOMBS["few frames"][0].NumberOfFrames = 500
BOMBS["few frames"] = (BOMBS["few frames"][0], "holds 1 compressed frames")

LIMITED = """
import resource, sys, time
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
from anatomark.errors import AnatomarkError
from anatomark.formats.images import is_image, read_header, read_image
from anatomark.service.header_limits import require_within_limit
read_image(Path(sys.argv[1]) / "sound.dcm")
try:
    require_within_limit(Path(sys.argv[1]) / "element.nrrd", max_voxels=1000)
except AnatomarkError as error:
    assert "element.nrrd" in str(error)
for path in sorted(Path(sys.argv[1]).glob("*/a.dcm")):
    for read, given in ((read_image, path), (read_header, path), (is_image, path.parent), (read_image, path.parent)):
        start = time.monotonic()
        try:
            read(given)
        except AnatomarkError as error:
            print(path.parent.name, "|", error)
        assert time.monotonic() - start < 4, path
# the most that this process held; getrusage would count the one that started it
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc")
def test_headers_that_lie_take_neither_memory_nor_time(tmp_path):
    save(an_object(DX, np.zeros((4, 4), np.uint16)), tmp_path / "sound.dcm")
    bare = BOMBS["element"][0][132 + len(META) :]  # ITK would take it for DICOM whatever its name is
    (tmp_path / "element.nrrd").write_bytes(bare)
    for name, (content, _) in BOMBS.items():
        path = tmp_path / name / "a.dcm"
        path.parent.mkdir()
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            save(content, path)
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, kilobytes = done.stdout.splitlines()
    assert int(kilobytes) < 1_000_000
    said = {name: [line for line in lines if line.startswith(f"{name} |")] for name in BOMBS}
    assert sum(map(len, said.values())) == len(lines)  # one line each
    # the file, its header, its folder; that a compressed image is of another size is seen when it is decoded
    assert {name: len(found) for name, found in said.items()} == {n: 2 if n == "other j2k" else 3 for n in BOMBS}


@pytest.mark.parametrize("name", BOMBS)
def test_the_line_says_what_the_header_lies_about(tmp_path, name):
    content, told = BOMBS[name]
    if isinstance(content, bytes):
        (tmp_path / "a.dcm").write_bytes(content)
    else:
        save(content, tmp_path / "a.dcm")
    with pytest.raises(ImageError, match=told) as error:
        read_image(tmp_path / "a.dcm")
    assert "\n" not in str(error.value)


def test_the_declared_size_is_known_without_the_pixels(tmp_path):
    (tmp_path / "a.dcm").write_bytes(whole(body(60000, 50000, b"9000", pixels=bytes(4))))
    assert dicom.declared_numbers(tmp_path / "a.dcm") == 60000 * 50000 * 9000


def test_sound_files_of_the_same_build_are_read(tmp_path):
    """The bombs above are refused for what they lie about, not for how they are made."""
    pixels = np.arange(64, dtype="<u2").tobytes()
    (tmp_path / "a.dcm").write_bytes(whole(body(pixels=pixels, before=deep(20))))
    (tmp_path / "b.dcm").write_bytes(whole(deflated(body(pixels=pixels)), DEFLATED))
    for name in ("a", "b"):
        np.testing.assert_array_equal(read_image(tmp_path / f"{name}.dcm").array, np.arange(64).reshape(8, 8))


@pytest.mark.parametrize("content", [b"", b"x", b"\x89PNG\r\n\x1a\n" + bytes(400), b"solid text " * 50])
def test_what_is_not_dicom_is_told_so(tmp_path, content):
    (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(ImageError, match=r"empty|not a complete DICOM file|not a DICOM file despite its name"):
        read_image(tmp_path / "a.dcm")
    assert list_images(tmp_path) == [tmp_path / "a.dcm"]
    assert not is_image(tmp_path)


def samples(folder):
    """Small sound files of several kinds."""
    array = np.arange(3 * 6 * 8, dtype=np.int16).reshape(3, 6, 8)
    turned, normal = oblique()
    place = {"PixelSpacing": [0.7, 0.5], "ImageOrientationPatient": turned, "ImagePositionPatient": [1, 2, 3]}
    rle = an_object(DX, array[0].astype(np.uint16), ImagerPixelSpacing=[0.2, 0.1])
    rle.compress(RLELossless)
    made = [
        enhanced(array, [k * normal for k in range(3)], (1, 0, 2), orientation=turned),
        an_object(CT, array, SpacingBetweenSlices=2, RescaleSlope="1", RescaleIntercept="-9", **place),
        rle,
    ]
    return [save(one, folder / f"sample_{k}.dcm").read_bytes() for k, one in enumerate(made)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    return folder, samples(folder)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_may_be_wrong(sound, data):
    """Each ends as an image or as one line, whatever was written over the header."""
    folder, contents = sound
    content = bytearray(data.draw(st.sampled_from(contents)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(132, len(content) - 1))
        content[at] = data.draw(st.sampled_from([0, 1, 0x20, 0x2D, 0x30, 0x5C, 0x7F, 0xFF]) | st.integers(0, 255))
    path = Path(folder) / "hurt.dcm"
    path.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    for read in (read_image, read_header):
        try:
            read(path)
        except AnatomarkError as error:
            told = str(error)
        else:
            continue
        assert "\n" not in told
        assert "hurt.dcm" in told
