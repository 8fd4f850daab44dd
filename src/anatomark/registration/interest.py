"""Landmarks proposed on a template: salient points, well spread."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks
from anatomark.errors import ImageError, SettingsError

PARTS = 150  # of the image's mean side in one `scale`: a brain of 195 mm gets 1.3 mm
SALIENT = 4  # as many candidates as wanted points compete for a place among the most salient
GATHERED = 2.0  # sigma that the structure tensor is gathered with, in scales; less follows the steps of edges
_FAINT = 1e-4  # of the 99th percentile: weaker maxima are rounding and noise


def propose_landmarks(
    image: Image,
    *,
    count: int,
    scale: float | None = None,
    margin: float | None = None,
    mask: Image | None = None,
) -> Landmarks:
    """`count` landmarks L0001 ... on salient points of a 2D or 3D image, the first ones the farthest apart.

    Candidates are the local maxima of the interest-point strength det(C) / trace(adj(C)) of the structure tensor
    C, large where grey values change in all directions (Foerstner; in 3D Rohr 1997,
    doi:10.1016/S0262-8856(96)01127-2), in the foreground (Otsu's threshold, 1979, doi:10.1109/TSMC.1979.4310076)
    or where `mask` is above zero. Of the most salient 4 * `count`, the strongest is taken first, then always the one
    farthest from all taken (Eldar et al. 1997, doi:10.1109/83.623193). No chance is involved.

    Args:
        image: to place landmarks on.
        count: number of landmarks.
        scale: size of the structures looked for, in the image's unit; by default 1/150 of a side.
        margin: least distance to the image's border, in the image's unit; by default 4 scales.
        mask: an image that is above zero where landmarks may lie.

    Returns:
        The landmarks, points (count, d) in world LPS.

    Raises:
        ImageError: the image has too few distinct points.

    Examples:
        >>> template = anatomark.read_image("template.nii.gz")
        >>> anatomark.write_landmarks(anatomark.propose_landmarks(template, count=1200), "template.csv")
    """
    if count < 1:
        raise SettingsError(f"count is {count}; expected the number of landmarks, 1 or more")
    if scale is None:
        scale = float(np.prod(image.grid.extent) ** (1 / image.grid.ndim)) / PARTS
    if margin is None:
        margin = 4 * scale
    if not 0 < scale < np.inf or not 0 <= margin < np.inf:
        raise SettingsError(
            f"scale is {scale:g} and margin {margin:g}; expected lengths in {image.grid.unit}, the scale above 0"
        )
    if mask is not None and (mask.grid.ndim, mask.grid.unit) != (image.grid.ndim, image.grid.unit):
        raise ImageError(
            f"the mask is {mask.grid.ndim}D in {mask.grid.unit}, the image {image.grid.ndim}D in {image.grid.unit}; "
            "give a mask of this image"
        )
    seen = image.resampled(image.grid.respaced([max(step, scale) for step in image.grid.spacing]))
    strength = interest_strength(seen, scale)
    wanted = foreground(seen) if mask is None else mask.resampled(seen.grid).array > 0.5
    index, value = _maxima(strength, wanted & _within(seen, margin))
    if len(index) < count:
        raise ImageError(
            f"the image has {len(index)} distinct points at a scale of {scale:.3g} {image.grid.unit}, {count} "
            "landmarks were asked for; ask for fewer, or take a smaller scale"
        )
    order = np.argsort(-value, kind="stable")[: SALIENT * count]
    points = seen.grid.index_to_world(index[order])
    width = max(4, len(str(count)))
    names = tuple(f"L{k:0{width}d}" for k in range(1, count + 1))
    return Landmarks.from_points(names, points[farthest_first(points, count)], image.grid.unit)


def interest_strength(image: Image, scale: float) -> NDArray[np.float32]:
    """(*spatial) how well the place of a point is told by the grey values around it, at `scale` in `unit`.

    Gradients at `scale` (at least half an element), gathered over twice that, which draws points a little into the
    corners. In the world: shears and anisotropy of the grid make no difference but for the smoothing.
    """
    from scipy import ndimage

    d = image.grid.ndim
    values = image.array.astype(np.float32)
    sigma = np.maximum(scale / np.asarray(image.grid.spacing), 0.5)
    along = [
        ndimage.gaussian_filter(
            values,
            sigma,
            order=[int(k == axis) for k in range(d)],  # pyright: ignore[reportArgumentType]  # one an axis
            mode="nearest",
            truncate=3,
        )
        for axis in range(d)
    ]
    to_world = np.linalg.inv(image.grid.affine[:-1, :-1]).astype(np.float32)
    gradient = [sum(to_world[axis, k] * along[axis] for axis in range(d)) for k in range(d)]
    tensor = np.empty((d, d, *values.shape), dtype=np.float32)
    for a, b in combinations_with_replacement(range(d), 2):
        tensor[a, b] = ndimage.gaussian_filter(gradient[a] * gradient[b], GATHERED * sigma, mode="nearest", truncate=3)
        tensor[b, a] = tensor[a, b]
    if d == 2:
        minors = tensor[0, 0] + tensor[1, 1]
        determinant = tensor[0, 0] * tensor[1, 1] - tensor[0, 1] ** 2
    else:
        principal = [tensor[a, a] * tensor[b, b] - tensor[a, b] ** 2 for a, b in ((1, 2), (0, 2), (0, 1))]
        minors = principal[0] + principal[1] + principal[2]
        determinant = (
            tensor[0, 0] * principal[0]
            - tensor[0, 1] * (tensor[0, 1] * tensor[2, 2] - tensor[1, 2] * tensor[0, 2])
            + tensor[0, 2] * (tensor[0, 1] * tensor[1, 2] - tensor[1, 1] * tensor[0, 2])
        )
    strength = np.divide(determinant, minors, out=np.zeros_like(values), where=minors > 0)
    return np.maximum(strength, 0)


def foreground(image: Image) -> NDArray[np.bool_]:
    """(*spatial) true on what is brighter than Otsu's threshold, holes filled: the head and not the air."""
    from scipy import ndimage

    counts, edges = np.histogram(image.array, bins=256)
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    threshold = edges[int(np.nanargmax(np.where(np.isfinite(between), between, -1))) + 1]
    return np.asarray(ndimage.binary_fill_holes(image.array > threshold), dtype=bool)


def farthest_first(points: Floats, count: int) -> NDArray[np.intp]:
    """(count,) indices into `points` (M, d): the first one, then always the one farthest from all taken."""
    taken = np.zeros(count, dtype=np.intp)
    distance = np.full(len(points), np.inf)
    for k in range(1, count):
        distance = np.minimum(distance, np.linalg.norm(points - points[taken[k - 1]], axis=1))
        taken[k] = int(np.argmax(distance))
    return taken


def _within(image: Image, margin: float) -> NDArray[np.bool_]:
    """(*spatial) true where the border of the array is at least `margin` away, and never in its outermost layer."""
    inside = np.zeros(image.grid.shape, dtype=bool)
    # along an axis that is not at right angles to a face, the distance to the face is shorter than the way there
    heights = 1 / np.linalg.norm(np.linalg.inv(image.grid.affine[:-1, :-1]), axis=1)
    rims = [max(1, int(np.ceil(margin / height - 0.5))) for height in heights]
    inside[tuple(slice(rim, max(rim, n - rim)) for rim, n in zip(rims, inside.shape, strict=True))] = True
    return inside


def _maxima(strength: NDArray[np.float32], where: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.float32]]:
    """Indices (M, d) and values (M,) of the local maxima, one of each plateau."""
    from scipy import ndimage

    top = (strength == ndimage.maximum_filter(strength, size=3, mode="nearest")) & where
    if top.any():
        top &= strength > _FAINT * np.percentile(strength[where], 99)
    if not top.any():
        return np.empty((0, strength.ndim)), np.empty(0, dtype=np.float32)
    groups = np.zeros(strength.shape, dtype=np.int32)
    ndimage.label(top, structure=np.ones((3,) * strength.ndim), output=groups)
    first = np.unique(groups, return_index=True)[1][1:]  # the first element of each group, in array order
    index = np.stack(np.unravel_index(first, strength.shape), axis=-1)
    return index.astype(np.float64), strength[tuple(index.T)]
