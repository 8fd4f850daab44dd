"""An ensemble: the models of a run with folds, whose predictions are averaged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anatomark.core.geometric_median import geometric_median
from anatomark.core.grid import Floats, Unit
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks
from anatomark.errors import ModelError
from anatomark.methods.error_bound import COVERAGE, ErrorBounds
from anatomark.methods.prediction import Prediction
from anatomark.methods.suitability import Judgement

if TYPE_CHECKING:
    from anatomark.methods.presence import PresenceModel
    from anatomark.model import Model

NAME = "ensemble.json"
FORMAT = 1
ASTRAY = 3.0  # times the median distance from the middle: a fold farther away does not count


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The `models` of the folds, and what their out-of-fold predictions taught: `presence`, `bounds`.

    `presence`, if any landmark was ever absent, corrects each fold's probability. `bounds` were calibrated by what each
    case's one unseen fold said of it. For the average of folds that is no exact guarantee: by the triangle inequality
    a mean is at most as wrong as its folds are on average, and where folds disagree the spread, and so the bound,
    grows; so at least the asked coverage is to be expected, and often more. `anatomark calibrate --split` with cases
    that no fold has seen calibrates the average itself.
    """

    models: tuple[Model, ...]
    bounds: ErrorBounds
    presence: PresenceModel | None = None

    @cached_property
    def names(self) -> tuple[str, ...]:
        return self.models[0].names

    @cached_property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        return self.models[0].pairs

    @cached_property
    def ndim(self) -> int:
        return self.models[0].ndim

    @cached_property
    def unit(self) -> Unit:
        return self.models[0].unit

    @cached_property
    def dataset(self) -> str:
        return self.models[0].dataset

    @cached_property
    def device(self) -> str:
        return self.models[0].device

    def predict(self, image: Image, *, source: str = "image", coverage: float = COVERAGE) -> Prediction:
        """All landmarks of `image`, as a Model's: robust means of points, mean presence, pooled spread. Pure.

        The spread is the root of the mean squared spread of the folds plus their mean squared distance from the
        average. The image is called unsuitable where more than half of the folds call it so. Raises as `Model.predict`.
        """
        each = [model.predict(image, source=source, coverage=coverage) for model in self.models]
        points = np.stack([p.landmarks.points for p in each])
        mean = robust_mean(points)
        presence = np.stack([p.presence for p in each])
        if self.presence is not None:
            presence = self.presence.probability(presence[..., None])
        apart2 = ((points - mean) ** 2).sum(axis=-1)
        spread = np.sqrt(np.mean([p.spread**2 for p in each], axis=0) + apart2.mean(axis=0))
        prediction = Prediction(
            Landmarks.from_points(self.names, mean, self.unit),
            presence.mean(axis=0),
            spread,
            next((p.warning for p in each if p.warning), None),
            self.bounds.bound(spread, coverage),
            coverage,
        )
        return prediction.judged(agreed([p.judgement for p in each]))


def agreed(judgements: Sequence[Judgement]) -> Judgement:
    """The median share, and the first reason where more than half of `judgements` have one."""
    reasons = [judgement.reason for judgement in judgements if judgement.reason is not None]
    share = float(np.median([judgement.share for judgement in judgements]))
    return Judgement(share, reasons[0] if 2 * len(reasons) > len(judgements) else None)


def robust_mean(points: Floats) -> Floats:
    """(N, d) the mean of F points (F, N, d), without those that went astray.

    Astray is a point more than ASTRAY times as far from the geometric median of the F as their median distance is.
    """
    middle = geometric_median(points)
    distance = np.sqrt(((points - middle) ** 2).sum(axis=-1))
    keep = distance <= ASTRAY * np.median(distance, axis=0) + 1e-9
    return (points * keep[..., None]).sum(axis=0) / keep.sum(axis=0)[:, None]


def save_ensemble(folder: Path, folds: Sequence[Path], bounds: ErrorBounds, presence: PresenceModel | None) -> None:
    """Write error_bounds.safetensors, then ensemble.json, for a run whose fold folders lie in `folder`."""
    from anatomark import __version__
    from anatomark.formats.atomic import write_json

    bounds.save(folder)
    held = None if presence is None else asdict(presence)
    about = {"format": FORMAT, "anatomark": __version__, "folds": [fold.name for fold in folds], "presence": held}
    write_json(folder / NAME, about)


def load_ensemble(folder: Path, *, device: str = "auto") -> Ensemble:
    """The ensemble of a finished run with folds. ModelError for a damaged one, or folds that do not go together."""
    from anatomark.methods.presence import PresenceModel
    from anatomark.model import load_model

    path = folder / NAME
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ModelError(f"{path} has format {about['format']!r}, this version reads {FORMAT}; train again")
        folds = [folder / Path(name).name for name in about["folds"]]
        held = about["presence"]
        weights = () if held is None else tuple(float(w) for w in held["weights"])
        presence = None if held is None else PresenceModel(weights, float(held["bias"]), str(held["learned_from"]))
        if not folds or len(weights) > 1:
            raise ValueError("folds")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{path} does not describe an ensemble; copy it again or train again") from None
    models = tuple(load_model(fold, device=device) for fold in folds)
    if len({(m.names, m.ndim, m.unit) for m in models}) > 1:
        raise ModelError(f"{folder}: the folds find different landmarks; they are not of one run")
    return Ensemble(models, ErrorBounds.load(folder, models[0].names, models[0].unit), presence)
