"""The data doctor: what is wrong with a data set, before a network is trained on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from anatomark.data.check_annotations import (
    file_of,
    observer_findings,
    outside_findings,
    rare_findings,
    read_all,
    review_findings,
    subject_findings,
)
from anatomark.data.check_images import ImageFacts, image_findings, inspect_images
from anatomark.data.check_shapes import Row, shape_findings
from anatomark.data.description import Dataset, read_dataset
from anatomark.data.findings import LEVELS, Finding
from anatomark.data.label_maps import find_label_maps
from anatomark.data.missing_codes import code_findings
from anatomark.data.shapes import radius, typical_shape
from anatomark.formats.header import gathering, tell

__all__ = ["Finding", "check"]


def check(
    dataset: Dataset | str | Path,
    root: str | Path | None = None,
    *,
    progress: Callable[[], None] | None = None,
) -> list[Finding]:
    """Everything found wrong or odd, errors first, and which reviews count; an empty list for a good set without.

    Reads every image once. Shapes are judged where at least 8 cases have at least 4 (2D) or 5 (3D) landmarks in common.

    Args:
        dataset: a data set, or the path of its description; given the path, faults within landmark tables become
            findings, which `load_dataset` refuses.
        root: folder that the data lie under, where the description does not say.
        progress: called after each image, from several threads.

    Returns:
        Findings with `level`, `case`, `landmark`, `message` and `advice`.

    Raises:
        DescriptionError: the description does not hold together.

    Examples:
        >>> [finding.message for finding in anatomark.check("my_xrays/dataset.yaml")]
        []
    """
    facts: list[ImageFacts] = []
    told: list[str] = []
    try:
        with gathering() as told:
            return _findings(dataset, root, progress, facts)
    finally:  # a remark on an image's file is a finding, and need not be told twice
        found = {remark for one in facts for remark in one.remarks}
        tell(remark for remark in told if remark not in found)


def _findings(
    dataset: Dataset | str | Path,
    root: str | Path | None,
    progress: Callable[[], None] | None,
    facts: list[ImageFacts],
) -> list[Finding]:
    """What `check` gives; the ImageFacts of each case is added to `facts`."""
    findings: list[Finding] = []
    if not isinstance(dataset, Dataset):
        dataset, findings = read_dataset(dataset, root)
    facts += inspect_images(dataset.cases, dataset.ndim, progress)
    findings += image_findings(dataset, facts)
    read, more = read_all(dataset)
    findings += more + subject_findings(dataset) + rare_findings(dataset) + review_findings(dataset)
    findings += code_findings(dataset) + _label_maps(dataset)
    several = len({observer for observers in read.values() for observer in observers}) > 1
    rows = [
        Row(case, observer, file_of(case, observer), f" (by {observer})" if several and observer else "")
        for case in dataset.cases
        for observer in read.get(case.id, {})
    ]
    if rows:
        points = np.stack([read[row.case.id][row.observer].points for row in rows])
        findings += outside_findings(dataset, facts, rows, points)
        findings += shape_findings(rows, points, dataset.names, dataset.pairs, dataset.unit)
        known = {(f.case, f.landmark) for f in findings}
        findings += observer_findings(dataset, read, radius(typical_shape(points)), known)
    order = {case.id: k for k, case in enumerate(dataset.cases)}
    return sorted(findings, key=lambda f: (LEVELS.index(f.level), order.get(f.case, -1), f.code, f.landmark))


def _label_maps(dataset: Dataset) -> list[Finding]:
    """Cases whose image is a label map or mask by all signs."""
    maps = find_label_maps([case.image_path for case in dataset.cases])
    patterns = ", ".join(f'"{pattern}"' for pattern in maps.patterns)
    return [
        Finding(
            "warning",
            "label-map",
            "facts like a label map or mask, no image",
            f"leave such files out with `exclude: [{patterns}]` under `images`, or remove them from the list",
            case.id,
            str(case.image_path),
        )
        for case in dataset.cases
        if case.image_path in set(maps.files)
    ]
