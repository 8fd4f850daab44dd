"""Registrations of atlases to an image: linear ones of coarse copies, full ones, and several at the same time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar, cast

import SimpleITK as sitk
import torch

from anatomark.core.grid import Floats, transform_points
from anatomark.core.image import Image
from anatomark.data.working import average_pool
from anatomark.errors import RegistrationError
from anatomark.methods.atlas.config import AtlasNetwork
from anatomark.registration.deformable import register_deformable
from anatomark.registration.linear import register_linear

Result = TypeVar("Result")


def coarse_image(network: AtlasNetwork, image: Image) -> Image:
    """The copy of an image by which atlases are ranked."""
    return Image(*average_pool(image.array, image.grid, network.pool))


def linear_map(network: AtlasNetwork, fixed: Image, moving: Image) -> Floats | None:
    """(d+1, d+1) from the world of `fixed` to that of `moving`; None where the registration fails."""
    kind = "rigid" if network.registration == "rigid" else "affine"
    try:
        return register_linear(fixed, moving, kind=kind, seed=network.seed)
    except RegistrationError:
        return None


def full_map(network: AtlasNetwork, atlas: Image, points: Floats, image: Image) -> tuple[Floats, Floats] | None:
    """The full registration of `atlas` to `image`: its linear part (d+1, d+1), and `points` (N, d) after all of it.

    None where the registration fails.
    """
    if network.registration != "deformable":
        matrix = linear_map(network, atlas, image)
        return None if matrix is None else (matrix, transform_points(matrix, points))
    try:
        result = register_deformable(atlas, image, backend=network.backend, seed=network.seed, quick=True)
    except RegistrationError:
        return None
    return result.affine, result.map(points)


def at_once(task: Callable[[int], Result], numbers: Sequence[int]) -> list[Result]:
    """`task` of each number, as many at the same time as torch has threads.

    Each runs on one thread, where sums have one order: so the number of threads changes no result.
    """
    with _one_thread_each(), ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(task, numbers))


@contextmanager
def _one_thread_each() -> Generator[None]:
    """SimpleITK's filters that are made here run on one thread."""
    before = cast("int", sitk.ProcessObject.GetGlobalDefaultNumberOfThreads())
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
