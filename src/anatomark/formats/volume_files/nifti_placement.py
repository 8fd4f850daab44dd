"""Where a NIfTI header says that its voxels lie: of two placements that differ, the sform, and a line about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anatomark.core.grid import Floats, Grid
from anatomark.errors import ImageError
from anatomark.formats.volume_files.nifti_header import NiftiHeader

_UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 1e-3}  # mm; what states none is taken as mm, as by everyone
_ROUNDING = 0.5  # voxels; a qform in single precision may be off by a good part of that at the far corners
_LEAST = 1e-3  # mm
_MOST = 1e12  # of any number in a placement; what is larger is damage
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def placed(header: NiftiHeader, path: Path) -> tuple[Grid, tuple[str, ...]]:
    """The Grid (2D or 3D) of a header's voxels and the remarks on it.

    Raises `ImageError` for a geometry that cannot be, and for a unit that NIfTI does not know.
    """
    if header.units not in _UNITS:
        raise ImageError(
            f"{path} states its lengths in unit {header.units}, which NIfTI does not know; correct xyzt_units"
        )
    affine, remarks = _affine(header, path)
    shape = header.dim[::-1]
    if affine is None:
        return Grid.without_spacing(shape), remarks
    affine = _RAS_TO_LPS @ affine
    affine[:3] *= _UNITS[header.units]
    if len(shape) == 2:
        return _flat(affine, shape, path, remarks)
    try:
        return Grid(shape, affine[:, [2, 1, 0, 3]]), remarks
    except ValueError as error:
        raise ImageError(f"{path} has a geometry that cannot be: {error}; export it again") from error


def _flat(affine: Floats, shape: tuple[int, ...], path: Path, remarks: tuple[str, ...]) -> tuple[Grid, tuple[str, ...]]:
    """The Grid of a picture (rows, columns): in its plane of the world where that is axial, else on its own."""
    axes = affine[:3, :2]
    if np.abs(axes[2]).max() <= 1e-3 * np.linalg.norm(axes, axis=0).min():
        plane = np.eye(3)
        plane[:2] = affine[:2][:, [1, 0, 3]]
        return Grid(shape, plane), remarks
    remark = f"{path} is 2D and does not lie in the axial plane; its mm are counted from its first pixel along its axes"
    return Grid.from_geometry(shape, spacing=np.linalg.norm(axes, axis=0).tolist()), (*remarks, remark)


def _affine(header: NiftiHeader, path: Path) -> tuple[Floats | None, tuple[str, ...]]:
    """(4, 4) from indices x, y, z to RAS in the header's own unit, None where it states no spacing; and remarks."""
    qform_code, sform_code = header.codes
    qform, qform_fault = _qform(header) if qform_code > 0 else (None, "")
    sform, sform_fault = _sform(header) if sform_code > 0 else (None, "")
    spacing_known = all(_is_length(step) for step in header.pixdim[: len(header.dim)])
    if sform is not None:
        return sform, _disagreement(sform, qform, header, path)
    if qform is not None:
        remark = f"{path}: {sform_fault}; its qform was followed"
        return (qform, (remark,) if sform_fault else ()) if spacing_known else (None, ())
    faults = " and ".join(filter(None, (sform_fault, qform_fault)))
    if faults:
        raise ImageError(f"{path} does not state its position: {faults}; export it again")
    steps = [abs(step) for step in header.pixdim[:3]]
    if not all(_is_length(step) for step in steps[: len(header.dim)]):
        return None, ()
    affine = np.diag([*(step if _is_length(step) else 1.0 for step in steps), 1.0])
    remark = (
        f"{path} states no placement (sform_code and qform_code are 0): its axes were taken to lead left, back and up "
        "from its first voxel, as by ITK and 3D Slicer; nibabel and FSL take them otherwise, so use points in pixels"
    )
    return _RAS_TO_LPS @ affine, (remark,) if len(header.dim) == 3 else ()


def _sform(header: NiftiHeader) -> tuple[Floats | None, str]:
    """The sform (4, 4), or why it is none."""
    affine = np.eye(4)
    affine[:3] = np.reshape(header.rows, (3, 4))
    if not (np.abs(affine) < _MOST).all():
        return None, "its sform holds NaN, infinite or huge numbers"
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    one_slice = len(header.dim) == 2 or header.dim[2:3] == (1,)
    if one_slice and lengths[2] == 0 and lengths[:2].all():  # of one slice nobody needs to know where the next would be
        affine[:3, 2] = np.cross(*(affine[:3, k] / lengths[k] for k in (0, 1))) * _thickness(header)
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (lengths > 1 / _MOST).all():
        return None, "its sform has an axis without length"
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
        return None, "its sform is singular"
    return affine, ""


def _qform(header: NiftiHeader) -> tuple[Floats | None, str]:
    """The qform (4, 4), or why it is none."""
    quaternion, origin = np.array(header.quaternion[:3]), np.array(header.quaternion[3:])
    if not (np.abs([*quaternion, *origin]) < _MOST).all():
        return None, "its qform holds NaN, infinite or huge numbers"
    a_squared = 1.0 - float(quaternion @ quaternion)
    if a_squared < -0.01:
        return None, "its qform is not a rotation (its quaternion is longer than 1)"
    if a_squared < 1e-7:  # as the reference implementation does: a rotation by 180 degrees, but for rounding
        quaternion, a = quaternion / np.linalg.norm(quaternion), 0.0
    else:
        a = a_squared**0.5
    b, c, d = quaternion
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    steps = [*header.pixdim[: min(len(header.dim), 3)]]
    if any(step < 0 for step in steps):
        return None, "its voxel size is negative"
    steps = [step if _is_length(step) else 1.0 for step in steps]
    steps += [_thickness(header)] * (3 - len(steps))
    affine = np.eye(4)
    affine[:3, :3] = turn * [steps[0], steps[1], steps[2] * header.qfac]
    affine[:3, 3] = origin
    return affine, ""


def _thickness(header: NiftiHeader) -> float:
    return header.pixdim[2] if _is_length(header.pixdim[2]) else 1.0


def _is_length(step: float) -> bool:
    """Whether a number of pixdim can be a voxel's size; NaN cannot."""
    return 1 / _MOST < step < _MOST


def _disagreement(sform: Floats, qform: Floats | None, header: NiftiHeader, path: Path) -> tuple[str, ...]:
    """A remark where the sform, which is followed, differs from what else the header states."""
    scale = _UNITS[header.units]
    count = len(header.dim)
    lengths = np.linalg.norm(sform[:3, :count], axis=0)
    if qform is not None:
        sizes = (*header.dim, 1)[:3]
        corners = np.array([[*index, 1.0] for index in np.ndindex(2, 2, 2)]) * [*(n - 1 for n in sizes), 1]
        gap = scale * float(np.linalg.norm((corners @ (sform - qform).T)[:, :3], axis=1).max())
        if gap <= max(_LEAST, _ROUNDING * scale * float(lengths.min())):
            return ()
        return (
            f"{path}: its sform and qform place it up to {gap:.3g} mm apart; the sform was followed, as by nibabel, "
            "MONAI, FSL and SPM (ITK and 3D Slicer may follow the qform)",
        )
    steps = np.array(header.pixdim[:count])
    if all(_is_length(step) for step in steps) and (np.abs(lengths / steps - 1) > 0.01).any():
        by_sform, by_pixdim = (" x ".join(f"{scale * step:.4g}" for step in sizes) for sizes in (lengths, steps))
        return (f"{path}: its voxels are {by_sform} mm by its sform, which was followed, and {by_pixdim} mm by pixdim",)
    return ()
