"""The template: the training case that all images are aligned to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from anatomark.core.grid import Floats
from anatomark.data.did_you_mean import did_you_mean
from anatomark.data.shapes import align_shape, typical_shape
from anatomark.errors import SettingsError

if TYPE_CHECKING:
    from anatomark.data.description import Case, Dataset


def chosen_template(
    dataset: Dataset,
    training: Sequence[Case],
    *,
    align: Literal["none", "rigid", "affine"],
    template: str | None,
) -> str | None:
    """The id of the `training` case that images are to be aligned to; None where they are not.

    It is `template`, or the most typical case (`most_typical`). SettingsError where `template` is no training case, or
    without use.
    """
    case_ids = [case.id for case in training]
    if template is not None and template not in case_ids:
        some = ", ".join(case_ids[:5]) + (", ..." if len(case_ids) > 5 else "")
        hint = did_you_mean(template, case_ids) or f"; there are: {some}"
        raise SettingsError(f"template={template!r} is not a training case of {dataset.path}{hint}")
    if template is not None and align == "none":
        raise SettingsError(f"template={template!r} is without use; set align=rigid or align=affine too")
    if align == "none" or template is not None:
        return template
    return case_ids[most_typical(np.stack([case.reference.select(dataset.names).points for case in training]))]


def most_typical(points: Floats) -> int:
    """Which of M cases with landmarks (M, N, d), NaN where there are none, is nearest to the typical shape.

    Nearest after a similarity map, in relation to the size; of the cases that have at least half of the landmarks, and
    at least d + 2. The first case where there are none such.
    """
    count, d = points.shape[1:]
    here = np.isfinite(points).all(axis=2).sum(axis=1)
    complete = np.flatnonzero(here >= max(d + 2, count / 2))
    if not complete.size:
        return 0
    fit = align_shape(typical_shape(points[complete]), points[complete])
    far = fit.costs / fit.scales
    return int(complete[np.nanargmin(far)]) if np.isfinite(far).any() else 0
