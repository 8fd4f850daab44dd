"""The plan: spacing of registration, and how many atlases there are to keep and to ask."""

from __future__ import annotations

import numpy as np

from anatomark.errors import SettingsError
from anatomark.methods.atlas.settings import AtlasSettings
from anatomark.methods.interface import DataFacts

# Elements of an image in full registrations, and in those that only rank the atlases.
ELEMENTS = {2: 50_000, 3: 200_000}
RANKING_ELEMENTS = {2: 6_000, 3: 25_000}
ATLASES, NEAREST = 20, 5


def plan(settings: AtlasSettings, facts: DataFacts) -> AtlasSettings:
    """The settings with everything filled in but `atlas_shapes`.

    Raises SettingsError where a setting does not fit the data, naming all faults at once.
    """
    d = facts.grids[0].ndim
    native = np.median([grid.spacing for grid in facts.grids], axis=0)
    volume = float(np.median([np.prod(grid.extent) for grid in facts.grids]))
    elements = settings.elements or ELEMENTS[d]
    spacing = settings.spacing or tuple(np.maximum(native, (volume / elements) ** (1 / d)).tolist())
    faults = [
        f"{name} has {len(value)} entries, the images have {d} axes"
        for name, value in (("spacing", spacing), ("pool", settings.pool))
        if value is not None and len(value) != d
    ]
    atlases = settings.atlases or max(min(ATLASES, len(facts.grids)), settings.nearest or 1)
    nearest = settings.nearest or min(NEAREST, atlases)
    if nearest > atlases:
        faults.append(f"nearest={nearest} of atlases={atlases} cannot be asked; set nearest to {atlases} or less")
    if settings.atlas_shapes is not None:
        faults.append("atlas_shapes is written by training; leave it out")
    if faults:
        raise SettingsError("; ".join(faults))
    coarse = (volume / RANKING_ELEMENTS[d]) ** (1 / d)
    pool = settings.pool or tuple(max(1, round(coarse / s)) for s in spacing)
    return settings.model_copy(
        update={"elements": elements, "spacing": spacing, "pool": pool, "atlases": atlases, "nearest": nearest}
    )
