"""Observers: how far they are from each other and from themselves, and where a model stands among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from anatomark.core.grid import Floats
from anatomark.evaluation.bootstrap import Bootstrap
from anatomark.evaluation.consensus import Consensus, consensus_of
from anatomark.evaluation.equivalence import equivalence
from anatomark.evaluation.metrics import RADII, describe_block
from anatomark.evaluation.placements import Placements
from anatomark.evaluation.rows import Answer, Rows


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
        return np.sqrt((self.error**2).sum(axis=-1))


def pairs_between(placements: Placements) -> Pairs:
    """Every two observers in every case, each by the first session."""
    single = placements.single
    return _pairs(placements, [(single[:, a], single[:, b], p, q) for (a, p), (b, q) in _two(placements.persons)])


def pairs_within(placements: Placements) -> Pairs:
    """Every two sessions of one observer in every case."""
    found = []
    for person in placements.persons:
        for a, b in combinations(placements.sessions(person), 2):
            names = placements.columns[a], placements.columns[b]
            found.append((placements.points[:, a], placements.points[:, b], *names))
    return _pairs(placements, found)


def _two(names: Sequence[str]) -> list[tuple[tuple[int, str], tuple[int, str]]]:
    return list(combinations(enumerate(names), 2))


def _pairs(placements: Placements, found: Sequence[tuple[Floats, Floats, str, str]]) -> Pairs:
    cases, first, second, rows = [], [], [], []
    for a, b, p, q in found:
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
) -> dict[str, Any] | None:
    """names, sessions, inter, intra, pairs, each, consensus and an empty model; None where nobody can be compared.

    `inter` describes the distances of every two observers (first sessions), `intra` those of every two sessions of one,
    or None. `pairs` has the same for each two observers, with the bias of the second against the first; `each` the
    distance of each observer to the consensus of the others (their sessions averaged), with its bias.
    """
    between, within = pairs_between(placements), pairs_within(placements)
    if not len(between.cases) and not len(within.cases):
        return None
    names = placements.names

    def told(error: Floats, subjects: Sequence[str], *, bias: bool) -> dict[str, Any]:
        distance = np.sqrt((error**2).sum(axis=-1))
        vectors = error if bias else None
        return describe_block(distance, names, error=vectors, radii=radii, subjects=subjects, bootstrap=bootstrap)

    pairs = []
    for two in dict.fromkeys(zip(between.first, between.second, strict=True)):
        of = [k for k, pair in enumerate(zip(between.first, between.second, strict=True)) if pair == two]
        block = told(between.error[of], [between.subjects[k] for k in of], bias=True)
        pairs.append({"between": list(two), "n_cases": len(of), **block})
    each = []
    for p, person in enumerate(placements.persons):
        error = placements.single[:, p] - _without(placements, p, consensus)
        of = np.flatnonzero(np.isfinite(error).any(axis=(1, 2)))
        if of.size:
            block = told(error[of], [placements.subjects[c] for c in of], bias=True)
            each.append({"observer": person, "against": f"{consensus} of the others", "n_cases": len(of), **block})
    return {
        "names": list(placements.persons),
        "sessions": {person: len(placements.sessions(person)) for person in placements.persons},
        "n_cases": len(set(between.cases) | set(within.cases)),
        "n_subjects": len(set(between.subjects) | set(within.subjects)),
        "inter": told(between.error, between.subjects, bias=False) if len(between.cases) else None,
        "intra": told(within.error, within.subjects, bias=False) if len(within.cases) else None,
        "intra_note": None if len(within.cases) else "no observer has several sessions in a case",
        "pairs": pairs,
        "each": each,
        "consensus": consensus,
        "model": [],
    }


def _without(placements: Placements, person: int, how: Consensus) -> Floats:
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
) -> list[dict[str, Any]]:
    """The model against each observer, every observer, the consensus, and the consensus without one; cases as `rows`.

    Each entry has `against`, `overall`, `landmarks` and `equivalence`, whose difference is the model's distance minus
    another observer's distance to the same point. It is None against the full consensus, which contains the observers
    themselves, so that their distance to it says too little.
    """
    persons, single = placements.persons, placements.single
    said = rows.answers == Answer.PRESENT
    to = [_distance(rows.predicted, said, single[:, p]) for p in range(len(persons))]
    between = np.full((len(persons), len(persons), *said.shape), np.nan)
    for p, q in combinations(range(len(persons)), 2):
        between[p, q] = between[q, p] = np.sqrt(((single[:, p] - single[:, q]) ** 2).sum(axis=-1))

    def entry(against: str, targets: Sequence[Floats], theirs: Floats | None) -> dict[str, Any]:
        """The model's distances to points (C, N, d) beside the observers' `theirs` (T, C, N) to the same."""
        scored = [_distance(rows.predicted, said, target) for target in targets]
        block = describe_block(
            np.concatenate(scored),
            rows.names,
            error=np.concatenate([rows.predicted - target for target in targets]),
            radii=radii,
            subjects=rows.subjects * len(targets),
            bootstrap=bootstrap,
        )
        if theirs is None:
            note = "the consensus contains the observers themselves; see the one without one"
            return {"against": against, **block, "equivalence": None, "equivalence_note": note}
        ours = np.where(np.isfinite(scored), scored, np.nan)
        # a target counts where both distances are known, and both means are over the same targets
        paired = np.isfinite(ours) & np.isfinite(theirs)
        difference = _mean(np.where(paired, ours - theirs, np.nan))
        test = equivalence(difference, rows.names, rows.subjects, bootstrap, margin)
        return {"against": against, **block, "equivalence": test}

    if not persons:
        return []
    others = [_mean(np.delete(between[p], p, axis=0)) if len(persons) > 1 else np.full(said.shape, np.nan)
              for p in range(len(persons))]  # fmt: skip
    entries = [entry(person, [single[:, p]], others[p][None]) for p, person in enumerate(persons) if _any(to[p])]
    if len(entries) > 1:
        entries.append(entry("every observer", [single[:, p] for p in range(len(persons))], np.stack(others)))
        entries.append(entry(f"consensus ({consensus})", [consensus_of(placements.average, consensus)], None))
    if len(entries) > 1 and len(persons) > 2:  # of two observers, the consensus without one is the other
        targets = [_without(placements, p, consensus) for p in range(len(persons))]
        theirs = [np.sqrt(((single[:, p] - t) ** 2).sum(axis=-1)) for p, t in enumerate(targets)]
        entries.append(entry(f"consensus without one ({consensus})", targets, np.stack(theirs)))
    return entries


def _distance(predicted: Floats, said: Any, target: Floats) -> Floats:
    """(C, N) distances, infinite where the target is there and was not found, NaN where it is not there."""
    distance = np.sqrt(((predicted - target) ** 2).sum(axis=-1))
    there = np.isfinite(target).all(axis=-1)
    return np.where(there, np.where(said & np.isfinite(distance), distance, np.inf), np.nan)


def _any(scored: Floats) -> bool:
    return bool((~np.isnan(scored)).any())


def _mean(stacked: Floats) -> Floats:
    """The mean over the first axis of what is no NaN; NaN where nothing is."""
    here = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        return np.where(here, stacked, 0).sum(axis=0) / here.sum(axis=0)
