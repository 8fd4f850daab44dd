"""What a training learns from, whether its images are files of a data set or come from a cache made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anatomark.core.grid import Grid, Unit
from anatomark.data.cache import Cache, prepare, require_alike
from anatomark.data.shapes import usual_turn
from anatomark.errors import SettingsError
from anatomark.methods.interface import AnyPlan
from anatomark.methods.settings import Settings
from anatomark.training.template import chosen_template

if TYPE_CHECKING:
    from anatomark.data.description import Case, Dataset

Progress = Callable[[int, int], None]  # (done, total)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Names and pairs of the landmarks, and the cases of each role by their ids.

    `roles` are {"train": ids, "validation": ids}; `grids()` reads the canonical Grids of the training images, which a
    plan looks at; `prepare(plan, progress)` gives the Cache at the plan's spacing and pooling, aligned where the plan
    says so. `template` is the training case to align to where the settings name none. `turn_degrees` is the angle by
    which nearly all training images are turned at most. `name` is for the record.
    """

    name: str
    names: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    ndim: int
    unit: Unit
    roles: Mapping[str, Sequence[str]]
    grids: Callable[[], Sequence[Grid]]
    prepare: Callable[[AnyPlan, Progress], Cache]
    template: str | None = None
    turn_degrees: float = 0.0


def data_of(dataset: Dataset, roles: Mapping[str, Sequence[Case]], settings: Settings, *, cache: Path) -> TrainingData:
    """The cases of `roles`, prepared into the folder `cache`; SettingsError where there is nothing to learn from."""
    require_landmarks(dataset, roles["train"])
    template = chosen_template(dataset, roles["train"], align=settings.align, template=settings.template)
    return TrainingData(
        name=dataset.name,
        names=dataset.names,
        pairs=dataset.pairs,
        ndim=dataset.ndim,
        unit=dataset.unit,
        roles={role: [case.id for case in cases] for role, cases in roles.items()},
        grids=lambda: canonical_grids(dataset, roles["train"]),
        prepare=partial(prepare_cache, dataset, roles, cache),
        template=template,
        turn_degrees=usual_turn(np.stack([case.reference.select(dataset.names).points for case in roles["train"]])),
    )


def prepare_cache(
    dataset: Dataset, roles: Mapping[str, Sequence[Case]], folder: Path, plan: AnyPlan, progress: Progress
) -> Cache:
    """The cache of the images of `roles`, made in `folder` or found there."""
    cache = prepare(
        dataset,
        roles,
        folder,
        sampling=plan.network.sampling,
        align=plan.network.align,
        template=next((case for case in roles["train"] if case.id == plan.training.template), None),
        memory_limit_bytes=int(plan.training.cache_memory_gib * 2**30),
        progress=progress,
    )
    total = sum(map(len, roles.values()))
    progress(total, total)  # those of a cache that was there, too
    return cache


def require_landmarks(dataset: Dataset, cases: Sequence[Case]) -> None:
    """SettingsError where there is nothing to learn from: no case, or a landmark that is present in none."""
    if not cases:
        raise SettingsError(f"{dataset.path}: no training case has annotations; run anatomark check on it")
    seen = np.any([case.reference.select(dataset.names).present for case in cases], axis=0)
    if not seen.all():
        never = [name for name, known in zip(dataset.names, seen, strict=True) if not known]
        raise SettingsError(
            f"{dataset.path}: present in no training case: {', '.join(never)}; annotate or take out these landmarks"
        )


def canonical_grids(dataset: Dataset, cases: Sequence[Case]) -> list[Grid]:
    """The canonical Grids of the images of `cases`, from their headers."""
    grids: list[Grid] = []
    for case in cases:
        grids.append(case.read_grid().canonical())
        require_alike(grids[-1], dataset, case.image_path)
    return grids
