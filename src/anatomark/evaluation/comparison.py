"""What `compare` returns, and writes as compare.json; `docs/evaluation.md` explains the keys to readers of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anatomark.core.grid import Unit
from anatomark.evaluation.bootstrap import BootstrapSettings
from anatomark.evaluation.metrics import ErrorScores
from anatomark.evaluation.result import Interval, Report, Result


@dataclass(frozen=True)
class MethodScores(Result):
    """The scores of one of the predictions; `fingerprint` is a SHA-256 of its cases, reference and predictions."""

    overall: ErrorScores
    landmarks: Mapping[str, ErrorScores]
    fingerprint: str


@dataclass(frozen=True)
class PairedScores(Result):
    """Radial errors of a minus those of b, in the unit of the data, over the `n` landmarks that both found.

    `only_a` and `only_b` were found by one alone. `p` is of Wilcoxon's signed-rank test of the mean differences of
    `n_subjects`, `p_holm` is corrected; `better` names the one whose error is smaller where `p_holm` is below 0.05.
    `sdr_difference` {radius: percent of a minus percent of b} counts misses as failures in both.
    """

    n: int
    only_a: int
    only_b: int
    difference: float | None
    interval: Interval | None
    n_subjects: int
    p: float | None
    sdr_difference: Mapping[str, float | None]
    sdr_interval: Mapping[str, Interval | None]
    p_holm: float | None = None
    better: str | None = None


@dataclass(frozen=True)
class PairComparison(Result):
    """The predictions called `a` and `b`, compared over all landmarks and for each."""

    a: str
    b: str
    overall: PairedScores
    landmarks: Mapping[str, PairedScores]


@dataclass(frozen=True, eq=False)
class Comparison(Report):
    """Paired differences between predictions of the same cases. Lengths are in `unit`, rates in percent.

    `left_out` are cases that not all predictions name; `methods` {name: scores}; `sentences` has one for each of
    `pairs`, as a paper would print it.
    """

    dataset: str
    split: str | None
    unit: Unit
    n_cases: int
    n_subjects: int
    left_out: Sequence[str]
    radii: Sequence[float]
    bootstrap: BootstrapSettings
    methods: Mapping[str, MethodScores]
    pairs: Sequence[PairComparison]
    sentences: Sequence[str]
    versions: Mapping[str, str]
    command: str
