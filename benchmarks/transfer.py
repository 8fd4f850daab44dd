"""How far off transferred landmarks are where they are known: one brain's onto its own random deformations.

python -m benchmarks transfer --image Colin27.nii.gz --landmarks 1200 --spacing 2 --subjects 3

The subjects are those of synthetic_brains.py, so the truth is exact; real brains differ in more than shape, and are
harder. Told apart are the points that `transfer` keeps and those that it marks as doubtful, which should be worse.
"""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.answers import scores
from benchmarks.results import provenance, write
from benchmarks.synthetic_brains import subject

THRESHOLDS = (1.0, 2.0, 3.0, 4.0)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks transfer")
    parser.add_argument("--image", required=True, help="the T1 image that becomes the template")
    parser.add_argument("--landmarks", type=int, default=1200)
    parser.add_argument("--spacing", type=float, default=2.0, help="mm")
    parser.add_argument("--subjects", type=int, default=3)
    parser.add_argument("--backends", nargs="+", default=["simpleitk"], choices=("simpleitk", "elastix"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    from benchmarks.brain_template import prepare_template

    template = prepare_template(options.image, landmarks=options.landmarks).at(options.spacing)
    rows = [transferred(template, options.subjects, backend, options.seed) for backend in options.backends]
    about = provenance(f"python -m benchmarks transfer {shlex.join(arguments)}")
    told = {"landmarks": options.landmarks, "spacing": options.spacing, "subjects": options.subjects}
    print(write("transfer", {"kind": "transfer", **told, **about, "rows": rows}))


def transferred(template: Any, subjects: int, backend: Any, seed: int) -> dict[str, Any]:
    """{"backend", "kept", "doubtful", "before": scores, "seconds" of an image}; before: without any registration."""
    from anatomark.core.landmarks import Landmarks
    from anatomark.registration.deformable import register_deformable
    from anatomark.registration.transfer import transfer_landmarks

    image = template.image.resampled(template.field)
    points = Landmarks.from_points(template.names, template.points_world, "mm")
    kept, doubtful, before, seconds = [], [], [], []
    for index in range(subjects):
        deformed, truth, _ = subject(template, seed=seed, index=index)
        began = time.perf_counter()
        found = transfer_landmarks(image, points, deformed, backend=backend)
        seconds.append(time.perf_counter() - began)
        again = register_deformable(image, deformed, backend=backend)  # the same, with the doubtful points
        error = np.linalg.norm(again.map(template.points_world) - truth, axis=1)
        kept.append(np.where(found.landmarks.present, error, np.nan))
        doubtful.append(np.where(found.landmarks.present, np.nan, error))
        before.append(np.linalg.norm(template.points_world - truth, axis=1))
        print(backend, index, found.summary, f"{seconds[-1]:.0f} s, {np.nanmean(kept[-1]):.2f} mm", flush=True)
    told = {"kept": kept, "doubtful": doubtful, "before": before}
    return {
        "backend": backend,
        "seconds": float(np.median(seconds)),
        **{which: scores(np.array(errors), THRESHOLDS) for which, errors in told.items()},
    }
