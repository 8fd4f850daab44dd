"""What prediction asks of the network: votes from all over the image, then those of windows around the answers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from anatomark.errors import ModelError
from anatomark.methods.calls import SOME, Calls, Graph, Size, image_sizes
from anatomark.methods.joint_choice import ShapeModel
from anatomark.methods.passes import passes_over
from anatomark.methods.unet_votes.config import UNetVotesNetwork
from anatomark.nets.vote_unet import VoteUNet, Windows
from anatomark.votes import MIN_POSTERIOR_MASS

SIGMA = 0.7  # patches: s.d. of the Gaussian of classes around a landmark
LOOKS = 2  # close ones: the second around the answer of the first
MODE_PATCHES = 64  # of the largest posterior, that modes are made of
NEAR = 2.0  # fine patches: how far right answers of a close look are off, at the scale of `ShapeModel.choose`
AT_ONCE = 256  # landmarks of a close look, whose windows are in memory together
PATCHES = 2  # of the deepest level, along each axis of an example


def calls_of(network: VoteUNet) -> Calls:
    """The calls, which the network itself answers."""

    def look_over(image: Tensor) -> tuple[Tensor, ...]:
        votes, features, deepest = network.look_over(image)
        return *votes, features, deepest

    def look_closely(features: Tensor, which: Tensor, corners: Tensor, expected: Tensor) -> tuple[Tensor, ...]:
        return network.look_closely(features, Windows(which, corners, expected))

    return {"global": look_over, "local": look_closely}


def graphs_of(config: UNetVotesNetwork, network: VoteUNet) -> tuple[Graph, ...]:
    """The same as graphs, for images of any size that windows fit into, and any number of landmarks.

    ModelError where they do not fit into all images.
    """
    if any(c // s < w for c, s, w in zip(config.crop, config.stride, config.window, strict=True)):
        raise ModelError(
            f"a model of unet-votes whose windows {config.local_window} are larger than its crops {config.crop} cannot "
            "be exported; train it with a smaller local_window"
        )
    d, calls = config.ndim, calls_of(network)
    deepest = np.prod(config.strides, axis=0).tolist()
    image = torch.rand(1, 1, *(n * (PATCHES + axis) for axis, n in enumerate(deepest)))
    grid = [w + 2 + axis for axis, w in enumerate(config.window)]
    closely = {
        "features": torch.rand(1, config.channels[0], *grid),
        "which": torch.zeros(SOME, dtype=torch.long),
        "corners": torch.ones(1, SOME, d, dtype=torch.long),
        "expected": torch.rand(1, SOME, d),
    }
    some = Size("landmarks")
    fine = {
        axis: size._replace(least=w)
        for (axis, size), w in zip(image_sizes((1,) * d).items(), config.window, strict=True)
    }
    sizes = {"features": fine, "which": {0: some}, "corners": {1: some}, "expected": {1: some}}
    outputs = {"logits": "1, landmarks, *patches", "encoded": "1, landmarks, array axes, *patches"}
    return (
        Graph(
            "global",
            network,
            calls["global"],
            {"image": image},
            {**outputs, "features": "1, channels, *fine patches", "deepest": "1, channels, *deepest patches"},
            {"image": image_sizes(deepest)},
        ),
        Graph("local", network, calls["local"], closely, outputs, sizes),
    )


def geometry_of(config: UNetVotesNetwork, shape: ShapeModel | None) -> dict[str, object]:
    """Where the graphs look, for whoever calls them without this package."""
    return {
        "global": {
            "level": "fine",
            **passes_over(config.crop, config.strides),
            "patch": list(config.coarse_stride),
        },
        "local": {
            "patch": list(config.stride),
            "window": list(config.window),
            "landmarks_per_call": AT_ONCE,
            "looks": LOOKS,
            "least_posterior_mass": MIN_POSTERIOR_MASS,
        },
        "class_sigma": SIGMA,
        "joint_choice": None if shape is None else {"mode_patches": MODE_PATCHES, "near": NEAR, **shape.numbers()},
    }
