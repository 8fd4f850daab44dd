"""How atlas learns: it keeps training cases that are spread over all shapes, and fits presence to the other ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from anatomark.core.grid import Floats
from anatomark.core.image import Image
from anatomark.core.landmarks import State
from anatomark.data.cache import Cache, CachedCase
from anatomark.methods.atlas.config import AtlasNetwork
from anatomark.methods.atlas.library import AtlasLibrary, change_frame, choose_atlases, straight_image, straightened
from anatomark.methods.atlas.locate import HUBS, locate
from anatomark.methods.atlas.registration import coarse_image, linear_map
from anatomark.methods.presence import ENOUGH_ABSENT, PresenceModel

PRESENCE_CASES = 20  # cases that presence is learned from, at most


def keep_atlases(
    network: AtlasNetwork, training: Sequence[CachedCase], count: int
) -> tuple[AtlasLibrary, list[CachedCase]]:
    """At most `count` of the `training` cases as a library, and these cases in its order."""
    grids = [case.image.fine_grid for case in training]
    frames = [straightened(grid) for grid in grids]
    points = np.stack([change_frame(c.points_world, g, f) for c, g, f in zip(training, grids, frames, strict=True)])
    states = np.stack([case.states for case in training])
    present = np.asarray(np.isfinite(points).all(axis=2))
    mean_shape = np.where(present[..., None], points, 0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)[:, None]
    images = {i: straight_image(training[i].image) for i in choose_atlases(points, states, count)}
    links = _links(network, images)
    kept = list(links)
    library = AtlasLibrary.of([images[i] for i in kept], list(links.values()), points[kept], states[kept], mean_shape)
    return library, [training[i] for i in kept]


def _links(network: AtlasNetwork, images: Mapping[int, Image]) -> dict[int, Floats]:
    """The linear map (d+1, d+1) of each of `images` to the first, straight or by way of another one.

    Those whose registration to each hub fails are missing: an image that fits to no other is no good atlas.
    """
    links: dict[int, Floats] = {}
    coarse = {number: coarse_image(network, image) for number, image in images.items()}
    for number, image in coarse.items():
        for hub in list(links)[:HUBS]:
            matrix = linear_map(network, image, coarse[hub])
            if matrix is not None:
                links[number] = links[hub] @ matrix
                break
        if not links:
            links[number] = np.eye(network.ndim + 1)
    return links


def fit_presence(
    network: AtlasNetwork, library: AtlasLibrary, atlases: Sequence[CachedCase], cache: Cache
) -> PresenceModel:
    """From cases that are no atlas, nor of an atlas's subject; where those lack few landmarks, from atlases too.

    An atlas is located by those of other subjects. Only linear registrations are made: whether a landmark falls into
    the image hardly depends on the last millimetres.
    """
    subjects = [case.subject for case in atlases]
    cases: list[CachedCase] = [case for case in cache.cases if case.subject not in subjects]
    if sum(int((case.states == State.ABSENT).sum()) for case in cases) < ENOUGH_ABSENT and len(set(subjects)) > 1:
        cases += atlases
    chosen = np.unique(np.linspace(0, len(cases) - 1, min(PRESENCE_CASES, len(cases))).astype(int))
    cases = [cases[i] for i in chosen]
    states = np.array([case.states for case in cases], dtype=np.uint8).reshape(len(cases), network.landmarks)
    annotated = states != State.NOT_ANNOTATED
    if not (states == State.ABSENT).any():  # a constant, for which nothing needs to be registered
        present = sum(int((case.states == State.PRESENT).sum()) for case in cache.training)
        count = max(int(annotated.sum()), present)
        return PresenceModel.fitted(np.zeros((count, 1)), np.ones(count, dtype=bool))
    same = [[n for n, subject in enumerate(subjects) if subject == case.subject] for case in cases]
    masses = np.stack(
        [
            locate(network, library, case.image, linear=True, leave_out=out).mass
            for case, out in zip(cases, same, strict=True)
        ]
    )
    return PresenceModel.fitted(masses[annotated][:, None], states[annotated] == State.PRESENT)
