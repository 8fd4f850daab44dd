"""How two-stage learns: the patch network, the extra layers of the joint network on it frozen, then all together."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anatomark.core.grid import Floats
from anatomark.core.landmarks import State
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import WorkingImage
from anatomark.methods.examples import crop_example, generators, stacked
from anatomark.methods.interface import Batch, Located, Networks, StagePlan
from anatomark.methods.search import found
from anatomark.methods.staged import NetworkStages
from anatomark.methods.two_stage.calls import calls_of
from anatomark.methods.two_stage.config import TwoStageNetwork, TwoStageTraining
from anatomark.methods.two_stage.joint import JointNet, JointOutput
from anatomark.methods.two_stage.locate import locate_stage1, search, single_vote_errors
from anatomark.methods.two_stage.loss import displacement_loss, joint_loss, present_of, refinement_loss
from anatomark.methods.two_stage.plan import SHARE, Refinement, patch_bytes, refinement_bytes
from anatomark.methods.two_stage.refinement import RefinementHead, sample_refinement_centers
from anatomark.nets.patch_net import PatchNet, stride_and_margin

LANDMARK_CROP_FRACTION = 0.5  # of the crops of stage 1 lie around a landmark, the others anywhere
DISTANCE_FLOOR = {2: 0.1, 3: 0.01}  # weight of the farthest patch's displacement; there are more far patches in 3D
FROZEN_LEARNING_RATE = 5e-3  # of the extra layers alone
ENOUGH_IMAGES = 4  # in a step, for their statistics to stand for all; with fewer, stage 2 keeps those of stage 1
PRESENCE_LOSS_WEIGHT = 0.3  # of the classifier behind the presence, in the loss of stage 2


@dataclass(frozen=True)
class TwoStageStages(NetworkStages[TwoStageNetwork, TwoStageTraining]):
    """The stages; stage 2 is trained twice, its extra layers alone on the frozen network of stage 1, and end to end."""

    steps: ClassVar[Mapping[str, str]] = {
        "stage1": "stage1_steps",
        "stage2_frozen": "frozen_steps",
        "stage2": "stage2_steps",
    }

    @classmethod
    def untrained(cls, network: TwoStageNetwork) -> dict[str, nn.Module]:
        return {"stage1": make_patches(network), "stage2": make_joint(network, make_patches(network))}

    def make(self, stage: str, networks: Networks, cache: Cache) -> nn.Module:
        network, training = self.plan.network, self.plan.training
        torch.manual_seed(training.seed + self.stages.index(stage))
        if stage == "stage1":
            return make_patches(network)
        patches = copy.deepcopy(cast("PatchNet", networks["stage1"])) if stage == "stage2_frozen" else None
        joint = make_joint(
            network,
            make_patches(network) if patches is None else patches.cpu(),
            prior=1 / max(2, math.prod(max(1, n // network.stride) for n in training.stage2_crop)),
            mean_shape=None if patches is None else _mean_shape(cache),
            fixed_normalisation=training.stage2_batch < ENOUGH_IMAGES,
        )
        if stage == "stage2_frozen":
            joint.freeze()
            return joint
        joint.load_state_dict(networks["stage2_frozen"].state_dict())
        if joint.refinement is not None:
            joint.refinement.blend_weight.fill_(0.5)  # it has begun to learn by now
        return joint

    def stage_plan(self, stage: str) -> StagePlan:
        network, training = self.plan.network, self.plan.training
        _, margin = stride_and_margin(network.channels, network.dilations)
        first = stage == "stage1"
        crop, batch = (
            (training.stage1_crop, training.stage1_batch) if first else (training.stage2_crop, training.stage2_batch)
        )
        steps, rate = {
            "stage1": (training.stage1_steps, training.stage1_learning_rate),
            "stage2_frozen": (training.frozen_steps, FROZEN_LEARNING_RATE),
            "stage2": (training.stage2_steps, training.stage2_learning_rate),
        }[stage]
        padded = [n + 2 * margin for n in crop]
        case_bytes = patch_bytes(network.channels, network.landmarks, network.head_channels, padded)
        if not first:
            case_bytes += refinement_bytes(
                Refinement(network.refine, network.refine_level, network.refine_window, network.refine_channels),
                network.landmarks,
            )
        return StagePlan(
            steps,
            batch,
            rate,
            "cosine",
            share=SHARE[stage],
            validations_after=int(stage == "stage2" and network.refine),  # the blend weight
            patches=batch * math.prod(n // network.stride for n in crop),
            case_bytes=case_bytes,
            smaller=("stage1_batch", "stage1_crop", "channels")
            if first
            else ("stage2_batch", "stage2_crop", "channels"),
        )

    def batch(
        self,
        stage: str,
        cases: Sequence[CachedCase],
        mirrored: NDArray[np.int64],
        rng: np.random.Generator,
        device: torch.device,
        *,
        first: int = 0,
    ) -> Batch:
        """Random crops of `cases` with their margins: "values", "points" (grid frame), "states" and the "spacing".

        With a refinement, stage 2 also has "refine_at", the points of the grid frame that windows lie around.
        """
        network, training = self.plan.network, self.plan.training
        _, margin = stride_and_margin(network.channels, network.dilations)
        crop, fraction = (
            (training.stage1_crop, LANDMARK_CROP_FRACTION) if stage == "stage1" else (training.stage2_crop, 0.0)
        )
        rngs = generators(rng, first, len(cases))
        examples = [
            crop_example(
                case,
                training,
                mirrored,
                own,
                device,
                level="fine",
                crop=crop,
                margin=margin,
                landmark_crop_fraction=fraction,
            )
            for case, own in zip(cases, rngs, strict=True)
        ]
        values, points, states = stacked(examples)
        spacing = torch.tensor(cases[0].image.fine_grid.spacing, dtype=torch.float32, device=device)
        batch = {
            "values": values,
            "points": points.to(device) * spacing,
            "states": states.to(device),
            "spacing": spacing,
        }
        if stage != "stage1" and network.refine:
            centers = [
                sample_refinement_centers(
                    points[k : k + 1],
                    present_of(points, states)[k : k + 1],
                    own,
                    window=network.refine_window,
                    image=crop,
                    jitter=network.stride * min(network.spacing) / np.asarray(network.spacing),
                )
                for k, own in enumerate(rngs)
            ]
            batch["refine_at"] = torch.cat(centers).to(device) * spacing
        return batch

    def loss(self, stage: str, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The weighted loss terms of a batch (see `loss.py`)."""
        training = self.plan.training
        points, states, spacing = batch["points"], batch["states"], batch["spacing"]

        def displacement_term(displacement: Tensor) -> Tensor:
            return displacement_loss(
                displacement,
                points,
                states,
                spacing=spacing,
                stride=self.plan.network.stride,
                distance_decay=training.distance_decay,
                distance_floor=DISTANCE_FLOOR[self.plan.network.ndim],
            )

        if stage == "stage1":
            return {"displacement": displacement_term(network(batch["values"]))}
        output: JointOutput = network(batch["values"], refine_at=batch.get("refine_at"))
        terms = joint_loss(
            output,
            points,
            states,
            spacing=spacing,
            stride=self.plan.network.stride,
            attention_loss_weight=training.attention_loss_weight,
            class_weight=PRESENCE_LOSS_WEIGHT,
        )
        if output.refinement is not None:
            window = self.plan.network.refine_window
            terms |= refinement_loss(output.refinement, points / spacing, states, window=window)
        if stage == "stage2" and training.displacement_weight and output.displacement is not None:
            terms["displacement"] = training.displacement_weight * displacement_term(output.displacement)
        return terms

    def errors(self, stage: str, networks: Networks, cases: Sequence[CachedCase], device: torch.device) -> Floats:
        """As of every method, but for stage 1: there of the single votes of the patches next to the reference.

        These are what stage 2 builds on; the mean of all votes may get worse while they get better.
        """
        if stage != "stage1":
            return super().errors(stage, networks, cases, device)
        patches = cast("PatchNet", networks["stage1"].eval())
        return np.array([single_vote_errors(patches, case, device) for case in cases])

    def located(self, stage: str, networks: Networks, image: WorkingImage, device: torch.device) -> Located:
        if stage == "stage1":
            return locate_stage1(cast("PatchNet", networks[stage]), image, device)[-1]
        return found(search(self.plan.network, image, device), calls_of(cast("JointNet", networks[stage])))[-1]


def make_patches(network: TwoStageNetwork) -> PatchNet:
    """The network of stage 1."""
    return PatchNet(
        network.ndim,
        network.landmarks,
        channels=network.channels,
        dilations=network.dilations,
        head_channels=network.head_channels,
    )


def make_joint(
    network: TwoStageNetwork,
    patches: PatchNet,
    *,
    prior: float = 0.5,
    mean_shape: Tensor | None = None,
    fixed_normalisation: bool = False,
) -> JointNet:
    """The network of stage 2, around `patches`; the other arguments are as in `JointNet`."""
    refinement = None
    if network.refine:
        refinement = RefinementHead(
            patches,
            level=network.refine_level,
            window=network.refine_window,
            channels=network.refine_channels,
            prior=1 / max(2, math.prod(n // network.refine_stride for n in network.refine_window)),
        )
    return JointNet(
        patches,
        spacing=network.spacing,
        rank=network.joint_rank,
        rounds=network.rounds,
        prior=prior,
        mean_shape=mean_shape,
        fixed_normalisation=fixed_normalisation,
        refinement=refinement,
    )


def _mean_shape(cache: Cache) -> Tensor:
    """(N, d) the mean of the training shapes in the grid frame, about the mean of its points; 0 where unknown."""
    shapes: list[Floats] = []
    for case in cache.training:
        grid = case.image.fine_grid
        index = grid.world_to_index(case.points_world)
        points = np.where((case.states == State.PRESENT)[:, None], index, np.nan) * np.asarray(grid.spacing)
        shapes.append(points - np.nanmean(points, axis=0) if np.isfinite(points).any() else points)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(shapes)
        mean = np.nansum(shapes, axis=0) / np.maximum(known.sum(axis=0), 1)
    return torch.as_tensor(mean - mean.mean(axis=0)).float()
