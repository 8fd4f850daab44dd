"""Many landmarks in synthetic brains: train on some subjects, score every stage on others.

python -m benchmarks brain --image Colin27.nii.gz --train 40 --test 40 --landmarks 200 --spacing 2 --out runs/brain
python -m benchmarks brain --image Colin27.nii.gz --train 350 --test 350 --landmarks 1200 --spacing 1 --out runs/full

Subjects are made on the fly from (seed, index): the training ones once, into memory. With a template that was prepared
before (--prepare-only, or an earlier run) no image library is needed. The same command goes on after a stop: training
from its checkpoint, scoring from the subjects already predicted.
"""

from __future__ import annotations

import argparse
import os
import shlex
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.landmarks import State
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import working_image
from anatomark.methods.settings import Network
from benchmarks.answers import answers, parse_settings, scores
from benchmarks.measure import measured
from benchmarks.results import provenance, write
from benchmarks.run_log import log_of
from benchmarks.synthetic_brains import Template, subject

if TYPE_CHECKING:
    import torch

    from anatomark.methods.interface import AnyDetector

Floats = NDArray[np.float64]
THRESHOLDS = (1.0, 2.0, 3.0, 4.0)
FIRST_TEST = 1_000_000  # indices of test subjects: never those of training, however many there are
SAVE_EVERY_S = 20.0


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks brain")
    parser.add_argument("--image", default=None, help="the T1 image that becomes the template")
    parser.add_argument("--template", default=None, help="the prepared template; default: template_N.npz beside --out")
    parser.add_argument("--prepare-only", action="store_true", help="make the template and stop")
    parser.add_argument("--train", type=int, default=40, help="subjects, those to choose by included")
    parser.add_argument("--test", type=int, default=40)
    parser.add_argument("--landmarks", type=int, default=200)
    parser.add_argument("--spacing", type=float, default=2.0, help="mm")
    parser.add_argument("--method", default="two-stage")
    parser.add_argument("--out", required=True, help="the run folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)

    out = Path(options.out)
    path = Path(options.template) if options.template else out.parent / f"template_{options.landmarks}.npz"
    if not path.exists():
        if options.image is None:
            parser.error(f"{path} is not there; give --image, from which it is made")
        from benchmarks.brain_template import prepare_template

        prepare_template(options.image, landmarks=options.landmarks).save(path)
    template = Template.load(path).at(options.spacing)
    if len(template.points_world) != options.landmarks:
        parser.error(f"{path} has {len(template.points_world)} landmarks, {options.landmarks} are wanted")
    if options.prepare_only:
        print(path)
        return
    settings = parse_settings(options.settings)[0]
    result = run(
        template,
        out=out,
        method=options.method,
        train=options.train,
        test=options.test,
        seed=options.seed,
        device=options.device,
        settings=settings,
    )
    result |= provenance(f"python -m benchmarks brain {shlex.join(arguments)}", result["device"])
    name = f"brain_{options.landmarks}_{options.spacing:g}mm_{options.method}_{result['device']}"
    print(write(name, result))


def run(
    template: Template,
    *,
    out: Path,
    method: str,
    train: int,
    test: int,
    seed: int,
    device: str,
    settings: dict[str, Any],
    show: Callable[[str], None] | None = print,
) -> dict[str, Any]:
    """Train, score and measure; all but the provenance of the result."""
    import torch

    from anatomark import load
    from anatomark.nets.devices import choose_device
    from anatomark.training.data import TrainingData
    from anatomark.training.request import Request
    from anatomark.training.run import train_from_cache

    say = show or (lambda line: None)
    device = choose_device(device)
    spacing = template.field.spacing
    settings = {"spacing": list(spacing), **settings}
    request = Request.resolved(method, template.field.ndim, preset=None, settings=settings, device=device)
    roles = split_roles(train, request.settings.validation_fraction)
    data = TrainingData(
        name=f"synthetic brains, seed {seed}",
        names=template.names,
        pairs=(),
        ndim=template.field.ndim,
        unit="mm",
        roles={role: [f"subject{index}" for index in members] for role, members in roles.items()},
        grids=lambda: [template.field],
        prepare=lambda plan, tick: brain_cache(template, roles, plan.network, seed=seed, device=device, progress=tick),
    )
    began = time.monotonic()
    train_from_cache(data, request, out=out, show=show)
    model = load(out, device=device)
    say(f"training: {(time.monotonic() - began) / 60:.1f} min in this call")
    found, present = predicted(model.detector, template, out / "test_errors.npz", test, seed, torch.device(device), say)
    shape = template.field.shape
    spec = {"run": str(out.absolute()), "shape": shape, "spacing": spacing[0], "device": device}
    logged = log_of(out)
    return {
        "kind": "brain",
        "method": method,
        "device": device,
        "landmarks": len(template.names),
        "spacing": spacing[0],
        "shape": shape[::-1],
        "train": {
            "subjects": len(roles["train"]),
            "validation_subjects": len(roles["validation"]),
            "seed": seed,
            **logged,
        },
        "test": {"subjects": test, "landmarks_outside": int((~present).sum())},
        "answers": {name: scores(errors, THRESHOLDS) for name, errors in found.items()},
        "prediction": measured(spec),
    }


def split_roles(train: int, fraction: float) -> dict[str, list[int]]:
    """Indices of the training and the validation subjects, `train` in all."""
    kept = round(train * fraction) if train >= 4 else 0
    return {"train": list(range(train - kept)), "validation": list(range(train - kept, train))}


def brain_cache(
    template: Template,
    roles: dict[str, list[int]],
    network: Network,
    *,
    seed: int,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Cache:
    """The subjects of `roles` in memory, as working images of the planned network."""
    everyone = [(role, index) for role, members in roles.items() for index in members]
    cases = []
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 2)) as pool:
        made = pool.map(lambda one: brain_case(template, one[0], one[1], network, seed=seed, device=device), everyone)
        for done, case in enumerate(made):
            cases.append(case)
            progress(done + 1, len(everyone))
    return Cache(template.names, (), tuple(cases), in_memory=True)


def brain_case(
    template: Template, role: str, index: int, network: Network, *, seed: int, device: str = "cpu"
) -> CachedCase:
    """One subject; landmarks outside its field of view are absent."""
    image, points, _ = subject(template, seed=seed, index=index, device=device)
    inside = image.grid.contains(points)
    states = np.where(inside, State.PRESENT, State.ABSENT).astype(np.uint8)
    working = working_image(image, network.sampling)
    name = f"subject{index}"
    return CachedCase(name, name, role, working, np.where(inside[:, None], points, np.nan), states)


def predicted(
    detector: AnyDetector,
    template: Template,
    path: Path,
    count: int,
    seed: int,
    device: torch.device,
    say: Callable[[str], None],
) -> tuple[dict[str, Floats], NDArray[np.bool_]]:
    """{answer: radial errors (count, N) mm, NaN where absent} and (count, N) present; kept in `path` on the way."""
    from anatomark.formats.atomic import replacing

    held: dict[str, Floats] = {}
    if path.exists():
        with np.load(path) as file:
            held = dict(file)
    done = len(next(iter(held.values()))) if held else 0
    rows: dict[str, list[Floats]] = {name: list(block) for name, block in held.items()}
    saved = time.monotonic()
    for number in range(done, count):
        case = brain_case(template, "test", FIRST_TEST + number, detector.network, seed=seed, device=str(device))
        for name, points in answers(detector, case.image, device).items():
            rows.setdefault(name, []).append(np.linalg.norm(points - case.points_world, axis=1))
        if number + 1 == count or time.monotonic() - saved > SAVE_EVERY_S:
            with replacing(path, suffix=".npz") as temporary:
                kept: dict[str, Any] = {name: np.stack(block) for name, block in rows.items()}
                np.savez_compressed(temporary, **kept)
            saved = time.monotonic()
            say(f"predicted {number + 1} of {count} test subjects")
    errors = {name: np.stack(block[:count]) for name, block in rows.items()}
    return errors, np.isfinite(next(iter(errors.values())))
