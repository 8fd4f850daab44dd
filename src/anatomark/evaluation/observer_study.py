"""compare_observers: inter- and intra-observer error of a data set or of raters' files, without image or model."""

from __future__ import annotations

import csv
import io
import platform
import shlex
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anatomark
from anatomark.errors import LandmarkFileError, SettingsError
from anatomark.evaluation.bootstrap import SAMPLES, checked_samples, of_subjects
from anatomark.evaluation.consensus import checked_consensus
from anatomark.evaluation.evaluate import json_text, option_words, write_together
from anatomark.evaluation.metrics import RADII, checked_radii
from anatomark.evaluation.observers import Pairs, observer_statistics, pairs_between, pairs_within
from anatomark.evaluation.placements import Placements, placements_in_files, placements_of

if TYPE_CHECKING:
    from anatomark.data.description import Dataset


def compare_observers(
    source: Dataset | Path | str | Sequence[Path | str],
    *,
    split: str | None = None,
    frame: str | None = None,
    spacing: Sequence[float] | None = None,
    session: str | None = None,
    radii: Sequence[float] = RADII,
    consensus: str = "mean",
    samples: int = SAMPLES,
    seed: int = 0,
    root: Path | str | None = None,
    out: Path | str | None = None,
) -> dict[str, Any]:
    """How far observers are from each other and from themselves; with `out`, also as files there.

    `source` is a data set or its dataset.yaml, or tables of placements (see `placements_in_files`, which `frame`,
    `spacing` and `session` are for). The keys are those of `observers` in metrics.json; the files are observers.json
    and observer_pairs.csv (`docs/evaluation.md`).

    Raises LandmarkFileError where no case was marked by two observers, or twice by one.
    """
    radii, samples, way = checked_radii(radii), checked_samples(samples), checked_consensus(consensus)
    name, placements = _open(source, split, frame, spacing, session, root)
    bootstrap = of_subjects(placements.subjects, samples, seed)
    told = observer_statistics(placements, radii=radii, consensus=way, bootstrap=bootstrap)
    if told is None:
        raise LandmarkFileError(
            f"{name}: no case was marked by two observers, or twice by one; a column `observer` tells them apart"
        )
    options = {
        "split": split, "frame": frame, "spacing": spacing, "session": session, "root": root,
        "radii": radii if radii != RADII else None, "consensus": way.replace(" ", "-") if way != "mean" else None,
        "samples": samples if samples != SAMPLES else None, "seed": seed or None, "out": out,
    }  # fmt: skip
    files = [source] if isinstance(source, Path | str) else source if isinstance(source, Sequence) else [name]
    found = {
        "dataset": name,
        "split": split,
        "unit": placements.unit,
        "radii": list(radii),
        "bootstrap": {"samples": samples, "seed": seed, "level": bootstrap.level},
        **told,
        "versions": {
            "anatomark": anatomark.__version__,
            "numpy": version("numpy"),
            "python": platform.python_version(),
        },
        "command": shlex.join(["anatomark", "observers", *map(str, files), *option_words(options)]),
    }
    if out is not None:
        pairs = pairs_csv(placements, pairs_between(placements), pairs_within(placements))
        write_together(Path(out), {"observer_pairs.csv": pairs, "observers.json": json_text(found)})
    return found


def _open(
    source: Any, split: str | None, frame: str | None, spacing: Any, session: str | None, root: Any
) -> tuple[str, Placements]:
    from anatomark.data.description import Dataset, load_dataset

    if isinstance(source, Dataset):
        return source.name, placements_of(source, source.split(split) if split else None)
    paths = [Path(source)] if isinstance(source, Path | str) else [Path(path) for path in source]
    if not paths:
        raise SettingsError("there is nothing to compare; give a dataset.yaml or tables of placements")
    described = [path for path in paths if path.is_dir() or path.suffix.lower() in (".yaml", ".yml")]
    if not described:
        if split is not None:
            raise SettingsError(f"tables have no split {split!r}; give a dataset.yaml, or leave the split out")
        return ", ".join(path.name for path in paths), placements_in_files(
            paths, frame=frame, spacing=spacing, session=session
        )
    if len(paths) > 1:
        raise SettingsError("give one dataset.yaml, or tables alone")
    if frame is not None or spacing is not None or session is not None:
        raise SettingsError("frame, spacing and session belong into the dataset.yaml; give them for tables only")
    dataset = load_dataset(described[0], root)
    return dataset.name, placements_of(dataset, dataset.split(split) if split else None)


def pairs_csv(placements: Placements, between: Pairs, within: Pairs) -> str:
    """A line for each pair of placements: case, subject, landmark, kind, first, second, difference, distance, unit."""
    axes = "xyz"[: placements.points.shape[-1]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ("case", "subject", "landmark", "kind", "first", "second")
    writer.writerow([*head, *(f"difference_{a}" for a in axes), "distance", "unit"])
    for kind, pairs in (("inter", between), ("intra", within)):
        who = zip(pairs.cases, pairs.subjects, pairs.first, pairs.second, pairs.error, pairs.distance, strict=True)
        for case, subject, first, second, error, distance in who:
            for name, vector, length in zip(placements.names, error.tolist(), distance.tolist(), strict=True):
                if length == length:
                    numbers = [f"{v:.4f}" for v in (*vector, length)]
                    writer.writerow([case, subject, name, kind, first, second, *numbers, placements.unit])
    return text.getvalue()
