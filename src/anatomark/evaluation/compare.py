"""compare: which of several predictions of the same cases is nearer to the reference, and how sure is that?"""

from __future__ import annotations

import platform
import shlex
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import anatomark
from anatomark.core.grid import Floats
from anatomark.errors import SettingsError, UnknownNameError
from anatomark.evaluation.bootstrap import SAMPLES, Bootstrap, checked_samples, of_subjects
from anatomark.evaluation.evaluate import json_text, option_words, write_together
from anatomark.evaluation.gather import gather
from anatomark.evaluation.holm import holm
from anatomark.evaluation.metrics import RADII, checked_radii, describe_block, limits
from anatomark.evaluation.predictions import read_predictions
from anatomark.evaluation.rows import Rows, fingerprint
from anatomark.methods.prediction import SAID_ABSENT_BELOW

if TYPE_CHECKING:
    from anatomark.data.description import Dataset
    from anatomark.formats.table import LandmarkTable

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
    presence_threshold: float = SAID_ABSENT_BELOW,
    radii: Sequence[float] = RADII,
    samples: int = SAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Paired differences between predictions; with `out`, also compare.json, compare.csv and compare.md there.

    `predictions` are tables or files of any origin, as `evaluate` reads them; `frame` is for those that do not say
    theirs, `names` what they are called (by default after file or folder). Scored are the cases of `split`, or without
    it the cases that all of them name. `docs/evaluation.md` tells what is compared; `sentences` are ready to print.

    Raises as `evaluate` does, SettingsError for fewer than two predictions.
    """
    from anatomark.data.description import load_dataset

    radii, samples = checked_radii(radii), checked_samples(samples)
    if len(predictions) < 2:
        raise SettingsError(f"{len(predictions)} predictions; wanted two or more to compare")
    called = list(names) if names is not None else labels(predictions)
    if len(called) != len(predictions) or len(set(called)) < len(called):
        raise SettingsError(f"the names are {', '.join(called)}; wanted {len(predictions)} different ones")
    described, sources = dataset, predictions
    if isinstance(dataset, Path | str):
        dataset = load_dataset(dataset, root)
    tables = [
        read_predictions(p, frame=frame, dataset=dataset, stated_wins=True) if isinstance(p, Path | str) else p
        for p in predictions
    ]
    gathered = [
        gather(dataset, table, split=split, presence_threshold=presence_threshold, source=f"the predictions {name}")
        for name, table in zip(called, tables, strict=True)
    ]
    every = [rows for rows, _, _ in gathered]
    shared = [case for case in every[0].cases if all(case in set(rows.cases) for rows in every[1:])]
    if not shared:
        raise UnknownNameError("the predictions have no case in common; compare predictions of the same images")
    every = [_only(rows, shared) for rows in every]
    bootstrap = of_subjects(every[0].subjects, samples, seed)
    methods = {
        name: describe_block(
            rows.scored, rows.names, error=rows.error, radii=radii, subjects=rows.subjects, bootstrap=bootstrap
        )
        | {"fingerprint": fingerprint(rows)}
        for name, rows in zip(called, every, strict=True)
    }
    pairs = [
        _compared(called[a], called[b], every[a], every[b], radii, bootstrap)
        for a, b in combinations(range(len(every)), 2)
    ]
    corrected = holm([pair["overall"]["p"] for pair in pairs])
    for pair, p in zip(pairs, corrected, strict=True):
        o = pair["overall"]
        o["p_holm"], o["better"] = p, _better(o["difference"], p, pair["a"], pair["b"])
    options = {"frame": frame, "split": split, "root": root, "radii": radii if radii != RADII else None,
               "samples": samples if samples != SAMPLES else None, "seed": seed or None, "out": out}  # fmt: skip
    files = [str(s) if isinstance(s, Path | str) else f"{n}.csv" for s, n in zip(sources, called, strict=True)]
    told = str(described) if isinstance(described, Path | str) else str(dataset.path or dataset.name)
    found = {
        "dataset": dataset.name,
        "split": split,
        "unit": dataset.unit,
        "n_cases": len(shared),
        "n_subjects": len(bootstrap.subjects),
        "left_out": sorted({case for rows, _, _ in gathered for case in rows.cases} - set(shared)),
        "radii": list(radii),
        "bootstrap": {"samples": samples, "seed": seed, "level": bootstrap.level},
        "methods": methods,
        "pairs": pairs,
        "sentences": [sentence(pair, methods, dataset.unit, samples) for pair in pairs],
        "versions": {"anatomark": anatomark.__version__, "numpy": version("numpy"), "scipy": version("scipy"),
                     "python": platform.python_version()},
        "command": shlex.join(["anatomark", "compare", told, *files, *option_words(options)]),
    }  # fmt: skip
    if out is not None:
        from anatomark.evaluation.compare_tables import compare_csv, compare_markdown

        texts = {"compare.csv": compare_csv(found), "compare.md": compare_markdown(found)}
        write_together(Path(out), texts | {"compare.json": json_text(found)})
    return found


def labels(predictions: Sequence[Any]) -> list[str]:
    """What predictions are called: after the file, or where files are called alike also after their folder."""
    paths = [Path(p) if isinstance(p, Path | str) else None for p in predictions]
    found = [f"table {k}" if path is None else path.name.split(".")[0] for k, path in enumerate(paths, 1)]
    plain = list(found)
    for depth in (1, 2, 3):
        if len(set(found)) == len(found):
            break
        for k, path in enumerate(paths):
            if path is not None and plain.count(plain[k]) > 1:
                folders = "/".join(path.absolute().parts[-1 - depth : -1])
                found[k] = folders if plain[k] == "predictions" else f"{folders}/{plain[k]}"
    return found


def _only(rows: Rows, cases: Sequence[str]) -> Rows:
    """The rows of these cases, in this order."""
    at = {case: i for i, case in enumerate(rows.cases)}
    chosen = [at[case] for case in cases]
    arrays = ("reference", "states", "predicted", "answers", "presence", "spread", "bound")
    return replace(
        rows,
        cases=tuple(cases),
        subjects=tuple(rows.subjects[i] for i in chosen),
        **{name: getattr(rows, name)[chosen] for name in arrays},
    )


def _compared(
    name_a: str, name_b: str, a: Rows, b: Rows, radii: Sequence[float], bootstrap: Bootstrap
) -> dict[str, Any]:
    """Overall and landmark by landmark: n, only_a, only_b, difference, interval, p, sdr differences, better."""
    both = a.found & b.found
    difference = np.where(both, a.radial - b.radial, np.nan)
    owner = bootstrap.index(a.subjects)
    counted = a.counted
    rates = {f"{r:g}": np.where(counted, (a.scored <= r) * 100.0 - (b.scored <= r) * 100.0, np.nan) for r in radii}
    columns: list[Any] = [slice(None), *([k] for k in range(len(a.names)))]
    told = []
    for chosen in columns:
        line: dict[str, Any] = {
            "n": int(both[:, chosen].sum()),
            "only_a": int((a.found & ~b.found)[:, chosen].sum()),
            "only_b": int((b.found & ~a.found)[:, chosen].sum()),
        }
        totals, counts = _by_subject(difference[:, chosen], owner, len(bootstrap.subjects))
        line["difference"], line["interval"] = _mean(totals, counts, bootstrap)
        line["n_subjects"] = int((counts > 0).sum())
        line["p"] = signed_rank(totals[counts > 0] / counts[counts > 0])
        line["sdr_difference"], line["sdr_interval"] = {}, {}
        for radius, rate in rates.items():
            mean, interval = _mean(*_by_subject(rate[:, chosen], owner, len(bootstrap.subjects)), bootstrap)
            line["sdr_difference"][radius], line["sdr_interval"][radius] = mean, interval
        told.append(line)
    overall, *landmarks = told
    for line, p in zip(landmarks, holm([line["p"] for line in landmarks]), strict=True):
        line["p_holm"] = p
        line["better"] = _better(line["difference"], p, name_a, name_b)
    return {"a": name_a, "b": name_b, "overall": overall, "landmarks": dict(zip(a.names, landmarks, strict=True))}


def _better(difference: float | None, p: float | None, a: str, b: str) -> str | None:
    """Whose error is smaller where the difference is significant, else None."""
    return None if difference is None or p is None or p >= LEVEL else a if difference < 0 else b


def _by_subject(values: Floats, owner: NDArray[np.intp], size: int) -> tuple[Floats, Floats]:
    """(S,) sums of values (C, K) and how many they are, NaN left out."""
    here = ~np.isnan(values)
    totals, counts = np.zeros(size), np.zeros(size)
    np.add.at(totals, owner, np.where(here, values, 0).sum(axis=1))
    np.add.at(counts, owner, here.sum(axis=1))
    return totals, counts


def _mean(totals: Floats, counts: Floats, bootstrap: Bootstrap) -> tuple[float | None, list[float] | None]:
    if not counts.any():
        return None, None
    mean = float(totals.sum() / counts.sum())
    if not bootstrap.possible or (counts > 0).sum() < 2:
        return mean, None
    sums = bootstrap.sums(np.column_stack([totals, counts]))
    with np.errstate(invalid="ignore"):
        return mean, limits(bootstrap.interval(sums[:, 0] / sums[:, 1]))


def signed_rank(differences: Floats) -> float | None:
    """The p-value of Wilcoxon's signed-rank test, two-sided, of one difference a subject; zeros are left out.

    1 where all are zero, None where there is none. Differences that are zero but for rounding are zero.
    """
    from scipy.stats import wilcoxon

    if not len(differences):
        return None
    differences = differences.round(9)
    differences = differences[differences != 0]
    if not len(differences):
        return 1.0
    result: Any = wilcoxon(differences)
    return float(result.pvalue)


def sentence(pair: dict[str, Any], methods: dict[str, Any], unit: str, samples: int) -> str:
    """The comparison of two predictions as a paper would print it."""
    o, a, b = pair["overall"], pair["a"], pair["b"]
    if o["difference"] is None:
        return f"{a} and {b} found no landmark in common."
    near, far = (a, b) if o["difference"] <= 0 else (b, a)
    text = (
        f"Over {o['n_subjects']} subjects and {o['n']} landmarks that both found, {near} was "
        f"{abs(o['difference']):.2f} {unit} nearer to the reference than {far} ("
    )
    if o["interval"]:
        lower, upper = o["interval"] if near == b else (-o["interval"][1], -o["interval"][0])
        text += f"95 % confidence interval {lower:.2f} to {upper:.2f} {unit}, bootstrap by subject, {samples} samples; "
    corrected = ", Holm-corrected" if o["p_holm"] != o["p"] else ""
    text += f"Wilcoxon signed-rank test{corrected}, {p_text(o['p_holm'])})"
    means = ", ".join(f"{n} {methods[n]['overall']['mre']:.2f} {unit}" for n in (a, b))
    text += f"; mean radial errors: {means}. "
    better = [line["better"] for line in pair["landmarks"].values()]
    m = sum(line["p"] is not None for line in pair["landmarks"].values())
    text += (
        f"After Holm's correction over {m} landmarks, {a} was nearer at {better.count(a)} and {b} at {better.count(b)}."
    )
    if o["only_a"] or o["only_b"]:
        text += f" {a} alone found {o['only_a']} landmarks, {b} alone {o['only_b']}; both count in the detection rates."
    return text


def p_text(p: float | None) -> str:
    return "p not available" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
