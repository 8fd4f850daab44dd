"""Prediction of many images into a folder: one table, pictures, and landmark files on request."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from anatomark.batches import Batch, Batches, require_batch
from anatomark.cohort.model_files import fingerprints
from anatomark.core.image import Image
from anatomark.data.cases import Case
from anatomark.data.inputs import find_inputs
from anatomark.errors import AnatomarkError, SettingsError, UnknownNameError
from anatomark.formats.atomic import new_folder
from anatomark.formats.landmark_files.dicom_sr import require_reportable
from anatomark.formats.locks import only_writer
from anatomark.formats.reader_process import Load, ReaderProcesses
from anatomark.loading import Runtime, load
from anatomark.methods.error_bound import COVERAGE
from anatomark.methods.prediction import Orient, Prediction
from anatomark.outcome import Outcome, Points
from anatomark.prediction_files import (
    FORMATS,
    OVERLAY,
    TABLE,
    files_of,
    write_overlay,
    write_prediction,
    write_tables,
)
from anatomark.prediction_journal import Asked, Journal
from anatomark.ready_made import run_folder

if TYPE_CHECKING:
    from anatomark.model import Model

LOCK = "predictions.lock"
COHORT_FROM = 1000  # images, from which on `anatomark cohort` is the better command


@dataclass
class Summary:
    """The outcome for each image: `predicted` names, `failed` {name: the reason in one line}.

    `warnings` {name: a line} are of predicted images that a person should check. `withheld` {landmark: the reason} has
    the landmarks without an error bound, `limits` what the model cannot judge of an image, a line each. `resumed` of
    the predicted images are from a call that was stopped. `seconds` has the time of each step for the others; images
    are read and written in parallel with prediction, so that reading and writing count only while prediction waits for
    them.
    """

    table: Path
    predicted: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    resumed: int = 0
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
    batch: Batch = "auto",
    runtime: Runtime | None = None,
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
    is listed, and the others are predicted. The tables are written at the end, completely; until then, what is
    predicted is kept in `out`/predictions.partial.jsonl, and the same call goes on there if an earlier one was stopped.
    Images may be added; one that has changed, has lost its files or could not be predicted is predicted again. A loaded
    Model has no files that tell it from another, so that its prediction always begins anew.

    Args:
        model: a loaded Model, a run folder or the name of a ready-made model.
        inputs: images, folders of images, dataset.yaml files.
        out: folder to write.
        split: only these cases of data sets.
        spacing: in mm along x, y[, z], for images without one in the file or in the description.
        formats: adds out/NAME.mrk.json, out/NAME.fcsv or the structured report out/NAME.sr.dcm ("dicom-sr", of DICOM
            images only) for each image, in which a landmark with a presence below 0.5 is marked as missing or absent.
        device: where a model that is loaded here computes: "auto", "cpu" or "cuda".
        batch: images that are predicted together, as many as fit into the GPU's memory by "auto"; see
            `batches.Batches`.
        runtime: who computes the networks of a model that is loaded here, see `load`.
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
        OutputError: the files cannot be written, or another process is writing there.
        SettingsError: the prediction that was stopped there had another model, other settings or other images.

    Examples:
        >>> summary = anatomark.predict_to_folder("ceph19", ["xrays/"], out="predicted", spacing=(0.1, 0.1))
        >>> summary.table, summary.failed
        (PosixPath('predicted/predictions.csv'), {})
    """
    if not 0 < coverage < 1:
        raise SettingsError(f"the coverage is {coverage:g}; give a proportion between 0 and 1, such as 0.9")
    require_batch(batch)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise UnknownNameError(f"unknown format {unknown[0]!r}; use one of: {', '.join(FORMATS)}")
    lengths = None if spacing is None else [float(length) for length in spacing]
    asked: Asked | None = None
    if isinstance(model, (str, Path)):
        name = str(model)
        model = load(model, device=device, runtime=runtime)
        asked = Asked(name, fingerprints(run_folder(name)), coverage, orient, lengths, stack, runtime)
    if stack and model.ndim != 2:
        raise SettingsError(f"the pages of a stack are 2D, but the model is for {model.ndim}D; leave out --stack")
    folder = Path(out)
    reasons = {name: model.bounds.reason(name, coverage) for name in model.names}
    withheld = {name: reason for name, reason in reasons.items() if reason is not None}
    summary = Summary(folder / TABLE, withheld=withheld, limits=tuple(model.limits))
    cases = find_inputs(inputs, split=split, spacing=spacing, root=root, stack=stack)

    def wanted(case: Case) -> dict[str, Path]:
        return files_of(folder, case.id, formats, overlays=overlays)

    with (
        new_folder(folder / "overlays" if overlays else folder),
        only_writer(folder, LOCK),
        Journal(folder, asked, cases, wanted) as journal,
    ):
        batches = Batches(model, batch)
        work = _Work(model, batches, summary, journal, wanted, "dicom-sr" in formats, coverage, orient)
        work.predict([case for case in cases if case.id not in journal.done], progress, len(cases))
        work.finish(cases)
    return summary


@dataclass
class _Work:
    """One call at work: what it predicts goes to the journal, and from there, at the end, to the tables."""

    model: Model
    batches: Batches
    summary: Summary
    journal: Journal
    wanted: Callable[[Case], dict[str, Path]]
    reportable: bool  # DICOM reports are wanted, which other images cannot have
    coverage: float
    orient: Orient
    first_error: AnatomarkError | None = None

    def predict(self, cases: Sequence[Case], progress: Callable[[int, int, str], None], total: int) -> None:
        """Predict one batch after another; meanwhile the next is read and the one before is written."""
        summary, before, done = self.summary, total - len(cases), 0
        summary.resumed = before
        with ReaderProcesses() as apart, ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            coming: deque[Future[Image]] = deque()
            written: list[Future[None]] = []

            def read_up_to(count: int) -> None:
                first = done + len(coming)
                coming.extend(reader.submit(self._read, case, apart.load) for case in cases[first : done + count])

            while done < len(cases):
                some = cases[done : done + self.batches.size]
                progress(before + done, total, some[0].id)
                marks = [time.perf_counter()]
                read_up_to(len(some))
                reading = [coming.popleft() for _ in some]
                wait(reading)
                done += len(some)
                read_up_to(self.batches.size)
                images = self._images(some, reading)
                marks.append(time.perf_counter())
                results = self._predictions(images)
                marks.append(time.perf_counter())
                for future in written:
                    future.result()
                written = [writer.submit(self._write, *each) for each in results]
                marks.append(time.perf_counter())
                for step, start, end in zip(summary.seconds, marks, marks[1:], strict=False):
                    summary.seconds[step] += end - start
            began = time.perf_counter()
            for future in written:
                future.result()
            summary.seconds["write"] += time.perf_counter() - began
        progress(total, total, "")

    def _read(self, case: Case, load: Load) -> Image:
        image = case.read_image(load)
        if self.reportable:
            require_reportable(case.image_path, image.grid.ndim)
        return image

    def _images(self, cases: Sequence[Case], reading: Sequence[Future[Image]]) -> list[tuple[Case, Image]]:
        """The cases whose images could be read, with these."""
        images: list[tuple[Case, Image]] = []
        for case, future in zip(cases, reading, strict=True):
            try:
                images.append((case, future.result()))
            except AnatomarkError as error:
                self._failed(case, error)
        return images

    def _predictions(self, given: Sequence[tuple[Case, Image]]) -> list[tuple[Case, Image, Prediction]]:
        """The cases whose images could be predicted, with these and the predictions."""
        images, sources = [image for _, image in given], [str(case.image_path) for case, _ in given]
        found = self.batches.predict(images, sources, coverage=self.coverage, orient=self.orient)
        predicted: list[tuple[Case, Image, Prediction]] = []
        for (case, image), prediction in zip(given, found, strict=True):
            if isinstance(prediction, AnatomarkError):
                self._failed(case, prediction)
            elif isinstance(prediction, Exception):
                raise prediction
            else:
                predicted.append((case, image, prediction))
        return predicted

    def _failed(self, case: Case, error: AnatomarkError) -> None:
        self.summary.failed[case.id] = str(error)
        self.first_error = self.first_error or error

    def _write(self, case: Case, image: Image, result: Prediction) -> None:
        for kind, path in self.wanted(case).items():
            if kind == OVERLAY:
                write_overlay(image, result, path)
            else:
                name = self.model.dataset
                write_prediction(result, path, kind, source=case.image_path, grid=image.grid, model=name)
        self.journal.add(case, Outcome.predicted(case.id, result))

    def finish(self, cases: Sequence[Case]) -> None:
        """Write the tables and what the Summary says of the images, in the order of `cases`."""
        summary, failed = self.summary, self.summary.failed
        if self.first_error is not None and not self.journal.done:
            if len(failed) == 1:
                raise self.first_error
            raise type(self.first_error)(
                f"none of {len(cases)} images could be predicted; the first error: {self.first_error}"
            )
        predicted = [case for case in cases if case.id in self.journal.done]

        def outcomes() -> Iterator[Outcome]:
            for case, outcome in zip(predicted, self.journal.outcomes(case.id for case in predicted), strict=True):
                summary.predicted.append(case.id)
                if (remarks := outcome.remarks) is not None:
                    summary.warnings[case.id] = f"{case.image_path}: {remarks}"
                yield outcome
            yield from (Outcome(name, error=reason) for name, reason in failed.items())

        points = Points(self.model.names, self.model.ndim, self.model.unit)
        write_tables(summary.table.parent, outcomes(), points)
        self.journal.remove()
