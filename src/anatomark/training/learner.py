"""A network that learns: its optimizer, its learning rate from step to step, and the running average of its weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from anatomark.nets.split_batch import split_batch
from anatomark.training.schedule import rate_factor, update_average

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from anatomark.data.cache import Cache
    from anatomark.methods.interface import Batch, Networks, Staged


class Learner:
    """The network of a stage in training. `networks` are of the stages before.

    It is the same in all processes of `fabric`: it begins with the weights of process 0, and each step adds up the
    gradients of all.
    """

    def __init__(self, fabric: Fabric, staged: Staged, stage: str, networks: Networks, cache: Cache) -> None:
        self.fabric, self.staged, self.stage = fabric, staged, stage
        self.training, self.plan = staged.plan.training, staged.stage_plan(stage)
        self.network = staged.make(stage, networks, cache)
        if fabric.world_size > 1:
            self.network.load_state_dict(fabric.broadcast(self.network.state_dict()))
        training, rate = self.training, self.plan.learning_rate
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=rate, weight_decay=training.weight_decay, amsgrad=training.amsgrad
        )
        self.wrapped, self.wrapped_optimizer = fabric.setup(self.network, self.optimizer)
        self.averaged = copy.deepcopy(self.network)

    @property
    def candidate(self) -> nn.Module:
        """The network with the weights that would be kept now."""
        return self.averaged if self.training.ema else self.network

    def learn(self, batch: Batch, *, step: int, steps: int, rate: float = 1.0) -> dict[str, torch.Tensor]:
        """Take one step, number `step` of `steps`; its loss terms and their sum, "loss".

        The learning rate is `rate` times the planned one. Of a batch that processes share, the terms are of this one's
        part.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate * self.plan.learning_rate * rate_factor(self.plan.schedule, step, steps)
        with split_batch(self.fabric.world_size > 1):
            terms = self.staged.loss(self.stage, self.wrapped, batch)
            total = torch.stack(list(terms.values())).sum()
            self.wrapped_optimizer.zero_grad()
            self.fabric.backward(total)
        if self.fabric.world_size > 1:
            self._add_gradients()
        if clip := self.training.gradient_clip:
            self.fabric.clip_gradients(self.wrapped, self.wrapped_optimizer, max_norm=clip, error_if_nonfinite=False)
        self.wrapped_optimizer.step()
        if self.training.ema:
            update_average(self.averaged, self.network, min(self.training.ema, (1 + step) / (10 + step)))
        return {**terms, "loss": total}

    def _add_gradients(self) -> None:
        """Give all processes the gradients of the whole batch, the sums of theirs."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        own = torch.cat([each.flatten() for each in gradients])
        whole = cast("torch.Tensor", self.fabric.all_reduce(own, reduce_op="sum"))
        for each, part in zip(gradients, whole.split([each.numel() for each in gradients]), strict=True):
            each.copy_(part.view_as(each))
