"""Landmark transfer from atlases: register the most similar training cases to the image, and let them vote.

Multi-atlas transfer, known from segmentation (Iglesias and Sabuncu, Medical Image Analysis 24(1):205-219, 2015,
doi:10.1016/j.media.2015.06.012): a few linear registrations place the image among the atlases and rank these; the
nearest are registered in full, each by itself, and their landmarks fused, here by the geometric median.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anatomark.core.grid import Floats
from anatomark.core.image import Image
from anatomark.core.landmarks import State
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import WorkingImage, average_pool
from anatomark.errors import RegistrationError
from anatomark.methods.atlas.fusion import Transfer, agreement, fuse, mapped
from anatomark.methods.atlas.library import AtlasLibrary, change_frame, choose_atlases, straight_image, straightened
from anatomark.methods.atlas.plan import plan
from anatomark.methods.atlas.settings import PRESETS, AtlasSettings
from anatomark.methods.interface import DataFacts, Located, StagePlan
from anatomark.methods.presence import ENOUGH_ABSENT, PresenceModel
from anatomark.methods.validation import mean_error, radial_errors

Result = TypeVar("Result")
HUBS = 3  # atlases that are registered to find the image's place
SLACK = 0.9  # of the ranking's agreement: a good registration at another spacing may seem a little worse
PRESENCE_CASES = 20  # held-out cases that presence is learned from


class Atlas:
    """The atlases that training kept, and what they say of an image.

    There are no stages: nothing is learned by gradient steps, `finish` keeps the cases and learns presence. All is
    done on the CPU. Constructed from settings that the plan has completed; `networks` holds the library of atlases
    once training has finished or the model is made to be loaded.
    """

    name = "atlas"
    Settings = AtlasSettings
    presets: Mapping[str, Callable[[int], dict[str, Any]]] = PRESETS

    def __init__(self, settings: AtlasSettings, *, ndim: int, landmarks: int) -> None:
        self.settings = settings
        self.ndim, self.landmarks = ndim, landmarks
        self.networks: dict[str, nn.Module] = {}
        self.presence = PresenceModel.unfitted(1)

    @staticmethod
    def plan(settings: AtlasSettings, facts: DataFacts, *, on_gpu: bool) -> AtlasSettings:
        return plan(settings, facts)

    @property
    def stages(self) -> tuple[str, ...]:
        return ()

    # --- training -------------------------------------------------------------------------------------------------

    def finish(self, cache: Cache, device: torch.device) -> None:
        """Keep the atlases, their shapes in the settings, and learn presence."""
        training = cache.role("train")
        grids = [case.image.fine_grid for case in training]
        frames = [straightened(grid) for grid in grids]
        points = np.stack([change_frame(c.points_world, g, f) for c, g, f in zip(training, grids, frames, strict=True)])
        states = np.stack([case.states for case in training])
        here = np.asarray(np.isfinite(points).all(axis=2))
        mean_shape = np.where(here[..., None], points, 0).sum(axis=0) / np.maximum(here.sum(axis=0), 1)[:, None]
        assert self.settings.atlases is not None
        chosen = choose_atlases(points, states, self.settings.atlases)
        images = {i: straight_image(training[i].image) for i in chosen}
        links = self._links(images)
        kept = list(links)
        images = [images[i] for i in kept]
        library = AtlasLibrary.of(images, list(links.values()), points[kept], states[kept], mean_shape)
        self.networks = {"atlases": library}
        self.settings = self.settings.model_copy(update={"atlas_shapes": tuple(i.grid.shape for i in images)})
        self.presence = self._learned_presence(cache, kept)

    def _links(self, images: Mapping[int, Image]) -> dict[int, Floats]:
        """The linear map (d+1, d+1) of each of `images` to the first, straight or by way of another one.

        Those that cannot be brought to any are missing: an image that fits to no other is no good atlas.
        """
        links: dict[int, Floats] = {}
        coarse = {number: self._coarse(image) for number, image in images.items()}
        for number, image in coarse.items():
            for hub in list(links)[:HUBS]:
                matrix = self._linear(image, coarse[hub])
                if matrix is not None:
                    links[number] = links[hub] @ matrix
                    break
            if not links:
                links[number] = np.eye(self.ndim + 1)
        return links

    def _learned_presence(self, cache: Cache, kept: Sequence[int]) -> PresenceModel:
        """From cases that are no atlas, nor of an atlas's subject; where those lack few landmarks, from atlases too.

        An atlas is located by those of other subjects. Only linear registrations are made: whether a landmark falls
        into the image hangs little on the last millimetres.
        """
        training = cache.role("train")
        subjects = [training[i].subject for i in kept]
        asked = [case for case in cache.cases if case.subject not in subjects]
        if sum(int((case.states == State.ABSENT).sum()) for case in asked) < ENOUGH_ABSENT and len(set(subjects)) > 1:
            asked += [training[i] for i in kept]
        chosen = np.unique(np.linspace(0, len(asked) - 1, min(PRESENCE_CASES, len(asked))).astype(int))
        asked = [asked[i] for i in chosen]
        states = np.array([case.states for case in asked], dtype=np.uint8).reshape(len(asked), self.landmarks)
        known = states != State.NOT_ANNOTATED
        if not (states == State.ABSENT).any():  # nothing to tell apart, so nothing to look at
            count = max(int(known.sum()), sum(int((case.states == State.PRESENT).sum()) for case in training))
            return PresenceModel.fitted(np.zeros((count, 1)), np.ones(count, dtype=bool))
        own = [[n for n, subject in enumerate(subjects) if subject == case.subject] for case in asked]
        masses = np.stack(
            [self._answer(case.image, linear=True, leave_out=out).mass for case, out in zip(asked, own, strict=True)]
        )
        return PresenceModel.fitted(masses[known][:, None], states[known] == State.PRESENT)

    def validate(self, stage: str, cases: Sequence[CachedCase], device: torch.device) -> float:
        """Mean radial error (world units) over the present landmarks of `cases`; NaN if there are none."""
        return mean_error(radial_errors(self, cases, device))

    def make_networks(self) -> None:
        """The library with grey values and landmarks yet to be loaded."""
        shapes = self.settings.atlas_shapes
        assert shapes, "atlas_shapes is missing"
        assert all(len(shape) == self.ndim for shape in shapes), f"atlas_shapes are not {self.ndim}D"
        self.networks = {"atlases": AtlasLibrary(shapes, ndim=self.ndim, landmarks=self.landmarks)}

    def try_out(self, images: Sequence[WorkingImage], cases: int) -> dict[str, float]:
        """Seconds of a "prediction", and of `finish` with that many cases, from one registration of each kind.

        Afterwards the library holds `images` in place of atlases, without landmarks.
        """
        s = self.settings
        assert s.atlases is not None
        assert s.nearest is not None
        straight = [straight_image(image) for image in images]
        coarse = [self._coarse(image) for image in straight]
        still = np.eye(self.ndim + 1)
        nowhere = np.full((s.atlases, self.landmarks, self.ndim), np.nan)
        held = [straight[n % len(straight)] for n in range(s.atlases)]
        unknown = np.zeros(nowhere.shape[:2], dtype=np.uint8)
        self.networks = {"atlases": AtlasLibrary.of(held, [still] * s.atlases, nowhere, unknown, nowhere[0])}
        self.settings = s.model_copy(update={"atlas_shapes": tuple(image.grid.shape for image in held)})
        linear, comparison, full = (
            _seconds(lambda: self._at_once(lambda _: self._linear(coarse[0], coarse[-1]), [0])),
            _seconds(lambda: agreement(coarse[0], coarse[-1], still)),
            _seconds(lambda: self._at_once(lambda _: self._carried(straight[0], nowhere[0], straight[-1]), [0])),
        )
        hubs, threads = min(HUBS, s.atlases), torch.get_num_threads()
        ranking = math.ceil(hubs / threads) * linear + hubs * s.atlases * comparison
        return {
            "prediction": ranking + math.ceil(s.nearest / threads) * full,
            "finish": (s.atlases - 1) * linear + min(PRESENCE_CASES, cases) * ranking,
        }

    # --- prediction -----------------------------------------------------------------------------------------------

    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        """The one answer for an image; without stages, `upto` cannot shorten anything."""
        return [self._answer(image)]

    def _answer(self, image: WorkingImage, *, linear: bool = False, leave_out: Sequence[int] = ()) -> Located:
        """What the atlases but `leave_out` say; if `linear`, the ranking's registrations are all there are."""
        library = self.networks["atlases"]
        assert isinstance(library, AtlasLibrary)
        straight = straight_image(image)
        ranked = self._ranked(library, [n for n in range(len(library)) if n not in leave_out], straight)
        near = dict(list(ranked.items())[: self.settings.nearest])
        if not linear:
            near = self._registered(library, near, straight)
        rest = [transfer for number, transfer in ranked.items() if number not in near]
        points, spread, mass = fuse(list(near.values()), rest, straight.grid, library.mean_shape.cpu().numpy())
        return Located(change_frame(points, straight.grid, image.fine_grid), spread, mass)

    def _ranked(self, library: AtlasLibrary, numbers: Sequence[int], image: Image) -> dict[int, Transfer]:
        """What the atlases `numbers` say by linear maps, best agreement first; nothing where the image fits to none.

        A few atlases are registered to the image, the others follow through their links to these; each takes the way
        after which it agrees most with the image, so that one registration that went astray does no harm.
        """
        coarse = self._coarse(image)
        atlases = {number: self._coarse(library.image(number, image.grid.unit)) for number in numbers}
        hubs = list(numbers[:HUBS])
        ways = dict(zip(hubs, self._at_once(lambda hub: self._linear(atlases[hub], coarse), hubs), strict=True))
        found: dict[int, Transfer] = {}
        for number, atlas in atlases.items():
            matrices = [way @ library.link(number, hub) for hub, way in ways.items() if way is not None]
            if matrices:
                agreements = [agreement(atlas, coarse, matrix) for matrix in matrices]
                best = int(np.argmax(agreements))
                points, states = library.landmarks(number)
                known = states != State.NOT_ANNOTATED
                found[number] = Transfer(agreements[best], mapped(matrices[best], points), known)
        return dict(sorted(found.items(), key=lambda item: -item[1].agreement))

    def _coarse(self, image: Image) -> Image:
        assert self.settings.pool is not None
        return Image(*average_pool(image.array, image.grid, self.settings.pool))

    def _linear(self, fixed: Image, moving: Image) -> Floats | None:
        """(d+1, d+1) from the world of `fixed` to that of `moving`; None where they cannot be brought together."""
        from anatomark.registration.linear import register_linear

        kind = "rigid" if self.settings.registration == "rigid" else "affine"
        try:
            return register_linear(fixed, moving, kind=kind, seed=self.settings.seed)
        except RegistrationError:
            return None

    def _registered(self, library: AtlasLibrary, ranked: Mapping[int, Transfer], image: Image) -> dict[int, Transfer]:
        """What `ranked` atlases say by full registrations, each by its own; without those that failed or went astray.

        Astray is a registration whose linear part agrees less than that of the ranking did.
        """
        coarse = self._coarse(image)

        def registered(number: int) -> Transfer | None:
            atlas = library.image(number, image.grid.unit)
            carried = self._carried(atlas, library.landmarks(number)[0], image)
            if carried is None:
                return None
            matrix, points = carried
            agrees = agreement(self._coarse(atlas), coarse, matrix)
            return None if agrees < SLACK * ranked[number].agreement else replace(ranked[number], points=points)

        # Where nothing is coarse and nothing is bent, the hubs have been registered in full already.
        ready = range(
            HUBS if self.settings.registration != "deformable" and set(self.settings.pool or ()) == {1} else 0
        )
        asked = [number for number in ranked if number not in ready]
        found = {**ranked, **dict(zip(asked, self._at_once(registered, asked), strict=True))}
        return {number: transfer for number, transfer in found.items() if transfer is not None}

    def _carried(self, atlas: Image, points: Floats, image: Image) -> tuple[Floats, Floats] | None:
        """The linear part (d+1, d+1) of the full registration to `image`, and `points` (N, d) after all of it."""
        from anatomark.registration.deformable import register_deformable

        s = self.settings
        if s.registration != "deformable":
            matrix = self._linear(atlas, image)
            return None if matrix is None else (matrix, mapped(matrix, points))
        try:
            found = register_deformable(atlas, image, backend=s.backend, seed=s.seed, quick=True)
        except RegistrationError:
            return None
        return found.affine, found.map(points)

    def _at_once(self, task: Callable[[int], Result], numbers: Sequence[int]) -> list[Result]:
        """`task` of each number, as many at once as torch has threads.

        Each works on one thread, where sums have one order: so the number of threads changes no answer.
        """
        with _one_thread_each(), ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return list(pool.map(task, numbers))

    # --- what the training loop asks of methods with stages ---------------------------------------------------------

    def stage_plan(self, stage: str) -> StagePlan:
        self._refuse(stage)

    def begin(self, stage: str, cache: Cache, device: torch.device) -> None:
        self._refuse(stage)

    def example_batch(
        self,
        stage: str,
        cases: Sequence[CachedCase],
        mirrored: NDArray[np.int64],
        rng: np.random.Generator,
        device: torch.device,
    ) -> dict[str, Any]:
        self._refuse(stage)

    def loss(self, stage: str, network: nn.Module, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        self._refuse(stage)

    def _refuse(self, stage: str) -> NoReturn:
        raise ValueError(f"the atlas method has no stages, so none called {stage!r}")


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """What SimpleITK begins here works on one thread, where sums have one order and results are always the same."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _seconds(task: Callable[[], object]) -> float:
    began = time.monotonic()
    task()
    return time.monotonic() - began
