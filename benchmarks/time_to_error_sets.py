"""The sets of time_to_error: real ones by their descriptions, phantoms made once; each with cases that score a run.

A training never sees these cases, and draws its own validation cases from those it learns from. The one exception is
marked `chosen_by`: where no image is to spare, the cases that score also choose the weights, for every method alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.limited import REST, chosen_cases

if TYPE_CHECKING:
    from anatomark.data.cases import Case
    from anatomark.data.description import Dataset

HELD_OUT = "held out"
VALIDATION = "validation"  # a name that a training knows
SCORED_SHARE = 0.25  # of the subjects that are not in a test split
DESCRIPTIONS = Path(__file__).parents[1] / "datasets"


@dataclass(frozen=True)
class BenchmarkSet:
    """Where the cases come from, and what else is told to every method; `what` says it to a reader.

    A real set has the name of its `description`; `count` images to learn from, or all that do not score; `subjects`, a
    regular expression on the case name whose group is the subject, where the description has none. A phantom set has
    the arguments of `make_phantoms` in `phantoms`.
    """

    what: str
    description: str = ""
    learn: tuple[str, ...] = ("train",)
    tests: tuple[str, ...] = ("test",)
    count: int | None = None
    subjects: str = ""
    chosen_by: bool = False
    phantoms: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


_ONE_MM = MappingProxyType({"spacing": [1.0, 1.0]})
_CEPH = ("test1", "test2")


def _made(**given: Any) -> Mapping[str, Any]:
    return MappingProxyType({"absent": False, "seed": 0, **given})


SETS: Mapping[str, BenchmarkSet] = MappingProxyType(
    {
        "ceph_25": BenchmarkSet(
            "X-rays of the head, 19 points, 25 images at 1 mm", "isbi2015_ceph", tests=_CEPH, count=25, settings=_ONE_MM
        ),
        "ceph_150": BenchmarkSet(
            "the same, 150 images, a fifth of which choose the weights and score",
            "isbi2015_ceph",
            tests=_CEPH,
            chosen_by=True,
            settings=_ONE_MM,
        ),
        "cmf_ct": BenchmarkSet("CT of the face, 24 points", "cmf_ct", learn=("train", VALIDATION)),
        "jsrt_chest": BenchmarkSet("X-rays of the chest, 166 contour points", "jsrt_chest", learn=("train", "val")),
        "aasce_spine": BenchmarkSet(
            "X-rays of the spine, 68 corners of alike vertebrae",
            "aasce_spine",
            learn=("training",),
            subjects=r"^(.*-\d+)_[A-Z]+_AP$",
        ),
        "hippo_mr": BenchmarkSet("MR of the hippocampus, 6 points", "hippo_mr", learn=("train", VALIDATION)),
        "spine_2d": BenchmarkSet(
            "phantoms, 40 points on 8 alike vertebrae, 2D",
            phantoms=_made(ndim=2, cases=200, landmarks=40, vertebrae=8, shape=(224, 160), spacing=(1.0, 1.0)),
        ),
        "spine_3d": BenchmarkSet(
            "phantoms, 35 points on 7 alike vertebrae, 3D",
            phantoms=_made(ndim=3, cases=140, landmarks=35, vertebrae=7, shape=(80, 48, 48), spacing=(2.5, 2.5, 2.5)),
        ),
        "pose_2d": BenchmarkSet(
            "phantoms, 12 points, turned by up to 180 degrees, 2D",
            phantoms=_made(ndim=2, cases=200, landmarks=12, pose_degrees=180),
        ),
        "pose_3d": BenchmarkSet(
            "phantoms, 12 points, turned by up to 180 degrees about any axis, 3D",
            phantoms=_made(ndim=3, cases=140, landmarks=12, pose_degrees=180),
        ),
    }
)


@dataclass(frozen=True, eq=False)
class PreparedSet:
    """A Dataset whose split train is learned from; the split `scored` and the `tests` score what was learned."""

    dataset: Dataset
    scored: str
    tests: tuple[str, ...]
    settings: Mapping[str, Any]


def scored_split(name: str) -> str:
    """The split that scores the runs of a set."""
    return VALIDATION if SETS[name].chosen_by else HELD_OUT


def phantom_folder(name: str, folder: Path) -> Path:
    """Where the phantoms of a set lie below the `folder` of all runs."""
    return folder / "phantoms" / name


def prepare(name: str, folder: Path, *, seed: int, most: int | None, root: str | None = None) -> PreparedSet:
    """The set of that name for the runs of `seed`; at most `most` cases score, whichever method asks.

    Phantoms are made below `folder` where they are not there. SystemExit for a name there is not.
    """
    from anatomark import load_dataset

    if name not in SETS:
        raise SystemExit(f"no set {name!r}; there are: {', '.join(SETS)}")
    kind, scored = SETS[name], scored_split(name)
    described = DESCRIPTIONS / f"{kind.description}.yaml" if kind.description else _phantoms(name, folder)
    dataset = _with_subjects(load_dataset(described, root if kind.description else None), kind.subjects)
    if kind.count is not None:
        dataset = chosen_cases(dataset, kind.count, seed=seed, train_split=kind.learn[0])
        dataset = replace(dataset, cases=_renamed(dataset.cases, {REST: scored}))
    else:
        dataset = _with_scored(dataset, kind, scored)
    return PreparedSet(_with_at_most(dataset, scored, most), scored, kind.tests, kind.settings)


def _phantoms(name: str, folder: Path) -> Path:
    """The description of a phantom set, a quarter of whose cases score and another are the test."""
    from anatomark.data.phantoms import make_phantoms

    place = phantom_folder(name, folder)
    described = place / "dataset.yaml"  # the last file that is written
    if described.exists():
        return described
    return make_phantoms(place, splits={"train": 0.75, "test": 0.25}, **SETS[name].phantoms)


def _with_subjects(dataset: Dataset, pattern: str) -> Dataset:
    """With the subjects that `pattern` finds in the names of the cases; a case without a match is its own."""
    if not pattern:
        return dataset
    found = [re.match(pattern, case.id) for case in dataset.cases]
    named = [
        replace(case, subject=match.group(1)) if match else case
        for case, match in zip(dataset.cases, found, strict=True)
    ]
    return replace(dataset, cases=tuple(named))


def _with_scored(dataset: Dataset, kind: BenchmarkSet, scored: str) -> Dataset:
    """With a part of the subjects to learn from as the split `scored`, drawn once for all seeds and methods."""
    from anatomark.data.splits import split_validation

    usable = [case for case in dataset.cases if case.split in kind.learn and case.reference.annotated.any()]
    share = 0.2 if kind.chosen_by else SCORED_SHARE
    learned, scoring = split_validation(usable, share, seed=0)
    parts = {case.id: "train" for case in learned} | {case.id: scored for case in scoring}
    tests = {case.id: case.split for case in dataset.cases if case.split in kind.tests}
    every = {**parts, **tests}
    return replace(
        dataset, cases=tuple(replace(case, split=every[case.id]) for case in dataset.cases if case.id in every)
    )


def _with_at_most(dataset: Dataset, scored: str, most: int | None) -> Dataset:
    """Without the cases of the split `scored` beyond the first `most` of a permutation that is always the same.

    Of the cases that choose the weights none is left out.
    """
    scoring = [case.id for case in dataset.cases if case.split == scored]
    if most is None or len(scoring) <= most or scored == VALIDATION:
        return dataset
    order = np.random.default_rng(0).permutation(len(scoring))
    dropped = {scoring[k] for k in order[most:].tolist()}
    return replace(dataset, cases=tuple(case for case in dataset.cases if case.id not in dropped))


def _renamed(cases: Sequence[Case], names: Mapping[str, str]) -> tuple[Case, ...]:
    """With other names for these splits."""
    return tuple(replace(case, split=names.get(case.split or "", case.split)) for case in cases)
