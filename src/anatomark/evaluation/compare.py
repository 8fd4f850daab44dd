"""compare: which of several predictions of the same cases is nearer to the reference, and how sure is that?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
from anatomark.formats.table import LandmarkTable
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
    every, left_out = _common_rows(data, _read_tables(data, predictions, frame), called, split, presence_threshold)
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


def _read_tables(
    dataset: Dataset, predictions: Sequence[LandmarkTable | Path | str], frame: str | None
) -> list[LandmarkTable]:
    return [
        read_predictions(p, frame=frame, dataset=dataset, stated_wins=True) if isinstance(p, Path | str) else p
        for p in predictions
    ]


def _common_rows(
    dataset: Dataset, tables: Sequence[LandmarkTable], names: Sequence[str], split: str | None, threshold: float
) -> tuple[list[Rows], list[str]]:
    """The rows of each table, of the cases that all of them name, and the other cases."""
    every = [
        match_predictions(
            dataset, table, split=split, presence_threshold=threshold, source=f"the predictions {name}"
        ).rows
        for name, table in zip(names, tables, strict=True)
    ]
    common = [case for case in every[0].cases if all(case in set(rows.cases) for rows in every[1:])]
    if not common:
        raise UnknownNameError("the predictions have no case in common; compare predictions of the same images")
    left_out = sorted({case for rows in every for case in rows.cases} - set(common))
    return [rows.of_cases(common) for rows in every], left_out


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
    overall, *landmarks = [
        _paired_scores(a, b, columns, radii, bootstrap)
        for columns in (slice(None), *([k] for k in range(len(a.names))))
    ]
    corrected = holm_correction([line.p for line in landmarks])
    lines = [_corrected(line, p, name_a, name_b) for line, p in zip(landmarks, corrected, strict=True)]
    return PairComparison(name_a, name_b, overall, dict(zip(a.names, lines, strict=True)))


def _paired_scores(
    a: Rows, b: Rows, columns: slice | list[int], radii: Sequence[float], bootstrap: Bootstrap
) -> PairedScores:
    """The landmarks of these columns together, with p-values that are not corrected."""
    found_a, found_b, counted = (block[:, columns] for block in (a.found, b.found, a.counted))
    paired = found_a & found_b
    totals, counts = _by_subject(
        np.where(paired, a.radial[:, columns] - b.radial[:, columns], np.nan), a.subjects, bootstrap
    )
    difference, interval = _mean(totals, counts, bootstrap)
    rates = {}
    for r in radii:
        within_a, within_b = (rows.scored[:, columns] <= r for rows in (a, b))
        rate = np.where(counted, within_a * 100.0 - within_b * 100.0, np.nan)
        rates[f"{r:g}"] = _mean(*_by_subject(rate, a.subjects, bootstrap), bootstrap)
    return PairedScores(
        n=int(paired.sum()),
        only_a=int((found_a & ~found_b).sum()),
        only_b=int((found_b & ~found_a).sum()),
        difference=difference,
        interval=interval,
        n_subjects=int((counts > 0).sum()),
        p=signed_rank(totals[counts > 0] / counts[counts > 0]),
        sdr_difference={radius: mean for radius, (mean, _) in rates.items()},
        sdr_interval={radius: limits for radius, (_, limits) in rates.items()},
    )


def _corrected(line: PairedScores, p: float | None, a: str, b: str) -> PairedScores:
    """With the corrected p-value, and the name of the better one where the difference is significant."""
    better = None
    if line.difference is not None and p is not None and p < LEVEL:
        better = a if line.difference < 0 else b
    return replace(line, p_holm=p, better=better)


def _by_subject(values: Floats, subjects: Sequence[str], bootstrap: Bootstrap) -> tuple[Floats, Floats]:
    """(S,) sums of values (C, K) and how many they are, NaN left out."""
    known = ~np.isnan(values)
    sums = np.column_stack([np.where(known, values, 0).sum(axis=1), known.sum(axis=1)])
    totals, counts = bootstrap.totals(sums, subjects).T
    return totals, counts


def _mean(totals: Floats, counts: Floats, bootstrap: Bootstrap) -> tuple[float | None, Interval | None]:
    """The mean of all values, from their sum and number (S,) by subject, and its interval."""
    if not counts.any():
        return None, None
    mean = float(totals.sum() / counts.sum())
    if not bootstrap.possible or (counts > 0).sum() < 2:
        return mean, None
    sums = bootstrap.sums(np.column_stack([totals, counts]))
    with np.errstate(invalid="ignore"):
        return mean, interval_of(bootstrap.interval(sums[:, 0] / sums[:, 1]))


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
