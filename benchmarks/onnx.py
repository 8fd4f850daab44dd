"""Whether ONNX Runtime finds PyTorch's points, and in what time: ready-made models on real images, and every method.

ANATOMARK_DATA=../shared/data python -m benchmarks onnx

Both answer for the same networks, in float32, in one process and in turn, with as many threads. The ready-made models
see images of a test split, where the data sets are there. The small trained models of the tests see their image, and
untrained networks of a usual size one of random grey values: what they find means nothing, but it has to be the same.
"""

from __future__ import annotations

import argparse
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.measure import ROOT, made_up, untrained
from benchmarks.results import provenance, write

if TYPE_CHECKING:
    from anatomark.core.image import Image
    from anatomark.methods.interface import AnyDetector, Located
    from anatomark.model import Member

GOAL = 1e-3  # mm
READY_MADE = {"ceph19": ("isbi2015_ceph", "test1"), "cmf24": ("cmf_ct", "test")}
METHODS = ("global-to-local", "two-stage", "unet-votes", "heatmap")
SMALL = ROOT / "tests" / "fixtures" / "old_models"  # of trained models
SIZES = {2: ((774, 960), 0.25, 19), 3: ((96, 112, 96), 1.0, 24)}  # shape along x, y[, z], spacing (mm), landmarks


class Subject(NamedTuple):
    """Who is asked about which images; `trained` says on what."""

    name: str
    trained: str
    member: Member
    images: list[Image]


def main(arguments: Sequence[str]) -> None:
    import torch

    parser = argparse.ArgumentParser(prog="python -m benchmarks onnx")
    parser.add_argument("--root", default=None, help="the folder of the data sets")
    parser.add_argument("--cases", type=int, default=10, help="real images of each ready-made model")
    parser.add_argument("--repeats", type=int, default=3, help="of each image that is the only one")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)

    torch.set_num_threads(options.threads)
    rows = []
    for subject in subjects(options.root, options.cases):
        rows.append(compared(subject, options.repeats))
        print(rows[-1], flush=True)
    about = provenance(f"python -m benchmarks onnx {shlex.join(arguments)}".strip())
    import onnxruntime

    result = {"kind": "onnx", "goal": GOAL, "onnxruntime": onnxruntime.__version__, **about, "rows": rows}
    print(write("onnx_cpu", result))


def subjects(root: str | None, cases: int) -> Iterator[Subject]:
    """All that are compared, each made when its turn comes."""
    from anatomark import load, load_dataset, read_image

    for name, (dataset, split) in READY_MADE.items() if root or "ANATOMARK_DATA" in os.environ else ():
        chosen = load_dataset(ROOT / "datasets" / f"{dataset}.yaml", root).split(split)[:cases]
        member = load(name, device="cpu").members[0]
        yield Subject(name, f"{dataset}, {split}", member, [case.read_image() for case in chosen])
    for method, ndim in product(METHODS, (2, 3)):
        folders = sorted(SMALL.glob(f"*/{method}-{ndim}d"))
        if folders:
            image = read_image(SMALL / f"image_{ndim}d.mha")
            yield Subject(f"{method}, small", "phantoms", load(folders[-1], device="cpu").members[0], [image])
    for method, ndim in product(METHODS, (2, 3)):
        from anatomark.model import Member

        shape, spacing, landmarks = SIZES[ndim]
        image = made_up(shape[::-1], spacing)
        detector = untrained(method, {"spacing": [spacing] * ndim}, image.grid, landmarks, "cpu")
        yield Subject(method, "untrained", Member(detector), [image])


def compared(subject: Subject, repeats: int) -> dict[str, Any]:
    """Distances (mm) between the points of both, and the seconds of each: of the networks and what is around them."""
    import torch

    from anatomark.exports.graphs import graphs_of, onnx_of
    from anatomark.exports.sessions import Session

    member, device = subject.member, torch.device("cpu")
    began = time.perf_counter()
    files = {graph.name: onnx_of(graph) for graph in graphs_of(member.detector)}
    exported = time.perf_counter() - began
    calls = {name: Session(file) for name, file in files.items()}
    other = replace(member.detector, networks={}, runtime=calls)
    detectors: dict[str, AnyDetector] = {"torch": member.detector, "onnx": other}
    seconds: dict[str, list[float]] = {name: [] for name in detectors}
    distances: list[float] = []
    for image in subject.images:
        working = member.working_image(member.place(image))
        found: dict[str, list[Located]] = {}
        for number in range(1 + (repeats if len(subject.images) == 1 else 1)):
            for name, detector in detectors.items():
                began = time.perf_counter()
                found[name] = detector.locate(working, device)
                if number:  # the first warms up: ONNX Runtime plans its memory for a size, PyTorch its kernels
                    seconds[name].append(time.perf_counter() - began)
        apart = found["torch"][-1].points_world - found["onnx"][-1].points_world
        distances += np.linalg.norm(apart, axis=1).tolist()
    return {
        "model": subject.name,
        "images": subject.trained,
        "method": member.detector.name,
        "dimensions": member.detector.network.ndim,
        "shape": list(working.fine.shape),
        "points": len(distances),
        "largest": max(distances),
        "beyond_goal": sum(distance > GOAL for distance in distances),
        "median_seconds": {name: median(each) for name, each in seconds.items()},
        "least_seconds": {name: min(each) for name, each in seconds.items()},
        "export_seconds": exported,
        "bytes": sum(map(len, files.values())),
    }
