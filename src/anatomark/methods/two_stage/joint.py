"""Stage 2: the patch network over the whole image, and the layers that make all landmarks of its votes together.

T2DL (Zhang, Liu, Shen, IEEE TIP 26(10):4753-4764, 2017, doi 10.1109/TIP.2017.2721106): a fully convolutional network
with the weights of stage 1, plus extra layers that predict the coordinates of all landmarks jointly. The extra layers
here are this project's; one dense layer from all displacements to all coordinates would need billions of weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anatomark import votes
from anatomark.methods.two_stage.look import CloseLook, Seen
from anatomark.nets.ladder import LadderNet, some_outputs
from anatomark.nets.layers import conv

VOTES_AT_ONCE = 1_000_000  # numbers; in prediction, landmarks are taken in parts that stay near the processor
VOTES_KEPT = 32_000_000  # numbers; if there are more, they are made again for each round
SHARPNESS = 8.0  # so that steps of the size that suits weights make sharp votes of mean ones within a few hundred


class JointAnswer(NamedTuple):
    """What stage 2 says of B images; lengths in world units along the array axes, from the first element.

    `points` (B, N, d) are the answer; `earlier` (K, B, N, d) are the votes of each round, and what the joint layers
    made of them; `spread` (B, N) is how far the votes of the last round lie apart; `posterior` (B, N, *grid) are logits
    that a patch holds the landmark. In training only: `says` (R, B, N, P), the logarithm of what each patch's vote
    counts in each round, and `displacement` (B, N, d, *grid), of the patch network. `voted` (B, N, d) are the points of
    the last round, `seen` is what the close look says; without one, `points` are those.
    """

    points: Tensor
    earlier: Tensor
    spread: Tensor
    posterior: Tensor
    says: Tensor | None
    displacement: Tensor | None
    voted: Tensor
    seen: Seen | None


class Round(nn.Module):
    """One round of voting: every patch's say for each landmark, then a joint correction of all landmarks.

    The say of a patch is a softmax over the grid of what it shows (a 1x1 layer), of how far it points, and of how far
    it lies from where the round before put the landmark. The joint layers are a bottleneck of `rank` numbers between
    all voted points with their spreads and a correction of all points. Everything starts at zero, so that an untrained
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
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]

    def say(self, features: Tensor, far: Tensor, distance: Tensor | None, part: slice) -> Tensor:
        """The logarithm of what every patch's vote counts (B, n, P) for landmarks `part`; features (B, width, *grid).

        Two lengths (B, n, P), in patches: how `far` the patches point, and their `distance` from the points before.
        """
        logits = some_outputs(self.weight, features, part).float().flatten(2)
        logits = logits - SHARPNESS * self.shortness[part].unsqueeze(-1) * far
        if distance is not None:
            logits = logits - SHARPNESS * self.closeness[part].unsqueeze(-1) * distance
        return logits.log_softmax(-1)

    def correction(self, shape: Tensor, doubt: Tensor) -> Tensor:
        """(B, N, d) from shapes (B, N, d) relative to the mean shape and spreads (B, N), in units of the shape."""
        given = torch.cat([shape, doubt.unsqueeze(-1)], -1).flatten(1)
        return self.expand(F.gelu(self.compress(given))).float().view_as(shape)


class JointNet(nn.Module):
    """The patch network over the whole image and rounds of voting; made of a copy of the stage-1 network.

    `spacing` (d,) is that of the image in array-axis order; `mean_shape` (N, d) world units along the array axes, its
    mean at zero; `prior` is the probability of presence a patch starts with. With `fixed_normalisation` the patch
    network normalises in training as in prediction: the statistics of one whole image are not those of all.
    """

    spacing: Tensor
    mean_shape: Tensor
    shape_size: Tensor

    def __init__(
        self,
        patches: LadderNet,
        *,
        spacing: Sequence[float],
        rank: int,
        rounds: int = 2,
        prior: float = 0.5,
        mean_shape: Tensor | None = None,
        fixed_normalisation: bool = False,
        look: CloseLook | None = None,
    ) -> None:
        super().__init__()
        n, d = patches.landmarks, patches.ndim
        self.patches = patches
        self.rounds = nn.ModuleList(Round(d, n, width=patches.width, rank=rank) for _ in range(rounds))
        self.posterior = conv(d)(patches.width, n, 1)
        nn.init.normal_(self.posterior.weight, std=0.01)
        assert self.posterior.bias is not None
        nn.init.constant_(self.posterior.bias, math.log(prior / (1 - prior)))
        shape = torch.zeros(n, d) if mean_shape is None else mean_shape.float()
        self.register_buffer("spacing", torch.tensor(spacing, dtype=torch.float32))
        self.register_buffer("mean_shape", shape)
        self.register_buffer("shape_size", shape.square().sum(-1).mean().sqrt().clamp(min=float(max(spacing))))
        self.look = look
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

    def forward(self, padded: Tensor, look_at: Tensor | None = None) -> JointAnswer:
        """The answer for images with margin (B, 1, *padded).

        The close look is taken around `look_at` (B, N, d) in world units along the array axes, else at the votes. In
        prediction the features that it sees are made again, in its windows alone, which is cheaper than to keep them.
        """
        finer = None
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            if self.training and self.look is not None:
                finer = self.patches.level_features(padded, self.look.level)
                features = self.patches.features_after(finer, self.look.level)
            else:
                features = self.patches.features(padded)
            n, d = self.patches.landmarks, self.patches.ndim
            numbers = d * features[:, 0].numel()  # of the votes for a landmark
            each = n if self.training else max(1, VOTES_AT_ONCE // numbers)
            parts = [slice(first, min(first + each, n)) for first in range(0, n, each)]
            keep = self.training or n * numbers <= VOTES_KEPT
            kept = [self.patches.displacements(features, part) for part in parts] if keep else [None] * len(parts)
        earlier, says, points = [], [], None
        spread = torch.zeros(0)
        for turn in self.rounds:
            assert isinstance(turn, Round)
            cast = [self._vote(turn, features, found, points, part) for found, part in zip(kept, parts, strict=True)]
            voted, spread = (torch.cat([c[k] for c in cast], dim=1) for k in range(2))
            says += [c[2] for c in cast] if self.training else []
            shape = (voted - voted.mean(1, keepdim=True) - self.mean_shape) / self.shape_size
            points = voted + turn.correction(shape, spread / self.shape_size) * self.shape_size
            earlier += [voted, points]
        assert points is not None
        posterior = some_outputs(self.posterior, features)
        all_says = torch.stack(says) if self.training else None
        voted, seen = points, None
        if self.look is not None:
            at = (points if look_at is None else look_at) / self.spacing
            if finer is not None:
                seen = self.look(finer, at, self.patches.margin)
            else:
                seen = self.look.at_image(self.patches, padded, at)
            points, spread = self.look.together(seen, voted, spread, self.spacing)
        displacement = kept[0] if self.training else None
        return JointAnswer(points, torch.stack(earlier[:-1]), spread, posterior, all_says, displacement, voted, seen)

    def _vote(
        self, turn: Round, features: Tensor, found: Tensor | None, points: Tensor | None, part: slice
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Voted points (B, n, d) of some landmarks, their spread (B, n) and the log of the patches' says (B, n, P)."""
        if found is None:
            found = self.patches.displacements(features, part)
        patch = self.patches.stride * self.spacing.min()
        far = displacements(found, self.spacing)
        centers = patch_centers(features.shape[2:], self.patches.stride, self.spacing)
        distance = None if points is None else length(centers - points[:, part].unsqueeze(-1)) / patch
        say = turn.say(features, length(far) / patch, distance, part)
        return *votes.combine(centers + far, say.exp()), say


def length(vectors: Tensor) -> Tensor:
    """(B, n, P) of vectors (B, n, d, P), with a gradient at zero too."""
    return vectors.square().sum(2).add(1e-6).sqrt()


def displacements(found: Tensor, spacing: Tensor) -> Tensor:
    """(B, n, d, P) world units along the array axes, of the patch network's displacements (B, n, d, *grid).

    Those are in units of the finest spacing.
    """
    return found.flatten(3) * spacing.min()


def patch_centers(grid: Sequence[int], stride: int, spacing: Tensor) -> Tensor:
    """(d, P) the middles of patches in world units along the array axes, from the first element of the image."""
    return votes.patch_centers(grid, (stride,) * len(grid), spacing.device).flatten(1) * spacing.view(-1, 1)
