"""What prediction asks of the network: features of the image, and from these the heatmaps of some landmarks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from anatomark.methods.calls import SOME, Calls, Graph, Size, image_sizes
from anatomark.methods.heatmap.config import SMALLEST_SIGMA, HeatmapNetwork
from anatomark.methods.heatmap.network import HeatmapNet
from anatomark.methods.heatmap.peaks import RELEVANT
from anatomark.methods.passes import passes_over

PATCHES = 2  # of the deepest level, along each axis of an example


def calls_of(network: HeatmapNet) -> Calls:
    """The calls, which the network itself answers."""

    def heatmaps(features: Tensor, which: Tensor) -> tuple[Tensor]:
        return (network.logits(features, which),)

    return {"features": network.features_and_deepest, "heatmaps": heatmaps}


def graphs_of(config: HeatmapNetwork, network: HeatmapNet) -> tuple[Graph, ...]:
    """The same as graphs, for images of any size and any number of landmarks."""
    d, calls = config.ndim, calls_of(network)
    deepest = np.prod(config.strides, axis=0).tolist()
    image = torch.rand(1, 1, *(n * (PATCHES + axis) for axis, n in enumerate(deepest)))
    features = torch.rand(1, config.channels[0], *(5 + axis for axis in range(d)))
    return (
        Graph(
            "features",
            network,
            calls["features"],
            {"image": image},
            {"features": "1, channels, *heatmap", "deepest": "1, channels, *patches"},
            {"image": image_sizes(deepest)},
        ),
        Graph(
            "heatmaps",
            network,
            calls["heatmaps"],
            {"features": features, "which": torch.zeros(SOME, dtype=torch.long)},
            {"logits": "1, landmarks, *heatmap"},
            {"features": image_sizes((1,) * d), "which": {0: Size("landmarks")}},
        ),
    )


def geometry_of(config: HeatmapNetwork) -> dict[str, object]:
    """Where the graphs look, for whoever calls them without this package."""
    return {
        "features": {"level": "fine", **passes_over(config.crop, config.strides)},
        "heatmaps": {
            "stride": list(config.stride),
            "landmarks_per_call": config.landmarks_per_tile,
            "loss": config.loss,
            "sigma": config.sigma,
            "smallest_sigma_elements": SMALLEST_SIGMA,
            "peak_window": config.peak_window,
            "relevant": RELEVANT,
        },
    }
