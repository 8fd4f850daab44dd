"""Registration of two label maps, structure by structure: where the points of one lie in the other.

`anatomark.registration` compares grey values, of which a label map has none to speak of. Here every group of labels is
an image of its own (1 inside, 0 outside, partial volume at the border), and the mean overlap of all groups (soft Dice)
is increased along a stationary velocity field, whose exponential (Arsigny et al. 2006, doi:10.1007/11866565_113) is a
smooth map without folds. The linear part is that of `register_linear`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid, transform_points
from anatomark.core.image import Image
from anatomark.core.interpolation import interpolated

if TYPE_CHECKING:
    import torch

Groups = Sequence[tuple[int, ...]]
SPACING_MM = 2.5  # of the compared elements
MARGIN_MM = 12.0  # around all groups
NODE_ELEMENTS = 2  # between the nodes of the velocity field, in compared elements
SQUARINGS = 6
STEPS = ((2, 50), (1, 40))  # (pooling, optimisation steps) of each level
STEP_MM = 0.5  # of the optimiser
STIFFNESS = 1.0  # weight of the squared slope of the velocity; less gains overlap and loses the way back


@dataclass(frozen=True, eq=False)
class LabelWarp:
    """A map from the world of a fixed label map to that of a moving one.

    `displacement` (d, *grid.shape) mm is along the array axes of `grid`, which lies in the fixed world; `affine`
    (d+1, d+1) follows it. `overlap` (G,) is the Dice coefficient of each group after the map, at the working spacing.
    """

    grid: Grid
    affine: Floats
    displacement: NDArray[np.float32]
    overlap: Floats

    def map(self, points_world: Floats) -> Floats:
        """Moving world points (M, d) of fixed world points (M, d); beyond the grid its border's displacement holds."""
        index = self.grid.world_to_index(points_world)
        moved = np.stack([interpolated(part, index.T) for part in self.displacement], axis=-1).astype(np.float64)
        return transform_points(self.affine, self.grid.index_to_world(index + moved / self.grid.spacing))


def register_labels(
    fixed: Image,
    moving: Image,
    groups: Groups,
    affine: Floats,
    *,
    show: Callable[[str], None] = lambda line: None,
) -> LabelWarp:
    """The map from `fixed` to `moving`, label maps that share the numbers of `groups`, from an `affine` start."""
    import torch

    torch.manual_seed(0)
    grid = working_grid(fixed, groups)
    seen = Grid(grid.shape, affine @ grid.affine)
    pair = [torch.from_numpy(memberships(image, groups, on)) for image, on in ((fixed, grid), (moving, seen))]
    nodes = [max(4, round(n / NODE_ELEMENTS)) for n in grid.shape]
    velocity = torch.zeros(1, grid.ndim, *nodes, requires_grad=True)
    spacing = torch.tensor(grid.spacing, dtype=torch.float32)
    box = spacing * torch.tensor(grid.shape)
    for pool, steps in STEPS:
        one, other = (torch.nn.functional.avg_pool3d(part[None], pool)[0] if pool > 1 else part for part in pair)
        optimiser = torch.optim.Adam([velocity], lr=STEP_MM)
        overlaps = torch.zeros(len(groups))
        for _ in range(steps):
            optimiser.zero_grad()
            smooth = _smoothed(velocity)
            overlaps = _soft_dice(one, _warped(other, _dense(exponential(smooth, box), one.shape[1:]), box))
            loss = 1 - overlaps.mean() + STIFFNESS * _slope(smooth, box / torch.tensor(nodes))
            loss.backward()
            optimiser.step()
        show(f"  at {pool * SPACING_MM:g} mm: overlap {float(overlaps.detach().mean()):.3f}")
    with torch.no_grad():
        moved = _dense(exponential(_smoothed(velocity), box), grid.shape)
        inside = _warped(pair[1], moved, box)
        overlap = _hard_dice(pair[0], inside)
    return LabelWarp(grid, affine, moved[0].numpy(), overlap)


def working_grid(labels: Image, groups: Groups) -> Grid:
    """The Grid about all `groups`, at the working spacing."""
    found = np.isin(labels.array, [label for group in groups for label in group])
    sides = [
        np.flatnonzero(found.any(axis=tuple(k for k in range(found.ndim) if k != axis))) for axis in range(found.ndim)
    ]
    rim = np.round(MARGIN_MM / np.asarray(labels.grid.spacing)).astype(int)
    start = np.array([side[0] for side in sides]) - rim
    end = np.array([side[-1] + 1 for side in sides]) + rim
    return labels.grid.crop(start.tolist(), (end - start).tolist()).respaced(SPACING_MM)


def memberships(labels: Image, groups: Groups, grid: Grid) -> NDArray[np.float32]:
    """(G, *grid.shape) how much of each element belongs to each group, 0 to 1."""
    return np.stack(
        [Image(np.isin(labels.array, group).astype(np.float32), labels.grid).resampled(grid).array for group in groups]
    )


def exponential(velocity: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """Displacement (1, d, *nodes) mm after a unit of time along a stationary velocity (1, d, *nodes) mm."""
    moved = velocity / 2**SQUARINGS
    for _ in range(SQUARINGS):
        moved = moved + _sampled(moved, moved, box)
    return moved


def _sampled(values: torch.Tensor, moved: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """`values` (1, C, *shape) at elements that are `moved` (1, d, *shape) mm; lattices of cell centres over `box`."""
    import torch

    axes = [(2 * torch.arange(n) + 1) / n - 1 for n in moved.shape[2:]]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    where = (places + moved[0].movedim(0, -1) * (2 / box)).flip(-1)
    return torch.nn.functional.grid_sample(values, where[None], align_corners=False, padding_mode="border")


def _warped(members: torch.Tensor, moved: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    return _sampled(members[None], moved, box)[0]


def _dense(moved: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    import torch

    return torch.nn.functional.interpolate(moved, tuple(shape), mode="trilinear", align_corners=False)


def _smoothed(velocity: torch.Tensor) -> torch.Tensor:
    """A binomial filter over five nodes along each axis."""
    import torch

    d = velocity.shape[1]
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    for axis in range(d):
        shape = [5 if k == axis else 1 for k in range(3)]
        weight = kernel.view(1, 1, *shape).repeat(d, 1, 1, 1, 1)
        velocity = torch.nn.functional.conv3d(velocity, weight, padding=[n // 2 for n in shape], groups=d)
    return velocity


def _soft_dice(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """(G,) 2 sum(ab) / sum(a^2 + b^2) of memberships (G, *shape)."""
    both = (one * other).flatten(1).sum(1)
    return 2 * both / ((one**2).flatten(1).sum(1) + (other**2).flatten(1).sum(1) + 1e-6)


def _hard_dice(one: torch.Tensor, other: torch.Tensor) -> Floats:
    a, b = ((part > 0.5).flatten(1) for part in (one, other))
    return np.asarray((2 * (a & b).sum(1) / (a.sum(1) + b.sum(1)).clamp(min=1)).numpy(), dtype=np.float64)


def _slope(velocity: torch.Tensor, node_mm: torch.Tensor) -> torch.Tensor:
    """Mean squared slope of the velocity, dimensionless."""
    parts = [(velocity.diff(dim=2 + k) / node_mm[k]).square().mean() for k in range(len(node_mm))]
    return sum(parts[1:], parts[0])
