"""Made-up evaluations: rows, cases with pictures, and metrics of the documented shape with every part filled."""

from dataclasses import dataclass

import numpy as np

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import State
from anatomark.evaluation.metrics import THRESHOLDS, describe, missing
from anatomark.evaluation.rows import Answer, Rows

RNG_SEED = 7


@dataclass(frozen=True)
class PictureCase:
    """A case that makes its image up."""

    id: str
    image: Image
    subject: str = ""

    def read_image(self):
        return self.image


def made_rows(ndim=2, cases=12, names=6, misses=True, absent=True):
    """Rows of a ring (2D) or a ball (3D) of landmarks with errors of about 1 mm, and the cases with their images."""
    rng = np.random.default_rng(RNG_SEED)
    names = tuple(f"landmark_{k}" for k in range(names)) if isinstance(names, int) else tuple(names)
    shape = (60, 50, 40)[3 - ndim :] if ndim == 3 else (120, 100)
    grid = Grid.from_geometry(shape, spacing=(1.5, 1.5, 2.0)[:ndim], origin=(-30, 12, 5)[:ndim])
    directions = rng.normal(size=(len(names), ndim))
    ring = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    base = grid.center + 0.35 * min(grid.extent) * ring
    moved = rng.normal(0, 2, (cases, 1, ndim))
    reference = base + moved + rng.normal(0, 0.5, (cases, len(names), ndim))
    predicted = reference + rng.normal(0, 0.8, reference.shape) + 0.6 * np.eye(ndim)[0]
    states = np.full(reference.shape[:2], State.PRESENT, dtype=np.uint8)
    answers = np.full(reference.shape[:2], Answer.PRESENT, dtype=np.uint8)
    if absent and cases > 1:
        states[0, -1], answers[0, -1] = State.ABSENT, Answer.ABSENT
        states[1, 0] = State.NOT_ANNOTATED
    if misses and cases > 1:
        answers[2 % cases, 1 % len(names)] = Answer.MISSING
    reference[states != State.PRESENT] = np.nan
    predicted[answers == Answer.MISSING] = np.nan
    ids = tuple(f"case_{i:03d}" for i in range(cases))
    presence = rng.uniform(0.5, 1, answers.shape)
    rows = Rows(ids, names, reference, states, predicted, answers, presence, "mm")
    object.__setattr__(rows, "bound", np.full(answers.shape, 2.0))
    grey = rng.integers(0, 60, shape).astype(np.uint8)
    return rows, [PictureCase(i, Image(grey, grid), i) for i in ids]


def block(scored, error=None):
    """A block of metrics with every key; intervals are made up."""
    found = scored[np.isfinite(scored)]
    made = describe(scored)
    around = [0.9, 1.1]
    made["percentiles"] = {str(q): float(np.percentile(found, q)) if found.size else None for q in (25, 75, 90, 95)}
    made["mre_interval"] = [f * made["mre"] for f in around] if found.size else None
    made["median_interval"] = [f * made["median"] for f in around] if found.size else None
    made["sdr_interval"] = {r: [max(0, v - 5), min(100, v + 5)] for r, v in made["sdr"].items() if v is not None}
    bias = None if error is None or not found.size else np.nanmean(error.reshape(-1, error.shape[-1]), axis=0)
    made["bias"] = None if bias is None else dict(zip("xyz", bias.tolist(), strict=False))
    made["bias_interval"] = None if bias is None else {a: [b - 0.2, b + 0.2] for a, b in made["bias"].items()}
    return made


def blocks(scored, names, error=None):
    return {
        "overall": block(scored.ravel(), error),
        "landmarks": {n: block(scored[:, k], None if error is None else error[:, k]) for k, n in enumerate(names)},
    }


def made_metrics(rows, **changes):
    """Metrics with every part; `changes` replaces parts, say with None."""
    rng = np.random.default_rng(RNG_SEED)
    names = rows.names
    distances = np.abs(rng.normal(0, 1.5, rows.states.shape))
    inter = blocks(distances, names)
    error = np.where(rows.found[..., None], rows.error, np.nan)
    model = blocks(rows.scored, names, error)
    one = {"difference": -0.4, "interval": [-0.6, -0.2], "p": 0.0004, "equivalent": True}
    angles = rng.uniform(-2, 6, len(rows.cases)).tolist()
    measured = [{"case": c, "reference": a, "predicted": a + 0.3} for c, a in zip(rows.cases, angles, strict=True)]
    scale = {"dataset": "made_up", "split": "test", "unit": rows.unit, "n_cases": len(rows.cases), "n_training_cases": 0}
    everything = {
        **scale,
        **model,
        "radii": list(THRESHOLDS),
        "missing": missing(rows),
        "cases": list(rows.cases),
        "unknown_images": [],
        "versions": {"anatomark": "0.1.0", "numpy": "2.0"},
        "presence_threshold": 0.5,
        "n_subjects": len(rows.cases),
        "command": "anatomark evaluate dataset.yaml --predictions predictions.csv --out out",
        "fingerprint": "ab" * 32,
        "bootstrap": {"samples": 2000, "seed": 0, "level": 0.95},
        "ced": {"radius": [0.0, 1.0, 2.0, 4.0, 8.0], "percent": [0.0, 40.0, 70.0, 95.0, 99.0]},
        "worst": [{"case": rows.cases[0], "landmark": names[0], "radial_error": 5.0}],
        "mean_shape": {**blocks(rows.scored + 5, names), "training_cases": 9, "placement": "made up"},
        "presence": {
            "confusion": {
                state: {"present": 3, "absent": 2, "missing": 1} for state in ("present", "absent", "not annotated")
            },
            "sensitivity": 90.0,
            "specificity": 80.0,
            "auroc": 0.91,
            "n_present": 6,
            "n_absent": 6,
        },
        "observers": {
            "names": ["senior", "junior"],
            "inter": inter,
            "intra": None,
            "intra_note": "nobody marked a case twice",
            "consensus": "mean",
            "model": [{"against": who, **blocks(rows.scored, names)} for who in ("senior", "junior", "consensus")],
            "equivalence": {"margin": 0.5, "overall": one, "landmarks": dict.fromkeys(names, one)},
        },
        "measurements": [
            {
                **{"name": "ANB", "kind": "angle", "unit": "degrees", "n": len(measured), "bias": 0.3, "sd": 0.0},
                **{"limits": [0.3, 0.3], "mean_absolute_error": 0.3, "rows": measured},
                "classes": {"rate": 75.0, "confusion": {"1": {"1": 3, "2": 1}, "2": {"1": 0, "2": 4}}},
            }
        ],
        "coverage": {
            **{"nominal": 0.9, "overall": 91.2, "mean_bound": 2.0, "landmarks": {n: 90.0 + k for k, n in enumerate(names[:8])}},
            "curve": [{"nominal": 50.0, "observed": 52.0}, {"nominal": 90.0, "observed": 91.2}],
            "presence_curve": [{"predicted": 20.0, "observed": 25.0, "n": 10}, {"predicted": 95.0, "observed": 97.0, "n": 60}],
        },
    }  # fmt: skip
    return everything | changes
