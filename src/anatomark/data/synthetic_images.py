"""Images made from label maps: every label gets random grey values, the rest is what a scanner adds.

After SynthSeg (Billot et al. 2023, doi:10.1016/j.media.2023.102789), step by step: each tissue draws a mean and a
standard deviation and the voxels of its labels are drawn from them; a smooth bias field multiplies the image; borders
are blurred, as voxels there hold two tissues (partial volume); the image is resampled to the spacing of a scan, thick
slices along one axis included; noise is added, and a gamma changes the contrast. Geometry stays that of the label map,
so that its landmarks hold for every image of it; training turns, scales and bends crops by itself.

All is drawn first (`draw_appearance`), then applied (`render`). 2D and 3D alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid
from anatomark.core.image import Image
from anatomark.core.interpolation import smoothed, spline_coefficients, spline_values, transformed
from anatomark.errors import ImageError, SettingsError

Range = tuple[float, float]
MEANS: Range = (0.0, 250.0)
SDS: Range = (0.0, 35.0)
AIR_MEANS: Range = (0.0, 10.0)
AIR_SDS: Range = (0.0, 5.0)
MOST_LABELS = 1000  # in one map: an image of grey values has more
LARGEST_LABEL = 1 << 20
_WHITE, _BRIGHT = 230.0, 99.8  # the stored value of that percentile: the rest up to 255 is for what is brighter
FINE_BIAS = 24  # elements along each axis that the bias field's spline is evaluated at
_SAMPLED = 300_000  # elements that the percentile is taken of


@dataclass(frozen=True)
class Tissue:
    """Labels that look alike.

    Without ranges, the tissue may be of any brightness: a mean of 0 to 250, with a s.d. of 0 to 35.

    Attributes:
        name: of the tissue.
        labels: the values of the label map that belong to it.
        mean: range of the mean grey value, from which each image draws.
        sd: range of the standard deviation of grey values within an image.

    Examples:
        >>> white = anatomark.Tissue("white matter", (2, 41), mean=(120, 200), sd=(5, 25))
    """

    name: str
    labels: tuple[int, ...]
    mean: Range = MEANS
    sd: Range = SDS

    def __post_init__(self) -> None:
        if not self.labels or min(self.labels) < 0:
            raise SettingsError(f"tissue {self.name!r} has the labels {list(self.labels)}; give numbers from 0 on")
        _require_range(f"the mean of tissue {self.name!r}", self.mean)
        _require_range(f"the sd of tissue {self.name!r}", self.sd)


@dataclass(frozen=True)
class Synthesis:
    """What the images of a set have in common; each image draws from the ranges, evenly.

    A label of none of the `tissues` is one of its own that may be of any brightness; label 0 is air then, nearly
    black. Lengths are in elements of the label map.

    Attributes:
        tissues: labels that look alike, with their ranges of grey values.
        texture: s.d. that variations within a tissue are smoothed with.
        blur: s.d. that borders are smoothed with.
        bias: largest s.d. of the logarithm of the bias field.
        bias_points: control points of the bias field along each axis.
        thick: largest thickness of slices, along one axis (not where the spacing is unknown).
        thick_slices: part of the images that have such slices.
        noise: s.d. relative to bright tissue.
        gamma: largest logarithm of the exponent of grey values.

    Examples:
        >>> synthesis = anatomark.Synthesis(thick=4, noise=(0.0, 0.02))
    """

    tissues: tuple[Tissue, ...] = ()
    texture: Range = (0.0, 1.0)
    blur: Range = (0.4, 0.9)
    bias: float = 0.5
    bias_points: int = 4
    thick: float = 1.0
    thick_slices: float = 0.5
    noise: Range = (0.0, 0.05)
    gamma: float = 0.3

    def __post_init__(self) -> None:
        for name in ("texture", "blur", "noise"):
            _require_range(name, getattr(self, name))
        for name, low, high in (("bias", 0, 3), ("bias_points", 2, 100), ("thick", 1, 100), ("gamma", 0, 3)):
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"{name} is {getattr(self, name)}; expected a number from {low} to {high}")
        if not 0 <= self.thick_slices <= 1:
            raise SettingsError(f"thick_slices is a part of the images, 0 to 1, got {self.thick_slices}")
        seen: set[int] = set()
        for tissue in self.tissues:
            twice = seen.intersection(tissue.labels)
            if twice:
                raise SettingsError(f"label {min(twice)} is in two tissues; keep it in one")
            seen.update(tissue.labels)


@dataclass(frozen=True, eq=False)
class Appearance:
    """How one image looks: grey values `means` and `sds` (L,) of its `labels` (L,), the rest as in `Synthesis`.

    `bias` (*bias_points,) is the logarithm of the bias field, `steps` (d,) the output's elements in elements of the
    label map, in array-axis order. `seed` is of texture and noise.
    """

    labels: tuple[int, ...]
    means: Floats
    sds: Floats
    texture: float
    blur: float
    bias: Floats
    steps: tuple[float, ...]
    noise: float
    exponent: float
    seed: int


def synthetic_image(labels: Image, synthesis: Synthesis | None = None, *, seed: int | Sequence[int] = 0) -> Image:
    """An image (uint8) of what the label map shows, in the same world: landmarks of the map hold for it.

    After SynthSeg (Billot et al., MedIA 2023, doi:10.1016/j.media.2023.102789). Equal arguments give equal images.

    Args:
        labels: an image of whole numbers from 0 on.
        synthesis: what to draw from; by default any contrast.
        seed: a number, or several, such as (seed of the set, number of the image).

    Returns:
        The image, on the Grid of `labels`; one with thick slices has the Grid of these.

    Raises:
        ImageError: `labels` is no label map.

    Examples:
        >>> image = anatomark.synthetic_image(anatomark.read_image("labels.nii.gz"), seed=1)
    """
    array = label_array(labels)
    rng = np.random.default_rng(seed)
    present = np.flatnonzero(np.bincount(array.ravel())).tolist()
    appearance = draw_appearance(rng, synthesis or Synthesis(), labels=present, ndim=labels.grid.ndim)
    if labels.grid.unit == "px":
        appearance = replace(appearance, steps=(1.0,) * labels.grid.ndim)
    return render(Image(array, labels.grid), appearance)


def label_array(image: Image, source: str | Path = "the image") -> NDArray[Any]:
    """(*spatial) the labels as integers. Raises ImageError where they are no whole numbers from 0 on, or too many."""
    array = image.array
    if array.dtype == bool:
        return array.astype(np.uint8)
    low, high = float(array.min()), float(array.max())
    whole = array.dtype.kind in "iu" or bool(np.isfinite(array).all() and (array == np.round(array)).all())
    if not whole or low < 0 or high > LARGEST_LABEL:
        raise ImageError(
            f"{source} is no label map: its values, {low:g} to {high:g}, are not all whole numbers from 0 to "
            f"{LARGEST_LABEL}; give a map with a number for each structure"
        )
    integers = array if array.dtype.kind == "u" and array.itemsize < 8 else array.astype(np.int32)
    count = int(np.count_nonzero(np.bincount(integers.ravel())))
    if count > MOST_LABELS:
        raise ImageError(f"{source} has {count} different values, a label map up to {MOST_LABELS}; is it an image?")
    return integers


def draw_appearance(rng: np.random.Generator, synthesis: Synthesis, *, labels: Sequence[int], ndim: int) -> Appearance:
    """A random Appearance of a map that has `labels`. Tissues are drawn whether the map has them or not."""
    grey = {label: pair for t in synthesis.tissues for pair in [_drawn(rng, t)] for label in t.labels}
    for label in sorted(labels):
        if label not in grey:
            air = label == 0
            drawn = Tissue(str(label), (label,), AIR_MEANS if air else MEANS, AIR_SDS if air else SDS)
            grey[label] = _drawn(rng, drawn)
    steps = [1.0] * ndim
    if synthesis.thick > 1:
        axis, thickness = int(rng.integers(ndim)), float(rng.uniform(1, synthesis.thick))
        steps[axis] = thickness if rng.random() < synthesis.thick_slices else 1.0
    shape = (synthesis.bias_points,) * ndim
    bias = rng.uniform(0, synthesis.bias) * rng.standard_normal(shape)
    return Appearance(
        labels=tuple(sorted(labels)),
        means=np.array([grey[label][0] for label in sorted(labels)]),
        sds=np.array([grey[label][1] for label in sorted(labels)]),
        texture=float(rng.uniform(*synthesis.texture)),
        blur=float(rng.uniform(*synthesis.blur)),
        bias=bias,
        steps=tuple(steps),
        noise=float(rng.uniform(*synthesis.noise)),
        exponent=float(np.exp(rng.uniform(-1, 1) * synthesis.gamma)),
        seed=int(rng.integers(2**62)),
    )


def render(labels: Image, appearance: Appearance) -> Image:
    """The image (uint8) of a label map with that appearance; its Grid is coarser where `steps` are above one.

    The 99.8th percentile is stored as 230, zero as 0.
    """
    rng = np.random.default_rng(appearance.seed)
    grid, array = labels.grid, labels.array
    means, sds = (_table(appearance.labels, values) for values in (appearance.means, appearance.sds))
    grey = _texture(rng, grid.shape, appearance.texture)
    grey *= sds[array]
    grey += means[array]
    np.maximum(grey, 0, out=grey)
    grey *= _bias_field(appearance.bias, grid.shape)
    if appearance.blur > 0.05:
        grey = smoothed(grey, appearance.blur, mode="nearest", truncate=3)
    if any(step != 1 for step in appearance.steps):
        coarse = grid.respaced(np.asarray(appearance.steps) * grid.spacing)
        grey, grid = Image(grey, grid).resampled(coarse).array.copy(), coarse
    return Image(_stored(_scanned(rng, grey, appearance), grid), grid)


def _scanned(rng: np.random.Generator, grey: NDArray[np.float32], appearance: Appearance) -> NDArray[np.float32]:
    """Grey values with noise and another contrast; 1 is the 99.8th percentile, none is below 0."""
    grey /= max(_bright(grey), 1e-6)
    if appearance.noise:
        noise = rng.standard_normal(grey.shape, dtype=np.float32)
        noise *= appearance.noise
        grey += noise
    np.abs(grey, out=grey)  # of a magnitude; what is below zero is noise in air
    if appearance.exponent != 1:
        np.power(grey, np.float32(appearance.exponent), out=grey)
    return grey


def _stored(grey: NDArray[np.float32], grid: Grid) -> NDArray[np.uint8]:
    values = np.clip(np.rint(grey * _WHITE), 0, 255).astype(np.uint8)
    if values.size > 1 and values.min() == values.max():
        raise ImageError(f"a label map of shape {grid.shape} gives an image of one grey value; it needs two labels")
    return values


def _drawn(rng: np.random.Generator, tissue: Tissue) -> tuple[float, float]:
    return float(rng.uniform(*tissue.mean)), float(rng.uniform(*tissue.sd))


def _table(labels: Sequence[int], values: Floats) -> NDArray[np.float32]:
    """(largest label + 1,) the value of each label."""
    table = np.zeros(max(labels) + 1, dtype=np.float32)
    table[list(labels)] = values
    return table


def _texture(rng: np.random.Generator, shape: Sequence[int], sigma: float) -> NDArray[np.float32]:
    """Gaussian noise (*shape) of unit standard deviation, smoothed with `sigma` elements."""
    noise = rng.standard_normal(tuple(shape), dtype=np.float32)
    if sigma <= 0.05 or noise.size < 2:
        return noise
    noise = smoothed(noise, sigma, truncate=3)
    noise /= max(float(noise.std()), 1e-6)
    return noise


def _bias_field(bias: Floats, shape: Sequence[int]) -> NDArray[np.float32]:
    """(*shape) the field whose logarithm is a cubic spline through control points that span the array."""
    fine = [min(n, FINE_BIAS) for n in shape]  # smooth enough: between these it is linear
    places = np.meshgrid(*(np.linspace(0, c - 1, n) for c, n in zip(bias.shape, fine, strict=True)), indexing="ij")
    smooth = spline_values(spline_coefficients(bias.astype(np.float32)), np.stack(places))
    steps = np.array([(f - 1) / max(n - 1, 1) for f, n in zip(fine, shape, strict=True)])
    field = transformed(np.exp(smooth), steps, np.zeros(len(steps)), shape)
    field /= field.mean()
    return field


def _bright(grey: NDArray[np.float32]) -> float:
    step = max(1, round((grey.size / _SAMPLED) ** (1 / grey.ndim)))
    return float(np.percentile(grey[(slice(None, None, step),) * grey.ndim], _BRIGHT))


def _require_range(what: str, value: Range) -> None:
    if len(value) != 2 or not 0 <= value[0] <= value[1] < float("inf"):
        raise SettingsError(f"{what} is {tuple(value)}; expected two numbers from 0 on, the lower one first")
