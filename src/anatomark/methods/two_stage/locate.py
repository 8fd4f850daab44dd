"""How two-stage finds landmarks in an image: one pass over all of it, then a window a landmark; and stage 1 alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from anatomark import votes
from anatomark.core.grid import Floats
from anatomark.data.cache import CachedCase
from anatomark.data.working import WorkingImage
from anatomark.methods.deep_features import DeepFeatures
from anatomark.methods.interface import Located
from anatomark.methods.search import Search, ask
from anatomark.methods.two_stage.calls import place_of
from anatomark.methods.two_stage.config import TwoStageNetwork
from anatomark.methods.two_stage.joint import displacements_grid_mm, patch_centers_grid_mm
from anatomark.methods.two_stage.refinement import cut_windows
from anatomark.nets.patch_net import PatchNet, stride_and_margin

NEAREST_FRACTION = 0.02  # of the patches are those next to a point
NEAREST_ROUNDS = 8


def search(config: TwoStageNetwork, image: WorkingImage, device: torch.device) -> Search[list[Located]]:
    """The answers of stage 2: the voted points, and with a refinement also the refined ones."""
    stride, margin = stride_and_margin(config.channels, config.dilations)
    values = _padded(image, stride, margin, device)
    points, spread, logits, features = yield from ask("joint", values)
    answers = [(points, logits)]
    if config.refine:
        spacing = torch.tensor(image.fine_grid.spacing, dtype=torch.float32, device=device)
        windows, corner = cut_windows(values, points / spacing, place_of(config), margin)
        refined, spread, logits = yield from ask("refinement", windows, corner, points, spread)
        answers.append((refined, logits))
    voted, *rest = (_located(image, at[0], spread[0], found.float().sigmoid()) for at, found in answers)
    elements = (image.fine_grid.world_to_index(voted.points_world) + 0.5) / stride - 0.5
    return [replace(voted, features=DeepFeatures.of(features, elements)), *rest]


def locate_stage1(network: PatchNet, image: WorkingImage, device: torch.device) -> list[Located]:
    """The answer of stage 1 alone, the mean of all votes."""
    with torch.inference_mode():
        _, patch_votes = _stage1_votes(network, image, device)
        return [_located(image, *_mean_vote(patch_votes), None)]


def fixed_votes(network: PatchNet, image: WorkingImage, device: torch.device) -> dict[str, Floats]:
    """Points (N, d) world of stage 1 without stage 2: the "mean" of all votes, and of "near" patches' alone.

    Near are the patches that lie next to the point, which is found in a few rounds from the median of all votes; there
    it is again the median along each axis that counts, for it was better than the mean.
    """
    with torch.inference_mode():
        centers, patch_votes = _stage1_votes(network, image, device)
        near = patch_votes.median(-1).values
        for _ in range(NEAREST_ROUNDS):
            chosen = _nearest(centers, near).unsqueeze(2)
            near = torch.where(chosen, patch_votes, torch.nan).nanmedian(-1).values
        return {"mean": _world(image, _mean_vote(patch_votes)[0]), "near": _world(image, near[0])}


def single_vote_errors(network: PatchNet, case: CachedCase, device: torch.device) -> Floats:
    """(N,) mean error (world units) of the votes of the patches next to each landmark; NaN unless it is present."""
    with torch.inference_mode():
        centers, patch_votes = _stage1_votes(network, case.image, device)
        grid = case.image.fine_grid
        reference = grid.world_to_index(case.points_world) * np.asarray(grid.spacing)
        points_grid_mm = torch.as_tensor(reference).to(patch_votes)[None]
        error = (patch_votes - points_grid_mm.unsqueeze(-1)).square().sum(2).sqrt()
        near = _nearest(centers, points_grid_mm).float()
        mean = (error * near).sum(-1) / near.sum(-1)
    return mean[0].double().cpu().numpy()


def _stage1_votes(network: PatchNet, image: WorkingImage, device: torch.device) -> tuple[Tensor, Tensor]:
    """Middles of the patches (d, P) and their votes (1, N, d, P), in the grid frame, after stage 1."""
    features = network.features(_padded(image, network.stride, network.margin, device))
    spacing = torch.tensor(image.fine_grid.spacing, dtype=torch.float32, device=device)
    centers = patch_centers_grid_mm(features.shape[2:], network.stride, spacing)
    return centers, centers + displacements_grid_mm(network.displacements(features), spacing)


def _padded(image: WorkingImage, stride: int, margin: int, device: torch.device) -> Tensor:
    """(1, 1, *padded) grey values with the margin around, filled up to whole patches."""
    low, high = image.window
    size = [stride * math.ceil(n / stride) + 2 * margin for n in image.fine.shape]
    values = torch.zeros((1, 1, *size), device=device)
    inner = torch.as_tensor(image.fine.astype(np.float32)).to(device)
    values[(0, 0, *(slice(margin, margin + n) for n in inner.shape))] = (inner - low) / (high - low)
    return values


def _located(image: WorkingImage, points_grid_mm: Tensor, spread: Tensor, posterior: Tensor | None) -> Located:
    """Points (N, d) of the grid frame, taken to the world; without a posterior, a mass of one half."""
    mass = np.full(len(points_grid_mm), 0.5)
    if posterior is not None:
        mass = votes.posterior_mass(posterior)[0].double().cpu().numpy()
    return Located(_world(image, points_grid_mm), spread.double().cpu().numpy(), mass)


def _world(image: WorkingImage, points_grid_mm: Tensor) -> Floats:
    """Points (N, d) of the grid frame, taken to the world."""
    grid = image.fine_grid
    return grid.index_to_world(points_grid_mm.double().cpu().numpy() / np.asarray(grid.spacing))


def _nearest(centers: Tensor, points: Tensor) -> Tensor:
    """(B, N, P) whether a patch is of the `NEAREST_FRACTION` with middles (d, P) next to points (B, N, d)."""
    distance2 = (centers - points.unsqueeze(-1)).square().sum(2)
    count = max(1, round(NEAREST_FRACTION * centers.shape[-1]))
    return distance2 <= distance2.topk(count, dim=-1, largest=False).values[..., -1:]


def _mean_vote(patch_votes: Tensor) -> tuple[Tensor, Tensor]:
    """Points (N, d) and spread (N,) of votes (1, N, d, P), each of the same weight."""
    points, spread = votes.weighted_mean(patch_votes, torch.ones_like(patch_votes[:, :, 0]))
    return points[0], spread[0]
