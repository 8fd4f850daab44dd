"""The losses of both stages. The weighting by distance and the terms of stage 2 are this project's choice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from anatomark import votes
from anatomark.core.landmarks import State
from anatomark.methods.two_stage.joint import JointAnswer, patch_centers
from anatomark.methods.two_stage.look import Seen
from anatomark.methods.vote_loss import CLASS_WEIGHT, vote_loss

SMOOTH = 0.04  # patches: below this error the loss is quadratic


def displacement_loss(
    found: Tensor,
    points: Tensor,
    states: Tensor,
    *,
    spacing: Tensor,
    stride: int,
    near: float,
    far_weight: float,
) -> Tensor:
    """Mean L1 error of the encoded displacements of patches, far ones counting less.

    `found` (B, N, d, *grid) are displacements in units of the finest spacing.

    `points` (B, N, d) are landmarks in world units along the array axes, NaN unless present; `states` (B, N). A patch
    at distance r counts exp(-r / near) + far_weight. Landmarks that are not annotated or absent count nowhere.
    """
    present = present_of(points, states)
    known = torch.where(present.unsqueeze(-1), points, torch.zeros_like(points))
    target = known.unsqueeze(-1) - patch_centers(found.shape[3:], stride, spacing)
    error = votes.encode(found.flatten(3)) - votes.encode(target / spacing.min())
    error = error.abs().sum(2)
    weight = torch.exp(-target.square().sum(2).sqrt() / near) + far_weight
    weight = weight * present.unsqueeze(-1)
    return (error * weight).sum() / weight.sum().clamp(min=1e-6)


def joint_loss(
    answer: JointAnswer,
    points: Tensor,
    states: Tensor,
    *,
    spacing: Tensor,
    stride: int,
    say_weight: float,
    class_weight: float,
) -> dict[str, Tensor]:
    """The terms {"coordinate", "earlier", "say", "class"} of stage 2; arguments as in `displacement_loss`.

    Errors of coordinates are in patches. "say" is the cross-entropy between what patches count and a Gaussian of one
    patch around the landmark. An absent landmark, or one outside the image, teaches the classifier only.
    """
    present = present_of(points, states)
    known = torch.where(present.unsqueeze(-1), points, torch.zeros_like(points))
    patch = stride * spacing.min()

    def error(found: Tensor) -> Tensor:
        each = F.smooth_l1_loss(found / patch, known / patch, beta=SMOOTH, reduction="none").sum(-1)
        return _mean(each, present)

    grid = answer.posterior.shape[2:]
    target, _ = votes.holders(known / spacing, present, grid, (stride,) * len(grid))
    entropy = F.binary_cross_entropy_with_logits(answer.posterior.float().flatten(2), target, reduction="none").mean(-1)
    assert answer.says is not None
    far = (known.unsqueeze(-1) - patch_centers(grid, stride, spacing)).square().sum(2) / patch**2
    near = (-far / 2).softmax(-1)
    say = -(near * answer.says).sum(-1).mean(0)
    return {
        "coordinate": error(answer.voted),
        "earlier": torch.stack([error(points) for points in answer.earlier]).mean(),
        "say": say_weight * _mean(say, present),
        "class": class_weight * math.prod(grid) * _mean(entropy, states != State.NOT_ANNOTATED),
    }


def look_loss(seen: Seen, points: Tensor, states: Tensor, *, window: Sequence[int]) -> dict[str, Tensor]:
    """The terms {"look_displacement", "look_class", "look_coordinate"} of close looks at `window` elements (d).

    `points` (B, N, d) in elements of the image; the terms are those of `vote_loss`.
    """
    grid = seen.logits.shape[2:]
    terms = vote_loss(
        seen.logits,
        seen.encoded,
        points - seen.first,
        states,
        stride=[n // g for n, g in zip(window, grid, strict=True)],
        class_weight=CLASS_WEIGHT * math.prod(grid),
        coordinate_weight=1.0,
    )
    return {f"look_{name}": value for name, value in terms.items()}


def present_of(points: Tensor, states: Tensor) -> Tensor:
    """(B, N): whether a landmark is in the image and known."""
    return (states == State.PRESENT) & torch.isfinite(points).all(-1)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask` holds; 0 where it holds nowhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
