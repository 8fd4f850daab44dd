"""What prediction asks of the networks: once of the global one, then of the local ones of a few landmarks at a time."""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from anatomark.methods.calls import Call, Calls, Graph, image_sizes
from anatomark.methods.global_to_local.config import GlobalToLocalNetwork
from anatomark.methods.interface import Networks
from anatomark.nets.residual import ResidualNet
from anatomark.votes import MIN_POSTERIOR_MASS

PATCHES = 5  # along each axis of an example


def calls_of(config: GlobalToLocalNetwork, networks: Networks) -> Calls:
    """The calls, which the networks themselves answer: "global", and with a local stage "local_1" ..."""
    calls: dict[str, Call] = {"global": cast("ResidualNet", networks["global"]).look_over}
    if "local" not in networks:
        return calls
    local, count = networks["local"], config.local_landmarks_per_step
    for number, first in enumerate(range(0, config.landmarks, count)):
        which = torch.arange(first, min(first + count, config.landmarks))
        part = {"which": which} if config.local_shared else {"first": first}
        calls[local_call(number)] = partial(local, **part)
    return calls


def graphs_of(config: GlobalToLocalNetwork, networks: Networks) -> tuple[Graph, ...]:
    """The same as graphs: "global" for images of any size, the others for windows."""
    d, count = config.ndim, config.local_landmarks_per_step
    image = torch.rand(1, 1, *(config.global_stride * (PATCHES + axis) for axis in range(d)))
    calls = calls_of(config, networks)
    graphs = [
        Graph(
            "global",
            networks["global"],
            calls["global"],
            {"image": image},
            {
                "logits": "1, landmarks, *patches",
                "encoded": "1, landmarks, array axes, *patches",
                "features": "1, channels, *patches",
            },
            {"image": image_sizes((config.global_stride,) * d)},
        )
    ]
    outputs = {"logits": "1, landmarks, *patches", "encoded": "1, landmarks, array axes, *patches"}
    for number, name in enumerate(name for name in calls if name != "global"):
        seen = min(count, config.landmarks - number * count)
        windows = torch.rand(1, seen, *config.local_window)
        graphs.append(Graph(name, networks["local"], calls[name], {"windows": windows}, outputs))
    return tuple(graphs)


def geometry_of(config: GlobalToLocalNetwork) -> dict[str, object]:
    """Where the graphs look, for whoever calls them without this package."""
    geometry: dict[str, object] = {"global": {"level": "coarse", "stride": config.global_stride}}
    if config.local:
        geometry["local"] = {
            "level": "fine",
            "stride": config.local_stride,
            "window": list(config.local_window),
            "landmarks_per_call": config.local_landmarks_per_step,
            "looks": config.local_passes,
            "least_posterior_mass": MIN_POSTERIOR_MASS,
        }
    return geometry


def local_call(number: int) -> str:
    """The name of the call for the part `number` of the landmarks, which are looked for together."""
    return f"local_{number + 1}"


def run_local(
    config: GlobalToLocalNetwork, network: nn.Module, windows: Tensor, which: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits and displacements of landmarks `which` (n,), by their `windows` (B, n, *window)."""
    return network(windows, which if config.local_shared else int(which[0]))
