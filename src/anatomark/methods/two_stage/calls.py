"""What prediction asks of the network of stage 2: once of the image, and once of the windows of the refinement."""

from __future__ import annotations

import torch

from anatomark.methods.calls import Calls, Graph, image_sizes
from anatomark.methods.two_stage.config import TwoStageNetwork
from anatomark.methods.two_stage.joint import JointNet
from anatomark.methods.two_stage.refinement import Place
from anatomark.nets.patch_net import stride_and_margin

PATCHES = 5  # along each axis of an example


def calls_of(network: JointNet) -> Calls:
    """The calls, which the network itself answers."""
    return {"joint": network.look_over, "refinement": network.look_closely}


def graphs_of(config: TwoStageNetwork, network: JointNet) -> tuple[Graph, ...]:
    """The same as graphs: "joint" for images of any size, and with a refinement "refinement" for its windows."""
    d, n = config.ndim, config.landmarks
    stride, margin = stride_and_margin(config.channels, config.dilations)
    padded = torch.rand(1, 1, *(stride * (PATCHES + axis) + 2 * margin for axis in range(d)))
    joint = Graph(
        "joint",
        network,
        network.look_over,
        {"image": padded},
        {
            "points": "1, landmarks, array axes",
            "spread": "1, landmarks",
            "logits": "1, landmarks, *patches",
            "features": "1, channels, *patches",
        },
        {"image": image_sizes((stride,) * d, 2 * margin)},
    )
    if not config.refine:
        return (joint,)
    windows = {
        "windows": torch.rand(1, n, 1, *place_of(config).elements),
        "corner": torch.zeros(1, n, d, dtype=torch.long),
        "points": torch.rand(1, n, d),
        "spread": torch.rand(1, n),
    }
    outputs = {
        "refined": "1, landmarks, array axes",
        "refined_spread": "1, landmarks",
        "logits": "1, landmarks, *cells",
    }
    return joint, Graph("refinement", network, network.look_closely, windows, outputs)


def geometry_of(config: TwoStageNetwork) -> dict[str, object]:
    """Where the graphs look, for whoever calls them without this package."""
    stride, margin = stride_and_margin(config.channels, config.dilations)
    geometry: dict[str, object] = {"joint": {"level": "fine", "stride": stride, "margin": margin}}
    if config.refine:
        place = place_of(config)
        geometry["refinement"] = {
            "window": list(place.window),
            "stride": place.stride,
            "crop": place.crop,
            "elements": place.elements,
        }
    return geometry


def place_of(config: TwoStageNetwork) -> Place:
    """Where the windows of the refinement lie."""
    stride, crop = stride_and_margin(config.channels[: config.refine_level + 1])
    return Place(tuple(n // stride for n in config.refine_window), stride, crop)
