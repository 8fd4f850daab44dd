"""The loop of review and training: a weak model predicts phantoms, the worst are corrected, the model is trained again.

The model is weak in a way that happens: it learned from a few images of one site, and the new ones come from another,
which exports its pictures as negatives.

python -m benchmarks loop --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import shlex
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.answers import parse_settings
from benchmarks.results import provenance, write

KNOWN, VALIDATION = 6, 10  # cases that are annotated from the start
SMALL = {
    "global_stem": 8, "global_blocks": [1, 1, 1, 1], "global_channels": [8, 16, 16, 32], "global_head": 16,
    "global_steps": 600, "local_channels": [[4, 4], [8]], "local_head": 8, "local_steps": 200, "validations": 4,
    "precision": "32-true",
}  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks loop")
    parser.add_argument("--pool", type=int, default=20, help="cases that nobody annotated")
    parser.add_argument("--correct", type=int, default=5)
    parser.add_argument("--landmarks", type=int, default=6)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    settings = SMALL | parse_settings(options.settings)[0]
    rows = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(_once(Path(folder), seed, options, settings))
        print(rows[-1])
    result = {
        "kind": "loop",
        "pool": options.pool,
        "corrected": options.correct,
        "settings": settings,
        **provenance(f"python -m benchmarks loop {shlex.join(arguments)}".strip()),
        "rows": rows,
    }
    print(write("loop_phantoms", result))


def _once(folder: Path, seed: int, options: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    """Mean radial errors of the cases that were not corrected, before and after; and of the corrected ones before."""
    from anatomark import load_dataset, make_phantoms, predict_to_folder, train, write_image
    from anatomark.formats.table import read_table, write_table
    from anatomark.review.entries import Placement
    from anatomark.review.record import Record
    from anatomark.review.study import open_study

    start = time.perf_counter()
    cases = KNOWN + VALIDATION + options.pool
    small: dict[str, Any] = {"shape": (80, 104), "spacing": (2.0, 2.4), "absent": False}
    described = make_phantoms(folder / "set", ndim=2, cases=cases, landmarks=options.landmarks, seed=seed, **small)
    truth = {case.id: case.reference for case in load_dataset(described).cases}
    ids = list(truth)
    known, pool = ids[: KNOWN + VALIDATION], ids[KNOWN + VALIDATION :]
    for case in load_dataset(described).cases:
        if case.id in pool:
            image = case.read_image()
            write_image(replace(image, array=255 - image.array), case.image_path)
    table = read_table(described.parent / "landmarks.csv")
    write_table(table.rows(np.isin(table.image, known)), described.parent / "landmarks.csv")
    _split(described, train=ids[:KNOWN], val=known[KNOWN:], pool=pool)

    def predicted(run: Path, name: str) -> dict[str, float]:
        """The mean radial error of each case of the pool."""
        summary = predict_to_folder(run, [described], out=folder / name, split="pool", overlays=False)
        study = open_study(described, reviewer="nobody", predictions=summary.table)
        return {
            case: float(np.linalg.norm(study.predictions[case].points - truth[case].points, axis=1).mean())
            for case in pool
        }

    asked: dict[str, Any] = {"settings": settings | {"seed": seed}, "device": "cpu"}
    first = train(described, out=folder / "weak", **asked)
    before = predicted(first, "before")
    study = open_study(described, reviewer="anna", predictions=folder / "before", split="pool")
    told = read_table(folder / "before" / "predictions.csv")
    wide = told.spread if told.bound is None or np.isnan(told.bound).all() else told.bound
    # as the page's list has them: the widest bound first; where few cases calibrated, all have the same one
    need = {case: (np.nanmax(wide[told.image == case]), told.spread[told.image == case].mean()) for case in pool}
    worst = sorted(pool, key=lambda case: need[case], reverse=True)[: options.correct]
    rest = [case for case in pool if case not in worst]

    about = study.dataset
    record = Record(study.folder, "anna", dataset=about.name, order=about.names, ndim=about.ndim, unit=about.unit)
    for case in worst:  # as the page does, a landmark at a time, then accepted
        for name in about.names:
            point = tuple(truth[case][name].tolist())
            state = truth[case].states[about.names.index(name)]
            record.change(case, record.case(case).revision, {name: Placement(state, point)})
        record.change(case, record.case(case).revision, {}, accepted=True)
    record.close()

    _split(described, train=[*ids[:KNOWN], *worst], val=known[KNOWN:], pool=rest)
    second = train(described, out=folder / "corrected", **asked)
    _split(described, train=ids[:KNOWN], val=known[KNOWN:], pool=pool)
    after = predicted(second, "after")

    def mean(errors: dict[str, float], of: list[str]) -> float:
        return round(float(np.mean([errors[case] for case in of])), 3)

    return {
        "seed": seed, "corrected": worst, "corrected_before_mm": mean(before, worst),
        "rest_before_mm": mean(before, rest), "rest_after_mm": mean(after, rest),
        "better_cases": sum(after[case] < before[case] for case in rest), "rest_cases": len(rest),
        "seconds": round(time.perf_counter() - start),
    }  # fmt: skip


def _split(described: Path, **splits: list[str]) -> None:
    data = yaml.safe_load(described.read_text())
    described.write_text(yaml.safe_dump(data | {"splits": splits}, sort_keys=False))
