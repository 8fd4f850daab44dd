"""How atlas finds landmarks in an image: linear registrations rank the atlases, the nearest are registered in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from anatomark.core.grid import transform_points
from anatomark.core.image import Image
from anatomark.core.landmarks import State
from anatomark.data.working import WorkingImage
from anatomark.methods.atlas.config import AtlasNetwork
from anatomark.methods.atlas.fusion import Transfer, agreement, fuse
from anatomark.methods.atlas.library import AtlasLibrary, change_frame, straight_image
from anatomark.methods.atlas.registration import at_once, coarse_image, full_map, linear_map
from anatomark.methods.interface import Located

HUBS = 3  # atlases that are registered to find where the image lies among the atlases
TOLERANCE = 0.9  # of the ranking's agreement: a good registration at another spacing may seem a little worse


def locate(
    network: AtlasNetwork,
    library: AtlasLibrary,
    image: WorkingImage,
    *,
    linear: bool = False,
    leave_out: Sequence[int] = (),
) -> Located:
    """The answer for one image by the atlases but `leave_out`; if `linear`, by the registrations of the ranking alone.

    Pure.
    """
    straight = straight_image(image)
    ranked = rank_atlases(network, library, [n for n in range(len(library)) if n not in leave_out], straight)
    nearest = dict(list(ranked.items())[: network.nearest])
    if not linear:
        nearest = register_nearest(network, library, nearest, straight)
    others = [transfer for number, transfer in ranked.items() if number not in nearest]
    points, spread, mass = fuse(list(nearest.values()), others, straight.grid, library.mean_shape)
    return Located(change_frame(points, straight.grid, image.fine_grid), spread, mass)


def rank_atlases(
    network: AtlasNetwork, library: AtlasLibrary, numbers: Sequence[int], image: Image
) -> dict[int, Transfer]:
    """What the atlases `numbers` transfer by linear maps, best agreement first; nothing where no registration succeeds.

    A few atlases, the hubs, are registered to the image, the others follow through their links to these; each takes
    the hub after which it agrees most with the image, so that one registration that went astray does no harm.
    """
    coarse = coarse_image(network, image)
    atlases = {number: coarse_image(network, library.image(number, image.grid.unit)) for number in numbers}
    hubs = list(numbers[:HUBS])
    maps = dict(zip(hubs, at_once(lambda hub: linear_map(network, atlases[hub], coarse), hubs), strict=True))
    transfers: dict[int, Transfer] = {}
    for number, atlas in atlases.items():
        matrices = [matrix @ library.link(number, hub) for hub, matrix in maps.items() if matrix is not None]
        if matrices:
            agreements = [agreement(atlas, coarse, matrix) for matrix in matrices]
            best = int(np.argmax(agreements))
            points, states = library.landmarks(number)
            annotated = states != State.NOT_ANNOTATED
            transfers[number] = Transfer(agreements[best], transform_points(matrices[best], points), annotated)
    return dict(sorted(transfers.items(), key=lambda item: -item[1].agreement))


def register_nearest(
    network: AtlasNetwork, library: AtlasLibrary, ranked: Mapping[int, Transfer], image: Image
) -> dict[int, Transfer]:
    """What `ranked` atlases transfer by full registrations, each by its own; without those that failed or went astray.

    A registration went astray if its linear part agrees less than that of the ranking did.
    """
    coarse = coarse_image(network, image)

    def transferred(number: int) -> Transfer | None:
        atlas = library.image(number, image.grid.unit)
        result = full_map(network, atlas, library.landmarks(number)[0], image)
        if result is None:
            return None
        matrix, points = result
        agrees = agreement(coarse_image(network, atlas), coarse, matrix)
        return None if agrees < TOLERANCE * ranked[number].agreement else replace(ranked[number], points=points)

    # Where nothing is coarse and nothing is bent, the hubs have been registered in full already.
    ready = range(HUBS if network.registration != "deformable" and set(network.pool) == {1} else 0)
    missing = [number for number in ranked if number not in ready]
    transfers = {**ranked, **dict(zip(missing, at_once(transferred, missing), strict=True))}
    return {number: transfer for number, transfer in transfers.items() if transfer is not None}
