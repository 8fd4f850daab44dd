"""Checks of the annotations themselves: there, inside the image, frequent enough; do observers agree."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anatomark.core.landmarks import Landmarks
from anatomark.data.annotations import FileSource, UnknownLandmarkError
from anatomark.data.cases import Case
from anatomark.data.check_images import ImageFacts
from anatomark.data.check_shapes import DEVIATIONS, FEWEST_CASES, Row
from anatomark.data.description import Dataset
from anatomark.data.findings import Finding
from anatomark.data.reviews import describe_reviews, reviews_of
from anatomark.data.shapes import median_and_mad
from anatomark.errors import AnatomarkError, FrameError

TOO_FEW, FEW = 5, 10


def read_all(dataset: Dataset) -> tuple[dict[str, dict[str, Landmarks]], list[Finding]]:
    """({case: {observer: Landmarks}}, findings on annotations that are missing or cannot be read)."""
    read: dict[str, dict[str, Landmarks]] = {}
    findings = _extra_files(dataset)
    for case in dataset.cases:
        try:
            read[case.id] = case.observers
            silent = not case.reference.annotated.any()
        except AnatomarkError as error:
            findings.append(_unreadable(case, error))
            continue
        if silent and case.annotation.sources:
            who = "" if dataset.reference_rule == "mean" else f" of the reference {dataset.reference_rule!r}"
            findings.append(
                Finding(
                    "warning",
                    "image-without-annotation",
                    f"no annotation{who}",
                    "annotate it, or leave it out; it serves neither training nor evaluation",
                    case.id,
                    str(case.image_path),
                )
            )
    return read, findings


def file_of(case: Case, observer: str) -> str:
    """The file with this observer's annotations of the case."""
    places = (source.file(case, observer) for source in case.annotation.sources)
    return str(next((p for p in places if p is not None), ""))


def _unreadable(case: Case, error: AnatomarkError) -> Finding:
    files = (source.file(case, source.observer) for source in case.annotation.sources if isinstance(source, FileSource))
    path = next((str(p) for p in files if p is not None and str(p) in str(error)), "")
    landmark = error.landmark if isinstance(error, UnknownLandmarkError) else ""
    code = "unknown-landmark" if landmark else "frame" if isinstance(error, FrameError) else "annotation"
    return Finding("error", code, str(error), "correct the file or the description", case.id, path, landmark)


def _extra_files(dataset: Dataset) -> list[Finding]:
    """Landmark files that belong to no image."""
    sources = dataset.cases[0].annotation.sources if dataset.cases else ()
    known = {case.id for case in dataset.cases}
    findings: list[Finding] = []
    for source in sources:
        if not isinstance(source, FileSource):
            continue
        before, after = source.pattern.split("{case}", 1)
        base = Path(before + "x").parent
        start = base.as_posix() + "/"
        tail = re.escape(after).replace(r"\{case\}", "(?P=case)")
        expression = re.compile(re.escape(before[len(start) :]) + "(?P<case>[^/]+)" + tail)
        for path in sorted(base.glob(source.pattern[len(start) :].replace("{case}", "*"))):
            match = expression.fullmatch(path.relative_to(base).as_posix())
            if match and match["case"] not in known:
                findings.append(
                    Finding(
                        "warning",
                        "annotation-without-image",
                        "annotated, but no image",
                        "bring the image, or remove the file",
                        match["case"],
                        str(path),
                    )
                )
    return findings


def outside_findings(
    dataset: Dataset, facts: Sequence[ImageFacts], rows: Sequence[Row], points: np.ndarray
) -> list[Finding]:
    """Points (M, N, d) outside their image: a warning up to two elements, for rounding, else an error."""
    grids = {case.id: one.grid for case, one in zip(dataset.cases, facts, strict=True)}
    findings: list[Finding] = []
    for row, row_points in zip(rows, points, strict=True):
        grid = grids[row.case.id]
        if grid is None:
            continue
        index = grid.world_to_index(row_points)
        with np.errstate(invalid="ignore"):
            beyond = np.maximum(-0.5 - index, index - (np.asarray(grid.shape) - 0.5)).max(axis=1)
            beyond = np.where(np.isfinite(beyond), beyond, 0.0)
        for n in np.flatnonzero(beyond > 1e-6).tolist():
            near = beyond[n] <= 2
            what = "pixels" if grid.ndim == 2 else "voxels"
            findings.append(
                row.finding(
                    "outside",
                    f"{dataset.names[n]} lies outside the image by {beyond[n]:.1f} {what}",
                    "move it to the border, or call it absent"
                    if near
                    else "check the frame (LPS, RAS or pixel), the spacing, and if the file is of this image",
                    dataset.names[n],
                    level="warning" if near else "error",
                )
            )
    return findings


def subject_findings(dataset: Dataset) -> list[Finding]:
    """Subjects with cases in several splits."""
    splits: dict[str, dict[str, Case]] = {}
    for case in dataset.cases:
        if case.split is not None:
            splits.setdefault(case.subject, {}).setdefault(case.split, case)
    return [
        Finding(
            "error",
            "subject-in-two-splits",
            f"subject {subject} is in splits " + " and ".join(f"{s} ({c.id})" for s, c in where.items()),
            "put all cases of a subject in one split: results on such a split are too optimistic",
            list(where.values())[-1].id,
            str(dataset.path or ""),
        )
        for subject, where in splits.items()
        if len(where) > 1
    ]


def review_findings(dataset: Dataset) -> list[Finding]:
    """Which reviews take part in the reference, so that nobody is surprised."""
    advice = "nothing, if that is intended; `reviews: none` in the description ignores reviews"
    return [
        Finding("note", "review", line, advice, file=str(source.table.path))
        for source, line in zip(reviews_of(dataset.cases), describe_reviews(dataset.cases), strict=True)
    ]


def rare_findings(dataset: Dataset) -> list[Finding]:
    """Landmarks present in too few cases of split train (without one: of all cases) to be learned."""
    if not dataset.cases or not (dataset.cases[0].annotation.sources or dataset.cases[0].annotation.reviews):
        return []
    cases = dataset.split("train") if "train" in dataset.splits else dataset.cases
    counts = np.zeros(len(dataset.names), dtype=int)
    for case in cases:
        try:
            counts += case.reference.present
        except AnatomarkError:
            continue  # reported by read_all
    where = "in split train" if "train" in dataset.splits else "in all cases"
    if counts.max() < FEW:
        least = "error" if counts.max() < TOO_FEW else "warning"
        message = f"no landmark is present in more than {counts.max()} images {where}"
        advice = f"annotate more images; below {TOO_FEW} nothing can be learned, {FEW} is little"
        return [Finding(least, "too-few-cases", message, advice, file=str(dataset.path or ""))]
    return [
        Finding(
            "error" if count < TOO_FEW else "warning",
            "rare-landmark",
            f"{name} is present in only {count} images {where}",
            "annotate it in more images, or leave it out of `landmarks`",
            file=str(dataset.path or ""),
            landmark=name,
        )
        for name, count in zip(dataset.names, counts.tolist(), strict=True)
        if count < FEW
    ]


def observer_findings(
    dataset: Dataset, read: dict[str, dict[str, Landmarks]], size: float, known: set[tuple[str, str]]
) -> list[Finding]:
    """Points on which two observers disagree far more than they do elsewhere.

    `size` is the radius of the typical shape in the data set's unit; pairs (case, landmark) in `known` are
    already reported as something else.
    """
    cases = [case for case in dataset.cases if len(read.get(case.id, {})) > 1]
    if len(cases) < FEWEST_CASES or not np.isfinite(size):
        return []
    widest = np.full((len(cases), len(dataset.names)), np.nan)
    who: list[list[tuple[str, str]]] = []
    for c, case in enumerate(cases):
        observers = list(read[case.id].items())
        who.append([("", "")] * len(dataset.names))
        for k, (first, a) in enumerate(observers):
            for second, b in observers[k + 1 :]:
                distance = np.linalg.norm(a.points - b.points, axis=1)
                for n in np.flatnonzero(np.isfinite(distance)).tolist():
                    if not widest[c, n] >= distance[n]:
                        widest[c, n], who[c][n] = distance[n], (first, second)
    middle, deviation = median_and_mad(widest)
    limit = middle + np.maximum(DEVIATIONS * deviation, 0.15 * size)
    with np.errstate(invalid="ignore"):
        far = np.argwhere(widest > limit).tolist()
    return [
        Finding(
            "warning",
            "observers-disagree",
            f"{who[c][n][0]} and {who[c][n][1]} placed {dataset.names[n]} {widest[c, n]:.1f} "
            f"{dataset.unit} apart (usual: {middle[n]:.1f} {dataset.unit})",
            "look which of them is right",
            cases[c].id,
            file_of(cases[c], who[c][n][1]),
            dataset.names[n],
        )
        for c, n in far
        if (cases[c].id, dataset.names[n]) not in known
    ]
