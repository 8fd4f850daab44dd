"""Adaptation: a model that puts its points as another place does, learned from a few annotated cases of that place."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from anatomark.card import NAME
from anatomark.core.grid import Floats, Unit
from anatomark.data.description import Dataset, load_dataset
from anatomark.data.missing_codes import require_no_codes
from anatomark.ensemble import ENSEMBLE, read_ensemble
from anatomark.errors import OutputError, SettingsError
from anatomark.formats.atomic import replacing_folder, sweep
from anatomark.loading import load
from anatomark.methods.error_bound import NAME as BOUNDS
from anatomark.methods.error_bound import OWN, ErrorBounds
from anatomark.methods.error_scale import NAME as ERROR_SCALE
from anatomark.methods.offsets import LEAST, PRESENT_FROM, Offsets, learn_offsets
from anatomark.methods.suitability import NAME as SUITABILITY
from anatomark.model import Model
from anatomark.ready_made import ABOUT, run_folder
from anatomark.training.calibrate import found_in, learn_presence
from anatomark.training.calibration_cases import calibration_cases, seen
from anatomark.training.own_predictions import radial
from anatomark.training.run_folder import FOLDS, fold_folders

FILES = (NAME, "model.safetensors", SUITABILITY, ERROR_SCALE, "settings.json", "request.json", ABOUT, ENSEMBLE, FOLDS)


@dataclass(frozen=True, eq=False)
class Taught:
    """Offsets and error bounds learned from cases, and the mean radial error of these without and with offsets.

    With offsets, each case counts with those that were learned without its subject.
    """

    offsets: Offsets
    bounds: ErrorBounds
    before: float
    after: float
    subjects: int

    @property
    def enough(self) -> bool:
        """Whether there were subjects enough to learn from."""
        return self.subjects >= LEAST


@dataclass(frozen=True, eq=False)
class Adapted:
    """The run folder `out` of an adapted model, and what was `taught` to it, in `unit`, by `source`."""

    out: Path
    taught: Taught
    names: tuple[str, ...]
    unit: Unit
    cases: int
    source: str
    seen_known: bool  # whether it is known that the networks have not learned from these cases


def adapt(
    run: str | Path,
    dataset: Dataset | str | Path,
    *,
    out: str | Path,
    split: str | None = None,
    reviews: str | Path | None = None,
    root: str | Path | None = None,
    device: str = "auto",
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> Adapted:
    """A copy of the model in `run`, in the new folder `out`, that puts its points as annotated cases have theirs.

    Learned are an offset a landmark (`methods.offsets`) and the error bounds: those of the model, scaled
    (`ErrorBounds.scaled`), or from OWN subjects on bounds of their own. Fewer than LEAST subjects change nothing.
    Offsets that the model already has are replaced. `run` stays as it is.

    Args:
        run: a run folder, or the name of a ready-made model.
        dataset: annotated cases, or their dataset.yaml.
        out: new folder for the copy.
        split: of the cases; chosen as in `calibrate`.
        reviews: a folder that `anatomark review` wrote; its accepted cases are taken.
        root: folder that the data lie under, where the description does not say.
        device: "auto", "cpu" or "cuda".
        progress: called with the number of cases done, that of all, and the next one's name.

    Returns:
        The folder of the copy, and what it was taught.

    Raises:
        OutputError: `out` holds something already.
        ModelError: `run` is no finished run.
        SettingsError: there is no case to learn from, or the networks have learned from some of them.

    Examples:
        >>> adapted = anatomark.adapt("ceph19", "our_clinic/dataset.yaml", out="runs/ceph19_clinic")
    """
    folder, out = run_folder(run), Path(out)
    sweep(out.absolute().parent)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} exists and is not an empty folder; choose another --out")
    model = replace(load(folder, device=device), offsets=None)
    if isinstance(dataset, (str, Path)):
        dataset = load_dataset(dataset, root)
    require_no_codes(dataset)
    cases, source = calibration_cases(folder, model, dataset, split, reviews)
    found = found_in(model, cases, progress)
    there = np.where((found.presence >= PRESENT_FROM)[..., None], found.points, np.nan)
    taught = learned(model, there, found.references, found.spread, subjects=found.subjects, source=source)
    known = dataset.name != model.dataset or seen((fold_folders(folder) or [folder])[0]) is not None
    with replacing_folder(out) as part:
        _copy(folder, part)
        taught.bounds.save(part)
        taught.offsets.save(part)
        learn_presence(part, found, source)
    return Adapted(out, taught, model.names, model.unit, len(cases), source, known)


def learned(
    model: Model, points: Floats, references: Floats, spread: Floats, *, subjects: Sequence[str], source: str
) -> Taught:
    """What M cases of `subjects` teach a model without offsets that found `points` (M, N, d), with `spread` (M, N).

    NaN stands for points that are not there, in the image or in the `references` (M, N, d).
    """
    usual = model.members[0].suitability.usual
    typical = None if usual is None else usual.typical
    offsets, corrected = learn_offsets(points, references, subjects=subjects, typical=typical, source=source)
    before, errors = radial(points, references), radial(corrected, references)
    if not np.isfinite(errors).any():
        raise SettingsError(f"none of the {len(points)} {source} has a landmark that the model finds present")
    count = len(set(subjects))
    if count >= OWN:
        bounds = ErrorBounds.fitted(
            errors, spread, subjects=subjects, names=model.names, unit=model.unit, source=source
        )
    elif count >= LEAST:
        bounds = model.bounds.scaled(errors, spread, source=source)
    else:
        bounds = model.bounds
    return Taught(offsets, bounds, float(np.nanmean(before)), float(np.nanmean(errors)), count)


def _copy(folder: Path, to: Path) -> None:
    """Copy what prediction needs, the terms of use, and what was learned from; of an ensemble, of each member."""
    ensemble = read_ensemble(folder)
    members = () if ensemble is None else ensemble.members
    for part in ("", *(member.name for member in members)):
        (to / part).mkdir(exist_ok=True)
        for name in (*FILES, *((BOUNDS,) if part else ())):
            if (folder / part / name).exists():
                shutil.copyfile(folder / part / name, to / part / name)
