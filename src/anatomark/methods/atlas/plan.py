"""The plan: spacing of the registrations, how many atlases are kept, and how many are registered in full."""

from __future__ import annotations

import numpy as np

from anatomark.errors import SettingsError
from anatomark.methods.atlas.config import AtlasNetwork, AtlasTraining
from anatomark.methods.atlas.settings import AtlasSettings
from anatomark.methods.interface import DataFacts, Plan
from anatomark.methods.settings import take

AtlasPlan = Plan[AtlasNetwork, AtlasTraining]

# Elements of an image in full registrations, and in those that only rank the atlases.
MAX_VOXELS = {2: 50_000, 3: 200_000}
RANKING_VOXELS = {2: 6_000, 3: 25_000}
ATLASES, NEAREST = 20, 5


def plan(asked: AtlasSettings, facts: DataFacts) -> AtlasPlan:
    """Network and training; the atlases' shapes are added once these are chosen.

    Raises SettingsError that names all settings that do not fit the data.
    """
    d = facts.grids[0].ndim
    native = np.median([grid.spacing for grid in facts.grids], axis=0)
    volume = float(np.median([np.prod(grid.extent) for grid in facts.grids]))
    max_voxels = asked.max_voxels or MAX_VOXELS[d]
    spacing = asked.spacing or tuple(np.maximum(native, (volume / max_voxels) ** (1 / d)).tolist())
    faults = [
        f"{name} has {len(value)} entries, the images have {d} axes"
        for name, value in (("spacing", spacing), ("pool", asked.pool))
        if value is not None and len(value) != d
    ]
    atlases = asked.atlases or max(min(ATLASES, len(facts.grids)), asked.nearest or 1)
    nearest = asked.nearest or min(NEAREST, atlases)
    if nearest > atlases:
        faults.append(f"nearest={nearest} is more than atlases={atlases}; set nearest to {atlases} or less")
    if faults:
        raise SettingsError("; ".join(faults))
    coarse = (volume / RANKING_VOXELS[d]) ** (1 / d)
    planned: dict[str, object] = {
        "landmarks": facts.landmarks,
        "spacing": spacing,
        "pool": asked.pool or tuple(max(1, round(coarse / s)) for s in spacing),
        "atlases": atlases,
        "nearest": nearest,
        "atlas_shapes": (),
    }
    return Plan(take(AtlasNetwork, asked, planned), take(AtlasTraining, asked, planned))
