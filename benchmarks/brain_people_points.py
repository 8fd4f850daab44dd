"""Groups of labels in the brain_labels maps, and the points that the maps define exactly: centroids and extreme points.

Left out is what the maps cannot say: 5th ventricle, lesions, vessels, choroid plexus and chiasm (a few voxels, or not
in every subject), skin, skull and soft tissue (automatic), where the spinal cord and the brain stem are cut off, and
the left hippocampus and left ventricle of brain07.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from anatomark.core.grid import Floats, transform_points
from anatomark.core.image import Image

Labels = tuple[int, ...]
SIDED: Mapping[str, tuple[Labels, Labels]] = MappingProxyType(
    {
        "white_matter": ((1, 17), (21, 33)),
        "cortex": ((2,), (22,)),
        "ventricle": ((3, 4, 39, 40), (23, 24, 41, 42)),
        "cerebellum_white": ((5,), (25,)),
        "cerebellum_cortex": ((6,), (26,)),
        "thalamus": ((7,), (27,)),
        "caudate": ((8,), (28,)),
        "putamen": ((9,), (29,)),
        "pallidum": ((10,), (30,)),
        "accumbens": ((18,), (34,)),
        "hippocampus": ((14,), (31,)),
        "amygdala": ((15,), (32,)),
        "ventral_dc": ((19,), (35,)),
    }
)
MIDLINE: Mapping[str, Labels] = MappingProxyType({"ventricle_3": (11, 37), "ventricle_4": (12,), "brain_stem": (13,)})
BRAIN: Labels = tuple(label for label in (*range(1, 16), *range(17, 43)) if label != 38)
GROUPS: Mapping[str, Labels] = MappingProxyType(
    {f"{name}-{side}": labels for name, pair in SIDED.items() for side, labels in zip("LR", pair, strict=True)}
    | dict(MIDLINE)
)
CENTROIDS = (  # of both sides; `ventricle_3`, `ventricle_4` and `brain_stem` of the midline
    "thalamus",
    "caudate",
    "putamen",
    "pallidum",
    "accumbens",
    "hippocampus",
    "amygdala",
    "ventral_dc",
    "ventricle",
)
EXTREMES = (  # structure, end, axis of the template's world (LPS), direction; where it ends in a tip, not in a plane
    ("hemisphere", "frontal_pole", 1, -1),
    ("hemisphere", "occipital_pole", 1, 1),
    ("cerebellum", "posterior", 1, 1),
    ("thalamus", "posterior", 1, 1),
    ("caudate", "anterior", 1, -1),
    ("putamen", "anterior", 1, -1),
    ("putamen", "posterior", 1, 1),
    ("hippocampus", "anterior", 1, -1),
    ("ventricle", "anterior", 1, -1),
)
TIP = 20  # voxels that an extreme point is the mean of: a single one is chance
UNUSABLE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"brain07": ("hippocampus", "ventricle")}
)  # of the left side
EYES = 44


def exact_points(labels: Image, to_template: Floats, case: str) -> dict[str, Floats]:
    """{name: world point (3,)} of what the label map of `case` defines; NaN where the map is not to be relied on.

    Extreme points are the mean of the `TIP` foremost voxels along an axis of the template's world, to which the linear
    map `to_template` (4, 4) leads: the axes turn with the head, whatever its pose in the scanner.
    """
    found: dict[str, Floats] = {}
    for side, sign in (("L", 1), ("R", -1)):  # of x in LPS
        members = {name: pair["LR".index(side)] for name, pair in SIDED.items()}
        members |= {
            "hemisphere": members["white_matter"] + members["cortex"],
            "cerebellum": members["cerebellum_white"] + members["cerebellum_cortex"],
        }
        places = {name: _places(labels, numbers) for name, numbers in members.items()}
        for name in CENTROIDS:
            found[f"{name}-{side}"] = places[name].mean(axis=0)
        for name, end, axis, direction in EXTREMES:
            found[f"{name}_{end}-{side}"] = _tip(places[name], to_template, axis, direction)
        eyes = _places(labels, (EYES,))
        middle = transform_points(to_template, eyes)[:, 0]
        found[f"eye-{side}"] = eyes[(middle - middle.mean()) * sign > 0].mean(axis=0)
    for name in ("ventricle_3", "ventricle_4", "brain_stem"):
        found[name] = _places(labels, MIDLINE[name]).mean(axis=0)
    for name in found:
        if name.endswith("-L") and name.startswith(UNUSABLE.get(case, ("-",))):
            found[name] = np.full(3, np.nan)
    return found


def _places(labels: Image, numbers: Labels) -> Floats:
    """World points (M, 3) of all voxels with one of these labels."""
    return labels.grid.index_to_world(np.argwhere(np.isin(labels.array, numbers)))


def _tip(places: Floats, to_template: Floats, axis: int, direction: int) -> Floats:
    along = transform_points(to_template, places)[:, axis] * direction
    return places[np.argsort(-along, kind="stable")[:TIP]].mean(axis=0)


def structure_distance(template: Image, points: Floats, labels: Image, carried: Floats) -> Floats:
    """(N,) mm from each `carried` point (N, 3) to the nearest voxel of the structure that its own of `points` lies in.

    `points` (N, 3) lie in the label map `template`, the carried ones in `labels`. 0 outside of all groups.
    """
    from scipy.spatial import KDTree

    index = np.rint(template.grid.world_to_index(points)).astype(int)
    own = template.array[tuple(np.clip(index, 0, np.asarray(template.grid.shape) - 1).T)]
    distance = np.zeros(len(points))
    for numbers in GROUPS.values():
        of_group = np.isin(own, numbers)
        if of_group.any():
            distance[of_group] = KDTree(_places(labels, numbers)).query(carried[of_group])[0]
    return distance
