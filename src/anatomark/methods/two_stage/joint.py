"""Stage 2: the patch network over the whole image, and the layers that find all landmarks of its votes together.

T2DL (Zhang, Liu, Shen, IEEE TIP 26(10):4753-4764, 2017, doi 10.1109/TIP.2017.2721106): a fully convolutional network
with the weights of stage 1, plus extra layers that predict the coordinates of all landmarks jointly. The extra layers
here are this project's; one dense layer from all displacements to all coordinates would need billions of weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from anatomark import votes
from anatomark.methods.two_stage.refinement import RefinementHead, RefinementOutput
from anatomark.nets.layers import bias_of, conv
from anatomark.nets.patch_net import PatchNet, select_outputs

VOTES_AT_ONCE = 1_000_000  # numbers; in prediction, landmarks are taken in parts that stay near the processor
VOTES_KEPT = 32_000_000  # numbers; if there are more, they are computed again for each round
SHARPNESS = 8.0  # so that steps of the size that suits weights make sharp votes of mean ones within a few hundred


class JointOutput(NamedTuple):
    """What stage 2 finds in B images; points are of the grid frame (see the package).

    `points_grid_mm` (B, N, d) are the answer, `intermediate_points` (K, B, N, d) those before it: the mean votes of
    each round, and what the joint layers made of them. `spread` (B, N) is how far the votes of the last round lie
    apart; `posterior` (B, N, *grid) are logits that a patch holds the landmark. In training only: `vote_log_weights`
    (R, B, N, P), the logarithm of the weight of each patch's vote in each round, and `displacement` (B, N, d, *grid),
    of the patch network. `joint_points` (B, N, d) are the points of the last round, `refinement` is the output of the
    refinement; without one, `points_grid_mm` are `joint_points`. `features` are the patch network's.
    """

    points_grid_mm: Float[Tensor, "b n d"]
    intermediate_points: Float[Tensor, "k b n d"]
    spread: Float[Tensor, "b n"]
    posterior: Float[Tensor, "b n *grid"]
    vote_log_weights: Float[Tensor, "r b n p"] | None
    displacement: Float[Tensor, "b n d *grid"] | None
    joint_points: Float[Tensor, "b n d"]
    refinement: RefinementOutput | None
    features: Float[Tensor, "b width *grid"]


class Voted(NamedTuple):
    """What the rounds of voting come to, see `JointOutput`; `vote_log_weights` only in training."""

    points_grid_mm: Float[Tensor, "b n d"]
    spread: Float[Tensor, "b n"]
    intermediate_points: list[Tensor]
    vote_log_weights: list[Tensor]


class VotingRound(nn.Module):
    """One round of voting: the weights of the patches' votes for each landmark, then a correction of all landmarks.

    The weights are a softmax over the grid of what a patch shows (a 1x1 layer), of how far it points, and of how far
    it lies from where the round before put the landmark. The joint layers are a bottleneck of `rank` numbers between
    all mean votes with their spreads and a correction of all points. Everything starts at zero, so that an untrained
    round is the mean vote.
    """

    def __init__(self, ndim: int, landmarks: int, *, width: int, rank: int) -> None:
        super().__init__()
        self.weight = conv(ndim)(width, landmarks, 1)
        self.shortness = nn.Parameter(torch.zeros(landmarks))
        self.closeness = nn.Parameter(torch.zeros(landmarks))
        self.compress = nn.Linear(landmarks * (ndim + 1), rank)
        self.expand = nn.Linear(rank, landmarks * ndim)
        for layer in (self.weight, self.expand):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(bias_of(layer))

    def vote_log_weights(
        self,
        features: Float[Tensor, "b width *grid"],
        vote_length: Float[Tensor, "b n p"],
        distance: Float[Tensor, "b n p"] | None,
        part: slice,
    ) -> Float[Tensor, "b n p"]:
        """The logarithm of the weights (B, n, P) of the patches' votes for landmarks `part`.

        From features (B, width, *grid) and two lengths (B, n, P), in patches: how far the patches point, and their
        `distance` from the points of the round before.
        """
        logits = select_outputs(self.weight, features, part).float().flatten(2)
        logits = logits - SHARPNESS * self.shortness[part].unsqueeze(-1) * vote_length
        if distance is not None:
            logits = logits - SHARPNESS * self.closeness[part].unsqueeze(-1) * distance
        return logits.log_softmax(-1)

    def correction(self, shape: Float[Tensor, "b n d"], uncertainty: Float[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """(B, N, d) from shapes (B, N, d) relative to the mean shape and spreads (B, N), in units of the shape."""
        bottleneck = self.compress(torch.cat([shape, uncertainty.unsqueeze(-1)], -1).flatten(1))
        return self.expand(F.gelu(bottleneck)).float().view_as(shape)


class JointNet(nn.Module):
    """The patch network over the whole image and rounds of voting; made of a copy of the stage-1 network.

    `spacing` (d,) is that of the image in array-axis order; `mean_shape` (N, d) is in the grid frame, its mean at zero;
    `prior` is the probability of presence a patch starts with. With `fixed_normalisation` the patch network normalises
    in training as in prediction: the statistics of one whole image are not those of all.
    """

    spacing: Tensor
    mean_shape: Tensor
    shape_size: Tensor

    def __init__(
        self,
        patches: PatchNet,
        *,
        spacing: Sequence[float],
        rank: int,
        rounds: int = 2,
        prior: float = 0.5,
        mean_shape: Tensor | None = None,
        fixed_normalisation: bool = False,
        refinement: RefinementHead | None = None,
    ) -> None:
        super().__init__()
        n, d = patches.landmarks, patches.ndim
        self.patches = patches
        self.rounds = nn.ModuleList(VotingRound(d, n, width=patches.width, rank=rank) for _ in range(rounds))
        self.posterior = conv(d)(patches.width, n, 1)
        nn.init.normal_(self.posterior.weight, std=0.01)
        nn.init.constant_(bias_of(self.posterior), math.log(prior / (1 - prior)))
        shape = torch.zeros(n, d) if mean_shape is None else mean_shape.float()
        self.register_buffer("spacing", torch.tensor(spacing, dtype=torch.float32))
        self.register_buffer("mean_shape", shape)
        self.register_buffer("shape_size", shape.square().sum(-1).mean().sqrt().clamp(min=float(max(spacing))))
        self.refinement = refinement
        self.frozen, self.fixed_normalisation = False, fixed_normalisation

    def freeze(self) -> None:
        """From now on only the extra layers learn."""
        self.frozen = True
        self.patches.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> JointNet:
        super().train(mode)
        self.patches.train(mode and not self.frozen)
        for norm in self.patches.norms() if self.fixed_normalisation else ():
            norm.eval()
        return self

    def forward(
        self, padded: Float[Tensor, "b 1 *padded"], refine_at: Float[Tensor, "b n d"] | None = None
    ) -> JointOutput:
        """The answer for images with margin (B, 1, *padded).

        The refinement sees windows around `refine_at` (B, N, d) in the grid frame, else around the voted points. In
        prediction the features that it sees are computed again, in its windows alone, which is cheaper than to keep
        them.
        """
        level_features = None
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            if self.training and self.refinement is not None:
                level_features = self.patches.level_features(padded, self.refinement.level)
                features = self.patches.features_after(level_features, self.refinement.level)
            else:
                features = self.patches.features(padded)
            parts, kept = self._displacements(features)
        voted = self._voted(features, parts, kept)
        posterior = select_outputs(self.posterior, features)
        refined = None
        answer, spread = voted.points_grid_mm, voted.spread
        if self.refinement is not None:
            centers = (answer if refine_at is None else refine_at) / self.spacing
            if level_features is not None:
                refined = self.refinement(level_features, centers, self.patches.margin)
            else:
                refined = self.refinement.from_image(self.patches, padded, centers)
            answer, spread = self.refinement.blend(refined, answer, spread, self.spacing)
        return JointOutput(
            answer,
            torch.stack(voted.intermediate_points[:-1]),
            spread,
            posterior,
            torch.stack(voted.vote_log_weights) if self.training else None,
            kept[0] if self.training else None,
            voted.points_grid_mm,
            refined,
            features,
        )

    def look_over(self, padded: Float[Tensor, "b 1 *padded"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`joint_points`, their spread (B, N), `posterior` and `features` of a `JointOutput`, in prediction."""
        features = self.patches.features(padded)
        voted = self._voted(features, *self._displacements(features))
        return voted.points_grid_mm, voted.spread, select_outputs(self.posterior, features), features

    def look_closely(
        self,
        windows: Float[Tensor, "b n 1 *elements"],
        corner: Int[Tensor, "b n d"],
        points_grid_mm: Float[Tensor, "b n d"],
        spread: Float[Tensor, "b n"],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Points and spread of the answer, from those of `look_over`, and the logits of the refinement.

        `windows` and their `corner` are those of `refinement.cut_windows`.
        """
        assert self.refinement is not None
        refined = self.refinement.from_windows(self.patches, windows, corner)
        return *self.refinement.blend(refined, points_grid_mm, spread, self.spacing), refined.logits

    def _displacements(self, features: Tensor) -> tuple[list[slice], list[Tensor | None]]:
        """The parts that landmarks are taken in, and the displacements for each, None where they are not kept."""
        n, d = self.patches.landmarks, self.patches.ndim
        if self.training or torch.compiler.is_compiling():  # a graph has no parts, for it is of images of any size
            return [slice(0, n)], [self.patches.displacements(features)]
        numbers = d * features[:, 0].numel()  # of the votes for a landmark
        each = max(1, VOTES_AT_ONCE // numbers)
        parts = [slice(first, min(first + each, n)) for first in range(0, n, each)]
        if n * numbers > VOTES_KEPT:
            return parts, [None] * len(parts)
        return parts, [self.patches.displacements(features, part) for part in parts]

    def _voted(self, features: Tensor, parts: Sequence[slice], kept: Sequence[Tensor | None]) -> Voted:
        """What the rounds of voting come to."""
        intermediate: list[Tensor] = []
        log_weights: list[Tensor] = []
        points: Tensor | None = None
        spread = torch.zeros(0)
        for layer in self._rounds():
            voted = [self._vote(layer, features, far, points, part) for far, part in zip(kept, parts, strict=True)]
            vote_mean, spread = (torch.cat([part[k] for part in voted], dim=1) for k in range(2))
            log_weights += [part[2] for part in voted] if self.training else []
            shape = (vote_mean - vote_mean.mean(1, keepdim=True) - self.mean_shape) / self.shape_size
            points = vote_mean + layer.correction(shape, spread / self.shape_size) * self.shape_size
            intermediate += [vote_mean, points]
        return Voted(intermediate[-1], spread, intermediate, log_weights)

    def _rounds(self) -> list[VotingRound]:
        return [cast("VotingRound", layer) for layer in self.rounds]

    def _vote(
        self,
        layer: VotingRound,
        features: Float[Tensor, "b width *grid"],
        displacement: Float[Tensor, "b n d *grid"] | None,
        points: Float[Tensor, "b all d"] | None,
        part: slice,
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n"], Float[Tensor, "b n p"]]:
        """Mean votes (B, n, d) for some landmarks, their spread (B, n) and the log of the votes' weights (B, n, P)."""
        if displacement is None:
            displacement = self.patches.displacements(features, part)
        patch = self.patches.stride * self.spacing.min()
        far = displacements_grid_mm(displacement, self.spacing)
        centers = patch_centers_grid_mm(features.shape[2:], self.patches.stride, self.spacing)
        distance = None if points is None else length(centers - points[:, part].unsqueeze(-1)) / patch
        log_weights = layer.vote_log_weights(features, length(far) / patch, distance, part)
        return *votes.weighted_mean(centers + far, log_weights.exp()), log_weights


def length(vectors: Float[Tensor, "b n d p"]) -> Float[Tensor, "b n p"]:
    """(B, n, P) of vectors (B, n, d, P), with a gradient at zero too."""
    return vectors.square().sum(2).add(1e-6).sqrt()


def displacements_grid_mm(displacement: Tensor, spacing: Tensor) -> Tensor:
    """(B, n, d, P) in the grid frame, of the patch network's displacements (B, n, d, *grid).

    Those are in units of the finest spacing.
    """
    return displacement.flatten(3) * spacing.min()


def patch_centers_grid_mm(grid: Sequence[int], stride: int, spacing: Tensor) -> Tensor:
    """(d, P) the middles of patches in the grid frame."""
    return votes.patch_centers(grid, (stride,) * len(grid), spacing.device).flatten(1) * spacing.view(-1, 1)
