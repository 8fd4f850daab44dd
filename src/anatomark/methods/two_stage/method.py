"""Two-stage task-oriented networks (T2DL): stage 1 learns from patches, stage 2 finds all landmarks jointly.

Zhang, Liu, Shen, IEEE TIP 26(10):4753-4764, 2017, doi 10.1109/TIP.2017.2721106.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anatomark import votes
from anatomark.core.landmarks import State
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import WorkingImage
from anatomark.methods.examples import crop_example
from anatomark.methods.interface import DataFacts, Located, StagePlan
from anatomark.methods.presence import PresenceModel, learn_presence
from anatomark.methods.two_stage.joint import JointNet, displacements, patch_centers
from anatomark.methods.two_stage.look import CloseLook, places_to_look
from anatomark.methods.two_stage.loss import displacement_loss, joint_loss, look_loss, present_of
from anatomark.methods.two_stage.plan import plan
from anatomark.methods.two_stage.settings import PRESETS, TwoStageSettings
from anatomark.methods.validation import mean_error, radial_errors
from anatomark.nets.ladder import LadderNet

Floats = NDArray[np.float64]
NEAREST_SHARE = 0.02  # of the patches are those next to a point
NEAREST_ROUNDS = 8


class TwoStage:
    """The two stages, their networks and what they learned.

    Stage 2 is trained twice: its extra layers alone on the frozen network of stage 1 ("stage2_frozen"), then all
    together ("stage2"). Constructed from settings that the plan has completed.
    """

    name = "two-stage"
    Settings = TwoStageSettings
    presets: Mapping[str, Callable[[int], dict[str, Any]]] = PRESETS
    stages = ("stage1", "stage2_frozen", "stage2")

    def __init__(self, settings: TwoStageSettings, *, ndim: int, landmarks: int) -> None:
        self.settings = settings
        self.ndim, self.landmarks = ndim, landmarks
        self.networks: dict[str, nn.Module] = {}
        self.presence = PresenceModel.unfitted(2 if settings.look else 1)

    @staticmethod
    def plan(settings: TwoStageSettings, facts: DataFacts, *, on_gpu: bool) -> TwoStageSettings:
        return plan(settings, facts, on_gpu=on_gpu)

    # --- training -------------------------------------------------------------------------------------------------

    def begin(self, stage: str, cache: Cache, device: torch.device) -> None:
        """Make the network of a stage, from those of the stages before it."""
        torch.manual_seed(self.settings.seed + self.stages.index(stage))
        if stage == "stage1":
            self.networks[stage] = self._patches()
        elif stage == "stage2_frozen":
            network = self._joint(copy.deepcopy(self.networks["stage1"]), _mean_shape(cache))
            network.freeze()
            self.networks[stage] = network
        else:
            network = self._joint(self._patches(), None)
            network.load_state_dict(self.networks["stage2_frozen"].state_dict())
            if network.look is not None:
                network.look.share.fill_(0.5)  # it has begun to learn by now
            self.networks[stage] = network

    def make_networks(self) -> None:
        """The networks that a finished model keeps, with weights yet to be loaded."""
        self.networks = {"stage1": self._patches(), "stage2": self._joint(self._patches(), None)}

    def _patches(self) -> LadderNet:
        s = self.settings
        assert s.channels is not None, "channels is missing"
        return LadderNet(self.ndim, self.landmarks, channels=s.channels, context=s.context or (), hidden=s.hidden)

    def _joint(self, patches: nn.Module, mean_shape: Tensor | None) -> JointNet:
        assert isinstance(patches, LadderNet)
        s = self.settings
        assert s.spacing is not None, "spacing is missing"
        assert s.image is not None, "image is missing"
        patches_each = math.prod(max(1, n // patches.stride) for n in s.image)
        look = None
        if s.look:
            assert s.look_level is not None, "look_level is missing"
            assert s.look_window is not None, "look_window is missing"
            assert s.look_channels is not None, "look_channels is missing"
            cell = 2 ** (s.look_level + len(s.look_channels) - 1)
            look = CloseLook(
                patches,
                level=s.look_level,
                window=s.look_window,
                channels=s.look_channels,
                prior=1 / max(2, math.prod(n // cell for n in s.look_window)),
            )
        return JointNet(
            patches,
            spacing=s.spacing,
            rank=s.rank,
            rounds=s.rounds,
            prior=1 / max(2, patches_each),
            mean_shape=mean_shape,
            fixed_normalisation=bool(s.fixed_normalisation),
            look=look,
        )

    def stage_plan(self, stage: str) -> StagePlan:
        s = self.settings
        assert s.stage1_crop is not None
        assert s.stage1_batch is not None
        assert s.stage1_steps is not None
        assert s.frozen_steps is not None
        assert s.stage2_steps is not None
        assert s.stage2_batch is not None
        assert s.image is not None
        stride = 2 ** (len(s.channels or ()) - 1)
        if stage == "stage1":
            patches = math.prod(n // stride for n in s.stage1_crop)
            return StagePlan(
                s.stage1_steps, s.stage1_batch, s.stage1_learning_rate, "cosine", patches=s.stage1_batch * patches
            )
        patches = math.prod(n // stride for n in s.image)
        steps, rate = (s.frozen_steps, s.frozen_learning_rate)
        if stage == "stage2":
            steps, rate = (s.stage2_steps, s.stage2_learning_rate)
        return StagePlan(steps, s.stage2_batch, rate, "cosine", patches=s.stage2_batch * patches)

    def example_batch(
        self,
        stage: str,
        cases: Sequence[CachedCase],
        mirrored: NDArray[np.int64],
        rng: np.random.Generator,
        device: torch.device,
    ) -> dict[str, Any]:
        """Random crops of `cases` with their margins, as tensors on `device`, for `loss`."""
        s = self.settings
        network = self.networks[stage]
        margin = (network.patches if isinstance(network, JointNet) else network).margin
        crop, near = (s.stage1_crop, s.near_landmarks) if stage == "stage1" else (s.image, 0.0)
        assert crop is not None
        assert isinstance(margin, int)
        examples = [
            crop_example(case, s, mirrored, rng, device, level="fine", crop=crop, margin=margin, near_landmarks=near)
            for case in cases
        ]
        values, points, states = (torch.stack(part) for part in zip(*examples, strict=True))
        spacing = torch.tensor(cases[0].image.fine_grid.spacing, dtype=torch.float32, device=device)
        batch = {
            "values": values,
            "points": points.to(device) * spacing,
            "states": states.to(device),
            "spacing": spacing,
        }
        if stage != "stage1" and s.look:
            places = places_to_look(points, present_of(points, states), s, rng)
            batch["look_at"] = places.to(device) * spacing
        return batch

    def loss(self, stage: str, network: Any, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The weighted loss terms of a batch (see `loss.py`)."""
        s = self.settings
        assert s.near is not None
        assert s.far_weight is not None
        where: dict[str, Any] = {
            "spacing": batch["spacing"],
            "stride": 2 ** (len(s.channels or ()) - 1),
        }
        far = {"near": s.near, "far_weight": s.far_weight}
        points, states = batch["points"], batch["states"]
        if stage == "stage1":
            found = network(batch["values"])
            return {"displacement": displacement_loss(found, points, states, **far, **where)}
        answer = network(batch["values"], look_at=batch.get("look_at"))
        terms = joint_loss(answer, points, states, say_weight=s.say_weight, class_weight=s.class_weight, **where)
        if answer.seen is not None:
            assert s.look_window is not None
            terms |= look_loss(answer.seen, points / batch["spacing"], states, window=s.look_window)
        if stage == "stage2" and s.displacement_weight:
            error = displacement_loss(answer.displacement, points, states, **far, **where)
            terms["displacement"] = s.displacement_weight * error
        return terms

    def validate(self, stage: str, cases: Sequence[CachedCase], device: torch.device) -> float:
        """Mean radial error (world units) of the stage over the present landmarks of `cases`; NaN if there are none.

        That of stage 1 is of the single votes of patches next to the reference, for these are what stage 2 builds on:
        the mean of all votes may get worse while they get better.
        """
        if stage == "stage1":
            return mean_error(np.array([self._errors_next_to(case, device) for case in cases]))
        return mean_error(radial_errors(self, cases, device, upto=stage))

    def finish(self, cache: Cache, device: torch.device) -> None:
        """Learn what close looks count and how posterior mass tells presence; the frozen stage has done its work."""
        self.networks.pop("stage2_frozen", None)
        self._learn_share(cache.role("validation"), device)
        self.presence = learn_presence(self, cache, device)

    def _learn_share(self, cases: Sequence[CachedCase], device: torch.device) -> None:
        network = self.networks["stage2"]
        assert isinstance(network, JointNet)
        if network.look is None or not cases:
            return
        network.look.share.fill_(1.0)
        answers = [self.locate(case.image, device) for case in cases]
        voted, looked = (np.concatenate([each[k].points_world for each in answers]) for k in range(2))
        points = np.concatenate([case.points_world for case in cases])
        known = np.concatenate([case.states == State.PRESENT for case in cases])
        network.look.learn_share(*(torch.from_numpy(each[known]) for each in (voted, looked, points)))

    # --- prediction -----------------------------------------------------------------------------------------------

    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        """The answer of stage `upto` (the last by default), alone: stage 2 holds the network of stage 1 in itself."""
        with torch.inference_mode():
            if upto == "stage1":
                return [self._located(image, *_mean_vote(self._stage1_votes(image, device)[1]), None)]
            network = self.networks[upto or "stage2"].eval()
            assert isinstance(network, JointNet)
            answer = network(self._padded(image, network.patches, device))
            located = [self._located(image, answer.voted[0], answer.spread[0], answer.posterior.float().sigmoid())]
            if answer.seen is not None:
                posterior = answer.seen.logits.sigmoid()
                located.append(self._located(image, answer.points[0], answer.spread[0], posterior))
            return located

    def fixed_votes(self, image: WorkingImage, device: torch.device) -> dict[str, Floats]:
        """Points (N, d) world of stage 1 without stage 2: the "mean" of all votes, and of "near" patches' alone.

        Near are the patches that lie next to the point, which is looked for in a few rounds from the median of all
        votes; there it is again the median along each axis that counts, for it was better than the mean.
        """
        with torch.inference_mode():
            centers, cast = self._stage1_votes(image, device)
            near = cast.median(-1).values
            for _ in range(NEAREST_ROUNDS):
                chosen = _nearest(centers, near).unsqueeze(2)
                near = torch.where(chosen, cast, torch.nan).nanmedian(-1).values
            return {"mean": self._world(image, _mean_vote(cast)[0]), "near": self._world(image, near[0])}

    def _stage1_votes(self, image: WorkingImage, device: torch.device) -> tuple[Tensor, Tensor]:
        """Middles of the patches (d, P), and where each says that landmarks are (1, N, d, P), after stage 1."""
        network = self.networks["stage1"].eval()
        assert isinstance(network, LadderNet)
        features = network.features(self._padded(image, network, device))
        spacing = torch.tensor(image.fine_grid.spacing, dtype=torch.float32, device=device)
        centers = patch_centers(features.shape[2:], network.stride, spacing)
        return centers, centers + displacements(network.displacements(features), spacing)

    def _errors_next_to(self, case: CachedCase, device: torch.device) -> Floats:
        """(N,) mean error of the votes of the patches next to each landmark of `case`; NaN unless it is present."""
        with torch.inference_mode():
            centers, cast = self._stage1_votes(case.image, device)
            grid = case.image.fine_grid
            along = grid.world_to_index(case.points_world) * np.asarray(grid.spacing)
            points = torch.from_numpy(along).to(cast)[None]
            error = (cast - points.unsqueeze(-1)).square().sum(2).sqrt()
            near = _nearest(centers, points).float()
            found = (error * near).sum(-1) / near.sum(-1)
        return found[0].double().cpu().numpy()

    def _padded(self, image: WorkingImage, patches: LadderNet, device: torch.device) -> Tensor:
        """(1, 1, *padded) grey values with the margin around, filled up to whole patches."""
        stride, margin = patches.stride, patches.margin
        low, high = image.window
        size = [stride * math.ceil(n / stride) + 2 * margin for n in image.fine.shape]
        values = torch.zeros((1, 1, *size), device=device)
        inner = torch.from_numpy(image.fine.astype(np.float32)).to(device)
        values[(0, 0, *(slice(margin, margin + n) for n in inner.shape))] = (inner - low) / (high - low)
        return values

    def _located(self, image: WorkingImage, points: Tensor, spread: Tensor, posterior: Tensor | None) -> Located:
        """Points (N, d) along the array axes taken to the world; without a posterior, a mass of one half."""
        mass = np.full(len(points), 0.5)
        if posterior is not None:
            mass = votes.posterior_mass(posterior)[0].double().cpu().numpy()
        return Located(self._world(image, points), spread.double().cpu().numpy(), mass)

    def _world(self, image: WorkingImage, points: Tensor) -> Floats:
        """Points (N, d) along the array axes, taken to the world."""
        return image.fine_grid.index_to_world(points.double().cpu().numpy() / np.asarray(image.fine_grid.spacing))


def _nearest(centers: Tensor, points: Tensor) -> Tensor:
    """(B, N, P) whether a patch is of the `NEAREST_SHARE` with middles (d, P) next to points (B, N, d)."""
    distance2 = (centers - points.unsqueeze(-1)).square().sum(2)
    least = distance2.topk(max(1, round(NEAREST_SHARE * centers.shape[-1])), dim=-1, largest=False).values[..., -1:]
    return distance2 <= least


def _mean_vote(cast: Tensor) -> tuple[Tensor, Tensor]:
    """Points (N, d) and spread (N,) of votes (1, N, d, P), each counting the same."""
    points, spread = votes.combine(cast, torch.ones_like(cast[:, :, 0]))
    return points[0], spread[0]


def _mean_shape(cache: Cache) -> Tensor:
    """(N, d) the mean of the training shapes along the array axes, about the mean of its points; 0 where unknown."""
    shapes = []
    for case in cache.role("train"):
        grid = case.image.fine_grid
        index = grid.world_to_index(case.points_world)
        along = np.where((case.states == State.PRESENT)[:, None], index, np.nan) * grid.spacing
        shapes.append(along - np.nanmean(along, axis=0) if np.isfinite(along).any() else along)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(shapes)
        mean = np.nansum(shapes, axis=0) / np.maximum(known.sum(axis=0), 1)
    return torch.from_numpy(mean - mean.mean(axis=0)).float()
