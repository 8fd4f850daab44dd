"""Prediction of many images into a folder: one table, pictures, and landmark files on request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from anatomark.core.image import Image
from anatomark.data.cases import Case
from anatomark.data.inputs import find_inputs
from anatomark.errors import AnatomarkError, SettingsError, UnknownNameError
from anatomark.formats.atomic import new_folder
from anatomark.formats.landmark_files.dicom_sr import require_reportable
from anatomark.formats.reader_process import Load, ReaderProcesses
from anatomark.loading import load
from anatomark.methods.error_bound import COVERAGE
from anatomark.methods.prediction import Orient, Prediction
from anatomark.prediction_files import FORMATS, TABLE, file_name, write_overlay, write_prediction, write_tables

if TYPE_CHECKING:
    from anatomark.model import Model


@dataclass
class Summary:
    """The outcome for each image: `predicted` names, `failed` {name: the reason in one line}.

    `warnings` {name: a line} are of predicted images that a person should check. `withheld` {landmark: the reason} has
    the landmarks without an error bound, `limits` what the model cannot judge of an image, a line each. `seconds` has
    the time of each step; images are read and written in parallel with prediction, so that reading and writing count
    only while prediction waits for them.
    """

    table: Path
    predicted: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
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
    orient: Orient = "keep",
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> Summary:
    """Predict images, folders of images and data sets, and write `out`/predictions.csv; what became of each image.

    The table has coordinates and presence of every landmark; images.csv beside it has a row for each image: whether it
    is suitable, and why not (docs/files.md). Annotations are neither needed nor read. An image that cannot be predicted
    is listed, and the others are predicted. The table is written at the end, completely.

    Args:
        model: a loaded Model, a run folder or the name of a ready-made model.
        inputs: images, folders of images, dataset.yaml files.
        out: folder to write.
        split: only these cases of data sets.
        spacing: in mm along x, y[, z], for images without one in the file or in the description.
        formats: adds out/NAME.mrk.json, out/NAME.fcsv or the structured report out/NAME.sr.dcm ("dicom-sr", of DICOM
            images only) for each image, in which a landmark with a presence below 0.5 is marked as missing or absent.
        device: where a model that is loaded here computes: "auto", "cpu" or "cuda".
        root: folder that the data of a data set lie under.
        overlays: adds a picture of each image, in out/overlays.
        coverage: the proportion of landmarks that are to lie within their error bounds, which stand in the table's
            column error_bound_mm (or _px), in the descriptions of Slicer's points and as circles in the pictures.
        stack: every page of an image file is an image, NAME_1, NAME_2 ...: X-rays in one .mha or TIFF.
        orient: with "auto", an image that is usual when it is mirrored, turned, inverted or of another spacing is
            predicted so; its points are still those of the image as it was given.
        progress: called with the number of images done, that of all, and the next one's name.

    Returns:
        The table's path, the names `predicted`, the reasons of those `failed`, and `warnings`.

    Raises:
        AnatomarkError: none can be predicted; the first image's error.
        ModelError: the model cannot be loaded.
        OutputError: the files cannot be written.

    Examples:
        >>> summary = anatomark.predict_to_folder("ceph19", ["xrays/"], out="predicted", spacing=(0.1, 0.1))
        >>> summary.table, summary.failed
        (PosixPath('predicted/predictions.csv'), {})
    """
    if not 0 < coverage < 1:
        raise SettingsError(f"the coverage is {coverage:g}; give a proportion between 0 and 1, such as 0.9")
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise UnknownNameError(f"unknown format {unknown[0]!r}; use one of: {', '.join(FORMATS)}")
    if isinstance(model, (str, Path)):
        model = load(model, device=device)
    if stack and model.ndim != 2:
        raise SettingsError(f"the pages of a stack are 2D, but the model is for {model.ndim}D; leave out --stack")
    folder = Path(out)
    reasons = {name: model.bounds.reason(name, coverage) for name in model.names}
    withheld = {name: reason for name, reason in reasons.items() if reason is not None}
    summary = Summary(folder / TABLE, withheld=withheld, limits=tuple(model.limits))
    cases = find_inputs(inputs, split=split, spacing=spacing, root=root, stack=stack)
    with new_folder(folder / "overlays" if overlays else folder):
        return _predict_each(model, cases, summary, formats, overlays, coverage, orient, progress)


def _predict_each(
    model: Model,
    cases: Sequence[Case],
    summary: Summary,
    formats: Sequence[str],
    overlays: bool,
    coverage: float,
    orient: Orient,
    progress: Callable[[int, int, str], None],
) -> Summary:
    """Predict one image after another; meanwhile the next is read and the one before is written."""
    folder = summary.table.parent
    results: dict[str, Prediction] = {}
    first_error: AnatomarkError | None = None
    with ReaderProcesses() as apart, ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        coming = reader.submit(_read, cases[0], formats, apart.load)
        written: Future[None] | None = None
        for done, case in enumerate(cases):
            progress(done, len(cases), case.id)
            reading = coming
            marks = [time.perf_counter()]
            try:
                wait((reading,))
                if done + 1 < len(cases):
                    coming = reader.submit(_read, cases[done + 1], formats, apart.load)
                image = reading.result()
                marks.append(time.perf_counter())
                result = model.predict(image, source=str(case.image_path), coverage=coverage, orient=orient)
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
        raise type(first_error)(f"none of {len(cases)} images could be predicted; the first error: {first_error}")
    write_tables(folder, results, summary.failed)
    return summary


def _read(case: Case, formats: Sequence[str], load: Load) -> Image:
    image = case.read_image(load)
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
            target = folder / file_name(case.id, name)
            write_prediction(result, target, name, source=case.image_path, grid=image.grid, model=model.dataset)
    if overlays:
        write_overlay(image, result, folder / "overlays" / f"{case.id}.png")
