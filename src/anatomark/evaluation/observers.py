"""Observers: how far they are from each other and from themselves, and where a model stands among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from anatomark.core.grid import Floats
from anatomark.evaluation.bootstrap import Bootstrap
from anatomark.evaluation.consensus import Consensus, consensus_of
from anatomark.evaluation.equivalence import Equivalence, equivalence
from anatomark.evaluation.metrics import RADII, ErrorScores, ScoreTable, describe_landmarks
from anatomark.evaluation.placements import Placements
from anatomark.evaluation.result import ONLY_IF_KNOWN, Result
from anatomark.evaluation.rows import Answer, Rows


@dataclass(frozen=True)
class PairScores(Result):
    """Distances `between` two observers in `n_cases`; the bias is of the second against the first."""

    between: tuple[str, str]
    n_cases: int
    overall: ErrorScores
    landmarks: Mapping[str, ErrorScores]


@dataclass(frozen=True)
class ObserverScores(Result):
    """Distances of an `observer` to what `against` names, the consensus of the others, in `n_cases`."""

    observer: str
    against: str
    n_cases: int
    overall: ErrorScores
    landmarks: Mapping[str, ErrorScores]


@dataclass(frozen=True)
class PredictionScores(Result):
    """Distances of the predictions to the points of `against`, and their equivalence with an observer, if tested."""

    against: str
    overall: ErrorScores
    landmarks: Mapping[str, ErrorScores]
    equivalence: Equivalence | None
    equivalence_note: str | None = field(default=None, metadata=ONLY_IF_KNOWN)


@dataclass(frozen=True)
class ObserverStatistics(Result):
    """How far observers are apart, in the unit of the data.

    `sessions` {observer: how many}. `inter` has the distances of every two observers in every case (first sessions),
    `intra` those of every two sessions of one observer, `pairs` those of each two observers, `each` the distance of
    each observer to the consensus of the others (whose sessions are averaged). `model` is the predictions among the
    observers, empty where there are none.
    """

    names: Sequence[str]
    sessions: Mapping[str, int]
    n_cases: int
    n_subjects: int
    inter: ScoreTable | None
    intra: ScoreTable | None
    intra_note: str | None
    pairs: Sequence[PairScores]
    each: Sequence[ObserverScores]
    consensus: Consensus
    model: Sequence[PredictionScores] = ()


@dataclass(frozen=True, eq=False)
class Pairs:
    """M pairs of placements in one case each: error vectors (M, N, d) second minus first, and whose they are."""

    cases: tuple[str, ...]
    subjects: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]
    error: Floats

    @property
    def distance(self) -> Floats:
        """(M, N) distances, NaN where not both marked the landmark as present."""
        return _length(self.error)


def pairs_between(placements: Placements) -> Pairs:
    """Every two observers in every case, each by the first session."""
    single = placements.single
    every_two = combinations(enumerate(placements.persons), 2)
    return _pairs(placements, [(single[:, a], single[:, b], p, q) for (a, p), (b, q) in every_two])


def pairs_within(placements: Placements) -> Pairs:
    """Every two sessions of one observer in every case."""
    sessions = []
    for person in placements.persons:
        for a, b in combinations(placements.sessions(person), 2):
            names = placements.columns[a], placements.columns[b]
            sessions.append((placements.points[:, a], placements.points[:, b], *names))
    return _pairs(placements, sessions)


def _pairs(placements: Placements, columns: Sequence[tuple[Floats, Floats, str, str]]) -> Pairs:
    """The pairs of (points, points, name, name), in the cases that both have."""
    cases, first, second, rows = [], [], [], []
    for a, b, p, q in columns:
        error = b - a
        for c in np.flatnonzero(np.isfinite(error).any(axis=(1, 2))).tolist():
            cases.append(c)
            first.append(p)
            second.append(q)
            rows.append(error[c])
    shape = placements.points.shape[2:]
    return Pairs(
        tuple(placements.cases[c] for c in cases),
        tuple(placements.subjects[c] for c in cases),
        tuple(first),
        tuple(second),
        np.array(rows).reshape(len(rows), *shape),
    )


def observer_statistics(
    placements: Placements,
    *,
    radii: Sequence[float] = RADII,
    consensus: Consensus = "mean",
    bootstrap: Bootstrap,
) -> ObserverStatistics | None:
    """The statistics of the observers in `placements`; None where no two placements can be compared."""
    between, within = pairs_between(placements), pairs_within(placements)
    if not len(between.cases) and not len(within.cases):
        return None

    def scores(error: Floats, subjects: Sequence[str], *, bias: bool) -> ScoreTable:
        vectors = error if bias else None
        distance = _length(error)
        return describe_landmarks(
            distance, placements.names, error=vectors, radii=radii, subjects=subjects, bootstrap=bootstrap
        )

    pairs, whose = [], list(zip(between.first, between.second, strict=True))
    for pair in dict.fromkeys(whose):
        rows = [k for k, other in enumerate(whose) if other == pair]
        table = scores(between.error[rows], [between.subjects[k] for k in rows], bias=True)
        pairs.append(PairScores(pair, len(rows), table.overall, table.landmarks))
    each = []
    for p, person in enumerate(placements.persons):
        error = placements.single[:, p] - _consensus_without(placements, p, consensus)
        rows = np.flatnonzero(np.isfinite(error).any(axis=(1, 2))).tolist()
        if rows:
            table = scores(error[rows], [placements.subjects[c] for c in rows], bias=True)
            against = f"{consensus} of the others"
            each.append(ObserverScores(person, against, len(rows), table.overall, table.landmarks))
    return ObserverStatistics(
        names=list(placements.persons),
        sessions={person: len(placements.sessions(person)) for person in placements.persons},
        n_cases=len(set(between.cases) | set(within.cases)),
        n_subjects=len(set(between.subjects) | set(within.subjects)),
        inter=scores(between.error, between.subjects, bias=False) if len(between.cases) else None,
        intra=scores(within.error, within.subjects, bias=False) if len(within.cases) else None,
        intra_note=None if len(within.cases) else "no observer has several sessions in a case",
        pairs=pairs,
        each=each,
        consensus=consensus,
    )


def _consensus_without(placements: Placements, person: int, how: Consensus) -> Floats:
    """(C, N, d) the consensus of all observers but one."""
    others = [p for p in range(len(placements.persons)) if p != person]
    return consensus_of(placements.average[:, others], how)


def model_among_observers(
    rows: Rows,
    placements: Placements,
    *,
    radii: Sequence[float] = RADII,
    consensus: Consensus = "mean",
    bootstrap: Bootstrap,
    margin: float,
) -> list[PredictionScores]:
    """The model against each observer, every observer, the consensus, and the consensus without one; cases as `rows`.

    The difference that `equivalence` tests is the model's distance minus another observer's distance to the same point.
    There is no test against the full consensus, which contains the observers themselves, so that their distance to it
    says too little.
    """
    persons, single = placements.persons, placements.single
    if not persons:
        return []

    def against(name: str, targets: Sequence[Floats], observers: Floats | None) -> PredictionScores:
        """The model's distances to `targets` (C, N, d) beside the `observers`' (T, C, N) to the same."""
        return _prediction_scores(name, rows, targets, observers, radii, bootstrap, margin)

    to_others = _distances_to_others(single)
    marked = [bool((~np.isnan(_scored(rows, single[:, p]))).any()) for p in range(len(persons))]
    entries = [against(name, [single[:, p]], to_others[p][None]) for p, name in enumerate(persons) if marked[p]]
    if len(entries) > 1:
        entries.append(against("every observer", [single[:, p] for p in range(len(persons))], to_others))
        entries.append(against(f"consensus ({consensus})", [consensus_of(placements.average, consensus)], None))
    if len(entries) > 1 and len(persons) > 2:  # of two observers, the consensus without one is the other
        targets = [_consensus_without(placements, p, consensus) for p in range(len(persons))]
        left_out = np.stack([_length(single[:, p] - target) for p, target in enumerate(targets)])
        entries.append(against(f"consensus without one ({consensus})", targets, left_out))
    return entries


def _prediction_scores(
    against: str,
    rows: Rows,
    targets: Sequence[Floats],
    observers: Floats | None,
    radii: Sequence[float],
    bootstrap: Bootstrap,
    margin: float,
) -> PredictionScores:
    """The predictions against T targets (C, N, d), and the test beside the `observers`' distances (T, C, N) to them."""
    scored = [_scored(rows, target) for target in targets]
    table = describe_landmarks(
        np.concatenate(scored),
        rows.names,
        error=np.concatenate([rows.predicted - target for target in targets]),
        radii=radii,
        subjects=rows.subjects * len(targets),
        bootstrap=bootstrap,
    )
    if observers is None:
        note = "the consensus contains the observers themselves; see the one without one"
        return PredictionScores(against, table.overall, table.landmarks, None, note)
    predicted = np.where(np.isfinite(scored), scored, np.nan)
    # a target counts where both distances are known, and both means are over the same targets
    paired = np.isfinite(predicted) & np.isfinite(observers)
    difference = _mean(np.where(paired, predicted - observers, np.nan))
    test = equivalence(difference, rows.names, rows.subjects, bootstrap, margin)
    return PredictionScores(against, table.overall, table.landmarks, test)


def _distances_to_others(single: Floats) -> Floats:
    """(P, C, N) the mean distance of the other observers to each one's points (C, P, N, d), NaN where none has both."""
    cases, persons, names, _ = single.shape
    if persons < 2:
        return np.full((persons, cases, names), np.nan)
    distance = np.full((persons, persons, cases, names), np.nan)
    for p, q in combinations(range(persons), 2):
        distance[p, q] = distance[q, p] = _length(single[:, p] - single[:, q])
    return np.stack([_mean(np.delete(distance[p], p, axis=0)) for p in range(persons)])


def _scored(rows: Rows, target: Floats) -> Floats:
    """(C, N) distances of the predictions to points (C, N, d), infinite where missed, NaN where there is no point."""
    distance = _length(rows.predicted - target)
    found = (rows.answers == Answer.PRESENT) & np.isfinite(distance)
    marked = np.isfinite(target).all(axis=-1)
    return np.where(marked, np.where(found, distance, np.inf), np.nan)


def _length(vectors: Floats) -> Floats:
    return np.sqrt((vectors**2).sum(axis=-1))


def _mean(stacked: Floats) -> Floats:
    """The mean over the first axis of what is not NaN; NaN where nothing is."""
    known = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        return np.where(known, stacked, 0).sum(axis=0) / known.sum(axis=0)
