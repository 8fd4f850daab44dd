"""What the cases of a training teach of the detector's own predictions, when its networks have learned.

Bounds and scale of the error, what is usual in suitable images, and what tells landmarks outside of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anatomark.card import change_in_view
from anatomark.core.grid import Floats, Unit
from anatomark.data.cache import Cache, CachedCase, PreparedCases, mirrored_order
from anatomark.methods import deep_features
from anatomark.methods.appearance import MOST, Nodes
from anatomark.methods.error_bound import ErrorBounds
from anatomark.methods.error_scale import NAME as ERROR_SCALE
from anatomark.methods.error_scale import ErrorScale, evidence_of, unseen_scales
from anatomark.methods.in_view import InView, expected_places
from anatomark.methods.interface import AnyDetector, Located, features_of, masses_of
from anatomark.methods.suitability import Suitability, Usual
from anatomark.model import Member, Model
from anatomark.training.blind_spots import blind_spots
from anatomark.training.calibration_cases import BY_VALIDATION
from anatomark.training.cut_copies import learn_in_view
from anatomark.training.own_world import own_grid, own_located, own_world

if TYPE_CHECKING:
    import torch

    from anatomark.data.description import Case

NO_VALIDATION = "no validation case was kept from training; calibrate with anatomark calibrate RUN DATASET --split NAME"


@dataclass(frozen=True, eq=False)
class Learned:
    """All that is learned; what could not be is None, or withheld."""

    bounds: ErrorBounds
    suitability: Suitability
    in_view: InView | None = None
    error_scale: ErrorScale | None = None

    def save(self, folder: Path) -> None:
        """Write all into the run folder of a model, in place of what was there."""
        self.suitability.save(folder)
        change_in_view(folder, self.in_view)
        if self.error_scale is None:
            (folder / ERROR_SCALE).unlink(missing_ok=True)
        else:
            self.error_scale.save(folder)
        self.bounds.save(folder)


def learned_again(
    model: Model,
    taught: Sequence[Case],
    cases: Sequence[Case],
    located: Sequence[Sequence[Located]],
    references: Floats,
) -> Learned:
    """For a model of one member, from the cases that its network was `taught` by, and what it has `located` in its V
    validation `cases`, with their `references` (V, N, d)."""
    import torch

    (member,) = model.members
    training, validation = (
        PreparedCases(part, member.place, role, model.names, member.detector.network.sampling)
        for part, role in ((taught, "train"), (cases, "validation"))
    )
    shapes = np.stack([case.reference.select(model.names).points for case in taught])
    seen = _Seen(shapes, training, validation, located, references, [case.subject for case in cases])
    device = torch.device(model.device)
    return _learned(seen, member.detector, device, names=model.names, pairs=model.pairs, unit=model.unit)


def learn_from_cache(detector: AnyDetector, cache: Cache, device: torch.device, *, unit: Unit) -> Learned:
    """From the cases in its `cache`, for a detector whose training has just ended."""
    cases = [case for case in cache.validation if np.isfinite(case.points_world).any()]
    shape = cache.cases[0].points_world.shape
    shapes = np.stack([*np.empty((0, *shape)), *(own_world(case, case.points_world) for case in cache.training)])
    if not cases:
        suitability = Suitability.learned(shapes, *np.empty((2, 0, *shape)))
        return Learned(ErrorBounds.withheld(cache.names, NO_VALIDATION), suitability)
    located = [own_located(case, detector, device) for case in cases]
    references = np.stack([own_world(case, case.points_world) for case in cases])
    seen = _Seen(shapes, cache.training, cases, located, references, [case.subject for case in cases])
    return _learned(seen, detector, device, names=cache.names, pairs=cache.pairs, unit=unit)


@dataclass(frozen=True, eq=False)
class _Seen:
    """M training cases with their `shapes` (M, N, d); V validation cases of `subjects`, with what was `located` in
    each, and their `references` (V, N, d). All points are in the worlds of the cases' images."""

    shapes: Floats
    training: Sequence[CachedCase]
    validation: Sequence[CachedCase]
    located: Sequence[Sequence[Located]]
    references: Floats
    subjects: Sequence[str]


def _learned(
    seen: _Seen,
    detector: AnyDetector,
    device: torch.device,
    *,
    names: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    unit: Unit,
) -> Learned:
    points = np.stack([stages[-1].points_world for stages in seen.located])
    masses = np.stack([masses_of(stages) for stages in seen.located])
    errors, spread = radial(points, seen.references), np.stack([stages[-1].spread for stages in seen.located])
    suitability = Suitability.learned(seen.shapes, points, seen.references, masses)
    scale = None
    if (usual := suitability.usual) is not None:
        nodes = Nodes.around(usual.typical, usual.turn, mirrored_order(names, pairs))
        taught = _appearances_by_references(nodes, usual, seen)
        found, evidence = _appearances_and_evidence(nodes, usual, seen)
        suitability = suitability.with_appearance(nodes, taught, found)
        suitability = suitability.with_features(*_summaries(seen, detector, device))
        scale = ErrorScale.learned(errors, evidence)
        spread = spread if scale is None else unseen_scales(errors, evidence, seen.subjects)
    in_view = learn_in_view(detector, suitability, seen.validation, points, masses, device)
    bounds = ErrorBounds.fitted(errors, spread, subjects=seen.subjects, names=names, unit=unit, source=BY_VALIDATION)
    member = Member(detector, None, suitability, in_view, scale)
    suitability = replace(suitability, blind=blind_spots(member, seen.validation, errors, device))
    return Learned(bounds, suitability, in_view, scale)


def _appearances_by_references(nodes: Nodes, usual: Usual, seen: _Seen) -> Floats:
    """(M', K) what training images, MOST at most, show at the `nodes` by their references."""
    cases = ((seen.shapes[k], seen.training[k]) for k in _evenly(len(seen.training), MOST))
    return np.stack([nodes.seen(usual.typical, points, case.image, case.matrix) for points, case in cases])


def _summaries(seen: _Seen, detector: AnyDetector, device: torch.device) -> tuple[Floats, Floats]:
    """The summaries of features of training images (M', F), a few of them, and of validation images (V, F).

    None of either, (0, 0), where there are too few validation images, or the method has no features.
    """
    found = [features.summary for located in seen.located if (features := features_of(located)) is not None]
    if len(found) < deep_features.FEWEST:
        return np.empty((0, 0)), np.empty((0, 0))
    chosen = _evenly(len(seen.training), deep_features.MOST)
    taught = [features_of(detector.locate(seen.training[k].image, device)) for k in chosen]
    return np.stack([features.summary for features in taught if features is not None]), np.stack(found)


def _evenly(count: int, most: int) -> list[int]:
    """The numbers of `count` cases, or of `most` of them."""
    return np.unique(np.linspace(0, count - 1, most).round().astype(int)).tolist()


def _appearances_and_evidence(nodes: Nodes, usual: Usual, seen: _Seen) -> tuple[Floats, Floats]:
    """What validation images show at the `nodes` by the points found in them (V, K), and what the answers of all stages
    say of each landmark (V, N, F); each image is prepared once."""
    shown: list[Floats] = []
    evidence: list[Floats] = []
    for case, located, reference in zip(seen.validation, seen.located, seen.references, strict=True):
        points = located[-1].points_world
        there = np.where(np.isfinite(reference), points, np.nan)
        shown.append(nodes.seen(usual.typical, there, case.image, case.matrix))
        places = expected_places(usual, own_grid(case), points, masses_of(located))
        evidence.append(evidence_of(located, places, usual.extent))
    return np.stack(shown), np.stack(evidence)


def radial(found: Floats, reference: Floats) -> Floats:
    """(..., N) distances of points (..., N, d); NaN where the reference has none."""
    return np.sqrt(((found - reference) ** 2).sum(axis=-1))
