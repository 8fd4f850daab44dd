"""The template of the synthetic brains, from one T1 image of a head: the only step that needs an image library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anatomark.core.image import Image
from benchmarks.synthetic_brains import Template

FIELD_MM = (144, 186, 152)  # array-axis order: 152 x 186 x 144 as x, y, z
BACKGROUND = 0.42  # of the 99th percentile: skull and cerebrospinal fluid are darker on T1
BRIDGES_MM = 4.0  # what joins brain and scalp is thinner than twice this
CLOSED_MM = 5.0  # half the width of sulci that are filled
ABOVE_MM = 3  # of the field of view above the brain
RIM_MM = 8  # of the field of view without landmarks: nearer, too many subjects would lose them


def prepare_template(path: str | Path, *, landmarks: int) -> Template:
    """The Template of a head at 1 mm, its field of view about the brain, with `landmarks` points proposed in it.

    Raises ImageError where there are too few distinct points.
    """
    from anatomark.formats.images import read_image
    from anatomark.registration.interest import propose_landmarks

    head = read_image(path).canonical()
    head = head.resampled(head.grid.respaced(1.0))
    high = float(np.percentile(head.array, 99.8))
    image = Image(np.clip(np.round(head.array / high * 255), 0, 255).astype(np.uint8), head.grid)
    brain = brain_mask(image.array)
    inside = np.argwhere(brain)
    start = np.round((inside.min(axis=0) + inside.max(axis=0) + 1 - np.asarray(FIELD_MM)) / 2).astype(int)
    start[0] = (
        inside[:, 0].max() + 1 + ABOVE_MM - FIELD_MM[0]
    )  # the brain stem runs out of the field, the crown must not
    field = image.grid.crop(start.tolist(), FIELD_MM)
    seen = image.resampled(field)
    mask = Image(brain.astype(np.uint8), image.grid).resampled(field)
    points = propose_landmarks(seen, count=landmarks, mask=mask, margin=RIM_MM).points
    return Template(image, field, points)


def brain_mask(array: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where the brain is in a T1 image of a head at 1 mm: the largest bright part that thin bridges do not join.

    Rough: sulci are in, small vessels and dura may be. It only keeps landmarks off the scalp.
    """
    from scipy import ndimage

    def distance(where: NDArray[np.bool_]) -> NDArray[np.float64]:
        """To the nearest element that is not there, in elements."""
        return np.asarray(ndimage.distance_transform_edt(where))

    parts = np.asarray(ndimage.label(distance(array > BACKGROUND * np.percentile(array, 99)) > BRIDGES_MM)[0])  # pyright: ignore
    core = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    grown = distance(~core) <= BRIDGES_MM + 1
    closed = distance(distance(~grown) <= CLOSED_MM) > CLOSED_MM
    return np.asarray(ndimage.binary_fill_holes(closed))
