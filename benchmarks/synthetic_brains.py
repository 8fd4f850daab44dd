"""Synthetic subjects of one template brain, whose landmarks are known to a thousandth of a millimetre.

A subject is the template seen through a map from its own world to the template's: first a smooth diffeomorphism (the
exponential of a stationary velocity field by scaling and squaring, Arsigny et al. 2006, doi:10.1007/11866565_113; up
to 15 mm), then a global affine map. The image is image(x) = template(phi(x)); a landmark p of the template lies where
phi(x) = p. What is sampled is a displacement on a lattice with multilinear values in between, and it is that very map
which is inverted (from the exponential of the negative velocity, then Newton's steps), so image and landmarks agree
whatever the exponential is worth. Grey values go through a random monotone curve, a bias field and noise.

A subject depends on (seed, index) and the template alone, and its anatomy not on the spacing. No image library is
used here; `benchmarks.brain_template` makes the template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Grid
from anatomark.core.image import Image

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
NODE_MM = 4.0  # between lattice nodes: far below the width of the smoothest waves
LARGEST_MM = 15.0
SQUARINGS = 7
NEWTON_STEPS = 20
SOLVED_MM = 1e-4


@dataclass(frozen=True, eq=False)
class Template:
    """A brain and its landmarks: `image` (uint8), `field` the Grid that every subject has, `points_world` (N, d).

    `image` reaches beyond `field` where the source does, so that a subject's borders show real tissue.
    """

    image: Image
    field: Grid
    points_world: Floats

    @property
    def names(self) -> tuple[str, ...]:
        width = len(str(len(self.points_world)))
        return tuple(f"b{k:0{width}d}" for k in range(1, len(self.points_world) + 1))

    def at(self, spacing: float) -> Template:
        """The same template with image and field at an isotropic `spacing` (mm)."""
        image = self.image.resampled(self.image.grid.respaced(spacing))
        array = np.clip(np.round(image.array), 0, 255).astype(np.uint8)
        return Template(Image(array, image.grid), self.field.respaced(spacing), self.points_world)

    def save(self, path: Path) -> None:
        """One .npz that `load` reads without an image library."""
        from anatomark.formats.atomic import replacing

        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, suffix=".npz") as temporary:
            np.savez_compressed(
                temporary,
                array=self.image.array,
                affine=self.image.grid.affine,
                field_shape=self.field.shape,
                field_affine=self.field.affine,
                points_world=self.points_world,
            )

    @classmethod
    def load(cls, path: Path) -> Template:
        with np.load(path) as held:
            image = Image(held["array"], Grid(held["array"].shape, held["affine"]))
            return cls(image, Grid(tuple(held["field_shape"].tolist()), held["field_affine"]), held["points_world"])


@dataclass(frozen=True, eq=False)
class Deformation:
    """A map of the field of view: offsets from its first corner, (..., d) mm in array-axis order, to template offsets.

    `displacement` (d, *nodes) mm and its approximate inverse live on a lattice of cell centres over `box` (d,) mm and
    are continued unchanged beyond; `matrix` (d, d) and `shift` (d,) mm are the affine map about the middle of the box.
    """

    box: Floats
    displacement: NDArray[np.float32]
    backward: NDArray[np.float32]
    matrix: Floats
    shift: Floats

    def to_template(self, offsets: Floats) -> Floats:
        """Template offsets (M, d) of offsets (M, d), both mm."""
        middle = self.box / 2
        return (self._moved(self.displacement, offsets) - middle) @ self.matrix.T + middle + self.shift

    def from_template(self, offsets: Floats) -> Floats:
        """Offsets (M, d) of template offsets (M, d): `to_template` undone to `SOLVED_MM`, or an ArithmeticError."""
        middle = self.box / 2
        wanted = (offsets - middle - self.shift) @ np.linalg.inv(self.matrix).T + middle
        found = self._moved(self.backward, wanted)
        d = len(self.box)
        step = 0.05  # mm, for the slopes
        for _ in range(NEWTON_STEPS):
            rest = self._moved(self.displacement, found) - wanted
            if np.abs(rest).max(initial=0) < SOLVED_MM:
                return found
            ahead = [self._moved(self.displacement, found + step * axis) for axis in np.eye(d)]
            behind = [self._moved(self.displacement, found - step * axis) for axis in np.eye(d)]
            slopes = (np.stack(ahead, axis=-1) - np.stack(behind, axis=-1)) / (2 * step)
            found = found - np.linalg.solve(slopes, rest[..., None])[..., 0]
        raise ArithmeticError(f"the deformation is not inverted to {SOLVED_MM} mm after {NEWTON_STEPS} steps")

    def _moved(self, lattice: NDArray[np.float32], offsets: Floats) -> Floats:
        return offsets + lattice_values(lattice, offsets / self.box)


def lattice_values(lattice: NDArray[np.float32], places: Floats) -> Floats:
    """Multilinear values (M, channels) of a lattice of cell centres (channels, *nodes) at `places` (M, d) in 0 ... 1.

    Float64 throughout, the same convention as `torch.nn.functional.interpolate` without aligned corners.
    """
    nodes = np.asarray(lattice.shape[1:])
    at = np.clip(places * nodes - 0.5, 0, nodes - 1)
    low = np.minimum(at.astype(np.int64), np.maximum(nodes - 2, 0))
    part = at - low
    total = np.zeros((len(places), len(lattice)))
    for corner in np.ndindex(*(2,) * len(nodes)):
        weight = np.prod(np.where(corner, part, 1 - part), axis=1)
        where = np.minimum(low + corner, nodes - 1)
        total += weight[:, None] * lattice[(slice(None), *where.T)].T
    return total


def draw_deformation(rng: np.random.Generator, box: Sequence[float]) -> Deformation:
    """A random Deformation of a box (d,) mm; no point moves farther than `LARGEST_MM` before the affine map.

    A flow of one unit of time along a velocity of at most a mm a unit moves nothing by more than a mm.
    """
    size = np.asarray(box, dtype=float)
    d = len(size)
    nodes = np.maximum(4, np.round(size / NODE_MM)).astype(int)
    per_node = size / nodes
    coarse = _smooth_noise(rng, nodes, rng.uniform(18, 30) / per_node, channels=d)
    fine = _smooth_noise(rng, nodes, 9 / per_node, channels=d)
    velocity = coarse + 0.25 * fine
    velocity *= rng.uniform(0.5, 1) * LARGEST_MM / np.linalg.norm(velocity, axis=0).max()

    matrix = np.eye(d)
    for a in range(d):
        for b in range(a + 1, d):
            angle = np.deg2rad(rng.uniform(-6, 6))
            turn = np.eye(d)
            turn[a, a] = turn[b, b] = np.cos(angle)
            turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
            matrix = matrix @ turn
    shear = rng.uniform(-0.03, 0.03, (d, d)) * (1 - np.eye(d))
    matrix = matrix @ (np.eye(d) + shear) * np.exp(rng.uniform(-0.05, 0.05) + rng.uniform(-0.04, 0.04, d))
    shift = rng.uniform(-4, 4, d)
    return Deformation(size, exponential(velocity, size), exponential(-velocity, size), matrix, shift)


def exponential(velocity: Floats, box: Floats) -> NDArray[np.float32]:
    """Displacement (d, *nodes) mm after a unit of time along a stationary velocity (d, *nodes) mm."""
    import torch
    import torch.nn.functional as F

    nodes = velocity.shape[1:]
    axes = [(2 * torch.arange(n) + 1) / n - 1 for n in nodes]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    per_mm = torch.tensor(2 / box, dtype=torch.float32)
    moved = torch.from_numpy((velocity / 2**SQUARINGS).astype(np.float32))
    for _ in range(SQUARINGS):
        where = (places + moved.movedim(0, -1) * per_mm).flip(-1)
        moved = moved + F.grid_sample(moved[None], where[None], align_corners=False, padding_mode="border")[0]
    return moved.numpy()


def _smooth_noise(rng: np.random.Generator, nodes: Any, sigma_nodes: Any, *, channels: int) -> Floats:
    """Gaussian random fields (channels, *nodes) of unit standard deviation, periodic, so alike at the borders."""
    from scipy import ndimage

    noise = rng.standard_normal((channels, *nodes))
    smooth = ndimage.gaussian_filter(noise, (0, *sigma_nodes), mode="wrap", truncate=3)
    return smooth / smooth.std()


def subject(
    template: Template, *, seed: int, index: int, device: str | torch.device = "cpu"
) -> tuple[Image, Floats, Deformation]:
    """Subject `index` of `seed`: its Image (uint8, on `template.field`), landmarks (N, d) world mm, its Deformation.

    Landmarks may lie outside the field of view. `device` computes the image; all is drawn on the CPU, so that another
    device gives the same subject up to rounding.
    """
    field = template.field
    rng = np.random.default_rng([seed, index])
    deformation = draw_deformation(rng, field.extent)
    spacing = np.asarray(field.spacing)
    target = (field.world_to_index(template.points_world) + 0.5) * spacing
    points_world = field.index_to_world(deformation.from_template(target) / spacing - 0.5)
    return _image(template, deformation, rng, device), points_world, deformation


def _image(template: Template, deformation: Deformation, rng: np.random.Generator, device: str | torch.device) -> Image:
    """template(phi(x)) with random grey values."""
    import torch
    import torch.nn.functional as F

    field, source = template.field, template.image
    d, shape = field.ndim, field.shape
    mode = "bilinear" if d == 2 else "trilinear"

    def tensor(values: Any) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)

    def dense(lattice: Any) -> torch.Tensor:
        return F.interpolate(tensor(lattice)[None], shape, mode=mode, align_corners=False)[0]

    # source index of a voxel: affine(offset + displacement), all linear parts in one matrix
    spacing, middle = np.asarray(field.spacing), deformation.box / 2
    to_source = np.linalg.inv(source.grid.affine) @ field.affine
    linear = to_source[:-1, :-1] @ np.diag(1 / spacing) @ deformation.matrix
    start = (middle + deformation.shift - deformation.matrix @ middle) / spacing - 0.5
    start = to_source[:-1, :-1] @ start + to_source[:-1, -1]
    axes = [(torch.arange(n, device=device) + 0.5) * s for n, s in zip(shape, spacing.tolist(), strict=True)]
    moved = dense(deformation.displacement)
    for axis, along in enumerate(axes):
        moved[axis] += along.view([-1 if k == axis else 1 for k in range(d)])
    index = torch.einsum("ij,j...->...i", tensor(linear), moved) + tensor(start)
    size = tensor(source.grid.shape)
    where = ((2 * index + 1) / size - 1).flip(-1)[None]

    curve = tensor(_monotone_curve(rng))
    grey = curve[torch.from_numpy(source.array.astype(np.int64)).to(device)]
    values = F.grid_sample(grey[None, None], where, align_corners=False, padding_mode="zeros")[0, 0]
    nodes = np.asarray(deformation.displacement.shape[1:])
    bias = _smooth_noise(rng, nodes, 40 * nodes / deformation.box, channels=1)
    values = values * torch.exp(dense(bias / np.abs(bias).max() * rng.uniform(0.1, 0.3))[0])
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
    values = values + rng.uniform(0.01, 0.04) * noise.to(device)
    array = (values * 200).round().clamp(0, 255).to(torch.uint8).cpu().numpy()  # 200: room for the bias above white
    return Image(array, field)


def _monotone_curve(rng: np.random.Generator) -> Floats:
    """(256,) increasing values from 0 to 1, one for each grey value: smooth through six random knots."""
    from scipy.interpolate import PchipInterpolator

    rises = np.exp(0.5 * rng.standard_normal(5))
    knots = np.concatenate([[0.0], np.cumsum(rises) / rises.sum()])
    return PchipInterpolator(np.linspace(0, 255, 6), knots)(np.arange(256))
