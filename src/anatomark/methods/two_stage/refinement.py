"""The refinement: windows of the patch network's finer features around each point, a small network a landmark.

This project's addition to T2DL (Zhang, Liu, Shen, IEEE TIP 26(10):4753-4764, 2017, doi 10.1109/TIP.2017.2721106): its
votes come from the last, coarse level, where a sharp edge is lost. Votes and classes of the patches in a window are
those of Noothout et al. (IEEE TMI 39(12):4011-4022, 2020, arXiv 2007.05295); the features are shared by all landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from anatomark import votes
from anatomark.core.grid import Floats
from anatomark.methods.examples import window_centers
from anatomark.nets.cpu import pad_to
from anatomark.nets.grouped import GroupedNet
from anatomark.nets.patch_net import PatchNet

PRIOR = 50  # points in favour of a blend weight of one half, beside those that it is fitted to
REWEIGHTED = 10  # steps


class RefinementOutput(NamedTuple):
    """Of the windows: `logits` (B, N, *cells) that a cell holds the landmark, and `encoded` displacements.

    The latter (B, N, d, *cells) are in elements of the image and encoded (`votes.encode`), from the cells' middles;
    `corner` (B, N, d) is where the window's first element lies, in elements of the image.
    """

    logits: Float[Tensor, "b n *cells"]
    encoded: Float[Tensor, "b n d *cells"]
    corner: Int[Tensor, "b n d"]


class Place(NamedTuple):
    """Where windows lie: `window` (d,) features, each of `stride` elements, the first of them `crop` elements from the
    edge of the image with its margin."""

    window: tuple[int, ...]
    stride: int
    crop: int

    @property
    def elements(self) -> list[int]:
        """(d,) elements of the image that the features of a window are computed from."""
        return [w * self.stride + 2 * self.crop for w in self.window]


class RefinementHead(nn.Module):
    """Sees windows of `window` elements (d), by features of the first `level + 1` levels of a patch network.

    `blend_weight` is the weight of its answer beside the votes of all patches: 0 at first, so that stage 2 starts as
    stage 1.
    """

    blend_weight: Tensor

    def __init__(
        self,
        patches: PatchNet,
        *,
        level: int,
        window: Sequence[int],
        channels: Sequence[Sequence[int]],
        prior: float,
    ) -> None:
        super().__init__()
        self.level = level
        _, self.stride, self.crop, width = patches.levels[level]
        self.window = tuple(n // self.stride for n in window)
        self.place = Place(self.window, self.stride, self.crop)
        self.register_buffer("blend_weight", torch.tensor(0.0))
        self.net = GroupedNet(
            patches.ndim,
            patches.landmarks,
            channels=channels,
            channels_in=width,
            prior=prior,
        )

    @property
    def cell(self) -> int:
        """Elements of the image along each axis of a cell."""
        return self.stride * self.net.stride

    def first_features(
        self, points_index: Float[Tensor, "b n d"], size: Sequence[int], margin: int
    ) -> Int[Tensor, "b n d"]:
        """(B, N, d) index of the first feature of windows around points (B, N, d), in elements of the image.

        Windows stay within features of `size` (d), computed from an image with a `margin`.
        """
        return first_features(points_index, size, self.place, margin)

    def forward(
        self, features: Float[Tensor, "b c *size"], points_index: Float[Tensor, "b n d"], margin: int
    ) -> RefinementOutput:
        """Of windows around points (B, N, d) in elements of the image, from its features (B, C, *size) of the level."""
        features = pad_to(features, self.window)
        first = self.first_features(points_index, features.shape[2:], margin)
        corner = first * self.stride + self.crop - margin
        return self._output(extract_windows(features, first, self.window), corner)

    def from_image(
        self, patches: PatchNet, padded: Float[Tensor, "b 1 *padded"], points_index: Float[Tensor, "b n d"]
    ) -> RefinementOutput:
        """The same from images with margin (B, 1, *padded): features are computed in the windows alone."""
        return self.from_windows(patches, *cut_windows(padded, points_index, self.place, patches.margin))

    def from_windows(
        self, patches: PatchNet, windows: Float[Tensor, "b n 1 *elements"], corner: Int[Tensor, "b n d"]
    ) -> RefinementOutput:
        """The same from the windows of `cut_windows`."""
        features = patches.level_features(windows.flatten(0, 1), self.level)
        return self._output(features.view(*corner.shape[:2], *features.shape[1:]), corner)

    def _output(self, features: Float[Tensor, "b n c *window"], corner: Int[Tensor, "b n d"]) -> RefinementOutput:
        logits, encoded = self.net(features.flatten(1, 2))
        return RefinementOutput(logits.float(), encoded.float(), corner)

    def blend(
        self,
        output: RefinementOutput,
        points_grid_mm: Float[Tensor, "b n d"],
        spread: Float[Tensor, "b n"],
        spacing: Float[Tensor, " d"],
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n"]]:
        """Points (B, N, d) of the grid frame and spreads (B, N), of the points before and the refined ones.

        The latter have the weight `blend_weight`. Where no landmark is found in its window, the points before stay as
        they are.
        """
        posterior = output.logits.sigmoid()
        grid = output.logits.shape[2:]
        centers = votes.patch_centers(grid, (self.cell,) * len(grid), output.logits.device).flatten(1)
        window_votes = (votes.decode(output.encoded.flatten(3)) + centers) * spacing.view(-1, 1)
        mean, window_spread = votes.weighted_mean(window_votes, posterior.flatten(2))
        size = torch.tensor(self.window, device=mean.device) * self.stride * spacing
        trusted = ((mean >= -0.5 * spacing) & (mean <= size - 0.5 * spacing)).all(-1)
        trusted &= votes.posterior_mass(posterior) >= votes.MIN_POSTERIOR_MASS
        weight = self.blend_weight * trusted
        offset = mean + output.corner * spacing - points_grid_mm
        variance = (1 - weight) * spread.square() + weight * window_spread.square()
        variance = variance + weight * (1 - weight) * offset.square().sum(-1)
        return points_grid_mm + weight.unsqueeze(-1) * offset, variance.sqrt()


def fit_blend_weight(points: Floats, refined: Floats, reference: Floats) -> float:
    """The blend weight, 0 to 1, from points before, refined ones and references (M, d) of cases not trained on.

    The sum of distances from the references is then least, by reweighted least squares; `PRIOR` points count in favour
    of one half.
    """
    offset, error = refined - points, reference - points
    blend_weight = 0.5
    for _ in range(REWEIGHTED):
        weight = 1 / np.maximum(np.linalg.norm(error - blend_weight * offset, axis=-1), 1e-3)
        both = float((weight * (offset * error).sum(axis=-1)).sum())
        far = float((weight * np.square(offset).sum(axis=-1)).sum())
        if far > 0:
            prior = PRIOR * far / max(1, len(reference))
            blend_weight = min(1.0, max(0.0, (both + prior / 2) / (far + prior)))
    return blend_weight


def sample_refinement_centers(
    points_index: Float[Tensor, "b n d"],
    present: Bool[Tensor, "b n"],
    rng: np.random.Generator,
    *,
    window: Sequence[int],
    image: Sequence[int],
    jitter: Floats,
) -> Float[Tensor, "b n d"]:
    """(B, N, d) middles of training windows in elements: near points (B, N, d), anywhere where not `present` (B, N).

    `window`, `image` and the `jitter` (d,), a standard deviation, are in elements.
    """
    centers = window_centers(
        points_index.double().numpy(), present.numpy(), rng, window=window, image=image, jitter=jitter
    )
    return torch.as_tensor(centers).float()


def first_features(
    points_index: Float[Tensor, "b n d"], size: Sequence[int], place: Place, margin: int
) -> Int[Tensor, "b n d"]:
    """(B, N, d) index of the first feature of windows around points (B, N, d); see `RefinementHead.first_features`."""
    window = torch.tensor(place.window, device=points_index.device)
    size_ = torch.tensor(list(size), device=points_index.device)
    middle = (points_index + margin - place.crop - (place.stride - 1) / 2) / place.stride
    first = torch.round(middle - (window - 1) / 2).long()
    return torch.minimum(first.clamp(min=0), (size_ - window).clamp(min=0))


def cut_windows(
    padded: Float[Tensor, "b 1 *padded"], points_index: Float[Tensor, "b n d"], place: Place, margin: int
) -> tuple[Float[Tensor, "b n 1 *elements"], Int[Tensor, "b n d"]]:
    """Windows around points (B, N, d) in elements of the image, cut from images with margin (B, 1, *padded).

    With them their corners (B, N, d), the first elements of the image that their features stand for.
    """
    padded = pad_to(padded, place.elements)
    size = [(n - 2 * place.crop) // place.stride for n in padded.shape[2:]]
    first = first_features(points_index, size, place, margin) * place.stride
    return extract_windows(padded, first, place.elements), first + place.crop - margin


def extract_windows(
    values: Float[Tensor, "b c *spatial"], first: Int[Tensor, "b n d"], size: Sequence[int]
) -> Float[Tensor, "b n c *size"]:
    """Windows (B, N, C, *size) of values (B, C, *spatial), from the indices `first` (B, N, d) on."""
    b, n, d = first.shape
    index: list[Tensor] = [torch.arange(b, device=values.device).view(b, *(1,) * (d + 1))]
    for axis, count in enumerate(size):
        along = first[..., axis].unsqueeze(-1) + torch.arange(count, device=values.device)
        index.append(along.view(b, n, *(count if a == axis else 1 for a in range(d))))
    return values.movedim(1, -1)[tuple(index)].movedim(-1, 2)
