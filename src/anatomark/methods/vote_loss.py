"""The loss of votes that a posterior weighs: presence of the landmark in each patch, and displacement to it.

Noothout et al., IEEE TMI 2020 (arXiv 2007.05295), but for the coordinate term, soft targets and `reach`, which are this
project's. Both stages of global-to-local learn by it, the close look of two-stage, and unet-votes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from anatomark import votes
from anatomark.core.landmarks import State
from anatomark.nets.split_batch import batch_mean

CLASS_WEIGHT = 0.1  # a patch: one in all is positive, so the mean over patches alone would say little


def vote_loss(
    logits: Float[Tensor, "b n *grid"],
    encoded: Float[Tensor, "b n d *grid"],
    points_index: Float[Tensor, "b n d"],
    states: Integer[Tensor, "b n"],
    *,
    stride: Sequence[int],
    class_weight: float,
    coordinate_weight: float,
    sigma: float | None = None,
    reach: float | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """The weighted terms {"displacement", "class", "coordinate"}, scalars.

    `logits` (B, N, *grid) and `encoded` (B, N, d, *grid) of a network; `points_index` (B, N, d) landmarks in index
    units of its input, NaN unless present; `states` (B, N) of `State`. A landmark that is not annotated counts nowhere;
    an absent one teaches the classifier only, as does one outside the array: its class is 0 everywhere.

    With `sigma` the classes are not one patch but a Gaussian around the landmark, of height 1, with this s.d. in
    patches: which of two patches it lies in is chance near their border. With `reach` only patches less than so many
    away along each axis learn displacements, where no others have a weight in the answer.
    """
    grid = logits.shape[2:]
    present = (states == State.PRESENT) & torch.isfinite(points_index).all(-1)
    annotated = states != State.NOT_ANNOTATED
    points = torch.where(present.unsqueeze(-1), points_index, torch.zeros_like(points_index))

    target, inside = votes.one_hot_patches(points, present, grid, stride)
    centers = votes.patch_centers(grid, stride, logits.device).flatten(1)
    displacement = points.unsqueeze(-1) - centers
    steps = torch.tensor(list(stride), device=logits.device).view(-1, 1)
    if sigma is not None:
        target = torch.exp(-0.5 * (displacement / (sigma * steps)).square().sum(2)) * inside.unsqueeze(-1)
    cross_entropy = F.binary_cross_entropy_with_logits(logits.flatten(2), target, reduction="none").mean(-1)

    error = (encoded.flatten(3) - votes.encode(displacement)).abs().mean(2)
    if reach is None:
        error = error.mean(-1)
    else:
        near = (displacement.abs() < reach * steps).all(2)
        error = (error * near).sum(-1) / near.sum(-1).clamp(min=1)

    terms = {
        "displacement": batch_mean(error, present),
        "class": class_weight * batch_mean(cross_entropy, annotated),
    }
    if coordinate_weight:
        found, _ = votes.weighted_mean(votes.decode(encoded.flatten(3)) + centers, logits.flatten(2).sigmoid())
        distance = votes.encode(found - points).abs().mean(-1)
        terms["coordinate"] = coordinate_weight * batch_mean(distance, inside)
    return terms
