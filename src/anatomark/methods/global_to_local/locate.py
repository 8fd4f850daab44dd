"""How global-to-local finds landmarks in an image: one pass over all of it, then one window a landmark."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from anatomark import votes
from anatomark.data.augment import plain_windows
from anatomark.data.working import WorkingImage
from anatomark.methods.deep_features import DeepFeatures
from anatomark.methods.global_to_local.calls import local_call
from anatomark.methods.global_to_local.config import GlobalToLocalNetwork
from anatomark.methods.global_to_local.plan import round_up
from anatomark.methods.interface import Located
from anatomark.methods.search import Search, ask
from anatomark.methods.voted import voted


def search(
    config: GlobalToLocalNetwork, image: WorkingImage, device: torch.device, *, upto: str | None = None
) -> Search[list[Located]]:
    """The answer of each stage, up to stage `upto`, for one image."""
    answers = [(yield from _search_all(config.global_stride, image, device))]
    if upto != "global" and config.local:
        answer = answers[0]
        for _ in range(config.local_passes):
            answer = yield from _search_windows(config, image, answer, device)
        answers.append(answer)
    return answers


def _search_all(stride: int, image: WorkingImage, device: torch.device) -> Search[Located]:
    size = tuple(round_up(n, stride) for n in image.coarse.shape)
    low, high = image.window
    values = torch.zeros((1, 1, *size), device=device)
    inner = torch.as_tensor(image.coarse.astype(np.float32)).to(device)
    values[(0, 0, *(slice(n) for n in inner.shape))] = (inner - low) / (high - low)
    logits, encoded, features = yield from ask("global", values)
    grid = image.coarse_grid
    answer = voted(logits, encoded, (stride,) * grid.ndim, np.zeros((1, grid.ndim)), grid)
    elements = (grid.world_to_index(answer.points_world) + 0.5) / stride - 0.5
    return replace(answer, features=DeepFeatures.of(features, elements))


def _search_windows(
    config: GlobalToLocalNetwork, image: WorkingImage, start: Located, device: torch.device
) -> Search[Located]:
    window, count = config.local_window, config.local_landmarks_per_step
    grid = image.fine_grid
    center = grid.world_to_index(start.points_world)
    parts: list[Located] = []
    trusted: list[np.ndarray[tuple[int], np.dtype[np.bool_]]] = []
    for number, first in enumerate(range(0, config.landmarks, count)):
        chosen = slice(first, first + count)
        values, corner = plain_windows(image.fine, image.window, grid.spacing, window, center[chosen], device)
        logits, encoded = yield from ask(local_call(number), values.unsqueeze(0))
        part = voted(logits, encoded, (config.local_stride,) * grid.ndim, corner, grid)
        inside = grid.world_to_index(part.points_world) - corner
        within = ((inside >= -0.5) & (inside <= np.asarray(window) - 0.5)).all(axis=1)
        trusted.append(within & (part.mass >= votes.MIN_POSTERIOR_MASS))
        parts.append(part)
    # A network that sees no landmark, or puts it outside its window, has no better answer than the one before.
    better = np.concatenate(trusted)
    return Located(
        np.where(better[:, None], np.concatenate([p.points_world for p in parts]), start.points_world),
        np.where(better, np.concatenate([p.spread for p in parts]), start.spread),
        np.concatenate([p.mass for p in parts]),
    )
