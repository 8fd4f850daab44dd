"""How fast a training goes: patches a second, steps a second, and what of a step the network takes.

python -m benchmarks training

Every stage goes through the loop of a real training, on made-up images. Beside it, where they make sense:
"single patches", the patch network of stage 1 trained as such networks commonly are, on batches of patches that are
each cut out for themselves; and "MONAI loader", the same network and loss, with images from a CacheDataset, the same
kinds of changes by MONAI's transforms, and a DataLoader with a worker a core. (Its landmarks do not follow the
images: what is learned is not measured.)
"""

from __future__ import annotations

import argparse
import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Self

from benchmarks.results import provenance, write

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from anatomark.core.grid import Floats, Grid
    from anatomark.data.cache import Cache, CachedCase
    from anatomark.methods.interface import AnyPlan, Batch, Networks, Staged, StagePlan

SIZES = {  # along the array axes, and the spacing (mm); landmarks
    2: ((960, 774), 0.25, 19),
    3: ((128, 128, 128), 1.5, 24),
}
CASES = 8
SINGLE = 64  # patches in a batch, each cut out for itself
AS_IS = "as it is"
STAGES = {"two-stage": ("stage1", "stage2"), "global-to-local": ("global", "local"), "heatmap": ("heatmap",)}
LOADED = ("stage1", "global", "heatmap")  # stages that see one image window a case, as loaders give them


def main(arguments: Sequence[str]) -> None:
    from anatomark.nets.devices import choose_device, choose_precision

    parser = argparse.ArgumentParser(prog="python -m benchmarks training")
    parser.add_argument("--methods", nargs="+", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--dimensions", type=int, nargs="+", choices=(2, 3), default=[2, 3])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=12, help="of each measurement, after three to warm up")
    options = parser.parse_args(arguments)

    device = choose_device(options.device)
    rows = []
    for ndim in options.dimensions:
        for method in options.methods:
            for row in measured_stages(method, ndim, device=device, steps=options.steps):
                rows.append(row)
                print(row, flush=True)
    result = {
        "kind": "training",
        "device": device,
        "precision": choose_precision("auto", device),
        "steps": options.steps,
        **provenance(f"python -m benchmarks training {shlex.join(arguments)}".strip(), device),
        "rows": rows,
    }
    print(write(f"training_{device}", result))


def measured_stages(name: str, ndim: int, *, device: str, steps: int) -> Iterator[dict[str, Any]]:
    """A row {"ndim", "method", "stage", "how", "step", "network_share", "patches_per_second"} for each measurement."""
    from anatomark.core.grid import Grid
    from benchmarks.synthetic_cases import synthetic_cache

    shape, spacing, landmarks = SIZES[ndim]
    grid = Grid.from_geometry(shape, spacing=(spacing,) * ndim)
    staged = planned(name, grid, landmarks, device, {})
    cache = synthetic_cache(grid, staged.plan.network, cases=CASES)
    for stage in STAGES[name]:
        told = {"ndim": ndim, "method": name, "stage": stage}
        yield told | {"how": AS_IS} | steps_of(staged, stage, cache, device=device, steps=steps)
        if stage in LOADED:
            loader = loaded(staged, stage, cache, device=device)
            found = steps_of(staged, stage, cache, device=device, steps=steps, loader=loader)
            yield told | {"how": "MONAI loader"} | found
        if stage == "stage1":
            alone = {"stage1_crop": (staged.plan.network.stride,) * ndim, "stage1_batch": SINGLE}
            single = planned(name, grid, landmarks, device, alone)
            yield told | {"how": "single patches"} | steps_of(single, stage, cache, device=device, steps=steps)


def planned(name: str, grid: Grid, landmarks: int, device: str, settings: Mapping[str, Any]) -> Staged:
    """The stages as they are planned for images on `grid`, with some settings of our own."""
    from benchmarks.measure import planned_stages

    return planned_stages(
        name,
        {"validations": 1, "validation_pictures": False, "checkpoint_every": 1_000_000, **settings},
        grid,
        landmarks,
        device,
    )


def steps_of(
    staged: Staged, stage: str, cache: Cache, *, device: str, steps: int, loader: Iterator[Tensor] | None = None
) -> dict[str, Any]:
    """{"step": median seconds, "network_share": percent, "patches_per_second": where it learns from patches}."""
    from anatomark.nets.devices import choose_precision
    from anatomark.training.log import RunLog
    from anatomark.training.loop import RunContext, StageLoop
    from anatomark.training.processes import ALONE
    from anatomark.training.run import progress_bar
    from anatomark.training.run_folder import RunFolder
    from benchmarks.measure import untrained_networks

    fabric = ALONE.fabric(device, choose_precision("auto", device))
    networks = untrained_networks(staged, cache)
    watched = Watched(staged.with_steps(stage, 3 + steps + 1), fabric.device, loader)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        context = RunContext(fabric, run, RunLog(run.log, lambda *_: None), progress_bar(False))
        StageLoop(context, watched, stage, networks, cache).run()
    whole = watched.steps()[3:]
    drawn = watched.drawn[4:]  # the batch of the next step is drawn between two starts
    patches = staged.stage_plan(stage).patches
    return {
        "step": median(whole),
        "network_share": 100 * (1 - sum(drawn) / sum(whole)),
        "patches_per_second": patches / median(whole) if patches else None,
    }


@dataclass(frozen=True, eq=False)
class Watched:
    """A Staged on the clock, the drawing of its batches too; their grey values come from a loader if one is given."""

    staged: Staged
    device: torch.device
    loader: Iterator[Tensor] | None
    starts: list[float] = field(default_factory=list)
    drawn: list[float] = field(default_factory=list)
    first: Batch = field(default_factory=dict)  # the other parts of the loader's batches

    @property
    def stages(self) -> tuple[str, ...]:
        return self.staged.stages

    @property
    def plan(self) -> AnyPlan:
        return self.staged.plan

    def adapted(self, stage: str, networks: Networks, cache: Cache, device: torch.device) -> Self:
        return replace(self, staged=self.staged.adapted(stage, networks, cache, device))

    def with_steps(self, stage: str, steps: int) -> Self:
        return replace(self, staged=self.staged.with_steps(stage, steps))

    def make(self, stage: str, networks: Networks, cache: Cache) -> nn.Module:
        return self.staged.make(stage, networks, cache)

    def stage_plan(self, stage: str) -> StagePlan:
        return self.staged.stage_plan(stage)

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
        began = self.now()
        if self.loader is None:
            batch = self.staged.batch(stage, cases, mirrored, rng, device, first=first)
        else:
            if not self.first:
                self.first.update(self.staged.batch(stage, cases, mirrored, rng, device, first=first))
            batch = {**self.first, "values": next(self.loader).to(self.device)}
        self.drawn.append(self.now() - began)
        return batch

    def loss(self, stage: str, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        self.starts.append(self.now())
        return self.staged.loss(stage, network, batch)

    def errors(self, stage: str, networks: Networks, cases: Sequence[CachedCase], device: torch.device) -> Floats:
        return self.staged.errors(stage, networks, cases, device)

    def now(self) -> float:
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize()
        return time.monotonic()

    def steps(self) -> list[float]:
        """Seconds from the loss of each step to that of the next: all that a step does."""
        return [b - a for a, b in zip(self.starts, self.starts[1:], strict=False)]


def loaded(staged: Staged, stage: str, cache: Cache, *, device: str) -> Iterator[Tensor]:
    """Endless batches of grey values as a stage wants them, by MONAI's cached data set, transforms and loader."""
    import numpy as np
    import torch
    from monai import transforms as tr
    from monai.data.dataloader import DataLoader
    from monai.data.dataset import CacheDataset

    s, ndim = staged.plan.training, staged.plan.network.ndim
    rng = np.random.default_rng(0)
    example = staged.batch(stage, cache.cases[:1], cache.mirrored, rng, torch.device(device))
    size = tuple(example["values"].shape[2:])
    turn = [np.deg2rad(s.rotation_degrees)] * (1 if ndim == 2 else 3)
    affine = {"rotate_range": turn, "scale_range": [s.scale] * ndim, "shear_range": [s.shear] * ndim, "prob": 1.0}
    if ndim == 2:
        elastic = tr.Rand2DElastic(spacing=(30, 30), magnitude_range=(0, 3), padding_mode="zeros", **affine)
    else:
        elastic = tr.Rand3DElastic(sigma_range=(5, 8), magnitude_range=(0, 50), padding_mode="zeros", **affine)
    kept = tr.Compose([tr.EnsureChannelFirst(channel_dim="no_channel"), tr.ScaleIntensity()])
    changed = tr.Compose(
        [
            tr.SpatialPad(size),
            tr.RandSpatialCrop(size, random_size=False),
            elastic,
            tr.RandAdjustContrast(prob=1.0, gamma=(0.7, 1.4)),
            tr.RandScaleIntensity(factors=s.gain, prob=1.0),
            tr.RandShiftIntensity(offsets=s.shift, prob=1.0),
            tr.RandGaussianNoise(prob=1.0, std=s.noise),
        ]
    )
    level = "coarse" if stage == "global" else "fine"
    arrays = [np.asarray(getattr(case.image, level), dtype=np.float32) for case in cache.cases]
    batch = staged.stage_plan(stage).batch
    whole = CacheDataset(arrays * max(1, batch), tr.Compose([kept, changed]), progress=False)
    loader = DataLoader(
        whole,
        batch_size=batch,
        shuffle=True,
        num_workers=torch.get_num_threads(),
        persistent_workers=True,
        drop_last=True,
    )
    while True:
        yield from (torch.as_tensor(values).as_subclass(torch.Tensor) for values in loader)
