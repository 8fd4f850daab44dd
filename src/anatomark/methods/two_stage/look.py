"""The close look: windows of the patch network's finer features around each voted point, a small network a landmark.

This project's addition to T2DL (Zhang, Liu, Shen, IEEE TIP 26(10):4753-4764, 2017, doi 10.1109/TIP.2017.2721106): its
votes come from the last, coarse level, where a sharp edge is lost. Votes and classes of the patches in a window are
those of Noothout et al. (IEEE TMI 39(12):4011-4022, 2020, arXiv 2007.05295); the features are shared by all landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from anatomark import votes
from anatomark.methods.examples import window_centers
from anatomark.nets.grouped import GroupedNet
from anatomark.nets.ladder import LadderNet
from anatomark.nets.layers import at_least

if TYPE_CHECKING:
    from anatomark.methods.two_stage.settings import TwoStageSettings

PRIOR = 50  # points that speak for counting looks one half, beside those that tell what they are worth
REWEIGHTED = 10  # steps


class Seen(NamedTuple):
    """What close looks say: `logits` (B, N, *cells) that a cell holds the landmark, and `encoded` displacements.

    The latter (B, N, d, *cells) are in elements of the image and encoded (`votes.encode`), from the cells' middles;
    `first` (B, N, d) is where the window's first element lies, in elements of the image.
    """

    logits: Tensor
    encoded: Tensor
    first: Tensor


class CloseLook(nn.Module):
    """Looks at windows of `window` elements (d) with features of the first `level + 1` levels of a patch network.

    `share` is what its votes count beside those before: nothing at first, so that stage 2 starts as stage 1.
    """

    share: Tensor

    def __init__(
        self,
        patches: LadderNet,
        *,
        level: int,
        window: Sequence[int],
        channels: Sequence[Sequence[int]],
        prior: float,
    ) -> None:
        super().__init__()
        self.level = level
        self.stride, self.cut = patches.stride_and_cut(level)
        self.window = tuple(n // self.stride for n in window)
        self.register_buffer("share", torch.tensor(0.0))
        self.net = GroupedNet(
            patches.ndim,
            patches.landmarks,
            channels=channels,
            channels_in=patches.width_of(level),
            prior=prior,
        )

    @property
    def cell(self) -> int:
        """Elements of the image along each axis of a cell."""
        return self.stride * self.net.stride

    def first_features(self, points: Tensor, size: Sequence[int], margin: int) -> Tensor:
        """(B, N, d) index of the first feature of windows around points (B, N, d), in elements of the image.

        Windows stay within features of `size` (d), made of an image with a `margin`.
        """
        window = torch.tensor(self.window, device=points.device)
        size_ = torch.tensor(list(size), device=points.device)
        middle = (points + margin - self.cut - (self.stride - 1) / 2) / self.stride
        first = torch.round(middle - (window - 1) / 2).long()
        return torch.minimum(first.clamp(min=0), (size_ - window).clamp(min=0))

    def forward(self, features: Tensor, points: Tensor, margin: int) -> Seen:
        """Looks around points (B, N, d) in elements of the image, at its features (B, C, *size) of the level."""
        features = at_least(features, self.window)
        first = self.first_features(points, features.shape[2:], margin)
        return self._seen(cut_out(features, first, self.window), first, margin)

    def at_image(self, patches: LadderNet, padded: Tensor, points: Tensor) -> Seen:
        """The same from images with margin (B, 1, *padded): features are made in the windows alone."""
        padded = at_least(padded, [w * self.stride + 2 * self.cut for w in self.window])
        size = [(n - 2 * self.cut) // self.stride for n in padded.shape[2:]]
        first = self.first_features(points, size, patches.margin)
        parts = cut_out(padded, first * self.stride, [w * self.stride + 2 * self.cut for w in self.window])
        made = patches.level_features(parts.flatten(0, 1), self.level)
        return self._seen(made.unflatten(0, first.shape[:2]), first, patches.margin)

    def _seen(self, windows: Tensor, first: Tensor, margin: int) -> Seen:
        """Of windows of features (B, N, C, *window)."""
        logits, encoded = self.net(windows.flatten(1, 2))
        return Seen(logits.float(), encoded.float(), first * self.stride + self.cut - margin)

    def together(self, seen: Seen, voted: Tensor, spread: Tensor, spacing: Tensor) -> tuple[Tensor, Tensor]:
        """Points (B, N, d) and spreads (B, N), world units, of the votes before and the look's, which count `share`.

        Where a look sees no landmark in its window, those before are left as they are.
        """
        posterior = seen.logits.sigmoid()
        grid = seen.logits.shape[2:]
        centers = votes.patch_centers(grid, (self.cell,) * len(grid), seen.logits.device).flatten(1)
        cast = (votes.decode(seen.encoded.flatten(3)) + centers) * spacing.view(-1, 1)
        mean, wide = votes.combine(cast, posterior.flatten(2))
        size = torch.tensor(self.window, device=mean.device) * self.stride * spacing
        trusted = ((mean >= -0.5 * spacing) & (mean <= size - 0.5 * spacing)).all(-1)
        trusted &= votes.posterior_mass(posterior) >= votes.EMPTY_MASS
        share = self.share * trusted
        apart = mean + seen.first * spacing - voted
        variance = (1 - share) * spread.square() + share * wide.square()
        variance = variance + share * (1 - share) * apart.square().sum(-1)
        return voted + share.unsqueeze(-1) * apart, variance.sqrt()

    def learn_share(self, voted: Tensor, looked: Tensor, points: Tensor) -> None:
        """Learn how much looks count, from votes, looks alone and references (M, d) of cases not trained on.

        It makes the sum of distances least, by reweighted least squares; `PRIOR` points speak for one half.
        """
        apart, wanted = looked - voted, points - voted
        share = torch.tensor(0.5, dtype=points.dtype)
        for _ in range(REWEIGHTED):
            weight = 1 / (wanted - share * apart).norm(dim=-1).clamp(min=1e-3)
            both, far = (weight * (apart * wanted).sum(-1)).sum(), (weight * apart.square().sum(-1)).sum()
            prior = PRIOR * far / max(1, len(points))
            share = ((both + prior / 2) / (far + prior)).clamp(0, 1) if far > 0 else share
        self.share.copy_(share)


def places_to_look(points: Tensor, known: Tensor, settings: TwoStageSettings, rng: np.random.Generator) -> Tensor:
    """(B, N, d) elements to look at in training: near points (B, N, d), anywhere for those not `known` (B, N)."""
    s = settings
    assert s.spacing is not None
    assert s.image is not None
    assert s.look_window is not None
    assert s.look_jitter is not None
    places = window_centers(
        points.double().numpy(),
        known.numpy(),
        rng,
        window=s.look_window,
        image=s.image,
        jitter=s.look_jitter / np.asarray(s.spacing),
    )
    return torch.from_numpy(places).float()


def cut_out(values: Tensor, first: Tensor, size: Sequence[int]) -> Tensor:
    """Windows (B, N, C, *size) of values (B, C, *spatial), from the indices `first` (B, N, d) on."""
    b, n, d = first.shape
    index: list[Tensor] = [torch.arange(b, device=values.device).view(b, *(1,) * (d + 1))]
    for axis, count in enumerate(size):
        along = first[..., axis].unsqueeze(-1) + torch.arange(count, device=values.device)
        index.append(along.view(b, n, *(count if a == axis else 1 for a in range(d))))
    return values.movedim(1, -1)[tuple(index)].movedim(-1, 2)
