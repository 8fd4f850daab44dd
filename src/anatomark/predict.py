"""Prediction of many images into a folder: one table, pictures, and landmark files where they are wanted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anatomark.core.landmarks import Landmarks, State
from anatomark.data.description import Dataset, load_dataset
from anatomark.data.label_maps import find_label_maps
from anatomark.errors import (
    AnatomarkError,
    DescriptionError,
    ImageError,
    SettingsError,
    SpacingError,
    UnknownNameError,
)
from anatomark.evaluation.pictures import overlay
from anatomark.formats.atomic import new_folder, replacing
from anatomark.formats.header import tell
from anatomark.formats.images import is_image, list_images
from anatomark.formats.landmark_files.dicom_sr import require_reportable, write_dicom_sr
from anatomark.formats.landmarks import write_landmarks
from anatomark.formats.table import write_table
from anatomark.loading import load
from anatomark.methods.error_bound import COVERAGE
from anatomark.methods.prediction import SAID_ABSENT_BELOW, Prediction, prediction_table

if TYPE_CHECKING:
    from anatomark.core.grid import Grid
    from anatomark.core.image import Image
    from anatomark.data.description import Case, Dataset
    from anatomark.model import Model

FORMATS = ("csv", "mrk.json", "fcsv", "dicom-sr")
ENDINGS = {"dicom-sr": "sr.dcm"}


@dataclass
class Summary:
    """What became of the images: `predicted` names, `failed` {name: the reason in one line}, seconds of each step.

    Reading and writing go on beside the prediction; their seconds are those that it had to wait.
    `warnings` {name: a line} are of predicted images that a person should look at, as they could not be aligned.
    `withheld` {landmark: a line} are the landmarks without an error bound.
    """

    table: Path
    predicted: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: {"read": 0.0, "predict": 0.0, "write": 0.0})


def predict_to_folder(
    model: Model | str | Path,
    inputs: Iterable[str | Path],
    *,
    out: str | Path,
    split: str | None = None,
    spacing: Sequence[float] | None = None,
    formats: Sequence[str] = ("csv",),
    device: str = "auto",
    root: str | Path | None = None,
    overlays: bool = True,
    coverage: float = COVERAGE,
    stack: bool = False,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> Summary:
    """Predict `inputs` (images, folders of images, dataset.yaml files) and write `out`/predictions.csv.

    `model` is a loaded Model or a run folder. `split` chooses cases of data sets; `spacing` (x, y[, z], mm) is for
    images that have none, in the file or in the description. `formats` adds, for each image, out/NAME.mrk.json,
    out/NAME.fcsv or the structured report out/NAME.sr.dcm (of DICOM images only), in which a landmark with a presence
    below one half is marked as missing or absent; the table has coordinates and presence for all. An overlay picture of
    each image goes to out/overlays. No ground truth is needed or looked at.
    `coverage` is the share of landmarks that are to lie within their error bounds, which stand in the table's column
    error_bound_mm (or _px), in the descriptions of Slicer's points and as circles in the pictures.

    With `stack`, every page of each image file is an image, NAME_1, NAME_2 ...: X-rays in one .mha or TIFF.

    An image that cannot be predicted is told in the Summary, and the others are predicted; where none can, the first
    reason is raised. The table is written at the end, whole.
    """
    if not 0 < coverage < 1:
        raise SettingsError(f"the coverage is {coverage:g}; it wants a share between 0 and 1, such as 0.9")
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise UnknownNameError(f"no format {unknown[0]!r}; there are: {', '.join(FORMATS)}")
    if isinstance(model, (str, Path)):
        model = load(model, device=device)
    if stack and model.ndim != 2:
        raise SettingsError(f"the pages of a stack are 2D, the model is of {model.ndim}D images; leave stack out")
    cases = list(_cases(inputs, model.ndim, split, spacing, root, stack))
    if not cases:
        raise ImageError("no image to predict: give image files, folders that hold some, or a dataset.yaml")
    twice = [name for name, count in Counter(case.id for case in cases).items() if count > 1]
    if twice:
        which = " and ".join(str(case.image_path) for case in cases if case.id == twice[0])
        raise DescriptionError(
            f"two inputs have the case name {twice[0]!r}: {which}; predict them into folders of their own"
        )
    folder = Path(out)
    with new_folder(folder / "overlays" if overlays else folder):
        return _predict_each(model, cases, folder, formats, overlays, coverage, progress)


def _predict_each(
    model: Model,
    cases: Sequence[Case],
    folder: Path,
    formats: Sequence[str],
    overlays: bool,
    coverage: float,
    progress: Callable[[int, int, str], None],
) -> Summary:
    """Predict the cases one after another, and write what `predict_to_folder` promises.

    While one is predicted, the next is read and the one before is written.
    """
    summary = Summary(folder / "predictions.csv")
    results: dict[str, Prediction] = {}
    first_error: AnatomarkError | None = None
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        coming = reader.submit(_read, cases[0], formats)
        written: Future[None] | None = None
        for done, case in enumerate(cases):
            progress(done, len(cases), case.id)
            reading = coming
            marks = [time.perf_counter()]
            try:
                wait((reading,))
                if done + 1 < len(cases):
                    coming = reader.submit(_read, cases[done + 1], formats)
                image = reading.result()
                marks.append(time.perf_counter())
                result = model.predict(image, source=str(case.image_path), coverage=coverage)
            except AnatomarkError as error:
                summary.failed[case.id] = str(error)
                first_error = first_error or error
                continue
            marks.append(time.perf_counter())
            results[case.id] = result
            summary.predicted.append(case.id)
            if result.remarks is not None:
                summary.warnings[case.id] = f"{case.image_path}: {result.remarks}"
            if written is not None:
                written.result()
            written = writer.submit(_write, folder, model, case, image, result, formats, overlays)
            marks.append(time.perf_counter())
            for step, start, end in zip(summary.seconds, marks, marks[1:], strict=False):
                summary.seconds[step] += end - start
        if written is not None:
            began = time.perf_counter()
            written.result()
            summary.seconds["write"] += time.perf_counter() - began
    progress(len(cases), len(cases), "")
    if first_error is not None and not results:
        if len(summary.failed) == 1:
            raise first_error
        raise type(first_error)(f"none of {len(cases)} images could be predicted; the first: {first_error}")
    write_table(prediction_table(results), summary.table)
    reasons = {name: model.bounds.reason(name, coverage) for name in model.names}
    summary.withheld = {name: reason for name, reason in reasons.items() if reason is not None}
    return summary


def _read(case: Case, formats: Sequence[str]) -> Image:
    image = case.read_image()
    if "dicom-sr" in formats:
        require_reportable(case.image_path, image.grid.ndim)
    return image


def _write(
    folder: Path,
    model: Model,
    case: Case,
    image: Image,
    result: Prediction,
    formats: Sequence[str],
    overlays: bool,
) -> None:
    for name in formats:
        if name != "csv":
            target = folder / f"{case.id}.{ENDINGS.get(name, name)}"
            write_prediction(result, target, name, source=case.image_path, grid=image.grid, model=model.dataset)
    if overlays:
        write_overlay(image, result, folder / "overlays" / f"{case.id}.png")


def write_prediction(prediction: Prediction, path: Path, format: str, *, source: Path, grid: Grid, model: str) -> None:
    """Writes what `model` said of the image `source` on `grid`, in a format of one image."""
    if format == "dicom-sr":
        write_dicom_sr(
            said(prediction),
            path,
            source=source,
            grid=grid,
            model=model,
            presence=prediction.presence,
            error_bound=prediction.error_bound,
            coverage=prediction.coverage,
        )
    else:
        write_landmarks(said(prediction), path, notes=notes(prediction))


def said(prediction: Prediction) -> Landmarks:
    """The predicted landmarks, those with a presence below one half absent."""
    landmarks = prediction.landmarks
    states = np.where(prediction.presence < SAID_ABSENT_BELOW, State.ABSENT, State.PRESENT).astype(np.uint8)
    return Landmarks(landmarks.names, landmarks.points, states, landmarks.unit)


def notes(prediction: Prediction) -> list[str]:
    """A line for each landmark to stand beside it: how likely it is there, and how far it may be off."""
    unit, share = prediction.landmarks.unit, f"{100 * prediction.coverage:g} %"
    bounds = ["" if b != b else f"; error at most {b:.2f} {unit} in {share}" for b in prediction.error_bound.tolist()]
    return [f"presence {p:.2f}{bound}" for p, bound in zip(prediction.presence.tolist(), bounds, strict=True)]


def _cases(
    inputs: Iterable[str | Path],
    ndim: int,
    split: str | None,
    spacing: Sequence[float] | None,
    root: str | Path | None,
    stack: bool,
) -> Iterator[Case]:
    """The cases that `inputs` stand for, each name once."""
    images: list[Path] = []
    described = []
    for given in map(Path, inputs):
        if given.suffix.lower() in (".yaml", ".yml") or (given / "dataset.yaml").is_file():
            dataset = load_dataset(given, root)
            chosen = dataset.cases if split is None else dataset.split(split)
            described += [replace(c, spacing=tuple(spacing)) if spacing and not c.spacing else c for c in chosen]
        elif not given.exists():
            raise ImageError(f"{given}: no such file or folder; give an image, a folder of images or a dataset.yaml")
        elif given.is_dir() and not is_image(given):
            found = list_images(given)
            if not found:
                raise ImageError(
                    f"{given}: a folder without images directly in it, and its subfolders are not searched; "
                    "give the folders that hold some, or a dataset.yaml"
                )
            maps = find_label_maps(found)
            left_out = set(maps.files)
            if left_out:
                tell([f"{given}: {maps.told('not predicted; name such a file itself if it should be')}"])
            images += [path for path in found if path not in left_out]
        else:
            images.append(given)
    if images and split is not None:
        raise UnknownNameError(f"--split {split} needs a dataset.yaml: {images[0]} has no splits")
    yield from described
    if images:
        yield from _each_image(Dataset, images, ndim, spacing, stack)


def _each_image(
    dataset: type[Dataset], images: Sequence[Path], ndim: int, spacing: Sequence[float] | None, stack: bool
) -> Iterator[Case]:
    """A case an image; described one by one where they do not go together (mm and px), so that each is judged alone."""
    try:
        yield from dataset.from_images(images, ndim=ndim, spacing=spacing, stack=stack).cases
    except SpacingError:
        if len(images) == 1:
            raise
        alike = dataset.from_images(images, ndim=ndim, spacing=(1.0,) * ndim, stack=stack)  # for the names
        for named in alike.cases:
            (case,) = dataset.from_images([named.image_path], ndim=ndim, spacing=spacing).cases
            yield replace(case, id=named.id, subject=named.id, page=named.page)


def write_overlay(image: Image, result: Prediction, path: Path) -> None:
    """Writes a picture of `image` with its predicted landmarks and their error bounds."""
    bounds = result.error_bound if np.isfinite(result.error_bound).any() else None
    picture = overlay(image, predicted=said(result), radius=bounds)
    with replacing(path, suffix=".png") as temporary:
        picture.save(temporary, compress_level=1)  # the default takes longer than many a prediction
