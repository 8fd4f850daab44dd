"""Which landmarks lie in the field of view, told by the votes for them and by where the others let expect them.

A detector has a point for every landmark, also for one that a smaller field of view has cut off; and where no training
image lacks a landmark, presence has nothing to learn from. What tells it is the arrangement of the others: a landmark
whose expected place lies outside of the image is not in it. Whom to trust is not known beforehand, so that several sets
of landmarks are tried: those that were voted for, all, and all but a part at one side. Each set is laid onto the
typical shape and completed by the principal components (`methods.components`); it then drops those that do not fit.
The most probable arrangement counts.

How much votes and places say is learned from copies of validation cases with a smaller field of view
(`data.field_of_view`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid
from anatomark.data.shapes import align_shape, angles
from anatomark.methods.presence import PresenceModel, fit_logistic, logit
from anatomark.methods.suitability import Usual

LEAST_CUT_OFF = 10  # landmarks among the copies, to learn from
ROUNDS = 3
PARTS = (0.2, 0.35, 0.5)  # of the landmarks, at a side, that a trial does without
FEWEST = 0.2  # of the landmarks have to agree on an arrangement
FARTHEST = 9.0  # squared standard deviations: a point farther from its place says no more than that it is wrong
SURE = (0.02, 0.98)  # what a presence may say at most, beside the arrangement
WORTH_TELLING = 0.1  # of the landmarks, cut off
DEEPEST = 10.0  # hundredths of the landmarks' extent: deeper inside or outside means no more


@dataclass(frozen=True)
class InView:
    """Logistic regression on the logits of the stages' posterior masses, with `weights` (stages,), and on the distance
    of the expected place from the border of the image, positive inside: `depth` a hundredth of the landmarks' extent.
    """

    weights: tuple[float, ...]
    depth: float
    bias: float

    @classmethod
    def fitted(cls, mass: Floats, depths: Floats, inside: NDArray[np.bool_]) -> InView | None:
        """From M landmarks: posterior masses (M, stages), `depths` (M,) as by `depths_of`, and whether each is `inside`
        its image. None where too few are not."""
        told = np.isfinite(depths)
        mass, depths, inside = mass[told], depths[told], inside[told]
        if (~inside).sum() < LEAST_CUT_OFF or not inside.any():
            return None
        stages = mass.shape[1]
        start = np.array([*PresenceModel.unfitted(stages).weights, 0.5, 0.0])
        *weights, depth, bias = fit_logistic(np.column_stack([logit(mass), depths]), inside, start)
        return cls(tuple(weights), depth, bias)

    def probability(self, mass: Floats, depths: Floats) -> Floats:
        """(N,) from posterior masses (N, stages) and `depths` (N,); 1 where nothing is expected, NaN."""
        score = logit(mass) @ np.asarray(self.weights) + self.depth * depths + self.bias
        return np.where(np.isnan(score), 1.0, 1 / (1 + np.exp(-np.clip(score, -50, 50))))


def depths_of(usual: Usual, grid: Grid, places: Floats) -> Floats:
    """(N,) how far the `places` (N, d) lie inside the image on `grid`, at most DEEPEST; negative outside."""
    return np.clip(100 * _inside_by(grid, places) / usual.extent, -DEEPEST, DEEPEST)


def expected_places(usual: Usual, grid: Grid, points: Floats, mass: Floats) -> Floats:
    """World places (N, d) where landmarks are to be expected, by those of the found `points` (N, d) that agree.

    `mass` (N, stages) is the posterior mass of the points, `grid` that of the image. NaN for landmarks without a usual
    place, and for all where too few points agree.
    """
    presence = np.clip(PresenceModel.unfitted(mass.shape[1]).probability(mass), *SURE)
    usually = np.asarray(np.isfinite(usual.typical).all(axis=1))
    trusted = _trials(usual, _inside_by(grid, points) > 0, presence) & usually
    least = max(points.shape[1] + 2, int(FEWEST * len(points)))
    best, lowest = np.full(points.shape, np.nan), np.inf
    for _ in range(ROUNDS):
        trusted = np.unique(trusted[trusted.sum(axis=1) >= least], axis=0)
        if not len(trusted):
            break
        places, apart, strange = _laid(usual, points, trusted)
        inside = grid.contains(places)
        costs = np.where(inside, np.minimum(apart, FARTHEST) - np.log(presence), -np.log(1 - presence))
        costs = np.where(usually, costs, 0.0).sum(axis=1) + strange
        k = int(np.argmin(costs))
        if costs[k] < lowest:
            best, lowest = np.where(usually[:, None], places[k], np.nan), float(costs[k])
        trusted = inside & (apart < FARTHEST) & usually
    return best


def _inside_by(grid: Grid, points: Floats) -> Floats:
    """(N,) distance of points (N, d) from the nearest border of the image; negative outside, where it is that along
    one axis."""
    index = grid.world_to_index(points)
    ends = np.minimum(index + 0.5, np.asarray(grid.shape) - 0.5 - index)
    return np.asarray((ends * np.asarray(grid.spacing)).min(axis=1), dtype=np.float64)


def _trials(usual: Usual, inside: NDArray[np.bool_], presence: Floats) -> NDArray[np.bool_]:
    """(T, N) sets of landmarks to begin with; `inside` (N,) tells the points that were found in the image."""
    upright = np.nan_to_num(usual.typical @ usual.turn.T)
    trials = [(presence > 0.5) & inside, presence >= np.median(presence), np.ones(len(presence), dtype=bool)]
    for along, part in product((*upright.T, *-upright.T), PARTS):
        trial = np.ones(len(presence), dtype=bool)
        trial[np.argsort(along)[: round(part * len(presence))]] = False
        trials.append(trial)
    return np.stack(trials)


def _laid(usual: Usual, points: Floats, trusted: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """What each of T sets of `trusted` (T, N) landmarks lets expect of all.

    Places (T, N, d); squared standard deviations (T, N) of the `points` from them; and how strange size, turn and shape
    are (T,), the sum of their squared standard deviations.
    """
    fit = align_shape(usual.typical, np.where(trusted[..., None], points, np.nan))
    aligned = (points - fit.offsets[:, None]) @ fit.rotations / fit.scales[:, None, None]
    whole, weights = usual.components.expected(np.where(trusted[..., None], aligned, np.nan))
    places = fit.scales[:, None, None] * (whole @ fit.rotations.transpose(0, 2, 1)) + fit.offsets[:, None]
    apart = ((aligned - whole) ** 2).sum(axis=2) / (usual.components.noise * points.shape[1])
    size = (np.log(fit.scales) - usual.center[1]) / usual.deviation[1]
    turn = angles(usual.turn, fit.rotations) / usual.deviation[2]
    return places, apart, size**2 + turn**2 + (weights**2).sum(axis=1)


@dataclass(frozen=True, eq=False)
class CutOff:
    """How many landmarks lie outside of an image, and `towards` which side (d,), in its world."""

    count: int
    towards: Floats

    @classmethod
    def beyond(cls, grid: Grid, places: Floats) -> CutOff:
        """For the `places` (M, d) outside of the image on `grid`; the side is that beyond which most of them lie."""
        index, spacing = grid.world_to_index(places), np.asarray(grid.spacing)[:, None]
        distance = np.stack([-0.5 - index, index + 0.5 - np.asarray(grid.shape)], axis=-1) * spacing
        farthest = distance.reshape(len(places), -1).argmax(axis=1)
        axis, high = divmod(int(np.bincount(farthest).argmax()), 2)
        return cls(len(places), grid.direction[:, axis] * (1 if high else -1))

    @property
    def side(self) -> str:
        """The side in words, of pictures or of the body."""
        main = int(np.abs(self.towards).argmax())
        return SIDES[len(self.towards)][main][int(self.towards[main] > 0)]

    def words(self, landmarks: int) -> str | None:
        """The remark on an image that has so many `landmarks`; None where only a few lie outside."""
        if self.count <= WORTH_TELLING * landmarks:
            return None
        return f"cut off at the {self.side}: {self.count} of {landmarks} landmarks lie outside of the image"


SIDES: dict[int, Sequence[tuple[str, str]]] = {
    2: (("left", "right"), ("top", "bottom")),
    3: (("right-hand side", "left-hand side"), ("front", "back"), ("lower end", "upper end")),
}
