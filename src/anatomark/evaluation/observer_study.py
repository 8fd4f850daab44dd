"""compare_observers: inter- and intra-observer error of a data set or of raters' files, without image or model."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from anatomark.data.description import Dataset, load_dataset
from anatomark.errors import LandmarkFileError, SettingsError
from anatomark.evaluation.annotated import read_annotated
from anatomark.evaluation.bootstrap import SAMPLES, bootstrap_for, checked_samples
from anatomark.evaluation.consensus import checked_consensus
from anatomark.evaluation.metrics import RADII, checked_radii
from anatomark.evaluation.observers import Pairs, observer_statistics, pairs_between, pairs_within
from anatomark.evaluation.placements import Placements, placements_in_files
from anatomark.evaluation.provenance import command_line, package_versions
from anatomark.evaluation.result import json_text, write_together
from anatomark.evaluation.results import ObserverStudy


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
) -> ObserverStudy:
    """How far observers are from each other and from themselves; with `out`, also as files there.

    Args:
        source: a data set, its dataset.yaml, or tables of placements (see `placements_in_files`).
        split: only this split of a data set.
        frame: LPS, RAS or pixel, of tables that do not state it.
        spacing: in mm along x, y[, z], of tables in pixel coordinates.
        session: for tables: a regular expression whose group in an observer's name is the person.
        radii: of the rates of agreement, in the unit of the data.
        consensus: of the other observers, mean or geometric-median.
        samples: bootstrap resamples of the subjects; 0 for no intervals.
        seed: of the bootstrap.
        root: folder that the data lie under, where the description does not say.
        out: folder for observers.json and observer_pairs.csv.

    Returns:
        The keys of `observers` in metrics.json (`docs/evaluation.md`) as attributes; it reads as observers.json too.

    Raises:
        LandmarkFileError: no case was marked by two observers, or twice by one.
        FrameError: a table does not state its frame.

    Examples:
        >>> study = anatomark.compare_observers(["anna.csv", "ben.csv"], frame="RAS")
        >>> study.inter.overall.mre  # mm between the two
        0.93
    """
    radii, samples, how = checked_radii(radii), checked_samples(samples), checked_consensus(consensus)
    name, placements = _open(source, split, frame, spacing, session, root)
    bootstrap = bootstrap_for(placements.subjects, samples, seed)
    statistics = observer_statistics(placements, radii=radii, consensus=how, bootstrap=bootstrap)
    if statistics is None:
        raise LandmarkFileError(
            f"{name}: no case was marked by two observers, or twice by one; give a column `observer` that names them"
        )
    options = {
        "split": split, "frame": frame, "spacing": spacing, "session": session, "root": root,
        "radii": radii if radii != RADII else None, "consensus": how.replace(" ", "-") if how != "mean" else None,
        "samples": samples if samples != SAMPLES else None, "seed": seed or None, "out": out,
    }  # fmt: skip
    files = [source] if isinstance(source, Path | str) else [name] if isinstance(source, Dataset) else source
    study = ObserverStudy(
        dataset=name,
        split=split,
        unit=placements.unit,
        radii=list(radii),
        bootstrap=bootstrap.settings,
        statistics=statistics,
        versions=package_versions("numpy"),
        command=command_line("observers", [str(file) for file in files], options),
    )
    if out is not None:
        pairs = pairs_csv(placements, pairs_between(placements), pairs_within(placements))
        write_together(Path(out), {"observer_pairs.csv": pairs, "observers.json": json_text(study)})
    return study


def _open(
    source: Dataset | Path | str | Sequence[Path | str],
    split: str | None,
    frame: str | None,
    spacing: Sequence[float] | None,
    session: str | None,
    root: Path | str | None,
) -> tuple[str, Placements]:
    """The name of the source and its placements."""
    if isinstance(source, Dataset):
        return source.name, _placements_of(source, split)
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
        raise SettingsError("give either one dataset.yaml or only tables")
    if frame is not None or spacing is not None or session is not None:
        raise SettingsError("frame, spacing and session belong in the dataset.yaml; give them for tables only")
    dataset = load_dataset(described[0], root)
    return dataset.name, _placements_of(dataset, split)


def _placements_of(dataset: Dataset, split: str | None) -> Placements:
    cases = dataset.cases if split is None else dataset.split(split)
    placements = read_annotated(dataset, cases, observers=True).placements
    assert placements is not None
    return placements


def pairs_csv(placements: Placements, between: Pairs, within: Pairs) -> str:
    """A line for each pair of placements: case, subject, landmark, kind, first, second, difference, distance, unit."""
    axes = "xyz"[: placements.points.shape[-1]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ("case", "subject", "landmark", "kind", "first", "second")
    writer.writerow([*head, *(f"difference_{a}" for a in axes), "distance", "unit"])
    for kind, pairs in (("inter", between), ("intra", within)):
        lines = zip(pairs.cases, pairs.subjects, pairs.first, pairs.second, pairs.error, pairs.distance, strict=True)
        for case, subject, first, second, error, distance in lines:
            for name, vector, length in zip(placements.names, error.tolist(), distance.tolist(), strict=True):
                if length == length:
                    numbers = [f"{v:.4f}" for v in (*vector, length)]
                    writer.writerow([case, subject, name, kind, first, second, *numbers, placements.unit])
    return text.getvalue()
