"""Windows cut out of a working image, with random geometry and grey values, as tensor operations on the device.

A `Warp` says where the elements of K windows lie in the source; it is drawn first (`draw_warp`), then applied to
the image (`sample`) and to points (`points_to_window`), so both go the same way. Coordinates here are indices of the
source in array-axis order, and lengths are in world units along the source's axes; the Grid of the source takes
points into this frame and back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from anatomark.core.grid import Floats

POINT_ITERATIONS = 25


@dataclass(frozen=True)
class Strength:
    """How far augmentation goes; all zero means none. Angles in degrees.

    Two elastic displacements are added: `elastic_points` control points along each axis of a window, with a s.d. of
    `elastic_mm`, and finer ones `elastic_fine_spacing` apart, with a s.d. of `elastic_fine` times that distance.
    """

    rotation_degrees: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    elastic_mm: float = 0.0
    elastic_points: int = 5
    elastic_fine: float = 0.0
    elastic_fine_spacing: float = 20.0
    gain: float = 0.0
    shift: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True, eq=False)
class Warp:
    """Where K windows of one `shape` lie in a source: source offset (mm) = linear @ window offset (mm) + elastic.

    `center_index` (K, d): the source index at each window's middle; `linear` (K, d, d); `elastic` (K, d, *controls) in
    mm, multilinear between control points that span the window, or None; `spacing` (d,) of the window and
    `source_spacing` (d,) in world units.
    """

    shape: tuple[int, ...]
    spacing: Floats
    source_spacing: Floats
    center_index: Floats
    linear: Floats
    elastic: NDArray[np.float32] | None

    @property
    def half(self) -> Floats:
        """(d,) world units from the middle of a window to its outermost elements' middles."""
        return (np.asarray(self.shape) - 1) / 2 * self.spacing

    def reach(self) -> tuple[Floats, Floats]:
        """The least and the greatest source index (d,) that any element may lie at; all of them lie between."""
        far = np.abs(self.linear) @ self.half  # a linear map is at its most in a corner
        low, high = -far, far
        if self.elastic is not None:  # between control points it is no more than at them
            spatial = tuple(range(2, 2 + len(self.shape)))
            low, high = low + self.elastic.min(axis=spatial), high + self.elastic.max(axis=spatial)
        low, high = (self.center_index + moved / self.source_spacing for moved in (low, high))
        return low.min(axis=0), high.max(axis=0)

    def places(self, first: Floats, size: Floats, device: torch.device) -> Tensor:
        """(K, *shape, d) float32 on `device`: where the elements lie in the part of the source from index `first` on.

        As `grid_sample` wants it: the last axis first, from -1 to 1 over the `size` (d,) elements of the part.
        """
        k, d = self.center_index.shape
        scale = 2 / (size * self.source_spacing)  # of lengths
        linear, middle = scale[:, None] * self.linear * self.half, (2 * (self.center_index - first) + 1) / size - 1
        columns = torch.tensor(linear[:, ::-1].copy(), dtype=torch.float32, device=device)
        places = torch.tensor(middle[:, ::-1].copy(), dtype=torch.float32, device=device).view(k, *(1,) * d, d)
        for axis, n in enumerate(self.shape):  # as sums of broadcast lines, which is a fraction of a product's time
            line = _line(n, device).view(*(n if a == axis else 1 for a in range(d)), 1)
            places = places + line * columns[..., axis].view(k, *(1,) * d, d)
        if self.elastic is not None:
            controls = (self.elastic * scale.reshape(1, d, *(1,) * d))[:, ::-1].astype(np.float32)
            places += _between(torch.as_tensor(controls).to(device), self.shape)
        return places

    def points_to_window(self, points_index: Floats) -> Floats:
        """Window indices (K, M, d) of source indices (K, M, d); NaN stays NaN. Inverts the map by fixed-point steps."""
        moved = (points_index - self.center_index[:, None]) * self.source_spacing
        inverse = np.linalg.inv(self.linear)
        offset = np.einsum("kij,kmj->kmi", inverse, moved)
        if self.elastic is not None:
            for _ in range(POINT_ITERATIONS):
                offset = np.einsum("kij,kmj->kmi", inverse, moved - self._between_controls(self.elastic, offset))
        return offset / self.spacing + (np.asarray(self.shape) - 1) / 2

    def _between_controls(self, elastic: NDArray[np.float32], offset: Floats) -> Floats:
        """Displacements (K, M, d) in mm of control points `elastic` at window offsets (K, M, d) in mm."""
        at = torch.as_tensor(np.nan_to_num(offset / np.maximum(self.half, 1e-9))[..., ::-1].astype(np.float32).copy())
        k, m, d = at.shape
        values = F.grid_sample(
            torch.as_tensor(elastic),
            at.view(k, m, *(1,) * (d - 1), d),
            align_corners=True,
            padding_mode="border",
        )
        return values.view(k, d, m).transpose(1, 2).double().numpy()


def draw_warp(
    rng: np.random.Generator,
    *,
    shape: Sequence[int],
    spacing: Sequence[float],
    source_spacing: Sequence[float],
    center_index: Floats,
    strength: Strength,
    mirror: bool = False,
) -> Warp:
    """A random Warp for windows centred at `center_index` (K, d); with `mirror`, left and right (last axis) change."""
    k, d = len(center_index), len(shape)
    linear = np.tile(np.eye(d), (k, 1, 1))
    angle = float(np.deg2rad(strength.rotation_degrees))
    planes = [(a, b) for a in range(d) for b in range(a + 1, d)]
    for a, b in planes:
        theta = rng.uniform(-angle, angle, size=k)
        turn = np.tile(np.eye(d), (k, 1, 1))
        turn[:, a, a] = turn[:, b, b] = np.cos(theta)
        turn[:, a, b], turn[:, b, a] = -np.sin(theta), np.sin(theta)
        linear = linear @ turn
    scale = np.exp(rng.uniform(-1, 1, size=(k, 1)) * np.log1p(strength.scale))
    scale = scale * np.exp(rng.uniform(-0.5, 0.5, size=(k, d)) * np.log1p(strength.scale))
    shear = rng.uniform(-strength.shear, strength.shear, size=(k, d, d)) * (1 - np.eye(d))
    linear = linear @ (np.eye(d) + shear) * scale[:, None, :]
    if mirror:
        linear[:, -1, :] *= -1
    return Warp(
        tuple(int(n) for n in shape),
        np.asarray(spacing, dtype=float),
        np.asarray(source_spacing, dtype=float),
        np.asarray(center_index, dtype=float),
        linear,
        _draw_elastic(rng, k, shape, spacing, strength),
    )


def _draw_elastic(
    rng: np.random.Generator, windows: int, shape: Sequence[int], spacing: Sequence[float], strength: Strength
) -> NDArray[np.float32] | None:
    """Displacements (K, d, *controls) in mm of control points that span each window; None where there are none."""
    d = len(shape)
    elastic = None
    if strength.elastic_mm > 0:
        controls = tuple(strength.elastic_points if n > 1 else 1 for n in shape)
        elastic = (strength.elastic_mm * rng.standard_normal((windows, d, *controls))).astype(np.float32)
    if strength.elastic_fine > 0:
        most = (max(strength.elastic_points, 1 + round(n / strength.elastic_fine_spacing)) for n in shape)
        fine = tuple(c if n > 1 else 1 for c, n in zip(most, shape, strict=True))
        apart = np.array([(n - 1) * s / max(1, c - 1) for n, s, c in zip(shape, spacing, fine, strict=True)])
        scale = (strength.elastic_fine * apart).reshape(1, d, *(1,) * d)
        bent = (scale * rng.standard_normal((windows, d, *fine))).astype(np.float32)
        if elastic is not None:
            bent += _between(torch.as_tensor(elastic), fine).movedim(-1, 1).numpy()
        elastic = bent
    return elastic


def _line(count: int, device: torch.device) -> Tensor:
    """(count,) from -1 to 1, the middle where there is but one."""
    return torch.linspace(-1, 1, count, device=device) if count > 1 else torch.zeros(1, device=device)


def _between(controls: Tensor, shape: Sequence[int]) -> Tensor:
    """(K, *shape, d) multilinear between control points (K, d, *controls) that span the same.

    One product with a matrix of weights an axis, which takes a tenth of `interpolate`'s time.
    """
    values = controls.movedim(1, -1)
    for axis, n in enumerate(shape, start=1):
        before, count, after = values.shape[:axis], values.shape[axis], values.shape[axis + 1 :]
        at = (_line(n, controls.device) + 1) * ((count - 1) / 2)
        weights = (1 - (at.unsqueeze(1) - torch.arange(count, device=controls.device)).abs()).clamp(min=0)
        values = (weights @ values.reshape(math.prod(before), count, -1)).view(*before, n, *after)
    return values


def sample(array: NDArray[np.generic], window: tuple[float, float], warp: Warp, device: torch.device) -> Tensor:
    """Grey values (K, *shape) float32 on `device`, 0 and 1 at the stored values `window`; 0 outside the source.

    Only the part of `array` (*spatial) that the windows touch is read, so it may be a memory map.
    """
    d = len(warp.shape)
    region = tuple(_part(low, high, n) for low, high, n in zip(*warp.reach(), array.shape, strict=True))
    part = torch.as_tensor(np.array(array[region])).to(device).float()
    source = (part - window[0]) / (window[1] - window[0])
    places = warp.places(np.array([r.start for r in region]), np.array(source.shape), device)
    tall = places.flatten(0, 1).unsqueeze(0)  # all windows as one tall one: grid_sample reads one source
    values = F.grid_sample(source.view(1, 1, *source.shape), tall, align_corners=False, padding_mode="zeros")
    return values.view(-1, *warp.shape[:d])


def plain_windows(
    array: NDArray[np.generic],
    window: tuple[float, float],
    spacing: Sequence[float],
    shape: Sequence[int],
    center_index: Floats,
    device: torch.device,
) -> tuple[Tensor, Floats]:
    """Unwarped windows (K, *shape) around `center_index` (K, d), and the source index (K, d) of their first elements.

    Window elements coincide with source elements, so nothing is interpolated; outside the image there is 0.
    """
    size = np.asarray(shape)
    last = np.maximum(np.asarray(array.shape) - 1, 0)
    start = np.floor(np.clip(center_index, 0, last) - (size - 1) / 2 + 0.5)
    k, d = start.shape
    warp = Warp(
        tuple(shape),
        np.asarray(spacing, dtype=float),
        np.asarray(spacing, dtype=float),
        start + (size - 1) / 2,
        np.tile(np.eye(d), (k, 1, 1)),
        None,
    )
    return sample(array, window, warp, device), start


def _part(low: float, high: float, size: int) -> slice:
    """The elements between two indices and their neighbours, of `size`; one at least, be it at the border."""
    first = min(max(math.floor(low), 0), size - 1)
    return slice(first, max(min(math.ceil(high) + 1, size), first + 1))


@dataclass(frozen=True)
class GreyChange:
    """A change of grey values, to be applied to one image or to several alike.

    First grey values, cut off below 0 and above 1.5, are raised to the power `exponent`, then multiplied by `gain` and
    raised by `shift`; at last noise of s.d. `noise` is added, the same for windows of the same shape.
    """

    exponent: float | None = None
    gain: float = 1.0
    shift: float = 0.0
    noise: float = 0.0
    noise_seed: int = 0

    def apply(self, windows: Tensor) -> Tensor:
        """Windows (K, *spatial) with the change."""
        if self.exponent is not None:
            windows = windows.clamp(0, 1.5).pow(self.exponent)
        if (self.gain, self.shift) != (1.0, 0.0):
            windows = windows * self.gain + self.shift
        if self.noise:
            generator = torch.Generator(device=windows.device).manual_seed(self.noise_seed)
            windows = windows + self.noise * torch.randn(windows.shape, generator=generator, device=windows.device)
        return windows


def draw_grey_change(rng: np.random.Generator, strength: Strength) -> GreyChange:
    """A random GreyChange; what has no strength draws no numbers."""
    change = GreyChange()
    if strength.gamma:
        change = replace(change, exponent=float(np.exp(rng.uniform(-strength.gamma, strength.gamma))))
    if strength.gain or strength.shift:
        gain = float(np.exp(rng.uniform(-1, 1) * np.log1p(strength.gain)))
        change = replace(change, gain=gain, shift=float(rng.uniform(-strength.shift, strength.shift)))
    if strength.noise:
        seed = int(rng.integers(2**62))
        change = replace(change, noise=float(rng.uniform(0, strength.noise)), noise_seed=seed)
    return change
