"""Memory that training takes, worked out from shapes alone: a step of each stage on tensors without values."""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map, tree_map_only

from anatomark.core.grid import Grid
from anatomark.errors import SettingsError
from anatomark.methods.interface import DataFacts
from anatomark.training.made_up import made_up_cache, made_up_case

GIB = 2**30
# Python with PyTorch, SimpleITK and all else that training loads; on a GPU, what cuDNN may take to work in.
IDLE_BYTES = {"cpu": 0.5 * GIB, "cuda": 0.25 * GIB}
WEIGHT_BYTES = 4  # float32, with mixed precision too


@dataclass(frozen=True)
class StageMemory:
    """The parameters of a stage's network, and the bytes that its training takes on the device: in all, and of these
    what the network itself takes however small the batch, with its moments and averages."""

    name: str
    parameters: int
    bytes: float
    fixed_bytes: float


def require_room(kind: Any, settings: Any, facts: DataFacts, device: str) -> list[StageMemory]:
    """What the stages of a training with planned `settings` need; SettingsError, with what to change, without room."""
    needs = stage_memory(kind, settings, facts, device)
    for need in needs:
        if need.bytes > facts.memory_bytes:
            raise no_room(kind, settings, facts, device, need)
    return needs


def stage_memory(kind: Any, settings: Any, facts: DataFacts, device: str, only: str | None = None) -> list[StageMemory]:
    """The StageMemory of each stage of method class `kind`, or of one, at the most that planned `settings` may take."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    from anatomark.nets.devices import choose_precision
    from anatomark.training.train import fabric_of

    fabric = fabric_of(device, choose_precision(settings.precision, device))
    grid = max(facts.grids, key=lambda g: math.prod(g.extent))
    settings = settings.bounds(grid.ndim)[1]
    method = kind(settings, ndim=grid.ndim, landmarks=facts.landmarks)
    cache = made_up_cache(made_up_case(grid, settings, landmarks=facts.landmarks))
    idle = IDLE_BYTES[device] + (cache_bytes(settings, facts.grids) if device == "cpu" else 0)
    meta = torch.device("meta")
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    found = []
    with torch.random.fork_rng(devices=[]):
        for stage in method.stages:
            with meta:
                method.begin(stage, cache, meta)
            if only not in (None, stage):
                continue
            one, two = (
                method.example_batch(stage, cache.cases * count, cache.mirrored, np.random.default_rng(0), meta)
                for count in (1, 2)
            )
            batch = tree_map(partial(_grown, count=method.stage_plan(stage).batch), one, two)
            network = method.networks[stage].to(meta).train()
            working = step_bytes(fabric, network, batch, partial(method.loss, stage), fake)
            learned = sum(p.numel() for p in network.parameters() if p.requires_grad)
            held = sum(t.numel() for t in network.state_dict().values())
            all_stages = sum(p.numel() for other in method.networks.values() for p in other.parameters())
            moments = (3 if settings.amsgrad else 2) * learned
            # Beside the weights of all stages so far: averaged weights, the best of these, the optimizer's moments.
            fixed = idle + WEIGHT_BYTES * (all_stages + 2 * held + moments)
            parameters = sum(p.numel() for p in network.parameters())
            found.append(StageMemory(stage, parameters, fixed + working, fixed + WEIGHT_BYTES * learned))
    return found


def cache_bytes(settings: Any, grids: Sequence[Grid]) -> int:
    """Memory that the prepared images of `grids` take at most; 0 where they are left on the disk."""
    images = (made_up_case(grid, settings, landmarks=1).image for grid in grids)
    size = sum(2 * (image.fine.size + image.coarse.size) for image in images)  # float16 at most
    return size if size <= settings.cache_memory_gib * GIB else 0


def no_room(
    kind: Any, settings: Any, facts: DataFacts, device: str, need: StageMemory, factor: float = 1.0
) -> SettingsError:
    """The error that says by how much a stage is too large, and what to change; `factor` is on all that is needed."""
    names = settings.memory_settings.get(need.name, ())
    numbers = [name for name in names if isinstance(getattr(settings, name), int)]
    shapes = [name for name in names if name not in numbers] or ["batch"]

    def taken(**changes: Any) -> float:
        changed = stage_memory(kind, settings.model_copy(update=changes), facts, device, need.name)
        return factor * changed[0].bytes

    free = facts.memory_bytes
    ones = "".join(f"{name}=1, " for name in numbers)
    todo = f"set {ones}and a smaller {' or '.join(shapes)}"
    if need.fixed_bytes > free:
        todo = f"{need.parameters / 1e6:,.0f} M parameters are too many, set a smaller {shapes[-1]}"
    elif device == "cpu" and cache_bytes(settings, facts.grids) and taken(cache_memory_gib=0.0) <= free:
        todo = "set cache_memory_gib=0, so that images are read from the disk"
    else:
        for place, name in enumerate(numbers):
            most = _largest(lambda value, name=name: taken(**{name: value}), getattr(settings, name), free)
            if most:
                todo = f"set {name}={most} or a smaller {' or '.join(numbers[place + 1 :] + shapes)}"
                break
    return SettingsError(
        f"training stage {need.name} needs about {factor * need.bytes / GIB:.1f} GiB, "
        f"{facts.memory_bytes / GIB:.1f} GiB are free; {todo}"
    )


def _largest(taken: Callable[[int], float], too_large: int, free: float) -> int:
    """The largest number below `too_large` that takes no more than `free`, which grows with it; 0 if there is none."""
    low, at_low, high, at_high = 1, taken(1), too_large, taken(too_large)
    if at_low > free or too_large == 1:
        return 0
    for attempt in range(64):
        if high - low <= 1:
            break
        share = (free - at_low) / (at_high - at_low) if attempt < 4 and at_high > at_low else 0.5  # nearly a line
        middle = min(max(low + int(share * (high - low)), low + 1), high - 1)
        needed = taken(middle)
        if needed <= free:
            low, at_low = middle, needed
        else:
            high, at_high = middle, needed
    return low


def _grown(one: Any, two: Any, count: int) -> Any:
    """What is `one` in a batch of one case and `two` in one of two, in one of `count`; tensors without values."""
    if not isinstance(one, torch.Tensor):
        return one
    shape = [a + (count - 1) * (b - a) for a, b in zip(one.shape, two.shape, strict=True)]
    return torch.empty(shape, dtype=one.dtype, device="meta")


def step_bytes(fabric: Any, network: Any, batch: Any, loss: Callable[..., Any], fake: Any) -> int:
    """The most bytes that tensors hold at once in a training step, gradients included, weights not."""
    network = copy.deepcopy(network)
    with fake:
        network.to_empty(device=fabric.device)
    with fake, _Living() as living:
        on_device = tree_map_only(torch.Tensor, lambda t: torch.empty_like(t, device=fabric.device), batch)
        for parameter in network.parameters():
            if parameter.requires_grad:  # those of the last step are there until the backward pass
                parameter.grad = torch.empty_like(parameter)
        terms = loss(fabric.setup_module(network, move_to_device=False), on_device)
        total = torch.stack(list(terms.values())).sum()
        network.zero_grad()
        fabric.backward(total)
    return living.most


class _Living(TorchDispatchMode):
    """Counts the bytes of the tensors that are made within it, as long as they live; `most` is the most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.storages: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._born, result)
        if "convolution" in func.name():  # oneDNN and cuDNN turn inputs and outputs into a layout of their own
            self._passing(args, result)
        return result

    def _passing(self, *tensors: Any) -> None:
        size = 0

        def add(tensor: Any) -> None:
            nonlocal size
            size += tensor.numel() * tensor.element_size()

        tree_map_only(torch.Tensor, add, tensors)
        self.most = max(self.most, self.now + size)

    def _born(self, tensor: Any) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self.storages:
            return
        self.storages.add(storage._cdata)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())

    def _gone(self, storage: int, size: int) -> None:
        self.storages.discard(storage)
        self.now -= size
