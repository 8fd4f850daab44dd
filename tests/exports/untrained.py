"""Small models with random weights, and images for them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.methods import detector_class
from anatomark.methods.error_bound import ErrorBounds
from anatomark.methods.interface import DataFacts
from anatomark.methods.joint_choice import ShapeModel
from anatomark.methods.networks import NetworkDetector
from anatomark.methods.presence import PresenceModel
from anatomark.methods.unet_votes.method import UNetVotes
from anatomark.model import Member, Model

METHODS = ("global-to-local", "two-stage", "unet-votes", "heatmap")
SPACING = {2: (1.5, 2.0), 3: (2.5, 1.5, 2.0)}
SETTINGS: dict[str, dict[str, Any]] = {
    "global-to-local": {
        "global_stem": 2,
        "global_blocks": [1, 1],
        "global_channels": [2, 4],
        "global_head": 4,
        "local_channels": [[2], [3]],
        "local_head": 4,
        "local_landmarks_per_step": 2,
        "window_jitter": 3.0,
        "local_class_weight": 1.0,
    },
    "two-stage": {
        "channels": [[2], [3]],
        "dilations": [],
        "head_channels": [4],
        "rounds": 1,
        "joint_rank": 2,
        "refine_level": 0,
        "refine_channels": [[2], [3]],
    },
    "unet-votes": {"channels": [2, 3, 4], "global_head": 4, "local_head": 4},
    "heatmap": {"channels": [2, 3, 4], "landmarks_per_tile": 2},
}
OF_DIMENSION = {
    "global-to-local": lambda d: {"global_downsample": [False, True], "local_window": [8] * d},
    "two-stage": lambda d: {"refine_window": [8] * d},
    "unet-votes": lambda d: {"local_window": [8] * d, "strides": [[2] * d, [2] * d, [1] * d], "coarse_level": 1},
    "heatmap": lambda d: {"strides": [[1] * d, [2] * d, [2] * d]},
}


def image_of(ndim: int, shape: tuple[int, ...], seed: int = 0) -> Image:
    """Smooth random grey values, along oblique axes."""
    from scipy.ndimage import gaussian_filter

    values = gaussian_filter(np.random.default_rng(seed).random(shape), 2)
    angle = np.radians(12)
    turn = np.eye(ndim)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = np.eye(ndim + 1)
    affine[:-1, :-1] = turn @ np.diag(SPACING[ndim])[::-1]
    affine[:-1, -1] = np.arange(ndim) * 7.0 - 20
    return Image(np.round(1000 * values).astype(np.int16), Grid(shape, affine))


def shape_of(landmarks: int, ndim: int) -> ShapeModel | None:
    """A random shape, as large as the images; None for fewer landmarks than a pose needs."""
    rng = np.random.default_rng(1)
    return ShapeModel.learned(rng.uniform(0, 40, (landmarks, ndim)) + rng.normal(0, 3, (12, landmarks, ndim)))


def save_untrained(folder: Path, method: str, ndim: int, names: tuple[str, ...] = tuple("abcdef"), **more: Any) -> Path:
    """The folder of a small model with random weights."""
    shape = (34, 28) if ndim == 2 else (20, 26, 22)
    kind = detector_class(method)
    assert issubclass(kind, NetworkDetector)
    settings = {"spacing": SPACING[ndim], **SETTINGS[method], **OF_DIMENSION[method](ndim), **more}
    grid = Grid.from_geometry(shape, spacing=SPACING[ndim])
    network = kind.plan(kind.settings_type(**settings), DataFacts((grid,) * 4, len(names), False, 2**30)).network
    torch.manual_seed(0)
    networks = kind.stages_type.untrained(network)
    for module in networks.values():
        for parameter in module.parameters():  # heads begin at zero or near it: all should take part
            parameter.data += 0.1 * torch.randn_like(parameter)
    detector = kind(network, networks, PresenceModel.unfitted(network.answers))
    if isinstance(detector, UNetVotes):
        detector = replace(detector, shape=shape_of(len(names), ndim))
    bounds = ErrorBounds.withheld(names, "untrained")
    folder.mkdir(parents=True)
    Model(names, (), ndim, "mm", "none", (Member(detector),), bounds).save(folder)
    return folder
