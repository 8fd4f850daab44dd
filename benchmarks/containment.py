"""The price of reading images in another process: time of a batch with it and without, in turn, and time of computing.

python -m benchmarks containment

A batch of radiographs is predicted by a ready-made model, and a batch of volumes is only read, which shows the price
where nothing else is done. The ways take turns, so that what else the machine does falls on both; the time of
computing, of this process and the other, does not depend on it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import numpy as np

SHAPES = {"radiographs": (960, 774), "volumes": (96, 160, 160)}


def main(arguments: Sequence[str]) -> None:
    from anatomark.core.grid import Grid
    from anatomark.core.image import Image
    from anatomark.formats import reader_process
    from anatomark.formats.images import write_image
    from anatomark.formats.reader_process import ReaderProcesses
    from anatomark.loading import load
    from anatomark.predict import predict_to_folder

    parser = argparse.ArgumentParser(prog="python -m benchmarks containment")
    parser.add_argument("--images", type=int, default=40, help="of a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="ceph19")
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    model = load(options.model, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        paths: dict[str, list[Path]] = {}
        for kind, shape in SHAPES.items():
            ending = "png" if len(shape) == 2 else "nii.gz"
            (Path(folder) / kind).mkdir()
            paths[kind] = [Path(folder) / kind / f"{k:03d}.{ending}" for k in range(options.images)]
            for path in paths[kind]:
                values = np.cumsum(rng.integers(-3, 4, shape), axis=-1).astype(
                    np.uint8 if ending == "png" else np.int16
                )
                write_image(Image(values, Grid.from_geometry(shape, spacing=(0.5,) * len(shape))), path)

        def predicted() -> None:
            predict_to_folder(model, paths["radiographs"], out=Path(folder) / "out", spacing=(0.1, 0.1), overlays=False)

        def read() -> None:
            with ReaderProcesses() as readers:
                for path in paths["volumes"]:
                    readers.load(path)

        for name, batch in (("radiographs predicted", predicted), ("volumes read", read)):
            seconds: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
            for _ in range(options.rounds):
                for apart in (True, False):
                    with mock.patch.object(reader_process, "AVAILABLE", apart):
                        seconds[apart].append(_seconds(batch))
            for kind, which in (("time", 0), ("computing", 1)):
                within, beside = (statistics.median(each[which] for each in seconds[apart]) for apart in (False, True))
                print(
                    f"{name}, {kind}: {1000 * within / options.images:.1f} ms an image in the same process, "
                    f"{1000 * beside / options.images:.1f} in another, {100 * (beside / within - 1):+.1f} % "
                    f"(median of {options.rounds})",
                    flush=True,
                )


def _seconds(batch: Callable[[], None]) -> tuple[float, float]:
    """Seconds that a batch takes, and that it computes, in this process and those that it ends."""
    began, computed = time.perf_counter(), sum(os.times()[:4])
    batch()
    return time.perf_counter() - began, sum(os.times()[:4]) - computed
