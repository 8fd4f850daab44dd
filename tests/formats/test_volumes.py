"""NIfTI, NRRD and MetaImage: units, placements and what the readers say of them; nibabel and pynrrd are the oracles."""

import gzip
import struct
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.errors import ImageError
from anatomark.formats.images import image_name, is_image, list_images, load_image, read_header, read_image, write_image
from anatomark.formats.volume_files import nifti

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SIZES = (4, 5, 3)  # x, y, z


def values(sizes=SIZES, dtype=np.int16):
    """Numbers that are all different (x, y, z)."""
    return np.arange(np.prod(sizes)).reshape(sizes).astype(dtype)


@st.composite
def affines(draw, sheared=False):
    """(4, 4) RAS affines in mm: oblique, anisotropic, any of the 48 orders and directions of axes."""
    turn = Rotation.from_rotvec([draw(st.floats(-0.6, 0.6)) for _ in range(3)]).as_matrix()
    axes = turn[:, draw(st.permutations(range(3)))] * [draw(st.sampled_from([-1, 1])) for _ in range(3)]
    if sheared:
        axes = (np.eye(3) + np.diag([draw(st.floats(-0.3, 0.3)), draw(st.floats(-0.3, 0.3))], 1)) @ axes
    affine = np.eye(4)
    affine[:3, :3] = axes * [draw(st.floats(0.2, 4)) for _ in range(3)]
    affine[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    return affine


def require_placed(path, affine_ras, data, atol=1e-3):
    """Every value of the file lies at the world position that the independent `affine_ras` (mm) gives it."""
    image, header = load_image(path)
    assert image.grid.unit == "mm"
    assert read_header(path).grid == image.grid
    index = np.argwhere(np.isfinite(image.array))
    found = dict(zip(image.array.ravel().tolist(), image.grid.index_to_world(index).tolist(), strict=True))
    voxels = np.argwhere(np.isfinite(data))
    wanted = (np.c_[voxels, np.ones(len(voxels))] @ (LPS @ affine_ras).T)[:, :3]
    for value, place in zip(data.ravel().tolist(), wanted, strict=True):
        np.testing.assert_allclose(found[value], place, atol=atol)
    return header


def load(path) -> Any:
    """nibabel's image."""
    return nibabel.load(path)


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- NIfTI -------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    affine=affines(),
    kind=st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.Nifti1Pair, nibabel.Nifti2Pair]),
    forms=st.sampled_from([(1, 0), (0, 1), (1, 1), (2, 1), (0, 4), (1, 3)]),
    unit=st.sampled_from(["mm", "micron", "meter", "unknown"]),
    dtype=st.sampled_from(["u1", "i2", "<i4", ">i2", ">f4", "f8", "u4"]),
    packed=st.booleans(),
)
def test_nifti_lies_where_nibabel_says(tmp_path_factory, affine, kind, forms, unit, dtype, packed):
    folder = tmp_path_factory.mktemp("nifti")
    factor = {"micron": 1e-3, "meter": 1e3}.get(unit, 1.0)
    own = affine.copy()
    own[:3] /= factor
    header = kind.header_class(endianness=np.dtype(dtype).byteorder.replace("=", "<").replace("|", "<"))
    header.set_data_dtype(dtype)
    image = kind(values(dtype=dtype), own, header)
    qform, sform = forms
    ending = "hdr" if "Pair" in kind.__name__ else "nii.gz" if packed else "nii"
    try:
        image.set_qform(own if qform else None, qform)
        image.set_sform(own if sform else None, sform)
        image.header.set_xyzt_units(unit, "sec")
        nibabel.save(image, folder / f"a.{ending}")
        read = load(folder / f"a.{ending}")
    except ValueError as error:  # nibabel takes no turn of 180 degrees whose quaternion is too long by a rounding error
        assume("w2 should be positive" not in str(error))
        raise
    wanted = read.affine.copy()
    wanted[:3] *= factor
    tolerance = 2e-3 if qform and not sform else 1e-3  # a quaternion in single precision
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nifti, "_WORTH_IT", 0 if packed else 1 << 20)  # large gzipped files are unpacked by ITK
        np.testing.assert_array_equal(read_image(folder / f"a.{ending}").array.T, np.asanyarray(read.dataobj))
    given_header = require_placed(folder / f"a.{ending}", wanted, np.asanyarray(read.dataobj), tolerance)
    assert given_header.remarks == ()
    np.testing.assert_allclose(wanted, affine, atol=0.02)


@settings(max_examples=30, deadline=None)
@given(affine=affines(sheared=True))
def test_sheared_and_mirrored_nifti_is_read_written_and_read_exactly(tmp_path_factory, affine):
    folder = tmp_path_factory.mktemp("sheared")
    image = nibabel.Nifti1Image(values(), None)
    image.set_sform(affine, 2)
    nibabel.save(image, folder / "a.nii")
    require_placed(folder / "a.nii", affine, values())
    for ending in ("nii.gz", "nii", "nrrd"):
        write_image(read_image(folder / "a.nii"), folder / f"b.{ending}")
        again = require_placed(folder / f"b.{ending}", affine, values())
        assert again.remarks == ()
    np.testing.assert_allclose(load(folder / "b.nii.gz").affine, affine, atol=1e-3)


def test_metaimage_does_not_take_a_shear(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = 0.2
    with pytest.raises(ImageError, match="right angles") as error:
        write_image(Image(values().T, Grid(SIZES[::-1], affine)), tmp_path / "a.mha")
    one_line(error)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 1), (4, 4), (1, 3)])
def test_of_two_placements_the_sform_is_followed_and_their_distance_said(tmp_path, kind, codes):
    image = kind(values(), np.diag([2.0, 1, 3, 1]))
    moved = np.diag([2.0, 1, 3, 1])
    moved[:3, 3] = [40, 28, 28]
    image.set_qform(np.diag([2.0, 1, 3, 1]), codes[0])
    image.set_sform(moved, codes[1])
    path = tmp_path / "a.nii.gz"
    nibabel.save(image, path)
    header = require_placed(path, load(path).affine, values())
    (remark,) = header.remarks
    assert remark.startswith(f"{path}: its sform and qform place it up to 56.3 mm apart; the sform was followed")
    assert "\n" not in remark
    near = moved.copy()
    near[0, 3] += 0.3  # less than half a voxel
    image.set_qform(near, codes[0])
    nibabel.save(image, path)
    assert read_header(path).remarks == ()
    near[0, 3] += 0.5
    image.set_qform(near, codes[0])
    nibabel.save(image, path)
    assert "0.8 mm apart" in read_header(path).remarks[0]


def test_a_turned_qform_is_as_far_as_its_farthest_corner(tmp_path):
    sizes = (40, 2, 2)
    image = nibabel.Nifti1Image(values(sizes), np.eye(4))
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    image.set_qform(turn, 1)
    image.set_sform(np.eye(4), 1)
    nibabel.save(image, tmp_path / "a.nii")
    assert f"{np.hypot(40, 38):.3g} mm apart" in read_header(tmp_path / "a.nii").remarks[0]


@pytest.mark.parametrize("broken", ["zero column", "nan", "singular"])
def test_a_sform_that_is_none_leaves_the_qform_or_a_line(tmp_path, broken):
    image = nibabel.Nifti1Image(values(), np.diag([2.0, 1, 3, 1]))
    image.set_qform(np.diag([2.0, 1, 3, 1]), 1)
    rows = np.diag([2.0, 1, 3, 1])[:3].copy()
    if broken == "zero column":
        rows[:, 2] = 0
    elif broken == "nan":
        rows[1, 1] = np.nan
    else:
        rows[:, 1] = rows[:, 0]
    image.header["srow_x"], image.header["srow_y"], image.header["srow_z"] = rows
    image.header["sform_code"] = 2
    path = tmp_path / "a.nii"
    save_raw(image, path)
    header = require_placed(path, np.diag([2.0, 1, 3, 1]), values())
    assert "its qform was followed" in header.remarks[0]
    image.header["qform_code"] = 0
    save_raw(image, path)
    with pytest.raises(ImageError, match=r"its sform (is|has|holds)") as error:
        read_header(path)
    one_line(error)


def save_raw(image, path):
    """Header and numbers as they are, nothing checked or corrected."""
    head = image.header.copy()
    head["vox_offset"] = 352
    head["magic"] = b"n+1"
    path.write_bytes(head.binaryblock + b"\0" * 4 + np.asarray(image.dataobj).tobytes(order="F"))


@pytest.mark.parametrize(
    ("quaternion", "message"),
    [([np.nan, 0, 0], "qform holds NaN"), ([1.5, 0, 0], "qform is not a rotation")],
)
def test_a_qform_that_is_none_is_a_line_without_a_sform_and_of_no_weight_with_one(tmp_path, quaternion, message):
    image = nibabel.Nifti1Image(values(), np.eye(4))
    image.header["quatern_b"], image.header["quatern_c"], image.header["quatern_d"] = quaternion
    image.header["qform_code"], image.header["sform_code"] = 1, 1
    path = tmp_path / "a.nii"
    save_raw(image, path)
    assert require_placed(path, np.eye(4), values()).remarks == ()
    image.header["sform_code"] = 0
    save_raw(image, path)
    with pytest.raises(ImageError, match=message) as error:
        read_header(path)
    one_line(error)


@pytest.mark.parametrize("qfac", [0, 1, -1])
def test_qfac_turns_the_third_axis(tmp_path, qfac):
    image = nibabel.Nifti1Image(values(), np.diag([2.0, 1, 3, 1]))
    image.header["pixdim"][0] = qfac
    image.header["qform_code"], image.header["sform_code"] = 1, 0
    save_raw(image, tmp_path / "a.nii")
    require_placed(tmp_path / "a.nii", np.diag([2.0, 1, -3.0 if qfac < 0 else 3.0, 1]), values())


def test_a_file_without_a_placement_lies_as_itk_puts_it_and_says_so(tmp_path):
    image = nibabel.Nifti1Image(values(), None)
    image.header["pixdim"][1:4] = 2, 1, 3
    path = tmp_path / "a.nii"
    save_raw(image, path)
    oracle = sitk.ReadImage(str(path))
    header = read_header(path)
    for index in [(0, 0, 0), (3, 4, 2)]:
        expected = oracle.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(header.grid.index_to_world(index[::-1]), expected)
    assert "states no placement" in header.remarks[0]


def test_a_sform_whose_voxels_differ_from_pixdim_is_said(tmp_path):
    image = nibabel.Nifti1Image(values(), np.diag([2.0, 1, 3, 1]))
    image.set_sform(np.diag([2.0, 1, 3, 1]), 1)
    image.set_qform(None, 0)
    image.header["pixdim"][1:4] = 1, 1, 1
    save_raw(image, tmp_path / "a.nii")
    header = require_placed(tmp_path / "a.nii", np.diag([2.0, 1, 3, 1]), values())
    assert "2 x 1 x 3 mm by its sform" in header.remarks[0]


@pytest.mark.parametrize("unit", [4, 5, 7])
def test_a_unit_that_nifti_does_not_know_is_a_line(tmp_path, unit):
    image = nibabel.Nifti1Image(values(), np.eye(4))
    image.header["xyzt_units"] = unit | 8
    save_raw(image, tmp_path / "a.nii")
    with pytest.raises(ImageError, match=f"unit {unit}, which NIfTI does not know") as error:
        read_header(tmp_path / "a.nii")
    one_line(error)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", ">u2", "i4", "u4", "i8", "u8", "f4", ">f8"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_types_slopes_and_nan_are_nibabels(tmp_path, dtype, kind, name, monkeypatch):
    monkeypatch.setattr(nifti, "_WORTH_IT", 0)  # as in large files
    data = values(dtype=dtype)
    if data.dtype.kind == "f":
        data[1, 2, 0], data[3, 3, 1] = np.nan, np.inf
    header = kind.header_class(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(dtype)
    path = tmp_path / name
    nibabel.save(kind(data, np.eye(4), header), path)
    got = read_image(path).array
    assert got.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(got.T, data)
    raw = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    at, form = (112, "2f") if kind is nibabel.Nifti1Image else (176, "2d")
    struct.pack_into((dtype[0] if dtype[0] == ">" else "<") + form, raw, at, 0.25, -7.0)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    np.testing.assert_array_equal(read_image(path).array.T, load(path).get_fdata())
    for slope in (0.0, np.nan):  # as stored
        struct.pack_into((dtype[0] if dtype[0] == ">" else "<") + form, raw, at, slope, 5.0)
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
        np.testing.assert_array_equal(read_image(path).array.T, data)


@pytest.mark.parametrize("names", [["R", "G", "B"], ["R", "G", "B", "A"]])
def test_colours_become_luma(tmp_path, names):
    colours = np.random.default_rng(0).integers(0, 256, (*SIZES, len(names)), dtype=np.uint8)
    packed = np.ascontiguousarray(colours).view([(name, "u1") for name in names]).reshape(SIZES)
    nibabel.save(nibabel.Nifti1Image(packed, np.eye(4)), tmp_path / "a.nii")
    expected = np.rint(0.299 * colours[..., 0] + 0.587 * colours[..., 1] + 0.114 * colours[..., 2])
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii").array.T, expected)


@pytest.mark.parametrize("kind", ["c8", "c16"])
def test_complex_numbers_are_a_line(tmp_path, kind):
    nibabel.save(nibabel.Nifti1Image(values(dtype=kind), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ImageError, match="complex numbers") as error:
        read_image(tmp_path / "a.nii")
    one_line(error)


@pytest.mark.parametrize(("sizes", "shape"), [((4, 5, 3, 1, 1), (3, 5, 4)), ((4, 5, 1), (1, 5, 4)), ((4, 5), (5, 4))])
def test_axes_of_one_element(tmp_path, sizes, shape):
    nibabel.save(nibabel.Nifti1Image(values(sizes), np.diag([2.0, 3, 4, 1])), tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    assert image.array.shape == shape
    np.testing.assert_array_equal(image.array.ravel(), values(sizes).ravel(order="F"))
    assert image.grid.spacing == (4.0, 3.0, 2.0)[-len(shape) :]


def test_a_flat_image_off_the_axial_plane_keeps_its_spacing_and_says_so(tmp_path):
    coronal = np.array([[2.0, 0, 0, 5], [0, 0, 4, 6], [0, -3, 0, 7], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(values((4, 5)), coronal), tmp_path / "a.nii")
    header = read_header(tmp_path / "a.nii")
    assert header.grid == Grid.from_geometry((5, 4), spacing=(2, 3))
    assert "axial plane" in header.remarks[0]


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha", "A.NII.GZ"])
def test_the_content_decides_and_not_the_name(tmp_path, name):
    image = nibabel.Nifti1Image(values(), np.diag([2.0, 1, 3, 1]))
    save_raw(image, tmp_path / name)
    require_placed(tmp_path / name, image.affine, values())
    (tmp_path / "b.nii").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    require_placed(tmp_path / "b.nii", image.affine, values())


def test_other_contents_are_read_or_named(tmp_path):
    nrrd.write(
        str(tmp_path / "a.nrrd"), values(), {"space": "RAS", "space directions": np.eye(3), "space origin": [0] * 3}
    )
    (tmp_path / "n.nii.gz").write_bytes((tmp_path / "a.nrrd").read_bytes())
    require_placed(tmp_path / "n.nii.gz", np.eye(4), values())
    sitk.WriteImage(sitk.GetImageFromArray(values()), str(tmp_path / "m.mha"))
    for name, content, message in [
        ("z.nrrd", gzip.compress((tmp_path / "a.nrrd").read_bytes()), "gzipped as a whole"),
        ("m.nii", (tmp_path / "m.mha").read_bytes(), "MetaImage by its content"),
        ("t.nii.gz", b"hello " * 99, "not a NIfTI file"),
        ("t.mha", b"hello " * 99, "not a MetaImage"),
        ("t.nrrd", b"hello " * 99, "not an NRRD"),
        ("old.hdr", struct.pack("<i", 348) + bytes(344), "Analyze 7.5"),
        ("alone.img", bytes(99), "no header beside it"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=message) as error:
            read_image(tmp_path / name)
        assert name.split(".")[0] in one_line(error)


def test_a_pair_is_one_image_in_a_folder(tmp_path):
    nibabel.save(nibabel.Nifti1Pair(values(), np.eye(4)), tmp_path / "a.hdr")
    (tmp_path / "picture.hdr").write_bytes(b"#?RADIANCE\n" + bytes(400))
    assert list_images(tmp_path) == [tmp_path / "a.hdr"]
    assert is_image(tmp_path / "a.hdr")
    assert not is_image(tmp_path / "a.img")
    np.testing.assert_array_equal(read_image(tmp_path / "a.img").array.T, values())
    assert image_name("b/a.img") == "a"
    (tmp_path / "a.img").unlink()
    with pytest.raises(ImageError, match=r"bring a\.img") as error:
        read_header(tmp_path / "a.hdr")
    one_line(error)


@pytest.mark.parametrize("flip", [30, -12, -6])
@pytest.mark.parametrize("large", [False, True])
def test_damage_within_gzip_is_found(tmp_path, flip, large, monkeypatch):
    monkeypatch.setattr(nifti, "_WORTH_IT", 0 if large else 1 << 20)
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).integers(0, 99, (20, 20, 20), np.int16), np.eye(4)), path)
    data = bytearray(path.read_bytes())
    data[flip if flip < 0 else len(data) // 2 + flip] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ImageError, match="damaged") as error:
        read_image(path)
    one_line(error)


def test_a_header_that_wants_more_than_there_can_be_is_a_line(tmp_path):
    image = nibabel.Nifti1Image(values(), np.eye(4))
    image.header["dim"][1:4] = 30000
    save_raw(image, tmp_path / "a.nii")
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    for name in ("a.nii", "a.nii.gz"):
        with pytest.raises(ImageError, match="cut short") as error:
            read_image(tmp_path / name)
        one_line(error)


# ---- NRRD --------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    affine=affines(sheared=True),
    space=st.sampled_from(["RAS", "LAS", "LPS", "left-posterior-superior", "right-anterior-superior"]),
    unit=st.sampled_from([("mm", 1), ("microns", 1e-3), ("um", 1e-3), ("cm", 10), ("m", 1000), None]),
    encoding=st.sampled_from(["raw", "gzip", "ascii"]),
    detached=st.booleans(),
    kinds=st.booleans(),
)
def test_nrrd_lies_where_pynrrd_says(tmp_path_factory, affine, space, unit, encoding, detached, kinds):
    folder = tmp_path_factory.mktemp("nrrd")
    word, factor = unit or ("", 1)
    to_space = np.diag({"R": [1.0, 1, 1], "L": [-1.0, 1, 1]}[space[0].upper()])
    if space in ("LPS", "left-posterior-superior"):
        to_space = np.diag([-1.0, -1, 1])
    header = {
        "space": space,
        "space directions": (to_space @ affine[:3, :3] / factor).T,
        "space origin": to_space @ affine[:3, 3] / factor,
        "encoding": encoding,
        "measurement frame": np.diag([-1.0, 1, 1]),
        **({"space units": [word] * 3} if unit else {}),
        **({"kinds": ["domain"] * 3, "centerings": ["cell", "node", "cell"]} if kinds else {}),
    }
    path = folder / ("a.nhdr" if detached else "a.nrrd")
    nrrd.write(str(path), values(), header, detached_header=detached)
    data, again = nrrd.read(str(path))
    wanted = np.eye(4)
    wanted[:3, :3] = to_space @ again["space directions"].T * factor
    wanted[:3, 3] = to_space @ again["space origin"] * factor
    found = require_placed(path, wanted, data)
    assert found.remarks == ()
    np.testing.assert_allclose(wanted, affine, atol=1e-6)


def write_nrrd(path, head, data):
    kind = {"int16": "short", "uint8": "uchar"}[data.dtype.name]
    text = f"NRRD0005\ntype: {kind}\nendian: little\nencoding: raw\n{head.strip()}\n\n"
    path.write_bytes(text.encode() + data.tobytes(order="F"))


PLACED = "space directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (10,20,30)\n"
SIZED = "dimension: 3\nsizes: 4 5 3\n"


@pytest.mark.parametrize("space", ["space: scanner-xyz", "space: 3D-right-handed", "space dimension: 3"])
def test_a_space_that_does_not_say_where_left_is_is_taken_for_lps_and_said(tmp_path, space):
    write_nrrd(tmp_path / "a.nrrd", f"{SIZED}{space}\n{PLACED}", values())
    wanted = LPS @ np.array([[2.0, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
    header = require_placed(tmp_path / "a.nrrd", wanted, values())
    assert "does not state where left" in header.remarks[0]


@pytest.mark.parametrize("name", ["left-posterior-superior-time", "right-anterior-superior-time", "RAST"])
def test_one_moment_of_time_is_a_volume_and_two_are_a_line(tmp_path, name):
    head = (
        "dimension: 4\nsizes: 4 5 3 {}\nspace: " + name + '\nspace units: "um" "um" "um" "s"\n'
        "space directions: (2,0,0,0) (0,3,0,0) (0,0,4,0) (0,0,0,1)\nspace origin: (10,20,30,0)"
    )
    write_nrrd(tmp_path / "a.nrrd", head.format(1), values())
    own = np.array([[2.0, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1e3]]) / 1e3
    require_placed(tmp_path / "a.nrrd", own if name.startswith(("R", "r")) else LPS @ own, values(), 1e-9)
    write_nrrd(tmp_path / "b.nrrd", head.format(2), values((*SIZES, 2)))
    with pytest.raises(ImageError, match="split it into") as error:
        read_image(tmp_path / "b.nrrd")
    one_line(error)


@pytest.mark.parametrize(
    ("units", "factors"),
    [('"mm" "mm" "mm"', (1, 1, 1)), ('"um" "um" "mm"', (1e-3, 1e-3, 1)), ("microns microns microns", (1e-3,) * 3),
     ('"inches" "inches" "inches"', (25.4,) * 3), ('"" "" ""', (1, 1, 1))],
)  # fmt: skip
def test_units_of_axes_go_with_spacings(tmp_path, units, factors):
    head = f"{SIZED}spacings: 2 3 4\naxis mins: 10 20 30\ncenterings: node node node\nunits: {units}"
    write_nrrd(tmp_path / "a.nrrd", head, values())
    scale = np.array(factors)
    own = np.eye(4)
    own[:3, :3], own[:3, 3] = np.diag(scale * [2, 3, 4]), scale * [10, 20, 30]
    header = require_placed(tmp_path / "a.nrrd", LPS @ own, values(), 1e-9)
    assert "states a spacing and no space" in header.remarks[0]


@pytest.mark.parametrize("field", ["space: LPS\nspace units: {}\n" + PLACED, "spacings: 2 3 4\nunits: {}\n"])
def test_units_unknown_are_a_line_and_pixels_are_pixels(tmp_path, field):
    write_nrrd(tmp_path / "a.nrrd", SIZED + field.format('"mm" "furlong" "mm"').rstrip(), values())
    with pytest.raises(ImageError, match="'furlong', which is not a known unit") as error:
        read_header(tmp_path / "a.nrrd")
    one_line(error)
    write_nrrd(tmp_path / "a.nrrd", SIZED + field.format('"pixel" "pixel" "pixel"').rstrip(), values())
    assert read_header(tmp_path / "a.nrrd").grid == Grid.without_spacing(SIZES[::-1])
    write_nrrd(tmp_path / "a.nrrd", SIZED + field.format('"mm" "mm"').rstrip(), values())
    with pytest.raises(ImageError, match=r"2 (space )?units for 3 axes") as error:
        read_header(tmp_path / "a.nrrd")
    one_line(error)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", ["RGB-color", "3-color", "vector"])
def test_an_axis_of_colours_is_none_of_space(tmp_path, last, kind):
    rgb = np.random.default_rng(0).integers(0, 256, (*SIZES, 3)).astype(np.uint8)
    order = (lambda *parts: (*parts[1:], parts[0])) if last else (lambda *parts: parts)
    head = "\n".join(
        [
            "dimension: 4\nspace: RAS",
            "sizes: " + " ".join(order("3", "4", "5", "3")),
            "kinds: " + " ".join(order(kind, "domain", "domain", "domain")),
            "space directions: " + " ".join(order("none", "(2,0,0)", "(0,3,0)", "(0,0,4)")),
            "space origin: (10,20,30)",
        ]
    )
    write_nrrd(tmp_path / "a.nrrd", head, rgb if last else np.moveaxis(rgb, -1, 0))
    image = read_image(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(
        image.array.T, np.rint(0.299 * rgb[..., 0] + 0.587 * rgb[..., 1] + 0.114 * rgb[..., 2])
    )
    np.testing.assert_allclose(image.grid.index_to_world([1, 1, 1]), [-12, -23, 34])


def test_an_axis_without_a_direction_is_a_line(tmp_path):
    head = f"{SIZED}space: LPS\nspace directions: (2,0,0) (0,3,0) none\nspace origin: (10,20,30)"
    write_nrrd(tmp_path / "a.nrrd", head, values())
    with pytest.raises(ImageError, match="direction of 2 axes in a space of 3") as error:
        read_header(tmp_path / "a.nrrd")
    one_line(error)


def test_bzip2_is_named(tmp_path):
    nrrd.write(str(tmp_path / "a.nrrd"), values(), {"encoding": "bzip2"})
    with pytest.raises(ImageError, match="bzip2, which is not read") as error:
        read_image(tmp_path / "a.nrrd")
    one_line(error)


# ---- MetaImage ---------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    affine=affines(),
    unit=st.sampled_from([("mm", 1), ("um", 1e-3), ("cm", 10), ("?", 1), None]),
    matrix=st.sampled_from(["TransformMatrix", "Rotation", "Orientation"]),
    origin=st.sampled_from(["Offset", "Origin", "Position"]),
    step=st.sampled_from(["ElementSpacing", "ElementSize"]),
    packed=st.booleans(),
)
def test_metaimage_lies_where_its_header_says(tmp_path_factory, affine, unit, matrix, origin, step, packed):
    import zlib

    path = tmp_path_factory.mktemp("meta") / "a.mha"
    word, factor = unit or ("", 1)
    own = LPS @ affine
    own[:3] /= factor
    spacing = np.linalg.norm(own[:3, :3], axis=0)
    lines = {
        "ObjectType": "Image", "NDims": "3", "DimSize": "4 5 3", "BinaryData": "True",
        "CompressedData": str(packed), "ElementType": "MET_SHORT",
        matrix: " ".join(map(repr, (own[:3, :3] / spacing).T.ravel().tolist())),  # an axis a row
        origin: " ".join(map(repr, own[:3, 3].tolist())),
        step: " ".join(map(repr, spacing.tolist())),
        **({"DistanceUnits": word} if unit else {}),
        "ElementDataFile": "LOCAL",
    }  # fmt: skip
    data = values().tobytes(order="F")
    text = "".join(f"{key} = {value}\n" for key, value in lines.items())
    path.write_bytes(text.encode() + (zlib.compress(data) if packed else data))
    assert require_placed(path, affine, values()).remarks == ()


def write_meta(path, data, **fields):
    lines = {
        "ObjectType": "Image", "NDims": data.ndim, "DimSize": " ".join(map(str, data.shape)), "BinaryData": "True",
        **fields, "ElementType": {"int16": "MET_SHORT", "uint8": "MET_UCHAR"}[data.dtype.name],
        "ElementDataFile": "LOCAL",
    }  # fmt: skip
    path.write_bytes("".join(f"{k} = {v}\n" for k, v in lines.items()).encode() + data.tobytes(order="F"))


def test_metaimage_units_unknown_are_a_line(tmp_path):
    write_meta(tmp_path / "a.mha", values(), ElementSpacing="1 1 2", DistanceUnits="cubit")
    with pytest.raises(ImageError, match="'cubit', which is not a known unit") as error:
        read_header(tmp_path / "a.mha")
    one_line(error)


@pytest.mark.parametrize(
    ("matrix", "said", "remarks"),
    [
        ("1 0 0 0 1 0 0 0 1", "RAI", 0),
        ("1 0 0 0 1 0 0 0 1", "LPS", 0),  # the other way of saying it
        ("1 0 0 0 1 0 0 0 1", "???", 0),
        ("1 0 0 0 1 0 0 0 1", "LAI", 1),
        ("-1 0 0 0 -1 0 0 0 1", "LPI", 0),
        ("-1 0 0 0 -1 0 0 0 1", "RAI", 1),
        ("0 1 0 0 0 -1 1 0 0", "ASR", 0),
        ("0 1 0 0 0 -1 1 0 0", "RAI", 1),
    ],
)
def test_an_orientation_that_contradicts_the_matrix_is_said(tmp_path, matrix, said, remarks):
    write_meta(tmp_path / "a.mha", values(), TransformMatrix=matrix, ElementSpacing="1 1 2", AnatomicalOrientation=said)
    found = read_header(tmp_path / "a.mha").remarks
    assert len(found) == remarks
    assert all("contradicts its TransformMatrix" in remark for remark in found)


def test_what_itk_writes_contradicts_nothing(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(20):
        image = sitk.GetImageFromArray(values())
        axes = Rotation.from_rotvec(rng.normal(size=3)).as_matrix() * rng.choice([-1, 1], 3)
        image.SetDirection(axes.ravel().tolist())
        image.SetSpacing([0.5, 0.7, 2])
        sitk.WriteImage(image, str(tmp_path / "a.mha"))
        assert read_header(tmp_path / "a.mha").remarks == ()
