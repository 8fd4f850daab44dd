"""Checks of the images: readable, not constant, the right dimension, spacing that agrees, none twice."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from anatomark.core.grid import Grid
from anatomark.core.image import require_usable
from anatomark.data.cases import Case
from anatomark.data.description import Dataset
from anatomark.data.findings import Finding
from anatomark.data.shapes import median_and_mad
from anatomark.errors import AnatomarkError, SpacingError
from anatomark.formats.header import Header
from anatomark.formats.on_disk import exists
from anatomark.formats.reader_process import Load, ReaderProcesses

FEWEST_CASES = 8


@dataclass(frozen=True)
class ImageFacts:
    """What is kept of an image that was read: its Grid and a hash of its grey values, or what is wrong.

    `remarks` are those on its file, each of which is a finding too.
    """

    grid: Grid | None
    content: bytes
    findings: tuple[Finding, ...] = ()
    remarks: tuple[str, ...] = ()


def inspect_images(cases: Sequence[Case], ndim: int, progress: Callable[[], None] | None = None) -> list[ImageFacts]:
    """The ImageFacts of each case, in order; several images are read at a time, in other processes, none is kept."""
    count = min(4, os.cpu_count() or 1)

    def inspect(case: Case) -> ImageFacts:
        result = _inspect(case, ndim, readers.load)
        if progress is not None:
            progress()
        return result

    with ReaderProcesses(min(count, max(1, len(cases)))) as readers, ThreadPoolExecutor(count) as pool:
        return list(pool.map(inspect, cases))


def image_findings(dataset: Dataset, facts: Sequence[ImageFacts]) -> list[Finding]:
    """Findings on the images of a data set, `facts` being those at its cases, in order."""
    findings = [finding for one in facts for finding in one.findings]
    return findings + _duplicates(dataset.cases, facts) + _far_spacings(dataset, facts)


def _inspect(case: Case, ndim: int, load: Load) -> ImageFacts:
    def bad(code: str, message: str, advice: str) -> tuple[Finding]:
        return (Finding("error", code, message, advice, case.id, str(case.image_path)),)

    if not exists(case.image_path):
        return ImageFacts(None, b"", bad("image", "the image does not exist", "add it, or remove it from the list"))
    header: Header | None = None
    try:
        image, header = load(case.image_path, **case.reading)
        require_usable(image, case.image_path)
    except SpacingError as error:
        return ImageFacts(None, b"", bad("spacing", str(error), "correct the spacing in the description"))
    except AnatomarkError as error:
        remarked = () if header is None else header.remarks  # they may tell why
        advice = "replace the image, or leave the case out"
        return ImageFacts(None, b"", (*bad("image", str(error), advice), *_remark_findings(case, remarked)), remarked)
    array = image.array
    if array.ndim != ndim:
        message = f"a {array.ndim}D image in a {ndim}D data set"
        advice = "leave it out, or correct `dimension`"
        if (ndim, array.ndim) == (2, 3):
            advice = "if it is a stack of pictures, write `stack: true` under `images`; else leave it out"
        return ImageFacts(None, b"", bad("image-dimension", message, advice))
    digest = blake2b(f"{array.shape}{array.dtype}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(array).data)
    findings = (*_orientation_finding(case, header.stored), *_remark_findings(case, header.remarks))
    return ImageFacts(image.grid, digest.digest(), findings, header.remarks)


def _remark_findings(case: Case, remarks: Sequence[str]) -> list[Finding]:
    advice = "check that the file was understood correctly"
    return [Finding("warning", "remark", remark, advice, case.id, str(case.image_path)) for remark in remarks]


def _orientation_finding(case: Case, stored: int) -> list[Finding]:
    """What to know of a picture whose pixels are not stored as people see them."""
    if stored == 1:
        return []
    if case.orientation == "stored":
        message = f"stored turned (orientation {stored}) and taken so, other than viewers show it"
        advice = "if its points refer to what viewers show, take `orientation: stored` out of `images`"
    else:
        message = f"stored turned (orientation {stored}); taken as viewers show it, points in pixels too"
        advice = "if its points refer to the pixels as stored, write `orientation: stored` under `images`"
    return [Finding("note", "turned", message, advice, case.id, str(case.image_path))]


def _duplicates(cases: Sequence[Case], facts: Sequence[ImageFacts]) -> list[Finding]:
    first: dict[bytes, Case] = {}
    findings: list[Finding] = []
    for case, one in zip(cases, facts, strict=True):
        other = first.setdefault(one.content, case) if one.content else case
        if other is case:
            continue
        apart = case.split != other.split
        where = f", and they are in splits {other.split} and {case.split}" if apart else ""
        findings.append(
            Finding(
                "error" if apart else "warning",
                "image-twice",
                f"the same grey values as case {other.id}{where}",
                "leave one of them out" if not apart else "leave one of them out, or put both in one split",
                case.id,
                str(case.image_path),
            )
        )
    return findings


def _far_spacings(dataset: Dataset, facts: Sequence[ImageFacts]) -> list[Finding]:
    """Cases whose spacing along some axis is far from the others'."""
    if dataset.unit == "px":
        return []
    known = [k for k, one in enumerate(facts) if one.grid is not None]
    if len(known) < FEWEST_CASES:
        return []
    grids = [one.grid for one in facts if one.grid is not None]
    # axes in world order: scans may be stored in any order of axes
    spacing = np.array([np.abs(grid.affine[:-1, :-1]).max(axis=1) for grid in grids])
    logs = np.log(spacing)
    middle, deviation = median_and_mad(logs)
    far = np.abs(logs - middle) > np.maximum(8 * deviation, np.log(2.5))
    return [
        Finding(
            "warning",
            "spacing",
            f"spacing {_by(spacing[row])} mm, but typical here is {_by(np.exp(middle))} mm",
            "check the spacing of this file, or in the description",
            dataset.cases[known[row]].id,
            str(dataset.cases[known[row]].image_path),
        )
        for row in np.flatnonzero(far.any(axis=1)).tolist()
    ]


def _by(spacing: np.ndarray) -> str:
    return " x ".join(f"{s:.3g}" for s in spacing)
