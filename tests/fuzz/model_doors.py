"""The doors of models: run folders from strangers, loaded and asked for a prediction."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.door import Door, Files

MODELS = Path(__file__).parents[1] / "fixtures" / "old_models" / "6237412"
FILES = ("model.json", "model.safetensors", "error_bounds.safetensors", "ensemble.json")


def folder_of(name: str) -> Files:
    """The files of a model of the tests that prediction reads, with what today's models have beside them."""
    found = {
        path.relative_to(MODELS / name).as_posix(): path for path in (MODELS / name).rglob("*") if path.name in FILES
    }
    files = {name: path.read_bytes() for name, path in sorted(found.items())}
    return files | (_learned(files["model.json"]) if "model.json" in files else {})


def _learned(card: bytes) -> Files:
    """suitability.safetensors and offsets.safetensors for the landmarks of a model.json."""
    import json

    from anatomark.methods.components import Components
    from anatomark.methods.offsets import Offsets
    from anatomark.methods.suitability import KINDS, Suitability, Usual

    held: dict[str, Any] = json.loads(card)
    n, d = len(held["landmarks"]), held["ndim"]
    rng = np.random.default_rng(6)
    typical = rng.normal(0, 10, (n, d))
    components = Components(typical, rng.normal(0, 1, (2, n * d)), 0.5)
    spread = np.ones(len(KINDS))
    usual = Usual(typical, components, np.eye(d), spread, spread, spread, 20, 20)
    with tempfile.TemporaryDirectory() as folder:
        Suitability(usual).save(Path(folder))
        Offsets(rng.normal(0, 0.1, (n, d)), typical, "tests").save(Path(folder))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _seeds(*names: str) -> list[Files]:
    return [folder_of(name) for name in names]


def enter_model(folder: Path) -> None:
    """What `predict` does with a model's folder."""
    from anatomark.formats.images import read_image
    from anatomark.loading import load

    model = load(folder, device="cpu")
    model.predict(read_image(MODELS.parent / f"image_{model.ndim}d.mha"))


DOORS = [
    Door("model global-to-local", lambda: _seeds("global-to-local-2d", "aligned-2d"), enter_model, by_structure=0.8),
    Door("model two-stage", lambda: _seeds("two-stage-2d"), enter_model, by_structure=0.8),
    Door("model heatmap", lambda: _seeds("heatmap-2d"), enter_model, by_structure=0.8),
    Door("model atlas", lambda: _seeds("atlas-2d"), enter_model, by_structure=0.8),
    Door("model folds", lambda: _seeds("folds-2d"), enter_model, by_structure=0.8),
]
