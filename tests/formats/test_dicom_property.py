"""A random oblique, anisotropic volume is the same, however its slices are written."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomark.formats.images import read_header, read_image
from tests.formats.dicom_objects import CT, ENHANCED_MR, an_object, assert_same_voxels, by_pydicom, enhanced, save

lengths = st.floats(0.11, 7.3)


@st.composite
def volumes(draw):
    """(values (slices, rows, columns), positions (n, 3), orientation (6,), spacing (down, along))"""
    shape = tuple(draw(st.integers(low, 7)) for low in (2, 1, 2))
    array = np.random.default_rng(draw(st.integers(0, 9999))).integers(-2000, 2000, size=shape).astype(np.int16)
    turn = np.random.default_rng(draw(st.integers(0, 9999))).normal(size=(3, 3))
    axes, _ = np.linalg.qr(turn)  # either handedness: slices may go along the normal or against it
    orientation = [float(f"{x:.11f}") for x in (*axes[:, 0], *axes[:, 1])]
    spacing = [round(draw(lengths), 4), round(draw(lengths), 4)]
    step = draw(lengths)
    start = np.array([draw(st.floats(-300, 300)) for _ in range(3)])
    places = np.round(start + step * np.arange(shape[0])[:, None] * axes[:, 2], 8)
    return array, places, orientation, spacing


@settings(max_examples=30, deadline=None)
@given(volume=volumes(), data=st.data())
def test_every_voxel_has_one_place_and_one_value(volume, data):
    array, places, orientation, spacing = volume
    count = len(array)
    rescale = [(data.draw(st.sampled_from([1, 2.5, -1])), data.draw(st.integers(-1000, 1000))) for _ in range(count)]
    order = data.draw(st.permutations(range(count)))
    with tempfile.TemporaryDirectory() as folder:
        one = enhanced(array, places, order, sop=ENHANCED_MR, orientation=orientation, spacing=spacing,
                       rescale=lambda k: rescale[k])  # fmt: skip
        path = save(one, Path(folder) / "frames.dcm")
        frames = read_image(path)
        assert read_header(path).grid == frames.grid
        slices = [
            an_object(
                CT, array[k], PixelSpacing=spacing, ImageOrientationPatient=orientation,
                ImagePositionPatient=[f"{x:.10g}"[:16] for x in places[k]], RescaleSlope=str(rescale[k][0]),
                RescaleIntercept=str(rescale[k][1]), InstanceNumber=data.draw(st.integers(1, 99)),
            )
            for k in range(count)
        ]  # fmt: skip
        for name, k in enumerate(order):
            save(slices[k], Path(folder) / "slices" / f"{name}.dcm")
        stack = read_image(Path(folder) / "slices")
        assert read_header(Path(folder) / "slices").grid == stack.grid
    assert_same_voxels(frames, by_pydicom(one), within=2e-4)
    assert_same_voxels(stack, [frame for one in slices for frame in by_pydicom(one)], within=2e-4)
    np.testing.assert_array_equal(frames.array, stack.array)
    np.testing.assert_allclose(frames.grid.affine, stack.grid.affine, rtol=0, atol=1e-4)
    assert np.linalg.det(frames.grid.affine[:3, :3][:, ::-1]) > 0  # slices go along rows x columns
