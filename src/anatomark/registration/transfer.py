"""Landmarks carried from a template onto an image; those that cannot be trusted are left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anatomark.core.grid import Floats
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks, State
from anatomark.errors import FrameError, SettingsError
from anatomark.registration.deformable import Backend, register_deformable

TOLERANCE_ELEMENTS = 2.0  # of the working grid: what two registrations that both succeed may differ by
LEAST_AGREEMENT = 0.1  # squared local correlation; about 0.02 between a structure and noise, 0 with an empty place


@dataclass(frozen=True, eq=False)
class Transferred:
    """What became of N landmarks of a template on an image.

    `landmarks` lie in the world of the image, in the template's order; PRESENT or NOT_ANNOTATED. `inconsistency`
    (N,) is the distance from a point of the template to where it comes back to, in `unit`, NaN where the template
    has no point; `agreement` (N,) is how alike the surroundings are, 0 to 1, NaN where there is nothing to compare.
    Of those not kept, `inconsistent` came back farther away than `tolerance`, `unlike` (of the others) have
    surroundings that do not agree, and `outside` (of the others) lie beyond the image.
    """

    landmarks: Landmarks
    inconsistency: Floats
    agreement: Floats
    tolerance: float
    inconsistent: int
    unlike: int
    outside: int

    @property
    def kept(self) -> int:
        return int(np.count_nonzero(self.landmarks.present))

    @property
    def summary(self) -> str:
        """One line: what was kept, and why the rest was not."""
        known = self.inconsistency[np.isfinite(self.inconsistency)]
        unit = self.landmarks.unit
        return (
            f"kept {self.kept} of {len(self.landmarks)} ({self.inconsistent} inconsistent, {self.unlike} unlike, "
            f"{self.outside} outside), "
            f"median inconsistency {np.median(known):.2f} {unit}, tolerance {self.tolerance:.3g} {unit}"
        )


def transfer_landmarks(
    template: Image,
    landmarks: Landmarks,
    image: Image,
    *,
    backend: Backend = "auto",
    tolerance: float | None = None,
    seed: int = 0,
) -> Transferred:
    """The template's landmarks in the world of `image`; those that cannot be trusted are NOT_ANNOTATED.

    Template and image are registered in both directions (`register_deformable`), each on its own. A point p of the
    template goes to q on the image, and q back to p'; where |p - p'| is above `tolerance` at least one of the two is
    wrong (Christensen & Johnson 2001, doi:10.1109/42.932742).

    Two smooth registrations may agree over a place where the image shows nothing (an artefact, a resection), so the
    surroundings of p and q are compared too: a squared correlation below 0.1 is no agreement. A template that is flat
    about a point is not judged so. Whether a landmark is there at all cannot be told so: those absent from the template
    are NOT_ANNOTATED too.

    Args:
        template: the image of the landmarks.
        landmarks: on the template, world LPS.
        image: to transfer them to.
        backend: "auto", "simpleitk" or "elastix"; auto takes elastix where it is installed.
        tolerance: in the template's unit; by default two elements of the coarser working grid, such as 4 mm for a
            brain.
        seed: of the registration's samples.

    Returns:
        The landmarks in the world of `image`, with the inconsistency (N,) and agreement (N,) of each.

    Raises:
        RegistrationError: the two cannot be registered.
        FrameError: the landmarks are not on the template.

    Examples:
        >>> moved = anatomark.transfer_landmarks(template, landmarks, anatomark.read_image("subject.nii.gz"))
        >>> moved.landmarks["L0001"], moved.kept
        (array([ 3.1, -20.4,  11.9]), 1171)
    """
    require_tolerance(tolerance)
    require_on(template, landmarks)
    there = register_deformable(template, image, backend=backend, seed=seed)
    back = register_deformable(image, template, backend=backend, seed=seed)
    if tolerance is None:
        tolerance = TOLERANCE_ELEMENTS * max(there.spacing, back.spacing)
    points = there.map(landmarks.points)
    inconsistency = np.linalg.norm(landmarks.points - back.map(points), axis=1)
    agreement = there.agreement_at(landmarks.points)
    inconsistent = inconsistency > tolerance
    unlike = ~inconsistent & (agreement < LEAST_AGREEMENT)
    outside = landmarks.present & ~inconsistent & ~unlike & ~image.grid.contains(points)
    kept = landmarks.present & ~inconsistent & ~unlike & ~outside
    states = np.where(kept, State.PRESENT, State.NOT_ANNOTATED).astype(np.uint8)
    return Transferred(
        landmarks=Landmarks(landmarks.names, points, states, landmarks.unit),
        inconsistency=inconsistency,
        agreement=agreement,
        tolerance=float(tolerance),
        inconsistent=int(np.count_nonzero(inconsistent)),
        unlike=int(np.count_nonzero(unlike)),
        outside=int(np.count_nonzero(outside)),
    )


def require_tolerance(tolerance: float | None) -> None:
    """Raises `SettingsError` for a tolerance that is no length."""
    if tolerance is not None and not 0 < tolerance < np.inf:
        raise SettingsError(f"tolerance is {tolerance}; expected a length above 0, in the unit of the images")


def require_on(template: Image, landmarks: Landmarks, source: str = "the template's landmarks") -> None:
    """Raises `FrameError` for landmarks of another dimension or unit than the template, outside of it, or none."""
    grid = template.grid
    if (landmarks.ndim, landmarks.unit) != (grid.ndim, grid.unit):
        raise FrameError(
            f"{source} are {landmarks.ndim}D in {landmarks.unit}, the template is {grid.ndim}D in {grid.unit}; "
            "give the landmarks of this template"
        )
    if not landmarks.present.any():
        raise FrameError(f"{source} have no present point; give some to transfer")
    off = landmarks.present & ~grid.contains(landmarks.points)
    if off.any():
        names = [name for name, is_off in zip(landmarks.names, off, strict=True) if is_off]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise FrameError(
            f"{source} lie outside of the template ({', '.join(names[:3])}{more}); check their frame (LPS, RAS, "
            "pixel) and that they belong to this image"
        )
