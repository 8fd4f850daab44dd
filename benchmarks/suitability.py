"""Whether images that a model was not made for are told: damaged copies of a split's images, beside these themselves.

python -m benchmarks suitability ceph19 datasets/isbi2015_ceph.yaml --root DATA --split test1

`--learn` first teaches the model in a folder of models/ what is usual, from the cases that it learned from: for models
that were trained before there was such a thing.
"""

from __future__ import annotations

import argparse
import json
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anatomark.methods.prediction import PRESENCE_THRESHOLD
from benchmarks.results import provenance, write
from benchmarks.run_log import training_of

if TYPE_CHECKING:
    from anatomark.core.grid import Grid
    from anatomark.core.image import Image
    from anatomark.data.description import Case, Dataset
    from anatomark.model import Model

REASONS = {  # {damage: what an image like that is said to look like}, in 2D and in 3D
    "inverted": ("inverted (black and white exchanged)",) * 2,
    "mirrored": ("mirrored", "mirrored, left and right exchanged"),
    "upside down": ("mirrored top to bottom", "mirrored, head and feet exchanged"),
    "back to front": ("", "mirrored, front and back exchanged"),
    "a half turn": ("upside down", "turned by 180 degrees about its head-feet axis"),
    "a quarter turn": ("turned by 90 degrees counterclockwise", "turned by 90 degrees about its head-feet axis"),
    "a quarter turn back": ("turned by 90 degrees clockwise", "turned by 90 degrees about its head-feet axis"),
}
AS_IT_IS = "as it is"
WRONG = 3.0  # times the mean error on the images as they are: from there on, a damaged copy has to be told
SPACINGS = (0.4, 0.7, 1.5, 2.5)
CUT = 1 / 3
FOREIGN = 6  # images of another data set


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks suitability")
    parser.add_argument("model")
    parser.add_argument("dataset")
    parser.add_argument("--root", default=None)
    parser.add_argument("--split", required=True)
    parser.add_argument("--most", type=int, default=None, help="cases, evenly taken from the split")
    parser.add_argument("--others", nargs="*", default=[], help="descriptions of other data sets: images to be told")
    parser.add_argument("--learn", action="store_true", help="teach the model what is usual, from split train")
    options = parser.parse_args(arguments)

    from anatomark import load, load_dataset
    from anatomark.ready_made import run_folder

    dataset = load_dataset(options.dataset, options.root)
    others = [load_dataset(other, options.root) for other in options.others]
    if options.learn:
        learn(run_folder(options.model), dataset)
    model = load(options.model, device="cpu")
    rows = measured(model, dataset, options.split, options.most)
    rows += [foreign(model, other, options.most or FOREIGN) for other in others]
    about = provenance(f"python -m benchmarks suitability {shlex.join(arguments)}")
    result = {"kind": "suitability", "model": Path(options.model).name, "dataset": dataset.name, "wrong": WRONG}
    name = f"suitability_{Path(options.model).name}_{dataset.name}_{options.split}"
    print(write(name, {**result, "split": options.split, **about, "rows": rows}))


def learn(folder: Path, dataset: Dataset) -> None:
    """Write what the training and validation cases that its settings chose teach of the predictions of the model in
    `folder`: what is usual, what tells landmarks outside of an image, scale and bounds of the error."""
    from anatomark import load
    from anatomark.formats.atomic import write_json
    from anatomark.training.calibrate import found_in
    from anatomark.training.own_predictions import learned_again
    from anatomark.training.roles import training_roles

    model = load(folder, device="cpu")
    training = training_of(folder)
    roles = training_roles(dataset, "train", None, training["validation_fraction"], training["seed"])
    found = found_in(model, roles["validation"], lambda done, total, name: None)
    assert found.located is not None
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))  # of whatever format
    learned = learned_again(model, roles["train"], roles["validation"], found.located, found.references)
    learned.save(folder)
    write_json(folder / "model.json", card | {"in_view": None if learned.in_view is None else asdict(learned.in_view)})


@dataclass
class Damage:
    """What was found in the copies of one kind: an item an image, and how many landmarks of each kind were said to be
    what they are, of how many. `seconds` are core seconds of a prediction, `alone` those of the points alone."""

    errors: list[float] = field(default_factory=list)
    oriented: list[float] = field(default_factory=list)
    told: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    explained: int = 0
    outside: int = 0
    outside_absent: int = 0
    inside: int = 0
    inside_present: int = 0


def measured(model: Model, dataset: Dataset, split: str, most: int | None) -> list[dict[str, Any]]:
    """A row a kind of damage: images, how many are wrongly predicted (WRONG), how many of all and of these are told.

    "explained" are those of which the right reason is given, and "oriented" is the mean error with orient="auto".
    Errors are those of the landmarks in the image, and of others that are said to be there.
    """
    cases = dataset.split(split)
    if most is not None:
        cases = evenly(cases, most)
    damages: dict[str, Damage] = {}
    model.predict(cases[0].read_image())  # what the first prediction prepares is not timed
    for done, case in enumerate(cases):
        print(f"{done} of {len(cases)}", flush=True)
        reference = case.reference.select(model.names).points
        for kind, image, points in damaged(case.read_image(), reference):
            damage = damages.setdefault(kind, Damage())
            began = time.process_time()
            found = model.predict(image, orient="auto")
            damage.seconds.append(time.process_time() - began)
            if kind == AS_IT_IS:
                began = time.process_time()
                model.locate(image)
                damage.alone.append(time.process_time() - began)
            known, inside = np.isfinite(points).all(axis=1), image.grid.contains(points)
            present = found.presence >= PRESENCE_THRESHOLD
            damage.inside += int(inside.sum())
            damage.inside_present += int((inside & present).sum())
            damage.outside += int((known & ~inside).sum())
            damage.outside_absent += int((known & ~inside & ~present).sum())
            counted = np.where((inside | present)[:, None], points, np.nan)
            error = _mean_error(found.landmarks.points, counted)
            damage.oriented.append(error)
            damage.explained += found.taken_for == REASONS.get(kind, ("", ""))[model.ndim - 2]
            if found.taken_for is not None:  # else the image is predicted as it is, anyway
                error = _mean_error(model.locate(image)[-1].points_world, points)
            damage.errors.append(error)
            damage.told.append(found.unsuitable is not None or found.taken_for is not None)
    clean = float(np.nanmean(damages[AS_IT_IS].errors))
    return [_row(kind, damage, WRONG * clean) for kind, damage in damages.items()]


def evenly(cases: Sequence[Case], most: int) -> list[Case]:
    """At most so many of the cases, evenly taken."""
    return [cases[k] for k in np.unique(np.linspace(0, len(cases) - 1, most).round().astype(int))]


def foreign(model: Model, dataset: Dataset, most: int) -> dict[str, Any]:
    """A row of `most` images of another data set, evenly taken: every prediction in them is wrong."""
    from anatomark.errors import ImageError, SpacingError

    damage = Damage()
    for case in evenly(dataset.cases, most):
        try:
            told = model.predict(case.read_image()).unsuitable is not None
        except (ImageError, SpacingError):  # refused: told, too
            told = True
        damage.errors.append(np.inf)
        damage.told.append(told)
    return _row(f"of {dataset.name}", damage, 0.0)


def _row(kind: str, damage: Damage, wrong_from: float) -> dict[str, Any]:
    wrong, told = np.array(damage.errors) > wrong_from, np.array(damage.told)
    error = float(np.nanmean(damage.errors))
    row: dict[str, Any] = {"damage": kind, "images": len(wrong), "told": int(told.sum())}
    row["error"] = error if np.isfinite(error) else None
    row |= {"wrong": int(wrong.sum()), "wrong_told": int((wrong & told).sum())}
    if damage.seconds:
        row["core_seconds"] = float(np.mean(damage.seconds))
    if damage.alone:
        row["core_seconds_without"] = float(np.mean(damage.alone))
    if kind in REASONS:
        row |= {"explained": damage.explained, "oriented": float(np.nanmean(damage.oriented))}
    if kind == AS_IT_IS or kind.startswith("a third"):
        row |= {"outside": damage.outside, "outside_absent": damage.outside_absent}
        row |= {"inside": damage.inside, "inside_present": damage.inside_present}
    return row


def _mean_error(points: np.ndarray, reference: np.ndarray) -> float:
    errors = np.linalg.norm(points - reference, axis=1)
    return float(np.nanmean(errors)) if np.isfinite(errors).any() else np.nan


def damaged(image: Image, points: np.ndarray) -> Iterator[tuple[str, Image, np.ndarray]]:
    """(kind, image, points (N, d) where the landmarks are in it) of `image` as it is, and of damaged copies."""
    from anatomark.core.image import Image

    image = image.canonical()
    array, grid, d = image.array, image.grid, image.grid.ndim
    index = grid.world_to_index(points)
    yield AS_IT_IS, image, points
    yield "inverted", Image((array.min() + (array.max() - array)).astype(array.dtype), grid), points
    for name, axis in (("mirrored", d - 1), ("upside down", 0), *((("back to front", 1),) if d == 3 else ())):
        there = index.copy()
        there[:, axis] = array.shape[axis] - 1 - index[:, axis]
        yield name, Image(np.flip(array, axis), grid), grid.index_to_world(there)
    there = index.copy()
    there[:, -2:] = np.array(array.shape[-2:]) - 1 - index[:, -2:]
    yield "a half turn", Image(np.flip(array, (-2, -1)), grid), grid.index_to_world(there)
    yield _quarter("a quarter turn", image, index, 1)
    yield _quarter("a quarter turn back", image, index, 3)
    for factor in SPACINGS:
        scaled = _scaled(grid, factor)
        yield f"spacing times {factor:g}", Image(array, scaled), scaled.index_to_world(index)
    for axis in range(d):
        for end, side in enumerate(("start", "end")):
            start, shape = [0] * d, list(array.shape)
            cut = int(shape[axis] * CUT)
            start[axis], shape[axis] = (cut if end == 0 else 0), shape[axis] - cut
            box = tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))
            yield f"a third cut off, {'zyx'[3 - d + axis]} {side}", Image(array[box], grid.crop(start, shape)), points
    if d == 3:
        for name, values in (("values times 3", 3.0 * array), ("values plus 1000", array + 1000.0)):
            yield name, Image(values.astype(np.float32), grid), points
    noise = np.random.default_rng(0).normal(array.mean(), array.std(), array.shape)
    yield "noise", Image(noise.astype(np.float32), grid), points


def _quarter(name: str, image: Image, index: np.ndarray, turns: int) -> tuple[str, Image, np.ndarray]:
    """A turn in the plane of the last two axes, whose spacings go along."""
    from anatomark.core.grid import Grid
    from anatomark.core.image import Image

    array, d = np.rot90(image.array, turns, axes=(-2, -1)), image.grid.ndim
    rows, columns = image.array.shape[-2:]
    there = index.copy()
    row, column = index[:, d - 2], index[:, d - 1]
    there[:, d - 2], there[:, d - 1] = (columns - 1 - column, row) if turns == 1 else (column, rows - 1 - row)
    spacing = list(image.grid.spacing)
    spacing[-2:] = spacing[-1], spacing[-2]
    grid = Grid.from_geometry(
        array.shape, spacing=spacing[::-1], origin=image.grid.origin.tolist(), unit=image.grid.unit
    )
    return name, Image(np.ascontiguousarray(array), grid), grid.index_to_world(there)


def _scaled(grid: Grid, factor: float) -> Grid:
    from anatomark.core.grid import Grid

    affine = grid.affine.copy()
    affine[:-1] *= factor
    return Grid(grid.shape, affine, grid.unit)
