"""Presence: the probability that a landmark is in the image, from the posterior mass that the stages found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.core.landmarks import State

if TYPE_CHECKING:
    from anatomark.data.cache import Cache
    from anatomark.data.working import WorkingImage

ENOUGH_ABSENT = 10  # absent landmarks among validation cases, to learn presence from these alone
RIDGE = 0.05  # in units of one case: enough to keep weights finite where all landmarks are present


@dataclass(frozen=True)
class PresenceModel:
    """Logistic regression on the logits of the stages' posterior masses: `weights` (stages,) and `bias`.

    Fitted to cases with absent landmarks (Platt scaling), shared by all landmarks. Where no landmark was ever absent,
    nothing about absence can be learned, and the presence is a constant. Platt, in Advances in Large Margin
    Classifiers, MIT Press 1999; that such a fit must not see the training cases is his advice too.

    `learned_from` says by which cases, for the record: only with cases that the networks have not learned from is the
    probability an honest one.
    """

    weights: tuple[float, ...]
    bias: float
    learned_from: str = ""

    @classmethod
    def unfitted(cls, stages: int) -> PresenceModel:
        """The mean logit of the stages, as it is."""
        return cls((1 / stages,) * stages, 0.0)

    @classmethod
    def fitted(cls, mass: Floats, present: NDArray[np.bool_]) -> PresenceModel:
        """Fit to posterior masses (M, stages) and truths (M,); without an absent one, (M + 1) / (M + 2) for all."""
        if present.all():
            return cls((0.0,) * mass.shape[1], float(np.log(len(present) + 1)))
        prior = cls.unfitted(mass.shape[1])
        *weights, bias = fit_logistic(logit(mass), present, np.array([*prior.weights, prior.bias]))
        return cls(tuple(weights), bias)

    @classmethod
    def taught(cls, mass: Floats, states: NDArray[np.uint8], source: str) -> PresenceModel:
        """Fit to posterior masses (..., stages) and the `states` (...) of the landmarks; not annotated ones count not.

        `source` says by which cases.
        """
        known = states != State.NOT_ANNOTATED
        return replace(cls.fitted(mass[known], states[known] == State.PRESENT), learned_from=source)

    def probability(self, mass: Floats) -> Floats:
        """(N,) from posterior masses (N, stages)."""
        score = logit(mass) @ np.asarray(self.weights) + self.bias
        return 1 / (1 + np.exp(-np.clip(score, -50, 50)))


def fit_presence(masses_in: Callable[[WorkingImage], Floats], answers: int, cache: Cache) -> PresenceModel:
    """How posterior masses tell presence: fitted to validation cases, or to all where few of those lack landmarks.

    `masses_in` gives those (N, answers) that a detector finds in an image.
    """
    states = np.stack([case.states for case in cache.cases])
    chosen = calibration_cases(states, np.array([case.role == "validation" for case in cache.cases]))
    if not chosen.size:
        count = int((states == State.PRESENT).sum())
        constant = PresenceModel.fitted(np.zeros((count, answers)), np.ones(count, dtype=bool))
        return replace(constant, learned_from="no landmark was ever absent: a constant")
    masses = [masses_in(cache.cases[i].image) for i in chosen.tolist()]
    taught = any(cache.cases[i].role == "train" for i in chosen.tolist())
    source = "training and validation cases, for too few landmarks are absent in the latter: may be too sure"
    return PresenceModel.taught(np.stack(masses), states[chosen], source if taught else "validation cases")


def calibration_cases(states: NDArray[np.uint8], validation: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Which of C cases with `states` (C, N) presence is learned from; none where there is nothing to tell apart."""
    if (states[validation] == State.ABSENT).sum() >= ENOUGH_ABSENT:
        return np.flatnonzero(validation)
    return np.arange(len(states) if (states == State.ABSENT).any() else 0)


def fit_logistic(features: Floats, true: NDArray[np.bool_], start: Floats) -> tuple[float, ...]:
    """Weights of `features` (M, F), none of them negative, and the bias of a logistic regression on `true` (M,).

    They are drawn towards `start` (F + 1,), as by RIDGE cases. More of a feature never makes the truth less likely.
    """
    from scipy.optimize import minimize

    sign = np.where(true, 1.0, -1.0)

    def cost(parameters: Floats) -> float:
        margin = sign * (features @ parameters[:-1] + parameters[-1])
        return float(np.logaddexp(0, -margin).sum() + RIDGE * ((parameters - start) ** 2).sum())

    bounds = [(0.0, None)] * features.shape[1] + [(None, None)]
    return tuple(minimize(cost, start, method="L-BFGS-B", bounds=bounds).x.tolist())


def logit(probability: Floats) -> Floats:
    """The logarithm of the odds, of probabilities that are kept from 0 and 1."""
    clipped = np.clip(probability, 1e-4, 1 - 1e-4)
    return np.log(clipped) - np.log1p(-clipped)
