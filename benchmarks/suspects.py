"""Whether wrong references are found: faults planted in a tenth of the cases of a split, many times over.

python -m benchmarks suspects ceph19 datasets/isbi2015_ceph.yaml --root DATA --split test1 --most 60
"""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.results import provenance, write
from benchmarks.suitability import damaged

if TYPE_CHECKING:
    from anatomark.evaluation.rows import Rows
    from anatomark.evaluation.suspects import Suspect
    from anatomark.methods.prediction import Prediction

FAULTS = ("mirrored file", "point moved", "cases swapped", "one pair exchanged", "all pairs exchanged")
MOVED = 10.0  # mm
SHARE = 0.1  # of the cases get a fault; a swap takes one more


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks suspects")
    parser.add_argument("model")
    parser.add_argument("dataset")
    parser.add_argument("--root", default=None)
    parser.add_argument("--split", required=True)
    parser.add_argument("--most", type=int, default=None, help="cases, the first of the split")
    parser.add_argument("--draws", type=int, default=100, help="times that faults are planted anew")
    parser.add_argument("--no-mirror", action="store_true", help="no mirrored files, which take a prediction each")
    options = parser.parse_args(arguments)

    from anatomark import load, load_dataset
    from anatomark.evaluation.check_references import rows_of

    dataset, model = load_dataset(options.dataset, options.root), load(options.model, device="cpu")
    cases = dataset.split(options.split)[: options.most]
    given, mirrored = [], []
    for case in cases:
        image = case.read_image()
        given.append(model.predict(image))
        if not options.no_mirror:
            copies = damaged(image, case.reference.select(model.names).points)
            mirrored.append(model.predict(next(copy for kind, copy, _ in copies if kind == "mirrored")))
    names = tuple(name for name in dataset.names if name in model.names)
    rows = rows_of(cases, given, names, model.names, dataset)
    other = rows_of(cases, mirrored, names, model.names, dataset) if mirrored else None
    result: dict[str, Any] = {"kind": "suspects", "model": Path(options.model).name, "dataset": dataset.name}
    result |= {"split": options.split, "cases": len(cases), "draws": options.draws, "moved": MOVED, "unit": rows.unit}
    result |= provenance(f"python -m benchmarks suspects {shlex.join(arguments)}")
    result |= counted(rows, other, dataset.pairs, (_unusual(rows, given), _unusual(rows, mirrored)), options.draws)
    print(write(f"suspects_{result['model']}_{dataset.name}_{options.split}", result))


def _unusual(rows: Rows, results: Sequence[Prediction]) -> dict[str, str]:
    pairs = zip(rows.cases, results, strict=False)
    return {case: result.unsuitable for case, result in pairs if result.unsuitable is not None}


def counted(
    rows: Rows,
    mirrored: Rows | None,
    pairs: Sequence[tuple[str, str]],
    unusual: tuple[Mapping[str, str], Mapping[str, str]],
    draws: int,
) -> dict[str, Any]:
    """How many of each planted fault are found, and with the right kind, and how many sound cases and points are named.

    `mirrored` are the rows as predicted in mirrored copies of all images, `unusual` the unusual ones as given and as
    mirrored.
    """
    from anatomark.evaluation.suspects import find_suspects

    planted: Counter[str] = Counter()
    found: Counter[str] = Counter()
    right: Counter[str] = Counter()
    sound: Counter[str] = Counter()
    rng = np.random.default_rng(0)
    for _ in range(draws):
        bad, faults = _planted(rows, mirrored, pairs, rng)
        flipped = [case for case, (fault, _) in faults.items() if fault == "mirrored file"]
        odd = {case: why for case, why in unusual[0].items() if case not in flipped}
        odd |= {case: why for case, why in unusual[1].items() if case in flipped}
        suspects = find_suspects(bad, pairs, odd)
        for case, (fault, landmarks) in faults.items():
            named = [s for s in suspects if s.case == case and (not landmarks or _names(s, landmarks))]
            planted[fault] += 1
            found[fault] += bool(named)
            right[fault] += any(s.kind in KINDS[fault] for s in named)
        whole = {s.case for s in suspects if s.kind != "far-point" and s.case not in faults}
        points = sum(s.kind == "far-point" and s.case not in faults for s in suspects)
        intact = np.array([case not in faults for case in bad.cases])
        sound.update({"cases": int(intact.sum()), "cases named": len(whole)})
        sound.update({"points": int(bad.found[intact].sum()), "points named": points})
    plain = find_suspects(rows, pairs, unusual[0])
    whole = len({s.case for s in plain if s.kind != "far-point"})
    table = [{"fault": f, "planted": planted[f], "found": found[f], "right": right[f]} for f in FAULTS if planted[f]]
    nothing = {"cases": len(rows.cases), "cases named": whole, "points": int(rows.found.sum())}
    nothing["points named"] = sum(s.kind == "far-point" for s in plain)
    return {"rows": table, "sound": dict(sound), "nothing planted": nothing}


KINDS = {  # {fault: what it is rightly called}
    "mirrored file": ("unusual-image",),
    "point moved": ("far-point",),
    "cases swapped": ("swapped",),
    "one pair exchanged": ("left-right",),
    "all pairs exchanged": ("left-right",),
}


def _with_a_pair(rows: Rows, couples: np.ndarray, order: Sequence[int]) -> int:
    """The first case of `order` with both landmarks of any of `couples` (P, 2)."""
    return next(i for i in order if rows.counted[i][couples].all(axis=1).any())


def _names(suspect: Suspect, landmarks: Sequence[str]) -> bool:
    """Whether a suspect is the whole case, or names one of the landmarks."""
    return not suspect.landmarks or bool(set(landmarks) & set(suspect.landmarks))


def _planted(
    rows: Rows, mirrored: Rows | None, pairs: Sequence[tuple[str, str]], rng: np.random.Generator
) -> tuple[Rows, dict[str, tuple[str, tuple[str, ...]]]]:
    """Rows with faults, and {case: (fault, the landmarks of it, none for a whole case)}."""
    kinds = ["point moved", "cases swapped"]
    kinds += ["mirrored file"] if mirrored is not None else []
    kinds += ["one pair exchanged", "all pairs exchanged"] if pairs else []
    order = rng.permutation(len(rows.cases)).tolist()
    reference, states, predicted = rows.reference.copy(), rows.states.copy(), rows.predicted.copy()
    answers, bound = rows.answers.copy(), rows.bound.copy()
    faults: dict[str, tuple[str, tuple[str, ...]]] = {}
    couples = np.array([(rows.names.index(a), rows.names.index(b)) for a, b in pairs], dtype=int).reshape(-1, 2)
    first, count = int(rng.integers(len(kinds))), max(1, round(SHARE * len(rows.cases)))
    for number in range(count):
        kind, i = kinds[(first + number) % len(kinds)], order.pop()
        if kind.endswith("exchanged"):
            i = _with_a_pair(rows, couples, [i, *order])
            order = [j for j in order if j != i]
        marks: tuple[str, ...] = ()
        if kind == "mirrored file" and mirrored is not None:
            predicted[i], answers[i], bound[i] = mirrored.predicted[i], mirrored.answers[i], mirrored.bound[i]
        elif kind == "point moved":
            k = int(rng.choice(np.flatnonzero(rows.counted[i])))
            way = rng.normal(size=reference.shape[-1])
            reference[i, k] += MOVED * way / np.linalg.norm(way)
            marks = (rows.names[k],)
        elif kind == "cases swapped":
            j = order.pop()
            reference[[i, j]], states[[i, j]] = reference[[j, i]], states[[j, i]]
            faults[rows.cases[j]] = (kind, ())
        else:
            both = couples[rows.counted[i][couples].all(axis=1)]
            chosen = both if kind == "all pairs exchanged" else both[rng.permutation(len(both))[:1]]
            reference[i, chosen] = reference[i, chosen[:, ::-1]]
            marks = tuple(rows.names[k] for k in chosen.ravel())
        faults[rows.cases[i]] = (kind, marks)
    bad = replace(rows, reference=reference, states=states, predicted=predicted, answers=answers, bound=bound)
    return bad, faults
