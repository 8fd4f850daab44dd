"""Training of landmarker's network with that package's Python, its losses and its own tutorial's recipe.

PYTHON -m benchmarks.peer_training FOLDER, in the environment of `peer.py` (with tqdm). FOLDER holds what
`limited.py` writes: `spec.json` {"minutes", "validations", "seed", "spacing"} and `images.npz` with the grey values
and points (index units, array-axis order, NaN unless present) of the roles train and validation, and the images to
score. It writes `log.jsonl`, as our runs have it, and `points.npz`.

The recipe is the adaptive one of its cephalometric tutorial (landmarker 0.4.1): OriginalSpatialConfigurationNet,
heatmaps with sigmas of 3 elements that are learned, scaled by 100, GaussianHeatmapL2Loss, SGD with a Nesterov momentum
of 0.99 and a rate of 1e-6 that is halved where validation stops getting better, one image a step, MONAI's random affine
maps and grey values, points by the local soft maximum. Its tutorial has 512 x 512 elements and 200 000 steps on a GPU;
here it gets the images and the core minutes that the others have.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

PATIENCE = 10  # validations, as in the tutorial


def main() -> None:
    folder = Path(sys.argv[1])
    train(folder, json.loads((folder / "spec.json").read_text(encoding="utf-8")))


def train(folder: Path, spec: dict[str, Any]) -> None:
    import numpy as np
    import torch
    from landmarker.heatmap import GaussianHeatmapGenerator
    from landmarker.losses import GaussianHeatmapL2Loss
    from landmarker.models import OriginalSpatialConfigurationNet

    torch.manual_seed(spec["seed"])
    images = np.load(folder / "images.npz")
    roles = {role: read(images, role) for role in ("train", "validation", "score")}
    size = largest([values for cases in roles.values() for values, _ in cases])
    landmarks = roles["train"][0][1].shape[0]
    network = OriginalSpatialConfigurationNet(in_channels=1, out_channels=landmarks)
    heatmaps = GaussianHeatmapGenerator(nb_landmarks=landmarks, sigmas=3, gamma=100, heatmap_size=size, learnable=True)
    loss_of = GaussianHeatmapL2Loss(alpha=5)
    optimizer = torch.optim.SGD(
        [
            {"params": network.parameters(), "weight_decay": 1e-3},
            {"params": [heatmaps.sigmas]},
            {"params": [heatmaps.rotation]},
        ],
        lr=1e-6,
        momentum=0.99,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=PATIENCE, cooldown=PATIENCE)
    change = changes(spec["seed"])
    rng = np.random.default_rng(spec["seed"])
    best, kept = math.inf, network.state_dict()
    limit, worked, step, validated = 60 * spec["minutes"], 0.0, 0, 0
    with (folder / "log.jsonl").open("w", encoding="utf-8") as log:
        while worked < limit:
            network.train()
            began = time.process_time()
            while worked < limit * (validated + 1) / spec["validations"]:
                values, points = roles["train"][int(rng.integers(len(roles["train"])))]
                values, points = change(filled(values, size), points)
                loss = loss_of(network(values[None]), heatmaps.sigmas, heatmaps(points[None]))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
                worked, began = worked + time.process_time() - began, time.process_time()
            validated += 1
            found = located(network, roles["validation"], size)
            pairs = zip(found, roles["validation"], strict=True)
            mre = float(np.nanmean([error(at, points, spec["spacing"]) for at, (_, points) in pairs]))
            schedule.step(mre)
            record = {"stage": "heatmap", "step": step, "core_seconds": round(worked, 1), "validation_mre": mre}
            log.write(json.dumps(record) + "\n")
            log.flush()
            if mre < best:
                best, kept = mre, {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(kept)
    np.savez(folder / "points.npz", points=np.stack(located(network, roles["score"], size)))


def read(images: Any, role: str) -> list[tuple[Any, Any]]:
    """The (values, points) of the cases of a role, in their order."""
    import torch

    count = sum(name.startswith(f"{role}_values") for name in images.files)
    pairs = [(images[f"{role}_values_{k}"], images[f"{role}_points_{k}"]) for k in range(count)]
    return [(torch.from_numpy(values).float(), torch.from_numpy(points).float()) for values, points in pairs]


def largest(arrays: list[Any]) -> tuple[int, int]:
    """A size, of multiples of 16, that holds each of the images."""
    high, wide = (16 * math.ceil(max(array.shape[axis] for array in arrays) / 16) for axis in range(2))
    return high, wide


def filled(values: Any, size: tuple[int, int]) -> Any:
    """(1, *size) with zeros after the values (H, W)."""
    import torch.nn.functional as F

    return F.pad(values, (0, size[1] - values.shape[1], 0, size[0] - values.shape[0]))[None]


def changes(seed: int) -> Any:
    """A function that warps an image and its points and changes grey values, as the tutorial does."""
    import torch
    from monai.data import MetaTensor
    from monai.transforms import (
        Compose,
        RandAdjustContrast,
        RandAffine,
        RandGaussianNoise,
        RandHistogramShift,
        RandScaleIntensity,
        RandStdShiftIntensity,
    )

    warp = RandAffine(
        prob=1,
        rotate_range=(-math.pi / 12, math.pi / 12),
        translate_range=(-10, 10),
        scale_range=(-0.1, 0.1),
        shear_range=(-0.1, 0.1),
    )
    grey = Compose(
        [
            RandGaussianNoise(prob=0.1, mean=0, std=0.005),
            RandStdShiftIntensity(prob=0.1, factors=0.1),
            RandScaleIntensity(factors=0.25, prob=0.1),
            RandAdjustContrast(prob=0.1, gamma=(0.5, 2)),
            RandHistogramShift(prob=0.1),
        ]
    )
    warp.set_random_state(seed)
    grey.set_random_state(seed)

    def change(values: Any, points: Any) -> tuple[Any, Any]:
        warped = warp(MetaTensor(values))
        to_window = torch.linalg.inv(warped.affine.float())[:, [0, 1, 3]][[0, 1]]  # rows and columns of the plane
        moved = points @ to_window[:, :2].T + to_window[:, 2]
        return grey(warped).as_tensor(), moved

    return change


def located(network: Any, cases: list[tuple[Any, Any]], size: tuple[int, int]) -> list[Any]:
    """Points (N, 2) in index units of each case."""
    import torch
    from landmarker.heatmap import coord_local_soft_argmax

    network.eval()
    with torch.inference_mode():
        return [coord_local_soft_argmax(network(filled(v, size)[None]))[0].double().numpy() for v, _ in cases]


def error(found: Any, points: Any, spacing: list[float]) -> Any:
    """(N,) distances in world units."""
    import numpy as np

    return np.linalg.norm((found - points.numpy()) * np.asarray(spacing), axis=-1)


if __name__ == "__main__":
    main()
