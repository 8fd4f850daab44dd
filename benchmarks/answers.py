"""What a method says of an image, stage by stage, and how its errors are summed up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from anatomark.core.image import Image
    from anatomark.data.working import WorkingImage
    from anatomark.methods.interface import AnyDetector
    from anatomark.model import Model

Floats = NDArray[np.float64]


def answers(detector: AnyDetector, image: WorkingImage, device: torch.device) -> dict[str, Floats]:
    """{answer: points (N, d) world} of a detector, the final one last: those of its stages, or the one it has.

    Where stage 1 casts votes that are combined by a fixed rule ("stage1, mean vote", "stage1, near vote"), these stand
    in the place of the first stage.
    """
    from anatomark.methods.networks import NetworkDetector
    from anatomark.methods.two_stage.method import TwoStage

    kept = list(detector.networks) if isinstance(detector, NetworkDetector) else []
    found: dict[str, Floats] = {}
    if isinstance(detector, TwoStage):
        first = kept.pop(0)
        found = {f"{first}, {rule} vote": points for rule, points in detector.fixed_votes(image, device).items()}
    for stage in kept:
        found[stage] = detector.locate(image, device, upto=stage)[-1].points_world
    return found or {detector.name: detector.locate(image, device)[-1].points_world}


def answers_of_model(model: Model, image: Image) -> dict[str, Floats]:
    """`answers` of a loaded Model for an Image, in the world of the image."""
    import torch

    member = model.members[0]
    placed = member.place(image)
    found = answers(member.detector, member.working_image(placed), torch.device(model.device))
    return {answer: placed.from_template(points) for answer, points in found.items()}


def scores(errors: NDArray[Any], thresholds: Sequence[float]) -> dict[str, Any]:
    """n, mre, median, sd, and sdr {threshold: percent within it} of radial errors; NaN does not count."""
    counted = errors[~np.isnan(errors)]
    if not counted.size:
        return {"n": 0, "mre": None, "median": None, "sd": None, "sdr": dict.fromkeys(map("{:g}".format, thresholds))}
    return {
        "n": int(counted.size),
        "mre": float(counted.mean()),
        "median": float(np.median(counted)),
        "sd": float(counted.std(ddof=1)) if counted.size > 1 else None,
        "sdr": {f"{t:g}": float((counted <= t).mean() * 100) for t in thresholds},
    }


def parse_settings(texts: Sequence[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Settings for all methods, and those of each, of "key=value" and "method:key=value" texts."""
    from anatomark.training.request import parse_setting

    everyone: dict[str, Any] = {}
    of: dict[str, dict[str, Any]] = {}
    for text in texts:
        method, colon, rest = text.partition(":")
        own = bool(colon) and "=" not in method
        key, value = parse_setting(rest if own else text)
        (of.setdefault(method, {}) if own else everyone)[key] = value
    return everyone, of
