"""How unet-votes finds landmarks in an image: votes from all over it, then those of a window around each answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from anatomark import votes
from anatomark.core.grid import Floats, Grid
from anatomark.data.working import WorkingImage
from anatomark.methods.deep_features import DeepFeatures
from anatomark.methods.interface import Located
from anatomark.methods.joint_choice import TRUSTED, Modes, ShapeModel, modes_of
from anatomark.methods.passes import grey_values, passes, with_more_mass
from anatomark.methods.search import Search, ask
from anatomark.methods.unet_votes.calls import AT_ONCE, LOOKS, MODE_PATCHES, NEAR, SIGMA
from anatomark.methods.unet_votes.config import UNetVotesNetwork
from anatomark.methods.voted import voted
from anatomark.nets.vote_unet import Votes, Windows


def search(
    config: UNetVotesNetwork, shape: ShapeModel | None, image: WorkingImage, device: torch.device
) -> Search[list[Located]]:
    """The global answer and the local one; of several crops, each landmark takes the answers with the most mass.

    By `shape`, all landmarks choose together where to look closely; without, each does for itself.
    """
    found: list[list[Located]] = []
    for start, size, _ in passes(image.fine.shape, crop=config.crop, strides=config.strides):
        values = grey_values(image, start, size, device)
        found.append((yield from _answers(config, shape, values, np.asarray(start, dtype=float), image.fine_grid)))
    return [reduce(with_more_mass, answers) for answers in zip(*found, strict=True)]


def windows_around(
    middles: Tensor, expected: Tensor, which: Tensor, config: UNetVotesNetwork, grid: Sequence[int]
) -> Windows:
    """Windows around `middles` (B, n, d), moved into a `grid` (d,) of patches, for landmarks `which` (n,).

    `middles` and the global answers `expected` (B, n, d) are in elements of the image.
    """
    device = middles.device
    stride = torch.tensor(config.stride, device=device)
    size = torch.tensor([min(w, n) for w, n in zip(config.window, grid, strict=True)], device=device)
    last = torch.tensor(list(grid), device=device) - size
    first = torch.round(torch.nan_to_num((middles - (stride - 1) / 2) / stride) - (size - 1) / 2).long()
    return Windows(which, torch.minimum(first.clamp(min=0), last), (expected - (stride - 1) / 2) / stride)


def _answers(
    config: UNetVotesNetwork, shape: ShapeModel | None, values: Tensor, start: Floats, grid: Grid
) -> Search[list[Located]]:
    """The answers of one pass over `values`, which begin at the element `start` (d,) of the image."""
    *coarse, features, deepest = yield from ask("global", values)
    first = _voted(Votes(*coarse), config.coarse_stride, start[None], grid)
    if shape is not None:
        choice = shape.choose(
            _modes(Votes(*coarse), config.coarse_stride, start, grid), _patch_length(config.coarse_stride, grid)
        )
        if choice is not None:
            first = replace(first, points_world=choice.places)
    stride = np.prod(config.strides, axis=0)
    elements = (grid.world_to_index(first.points_world) - start + 0.5) / stride - 0.5
    answer = first = replace(first, features=DeepFeatures.of(deepest, elements))
    which = torch.arange(config.landmarks, device=values.device)
    expected = first.points_world
    for look in range(LOOKS):
        if shape is not None and look:
            found = Modes.single(answer.points_world, answer.mass)
            choice = shape.choose(found, NEAR * _patch_length(config.stride, grid))
            if choice is not None:  # what does not go with the others is looked for where they expect it
                alone = (choice.trust < TRUSTED)[:, None]
                expected = np.where(alone, choice.places, expected)
                answer = replace(answer, points_world=np.where(alone, choice.places, answer.points_world))
        middles, prior = (_in_pass(points, start, grid, values.device) for points in (answer.points_world, expected))
        windows = windows_around(middles, prior, which, config, features.shape[2:])
        answer = yield from _looked_closely(config, features, windows, answer, start, grid)
    return [first, answer]


def _modes(cast_votes: Votes, stride: Sequence[int], start: Floats, grid: Grid) -> Modes:
    """The modes of the votes (1, N, ...) of one pass, whose patches have this `stride`."""
    posterior = cast_votes.logits[0].float().sigmoid().flatten(1) / _total(grid.ndim)
    weights, top = posterior.topk(min(MODE_PATCHES, posterior.shape[1]), dim=1)
    index = votes.cast(cast_votes.encoded, stride)[0].transpose(1, 2)
    index = index.gather(1, top[..., None].expand(-1, -1, grid.ndim)).double().cpu().numpy() + start
    places = grid.index_to_world(index.reshape(-1, grid.ndim)).reshape(index.shape)
    return modes_of(weights.double().cpu().numpy(), places, patch=_patch_length(stride, grid))


def _patch_length(stride: Sequence[int], grid: Grid) -> float:
    """The mean length of a patch along its axes, in the world."""
    return float(np.mean(np.asarray(stride) * np.asarray(grid.spacing)))


def _in_pass(points_world: Floats, start: Floats, grid: Grid, device: torch.device) -> Tensor:
    """(1, N, d) points (N, d) in elements of the pass that begins at `start`."""
    return torch.as_tensor(grid.world_to_index(points_world) - start, dtype=torch.float32).to(device)[None]


def _looked_closely(
    config: UNetVotesNetwork, features: Tensor, windows: Windows, before: Located, start: Floats, grid: Grid
) -> Search[Located]:
    """The answers in the windows; that `before` where a window holds no landmark, or the answer lies outside of it."""
    corners = windows.corners[0].cpu().numpy()
    stride, parts = np.asarray(config.stride), list[Located]()
    for number in range(0, config.landmarks, AT_ONCE):
        some = slice(number, number + AT_ONCE)
        part = Windows(windows.which[some], windows.corners[:, some], windows.expected[:, some])
        found = yield from ask("local", features, *part)
        parts.append(_voted(Votes(*found), config.stride, corners[some] * stride + start, grid))
    points, spread, mass = (
        np.concatenate(values) for values in zip(*((p.points_world, p.spread, p.mass) for p in parts), strict=True)
    )
    inside = (grid.world_to_index(points) - start + 0.5) / stride - corners
    better = ((inside >= 0) & (inside <= config.window)).all(axis=1) & (mass >= votes.MIN_POSTERIOR_MASS)
    return Located(
        np.where(better[:, None], points, before.points_world), np.where(better, spread, before.spread), mass
    )


def _voted(cast_votes: Votes, stride: Sequence[int], corner_index: Floats, grid: Grid) -> Located:
    return voted(cast_votes.logits, cast_votes.encoded, stride, corner_index, grid, total=_total(grid.ndim))


def _total(ndim: int) -> float:
    """The sum of the posteriors of all patches that a landmark was taught with."""
    return (math.sqrt(2 * math.pi) * SIGMA) ** ndim
