"""Training of the other package on the images of `limited`, scored by the same evaluator (see `peer_training.py`)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from anatomark.data.description import Case, Dataset

ROOT = Path(__file__).parents[1]
PEER = "landmarker"


def scored_peer(
    dataset: Dataset, folder: Path, *, python: str, score: str, spacing: float, minutes: float, seed: int
) -> tuple[Mapping[str, Any], Path]:
    """The metrics of `evaluate` on the split `score` and the table; trained and predicted where not yet so.

    It learns from the cases that our methods learn from, and those to choose by are the same.
    """
    from anatomark import Landmarks, evaluate
    from anatomark.formats.table import write_table
    from anatomark.methods.prediction import Prediction, prediction_table
    from anatomark.methods.settings import TrainingValues
    from anatomark.training.roles import training_roles

    table = folder / f"predictions_{score}.csv"
    if not table.exists():
        folder.mkdir(parents=True, exist_ok=True)
        fraction = TrainingValues.model_fields["validation_fraction"].default
        roles = {**training_roles(dataset, "train", None, fraction, seed), "score": dataset.split(score)}
        grids = write_images(dataset, roles, folder / "images.npz", [spacing] * dataset.ndim)
        spec = {"minutes": minutes, "validations": 10, "seed": seed, "spacing": [spacing] * dataset.ndim}
        (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
        subprocess.run([python, "-m", "benchmarks.peer_training", str(folder.resolve())], cwd=ROOT, check=True)
        results = {}
        found = np.load(folder / "points.npz")["points"]
        for case, grid, points in zip(roles["score"], grids["score"], found, strict=True):
            landmarks = Landmarks.from_points(dataset.names, grid.index_to_world(points), dataset.unit)
            results[case.id] = Prediction(landmarks, np.ones(len(landmarks)), np.zeros(len(landmarks)))
        write_table(prediction_table(results), table)
    return evaluate(dataset, table, split=score), table


def write_images(
    dataset: Dataset, roles: dict[str, Sequence[Case]], path: Path, spacing: Sequence[float]
) -> dict[str, list[Any]]:
    """Grey values (0 to 1 within their window) and points of the cases of each role, in a file; their Grids."""
    from anatomark.data.working import Sampling, working_image

    arrays: dict[str, Any] = {}
    grids: dict[str, list[Any]] = {}
    for role, cases in roles.items():
        for number, case in enumerate(cases):
            image = working_image(case.read_image(), Sampling(spacing, (1,) * dataset.ndim))
            reference = case.reference.select(dataset.names)
            points = np.where(reference.present[:, None], reference.points, np.nan)
            low, high = image.window
            arrays[f"{role}_values_{number}"] = (image.fine.astype(np.float32) - low) / np.float32(high - low)
            arrays[f"{role}_points_{number}"] = image.fine_grid.world_to_index(points)
            grids.setdefault(role, []).append(image.fine_grid)
    np.savez(path, **arrays)
    return grids
