"""A trial of a training: a few steps on made-up images, in a process of its own whose time and memory are measured.

`tried(what, spec, folder)` runs `python -m anatomark.training.trial` and returns what it found. The stages go through
the loop of a real training, so that the clock and the peak see all that it does: log, averages, validation, checkpoint.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from anatomark import errors
from anatomark.errors import AnatomarkError, SettingsError

if TYPE_CHECKING:
    from anatomark.data.alignment import Alignment
    from anatomark.data.cache import Cache, CachedCase
    from anatomark.data.working import WorkingImage
    from anatomark.training.run_folder import RunFolder

PILOT_STEPS = 3  # the first warms up, the second is on the clock, the third ends it
MOST_STEPS = 40


def tried(what: str, spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a trial of `what` ("training" or "prediction") measured; `folder` is for its files.

    Raises what it raised where a user can do something about it; SettingsError where it ran out of memory.
    """
    path = folder / f"{what}.json"
    path.write_text(json.dumps({**spec, "began": time.time()}))
    command = [sys.executable, "-m", "anatomark.training.trial", what, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode:
        said = done.stderr.strip()
        if done.returncode == -9 or "out of memory" in said.lower() or "MemoryError" in said:
            raise SettingsError(f"a trial of the {what} ran out of memory; set a smaller batch, crop or network")
        raise RuntimeError(f"the trial of the {what} failed:\n{said}")
    found = json.loads(last)
    if "error" in found:
        raise getattr(errors, found["error"])(found["message"])
    return found


def main() -> None:
    what, path = sys.argv[1:]
    spec = json.loads(Path(path).read_text())
    try:
        found = {"training": try_training, "prediction": try_prediction}[what](spec, Path(path).parent)
    except AnatomarkError as error:
        found = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(found))


def try_training(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Seconds of starting, of preparing an element of an image, and of the parts of each stage; the peak of memory.

    Leaves the model, which has learned nothing, in `folder`/model.
    """
    from anatomark.core.grid import Grid
    from anatomark.methods import method_class
    from anatomark.model import Model
    from anatomark.training.made_up import made_up_cache, made_up_case
    from anatomark.training.run_folder import RunFolder
    from anatomark.training.train import fabric_of

    kind: Any = method_class(spec["method"])
    ndim, landmarks = spec["ndim"], spec["landmarks"]
    least, most = (kind.Settings(**values) for values in spec["bounds"])
    fabric = fabric_of(spec["device"], spec["precision"])
    first = kind(most, ndim=ndim, landmarks=landmarks)
    if first.stages:
        first.make_networks()  # loads what they are made of, which is a part of starting
    found: dict[str, Any] = {"start": time.time() - spec["began"], "stages": {}}

    alignment = aligned_to(spec)
    images, seconds = prepare_images(spec, most, alignment)
    dtype = str(images[0].fine.dtype)

    def case(grid: str, role: str, seed: int) -> CachedCase:
        return made_up_case(Grid.from_dict(spec[grid]), most, landmarks=landmarks, role=role, dtype=dtype, seed=seed)

    largest = case("largest", "validation", 0)
    cache = made_up_cache(case("typical", "train", 1), case("typical", "train", 2), case("typical", "validation", 3))
    cache = replace(cache, in_memory=spec["in_memory"])
    method = kind(most, ndim=ndim, landmarks=landmarks)
    share = spec["seconds"] / max(1, len(method.stages) + len(spec["twice"]))
    run = RunFolder(folder / "run")
    run.path.mkdir()
    for stage in method.stages:
        found["stages"][stage] = {}
        for which in ("least", "most") if stage in spec["twice"] else ("most",):
            method.settings = short(least if which == "least" else most)
            found["stages"][stage][which] = try_stage(fabric, method, stage, cache, largest, run, share)
    method.settings = most
    if method.stages:
        method.finish(cache, fabric.device)
    else:
        found |= method.try_out(images, spec["cases"])
    about = (cache.names, (), ndim, spec["unit"], "made up")
    Model(*about, method, spec["device"], alignment).save(folder / "model")
    held = sum(c.image.fine.nbytes + c.image.coarse.nbytes for c in (*cache.cases, largest))
    return found | seconds | {"peak": peak_bytes(spec["device"]), "held": held, "itemsize": images[0].fine.itemsize}


def prepare_images(
    spec: Mapping[str, Any], settings: Any, alignment: Alignment | None
) -> tuple[list[WorkingImage], dict[str, float]]:
    """The working images of the files of a spec; seconds of an "element" of one, and of the "alignment" of one."""
    from anatomark.data.alignment import place
    from anatomark.formats.images import read_image

    images, seconds = [], {}
    files = spec["images"] if len(spec["images"]) > 1 else 2 * spec["images"]
    for path, reading in files:  # the first one also loads libraries
        clock = [time.monotonic()]
        image = read_image(path, **reading)
        clock.append(time.monotonic())
        placed = place(alignment, image)
        clock.append(time.monotonic())
        images.append(placed.working_image(spacing=settings.spacing, pool=settings.pool, source=path))
        clock.append(time.monotonic())
        aligned = clock[2] - clock[1]
        seconds = {"element": (clock[3] - clock[0] - aligned) / image.array.size, "alignment": aligned}
    return images, seconds


def aligned_to(spec: Mapping[str, Any]) -> Alignment | None:
    """The alignment to the template of a spec, if it has one."""
    from anatomark.data.alignment import Alignment
    from anatomark.formats.images import read_image

    if spec["template"] is None:
        return None
    kind, case, path, reading = spec["template"]
    return Alignment.to(read_image(path, **reading), kind=kind, case=case)


def short(settings: Any) -> Any:
    """Settings with one validation and one checkpoint, at the end."""
    return settings.model_copy(update={"validations": 1, "checkpoint_every": 1_000_000})


def try_stage(
    fabric: Any, method: Any, stage: str, cache: Cache, largest: CachedCase, run: RunFolder, seconds: float
) -> dict[str, float]:
    """Seconds of a "step", of the "validation" of a case, and of a "checkpoint", from about `seconds` of training."""
    from anatomark.training.loop import train_stage
    from anatomark.training.train import progress_bar

    def go(steps: int, cache: Cache) -> tuple[_Validated, float]:
        run.checkpoint.unlink(missing_ok=True)
        run.log.unlink(missing_ok=True)
        method.begin(stage, cache, fabric.device)
        timed = _Validated(method, steps, largest, fabric.device)
        train_stage(fabric, timed, stage, cache, run, progress_bar(False), lambda *_: None)  # type: ignore[arg-type]
        return timed, timed.now()

    pilot, _ = go(PILOT_STEPS, replace(cache, cases=cache.role("train")))
    each = pilot.steps()[-1]
    timed, end = go(max(1, min(MOST_STEPS, int(seconds / each))), cache)
    steps = timed.steps() if len(timed.steps()) >= PILOT_STEPS else [each, *timed.steps()]
    return {"step": median(steps), "validation": timed.validation, "checkpoint": end - timed.validated}


class Timed:
    """A method on the clock: another number of steps, and otherwise the same."""

    def __init__(self, method: Any, steps: int, device: Any) -> None:
        self._method, self._steps, self._device = method, steps, device
        self.starts: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method, name)

    def now(self) -> float:
        if self._device.type == "cuda":
            import torch

            torch.cuda.synchronize()
        return time.monotonic()

    def steps(self) -> list[float]:
        """Seconds from the loss of each step to that of the next: all that a step does."""
        return [b - a for a, b in zip(self.starts, self.starts[1:], strict=False)]

    def stage_plan(self, stage: str) -> Any:
        return replace(self._method.stage_plan(stage), steps=self._steps)

    def loss(self, *given: Any) -> Any:
        self.starts.append(self.now())
        return self._method.loss(*given)


class _Validated(Timed):
    """With its validation on the clock, too."""

    def __init__(self, method: Any, steps: int, largest: CachedCase, device: Any) -> None:
        super().__init__(method, steps, device)
        self._largest = largest
        self.validation = self.validated = 0.0

    def validate(self, stage: str, cases: Sequence[CachedCase], device: Any) -> float:
        """The validation of one case is on the clock; before, the largest one takes the memory that it needs."""
        self._method.validate(stage, [self._largest], device)
        began = self.now()
        score = self._method.validate(stage, cases, device)
        self.validated = self.now()
        self.validation = (self.validated - began) / len(cases)
        return score


def try_prediction(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Seconds of one prediction, and the peak of memory with that of the largest image."""
    from anatomark.formats.images import read_image
    from anatomark.model import load_model

    model = load_model(folder / "model", device=spec["device"])
    seconds = 0.0
    for path, reading in reversed(spec["images"]):  # the largest first: it warms up
        image = read_image(path, **reading)
        for _ in range(2 if len(spec["images"]) == 1 else 1):
            began = time.monotonic()
            model.predict(image)  # its answer is on the CPU, so that a GPU has ended
            seconds = time.monotonic() - began
        del image
    return {"seconds": seconds, "peak": peak_bytes(spec["device"])}


def peak_bytes(device: str) -> int:
    """The most memory that this process has held at once: resident, or on the GPU; 0 where the system does not say.

    Not `ru_maxrss`, which begins at what the process was that started this one.
    """
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    main()
