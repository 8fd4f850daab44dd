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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from anatomark.training.trial import Timed
from benchmarks.results import provenance, write

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
    from anatomark.training.made_up import made_up_cache, made_up_case

    shape, spacing, landmarks = SIZES[ndim]
    grid = Grid.from_geometry(shape, spacing=(spacing,) * ndim)
    method = planned(name, grid, landmarks, device, {})
    cases = [
        made_up_case(grid, method.settings, landmarks=landmarks, dtype="uint8" if ndim == 2 else "float16", seed=k)
        for k in range(CASES)
    ]
    cache = made_up_cache(*cases)
    for stage in STAGES[name]:
        if stage == "stage2":
            method.begin("stage2_frozen", cache, None)  # whose weights it begins with
        told = {"ndim": ndim, "method": name, "stage": stage}
        yield told | {"how": AS_IS} | steps_of(method, stage, cache, device=device, steps=steps)
        if stage in LOADED:
            loader = loaded(method, stage, cache, device=device)
            found = steps_of(method, stage, cache, device=device, steps=steps, loader=loader)
            yield told | {"how": "MONAI loader"} | found
        if stage == "stage1":
            stride = 2 ** (len(method.settings.channels) - 1)
            alone = {"stage1_crop": (stride,) * ndim, "stage1_batch": SINGLE}
            single = planned(name, grid, landmarks, device, alone)
            yield told | {"how": "single patches"} | steps_of(single, stage, cache, device=device, steps=steps)


def planned(name: str, grid: Any, landmarks: int, device: str, settings: Mapping[str, Any]) -> Any:
    """The method as it is planned for images on `grid`, with some settings of our own."""
    from benchmarks.measure import untrained

    return untrained(name, {"validations": 1, "checkpoint_every": 1_000_000, **settings}, grid, landmarks, device)


def steps_of(
    method: Any, stage: str, cache: Any, *, device: str, steps: int, loader: Iterator[Any] | None = None
) -> dict[str, Any]:
    """{"step": median seconds, "network_share": percent, "patches_per_second": where it learns from patches}."""
    from anatomark.nets.devices import choose_precision
    from anatomark.training.loop import train_stage
    from anatomark.training.run_folder import RunFolder
    from anatomark.training.train import fabric_of, progress_bar

    fabric = fabric_of(device, choose_precision("auto", device))
    method.begin(stage, cache, fabric.device)
    watched = Watched(method, 3 + steps + 1, fabric.device, loader)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        train_stage(fabric, watched, stage, cache, run, progress_bar(False), lambda *_: None)  # type: ignore[arg-type]
    whole = watched.steps()[3:]
    drawn = watched.drawn[4:]  # the batch of the next step is drawn between two starts
    patches = method.stage_plan(stage).patches
    return {
        "step": median(whole),
        "network_share": 100 * (1 - sum(drawn) / sum(whole)),
        "patches_per_second": patches / median(whole) if patches else None,
    }


class Watched(Timed):
    """A method on the clock, the drawing of its batches too; they come from a loader if one is given."""

    def __init__(self, method: Any, steps: int, device: Any, loader: Iterator[Any] | None) -> None:
        super().__init__(method, steps, device)
        self._loader = loader
        self.drawn: list[float] = []
        self._first: dict[str, Any] | None = None

    def example_batch(self, *given: Any) -> dict[str, Any]:
        began = self.now()
        if self._loader is None:
            batch = self._method.example_batch(*given)
        else:
            self._first = self._first or self._method.example_batch(*given)
            batch = {**self._first, "values": next(self._loader).to(self._device)}
        self.drawn.append(self.now() - began)
        return batch


def loaded(method: Any, stage: str, cache: Any, *, device: str) -> Iterator[Any]:
    """Endless batches of grey values as a stage wants them, by MONAI's cached data set, transforms and loader."""
    import numpy as np
    import torch
    from monai import transforms as tr
    from monai.data.dataloader import DataLoader
    from monai.data.dataset import CacheDataset

    s, ndim = method.settings, method.ndim
    example = method.example_batch(
        stage, cache.cases[:1], cache.mirrored, np.random.default_rng(0), torch.device(device)
    )
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
    batch = method.stage_plan(stage).batch
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
