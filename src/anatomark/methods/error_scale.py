"""Error scale: how far a predicted point is usually off, by what the method's own answers say of it.

The votes of a sure method scatter little everywhere, and their scatter alone ranks errors poorly. Four kinds of
evidence are weighed for each landmark: the spread of its votes, the posterior mass of each stage, the distance between
the answers of the first and the last stage, and that from the place where the other landmarks let expect it
(`in_view.expected_places`). Each is compared with what is usual for the landmark; the logarithm of the error is a
linear function of all, learned from validation cases by ridge regression (Hoerl and Kennard, Technometrics
12(1):55-67, 1970, doi:10.1080/00401706.1970.10488634) with no weight below zero: what makes a method less sure never
makes an error smaller. The bounds (`methods.error_bound`) are calibrated on scales that were learned without the case.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anatomark.core.grid import Floats
from anatomark.errors import ModelError
from anatomark.methods.presence import logit

if TYPE_CHECKING:
    from anatomark.methods.interface import Located

NAME = "error_scale.safetensors"
FEWEST = 8  # cases to learn from
LEAST = 1e-3  # times the landmarks' extent: smaller lengths mean no more
FARTHEST = 3.0  # widths from the middle
LOWEST = 0.1  # times a landmark's median error: a smaller one means no more
WEIGHT = 0.1  # standard deviation of a weight, as expected beforehand
PRIOR = 3.0  # cases that the mean error of all landmarks counts as, in that of one
PARTS = 10
CONSISTENT = 1.4826  # times the median distance from the median, for a standard deviation


@dataclass(frozen=True, eq=False)
class ErrorScale:
    """The `typical` (N,) error of each landmark, in units of the world, and how it changes by evidence.

    `middle` (N, F) is the usual evidence for each landmark, `width` (F,) how much it varies, `weights` (F,) how much
    the logarithm of the error grows with it.
    """

    typical: Floats
    middle: Floats
    width: Floats
    weights: Floats

    @classmethod
    def learned(cls, errors: Floats, evidence: Floats) -> ErrorScale | None:
        """From radial errors (M, N), NaN where not known, and `evidence` (M, N, F); None from too few cases."""
        from scipy.optimize import nnls

        known = np.isfinite(errors)
        if known.any(axis=1).sum() < FEWEST:
            return None
        every = float(errors[known].mean())
        typical = (np.where(known, errors, 0).sum(axis=0) + PRIOR * every) / (known.sum(axis=0) + PRIOR)
        middle = np.nan_to_num(_median(np.where(known[..., None], evidence, np.nan)))
        apart = np.abs(evidence - middle)[known]
        width = CONSISTENT * np.nan_to_num(np.nanmedian(apart, axis=0)) + 1e-6
        z = _standard(evidence, middle, width)
        log = np.log(np.maximum(errors, LOWEST * typical) / typical)
        rows, targets = (_within(np.where(known[..., None], v, np.nan))[known] for v in (z, log[..., None]))
        ridge = (float(targets.std()) / WEIGHT + 1e-6) * np.eye(z.shape[-1])
        weights = nnls(np.concatenate([rows, ridge]), np.append(targets[:, 0], np.zeros(len(ridge))))[0]
        return cls(typical, middle, width, weights)

    def of(self, evidence: Floats) -> Floats:
        """(..., N) the error that such `evidence` (..., N, F) lets expect."""
        return self.typical * self.relative(evidence)

    def relative(self, evidence: Floats) -> Floats:
        """(..., N) the same in units of the landmarks' typical errors."""
        return np.exp(_standard(evidence, self.middle, self.width) @ self.weights)

    def save(self, folder: Path) -> None:
        """Write error_scale.safetensors into `folder`."""
        import torch

        from anatomark.nets.weights import save_tensors

        arrays = {"typical": self.typical, "middle": self.middle, "width": self.width, "weights": self.weights}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)).float() for name, array in arrays.items()}
        save_tensors(folder / NAME, tensors, {"about": json.dumps({"evidence": len(self.weights)})})

    @classmethod
    def load(cls, folder: Path, landmarks: int, stages: int) -> ErrorScale | None:
        """What `save` wrote; None where there is no file. ModelError for a damaged one, or another model's."""
        from anatomark.nets.weights import load_tensors

        path = folder / NAME
        if not path.exists():
            return None
        tensors, _ = load_tensors(path)
        held = {name: tensor.double().numpy() for name, tensor in tensors.items()}
        number = evidence_size(stages)
        wanted = {"typical": (landmarks,), "middle": (landmarks, number), "width": (number,), "weights": (number,)}
        fits = {name: array.shape for name, array in held.items()} == wanted
        if not fits or not all(np.isfinite(array).all() for array in held.values()) or (held["width"] <= 0).any():
            raise ModelError(f"{path} is damaged or of another model; copy the whole run folder again")
        return cls(**held)


def unseen_scales(errors: Floats, evidence: Floats, subjects: Sequence[str]) -> Floats:
    """(M, N) the scales of M cases, each learned without its subject; for the arguments see `ErrorScale.learned`.

    Only the typical errors are those of all: without a case of large errors they would be smaller for just that case,
    as if such evidence were a good sign.
    """
    whole = ErrorScale.learned(errors, evidence)
    _, groups = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    parts = groups % PARTS
    scales = np.full(errors.shape, np.nan)
    for part in np.unique(parts):
        out = parts == part
        scale = ErrorScale.learned(errors[~out], evidence[~out])
        if whole is not None and scale is not None:
            scales[out] = whole.typical * scale.relative(evidence[out])
    return scales


def evidence_size(stages: int) -> int:
    """The number F of kinds of evidence, of a method with so many stages."""
    return stages + (3 if stages > 1 else 2)


def evidence_of(located: Sequence[Located], places: Floats, extent: float) -> Floats:
    """(N, F) what the answers of all stages say of each landmark; `places` (N, d) are those where it is expected.

    More means less sure. NaN where nothing is expected. `extent` is that of the usual landmarks.
    """
    last, lengths = located[-1], [located[-1].spread, np.linalg.norm(located[-1].points_world - places, axis=1)]
    if len(located) > 1:
        lengths.append(np.linalg.norm(last.points_world - located[0].points_world, axis=1))
    return np.stack(
        [*(np.log(np.maximum(v, LEAST * extent)) for v in lengths), *(-logit(stage.mass) for stage in located)], axis=1
    )


def _standard(evidence: Floats, middle: Floats, width: Floats) -> Floats:
    return np.nan_to_num(np.clip((evidence - middle) / width, -FARTHEST, FARTHEST))


def _within(values: Floats) -> Floats:
    """`values` (M, N, F) less their mean within each landmark."""
    known = np.isfinite(values)
    mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known, values - mean, 0.0)


def _median(values: Floats) -> Floats:
    """(N, F) medians over the cases of (M, N, F); NaN where there are none."""
    empty = np.logical_not(np.isfinite(values).any(axis=0))
    return np.where(empty, np.nan, np.nanmedian(np.where(empty, 0.0, values), axis=0))
