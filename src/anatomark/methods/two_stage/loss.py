"""The losses of both stages. The weighting by distance and the terms of stage 2 are this project's choice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from anatomark import votes
from anatomark.core.landmarks import State
from anatomark.methods.two_stage.joint import JointOutput, patch_centers_grid_mm
from anatomark.methods.two_stage.refinement import RefinementOutput
from anatomark.methods.vote_loss import CLASS_WEIGHT, vote_loss
from anatomark.nets.split_batch import batch_mean, batch_total

SMOOTH = 0.04  # patches: below this error the loss is quadratic


def displacement_loss(
    displacement: Float[Tensor, "b n d *grid"],
    points_grid_mm: Float[Tensor, "b n d"],
    states: Integer[Tensor, "b n"],
    *,
    spacing: Float[Tensor, " d"],
    stride: int,
    distance_decay: float,
    distance_floor: float,
) -> Float[Tensor, ""]:
    """Mean L1 error of the encoded displacements of patches, far ones counting less.

    `displacement` (B, N, d, *grid) is in units of the finest spacing; `points_grid_mm` (B, N, d) are landmarks in the
    grid frame, NaN unless present; `states` (B, N). A patch at distance r has the weight exp(-r / distance_decay) +
    distance_floor. Landmarks that are not annotated or absent count nowhere.
    """
    present = present_of(points_grid_mm, states)
    known = torch.where(present.unsqueeze(-1), points_grid_mm, torch.zeros_like(points_grid_mm))
    target = known.unsqueeze(-1) - patch_centers_grid_mm(displacement.shape[3:], stride, spacing)
    error = votes.encode(displacement.flatten(3)) - votes.encode(target / spacing.min())
    error = error.abs().sum(2)
    weight = torch.exp(-target.square().sum(2).sqrt() / distance_decay) + distance_floor
    weight = weight * present.unsqueeze(-1)
    return (error * weight).sum() / batch_total(weight.sum()).clamp(min=1e-6)


def joint_loss(
    output: JointOutput,
    points_grid_mm: Float[Tensor, "b n d"],
    states: Integer[Tensor, "b n"],
    *,
    spacing: Float[Tensor, " d"],
    stride: int,
    attention_loss_weight: float,
    class_weight: float,
) -> dict[str, Float[Tensor, ""]]:
    """The terms {"coordinate", "intermediate", "attention", "class"} of stage 2, for an output of training.

    The other arguments are as in `displacement_loss`. Errors of coordinates are in patches. "attention" is the
    cross-entropy between the weights of the votes and a Gaussian of one patch around the landmark. An absent landmark,
    or one outside the image, teaches the classifier only. Raises ValueError for an output of prediction.
    """
    if output.vote_log_weights is None:
        raise ValueError("the output is one of prediction, which has no weights of votes; call the network in training")
    present = present_of(points_grid_mm, states)
    known = torch.where(present.unsqueeze(-1), points_grid_mm, torch.zeros_like(points_grid_mm))
    patch = stride * spacing.min()

    def error(points: Tensor) -> Tensor:
        each = F.smooth_l1_loss(points / patch, known / patch, beta=SMOOTH, reduction="none").sum(-1)
        return batch_mean(each, present)

    grid = output.posterior.shape[2:]
    target, _ = votes.one_hot_patches(known / spacing, present, grid, (stride,) * len(grid))
    entropy = F.binary_cross_entropy_with_logits(output.posterior.float().flatten(2), target, reduction="none").mean(-1)
    far = (known.unsqueeze(-1) - patch_centers_grid_mm(grid, stride, spacing)).square().sum(2) / patch**2
    nearness = (-far / 2).softmax(-1)
    attention = -(nearness * output.vote_log_weights).sum(-1).mean(0)
    return {
        "coordinate": error(output.joint_points),
        "intermediate": torch.stack([error(points) for points in output.intermediate_points]).mean(),
        "attention": attention_loss_weight * batch_mean(attention, present),
        "class": class_weight * math.prod(grid) * batch_mean(entropy, states != State.NOT_ANNOTATED),
    }


def refinement_loss(
    output: RefinementOutput,
    points_index: Float[Tensor, "b n d"],
    states: Integer[Tensor, "b n"],
    *,
    window: Sequence[int],
) -> dict[str, Float[Tensor, ""]]:
    """The terms {"refine_displacement", "refine_class", "refine_coordinate"} of windows of `window` elements (d).

    `points_index` (B, N, d) in elements of the image; the terms are those of `vote_loss`.
    """
    grid = output.logits.shape[2:]
    terms = vote_loss(
        output.logits,
        output.encoded,
        points_index - output.corner,
        states,
        stride=[n // g for n, g in zip(window, grid, strict=True)],
        class_weight=CLASS_WEIGHT * math.prod(grid),
        coordinate_weight=1.0,
    )
    return {f"refine_{name}": value for name, value in terms.items()}


def present_of(points: Float[Tensor, "b n d"], states: Integer[Tensor, "b n"]) -> Bool[Tensor, "b n"]:
    """(B, N): whether a landmark is in the image and known."""
    return (states == State.PRESENT) & torch.isfinite(points).all(-1)
