"""compare: which of several predictions of the same cases is nearer to the reference, and how sure is that?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from anatomark.core.grid import Floats
from anatomark.data.description import Dataset, load_dataset
from anatomark.errors import SettingsError, UnknownNameError
from anatomark.evaluation.bootstrap import SAMPLES, Bootstrap, bootstrap_for, checked_samples
from anatomark.evaluation.compare_tables import compare_csv, compare_markdown, sentence
from anatomark.evaluation.comparison import Comparison, MethodScores, PairComparison, PairedScores
from anatomark.evaluation.holm_correction import holm_correction
from anatomark.evaluation.match_predictions import match_predictions
from anatomark.evaluation.metrics import RADII, checked_radii, describe_landmarks, interval_of
from anatomark.evaluation.predictions import read_predictions
from anatomark.evaluation.provenance import command_line, package_versions
from anatomark.evaluation.result import Interval, json_text, write_together
from anatomark.evaluation.rows import Rows, fingerprint
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.methods.prediction import PRESENCE_THRESHOLD

LEVEL = 0.05


def compare(
    dataset: Dataset | Path | str,
    predictions: Sequence[LandmarkTable | Path | str],
    *,
    names: Sequence[str] | None = None,
    split: str | None = None,
    frame: str | None = None,
    out: Path | str | None = None,
    root: Path | str | None = None,
    presence_threshold: float = PRESENCE_THRESHOLD,
    radii: Sequence[float] = RADII,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Comparison:
    """Paired differences between predictions; with `out`, also compare.json, compare.csv and compare.md there.

    Args:
        dataset: a data set, or the path of its dataset.yaml.
        predictions: two or more tables or files of any origin, as `evaluate` reads them.
        names: what they are called, by default after file or folder.
        split: score every case of this split; by default the cases that all of the predictions name.
        frame: LPS, RAS or pixel, for files that do not state theirs.
        out: folder for the files.
        root: folder that the data lie under, where the description does not say.
        presence_threshold: a presence below (0 to 1) predicts that the landmark is absent.
        radii: of the detection rates, in the unit of the data.
        samples: bootstrap resamples of the subjects; 0 for no intervals.
        seed: of the bootstrap.

    Returns:
        The keys of compare.json (`docs/evaluation.md`) as attributes; it reads as that document too. Its `sentences`
        are ready to print.

    Raises:
        SettingsError: there are fewer than two predictions, or an argument is out of range.
        FrameError: a frame is unknown, or a unit is wrong.
        UnknownNameError: a landmark or split is unknown, or no image is known.
        LandmarkFileError: predictions contradict each other.

    Examples:
        >>> compared = anatomark.compare("my_xrays/dataset.yaml", ["ours", "theirs.csv"], split="test")
        >>> compared.pairs[0].overall.difference  # mm, ours minus theirs
        -0.21
    """
    radii, samples = checked_radii(radii), checked_samples(samples)
    called = _checked_names(predictions, names)
    data = load_dataset(dataset, root) if isinstance(dataset, Path | str) else dataset
    every, left_out = _common_rows(data, predictions, frame, called, split, presence_threshold)
    bootstrap = bootstrap_for(every[0].subjects, samples, seed)
    methods = {name: _method_scores(rows, radii, bootstrap) for name, rows in zip(called, every, strict=True)}
    pairs = _compare_pairs(called, every, radii, bootstrap)
    files = [
        str(given) if isinstance(given, Path | str) else f"{name}.csv"
        for given, name in zip(predictions, called, strict=True)
    ]
    described = dataset if isinstance(dataset, Path | str) else data.path or data.name
    options = {"frame": frame, "split": split, "root": root, "radii": radii if radii != RADII else None,
               "samples": samples if samples != SAMPLES else None, "seed": seed or None, "out": out}  # fmt: skip
    comparison = Comparison(
        dataset=data.name,
        split=split,
        unit=data.unit,
        n_cases=len(every[0].cases),
        n_subjects=len(bootstrap.subjects),
        left_out=left_out,
        radii=list(radii),
        bootstrap=bootstrap.settings,
        methods=methods,
        pairs=pairs,
        sentences=[sentence(pair, methods, data.unit, samples) for pair in pairs],
        versions=package_versions("numpy", "scipy"),
        command=command_line("compare", [str(described), *files], options),
    )
    if out is not None:
        texts = {"compare.csv": compare_csv(comparison), "compare.md": compare_markdown(comparison)}
        write_together(Path(out), texts | {"compare.json": json_text(comparison)})
    return comparison


def _checked_names(predictions: Sequence[LandmarkTable | Path | str], names: Sequence[str] | None) -> list[str]:
    """What each of the predictions is called; SettingsError unless there are two or more with different names."""
    if len(predictions) < 2:
        raise SettingsError(f"{len(predictions)} predictions; give two or more to compare")
    called = list(names) if names is not None else labels(predictions)
    if len(called) != len(predictions) or len(set(called)) < len(called):
        raise SettingsError(f"the names are {', '.join(called)}; give {len(predictions)} different names")
    return called


def _common_rows(
    dataset: Dataset,
    predictions: Sequence[LandmarkTable | Path | str],
    frame: str | None,
    names: Sequence[str],
    split: str | None,
    threshold: float,
) -> tuple[list[Rows], list[str]]:
    """The rows of each of the predictions, of the cases that all of them name, and the other cases."""
    every: list[Rows] = []
    for name, given in zip(names, predictions, strict=True):
        rows = _matched_rows(dataset, given, frame, f"the predictions {name}", split, threshold)
        if every and rows.cases == every[0].cases:  # one reference serves all
            rows = replace(rows, reference=every[0].reference, states=every[0].states)
        every.append(rows)
    cases = [set(rows.cases) for rows in every]
    shared = set.intersection(*cases)
    common = [case for case in every[0].cases if case in shared]
    if not common:
        raise UnknownNameError("the predictions have no case in common; compare predictions of the same images")
    left_out = sorted(set.union(*cases) - shared)
    return [rows.of_cases(common) for rows in every], left_out


def _matched_rows(
    dataset: Dataset,
    given: LandmarkTable | Path | str,
    frame: str | None,
    source: str,
    split: str | None,
    threshold: float,
) -> Rows:
    """The rows of some predictions, without what no comparison needs."""
    table = given
    if not isinstance(table, LandmarkTable):
        table = read_predictions(table, frame=frame, dataset=dataset, stated_wins=True)
    rows = match_predictions(dataset, table, split=split, presence_threshold=threshold, source=source).rows
    return replace(rows, spread=np.empty(0), bound=np.empty(0), withheld=np.empty(0, dtype=bool))


def labels(predictions: Sequence[LandmarkTable | Path | str]) -> list[str]:
    """What predictions are called: after the file, or where files are called alike also after their folder."""
    paths = [Path(p) if isinstance(p, Path | str) else None for p in predictions]
    names = [f"table {k}" if path is None else path.name.split(".")[0] for k, path in enumerate(paths, 1)]
    plain = list(names)
    for depth in (1, 2, 3):
        if len(set(names)) == len(names):
            break
        for k, path in enumerate(paths):
            if path is not None and plain.count(plain[k]) > 1:
                folders = "/".join(path.absolute().parts[-1 - depth : -1])
                names[k] = folders if plain[k] == "predictions" else f"{folders}/{plain[k]}"
    return names


def _method_scores(rows: Rows, radii: Sequence[float], bootstrap: Bootstrap) -> MethodScores:
    scores = describe_landmarks(
        rows.scored, rows.names, error=rows.error, radii=radii, subjects=rows.subjects, bootstrap=bootstrap
    )
    return MethodScores(scores.overall, scores.landmarks, fingerprint(rows))


def _compare_pairs(
    names: Sequence[str], every: Sequence[Rows], radii: Sequence[float], bootstrap: Bootstrap
) -> list[PairComparison]:
    """Every two predictions; the p-values over all landmarks are corrected over the pairs."""
    pairs = [
        _compare_pair(names[a], names[b], every[a], every[b], radii, bootstrap)
        for a, b in combinations(range(len(every)), 2)
    ]
    corrected = holm_correction([pair.overall.p for pair in pairs])
    return [
        replace(pair, overall=_corrected(pair.overall, p, pair.a, pair.b))
        for pair, p in zip(pairs, corrected, strict=True)
    ]


def _compare_pair(
    name_a: str, name_b: str, a: Rows, b: Rows, radii: Sequence[float], bootstrap: Bootstrap
) -> PairComparison:
    """All landmarks together, not corrected yet, and each, corrected over the landmarks."""
    overall, *landmarks = _paired_scores(a, b, radii, bootstrap)
    corrected = holm_correction([line.p for line in landmarks])
    lines = [_corrected(line, p, name_a, name_b) for line, p in zip(landmarks, corrected, strict=True)]
    return PairComparison(name_a, name_b, overall, dict(zip(a.names, lines, strict=True)))


def _paired_scores(a: Rows, b: Rows, radii: Sequence[float], bootstrap: Bootstrap) -> list[PairedScores]:
    """All landmarks together and each, with p-values that are not corrected."""
    paired = a.found & b.found
    differences = _means(np.where(paired, a.radial - b.radial, np.nan), a.subjects, bootstrap)
    rates: dict[str, list[_Mean]] = {}
    for r in radii:
        within = (a.scored <= r) * 100.0 - (b.scored <= r) * 100.0
        rates[f"{r:g}"] = _means(np.where(a.counted, within, np.nan), a.subjects, bootstrap)
    both, only_a, only_b = (
        [int(counts.sum()), *counts.sum(axis=0).tolist()] for counts in (paired, a.found & ~b.found, b.found & ~a.found)
    )
    return [
        PairedScores(
            n=both[k],
            only_a=only_a[k],
            only_b=only_b[k],
            difference=difference.value,
            interval=difference.interval,
            n_subjects=len(difference.of_subjects),
            p=signed_rank(difference.of_subjects),
            sdr_difference={radius: means[k].value for radius, means in rates.items()},
            sdr_interval={radius: means[k].interval for radius, means in rates.items()},
        )
        for k, difference in enumerate(differences)
    ]


def _corrected(line: PairedScores, p: float | None, a: str, b: str) -> PairedScores:
    """With the corrected p-value, and the name of the better one where the difference is significant."""
    better = None
    if line.difference is not None and p is not None and p < LEVEL:
        better = a if line.difference < 0 else b
    return replace(line, p_holm=p, better=better)


@dataclass(frozen=True, eq=False)
class _Mean:
    """A mean with its interval, None where nothing is known; `of_subjects` are the means of those that have any."""

    value: float | None
    interval: Interval | None
    of_subjects: Floats


def _means(values: Floats, subjects: Sequence[str], bootstrap: Bootstrap) -> list[_Mean]:
    """The means of values (C, N), NaN left out: of all together, and of each column."""
    known = ~np.isnan(values)
    values = np.where(known, values, 0)
    totals, counts = (
        np.column_stack([bootstrap.totals(block.sum(axis=1)[:, None], subjects), bootstrap.totals(block, subjects)])
        for block in (values, known)
    )
    limits = np.full((2, totals.shape[1]), np.nan)
    if bootstrap.possible:
        with np.errstate(invalid="ignore"):
            limits = bootstrap.interval(bootstrap.sums(totals) / bootstrap.sums(counts))
    means: list[_Mean] = []
    for k in range(totals.shape[1]):
        any_known = counts[:, k] > 0
        value = float(totals[:, k].sum() / counts[:, k].sum()) if any_known.any() else None
        interval = interval_of(limits[:, k]) if any_known.sum() > 1 else None
        means.append(_Mean(value, interval, totals[any_known, k] / counts[any_known, k]))
    return means


def signed_rank(differences: NDArray[np.float64]) -> float | None:
    """The p-value of Wilcoxon's signed-rank test, two-sided, of one difference a subject; zeros are left out.

    1 where all are zero, None where there is none. Differences that are zero but for rounding are zero.
    """
    if not len(differences):
        return None
    differences = differences.round(9)
    differences = differences[differences != 0]
    if not len(differences):
        return 1.0
    result: Any = wilcoxon(differences)
    return float(result.pvalue)
