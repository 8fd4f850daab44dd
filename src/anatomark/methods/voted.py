"""The answer that votes come to: their mean, weighted by the posterior of the patches that cast them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from anatomark import votes
from anatomark.core.grid import Floats, Grid
from anatomark.methods.interface import Located


def voted(
    logits: Tensor, encoded: Tensor, stride: Sequence[int], corner_index: Floats, grid: Grid, *, total: float = 1.0
) -> Located:
    """The posterior-weighted mean of votes (1, K, ...) of patches of windows that begin at (K, d) elements of `grid`.

    `total` is the sum of the posteriors of all patches that a landmark was taught with.
    """
    posterior = logits.float().sigmoid()
    cast_votes = votes.cast(encoded, stride)
    scale = torch.tensor(grid.spacing, dtype=torch.float32, device=cast_votes.device).view(-1, 1)
    mean, spread = votes.weighted_mean(cast_votes * scale, posterior.flatten(2))
    index = (mean[0].double().cpu().numpy() / np.asarray(grid.spacing)) + corner_index
    return Located(
        grid.index_to_world(index),
        spread[0].double().cpu().numpy(),
        votes.posterior_mass(posterior / total)[0].double().cpu().numpy(),
    )
