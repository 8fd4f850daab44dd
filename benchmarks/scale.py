"""What many images cost: engine by workers, for X-rays and CT; or one large cohort that is killed twice.

python -m benchmarks scale                     # predict and cohort with 1 and 2 workers, X-rays and CT
python -m benchmarks scale --cohort 10000      # so many X-rays by cohort --workers 2, killed twice, evaluated

The images are phantoms of a few anatomies, copied under many names. The ready-made models are used without their
judgement of images: they were made for heads of people, and would look at each phantom in many other ways.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import scale_cohort
from benchmarks.measure import ROOT
from benchmarks.results import provenance, write
from benchmarks.scale_run import launch

KINDS: dict[str, dict[str, Any]] = {
    "X-ray": {"model": "ceph19", "shape": (1200, 968), "spacing": (0.2, 0.2), "modality": "radiograph", "landmarks": 8},
    "CT": {"model": "cmf24", "shape": (96, 192, 192), "spacing": (1.2, 1.2, 2.0), "modality": "ct", "landmarks": 8},
}
ENGINES = (("predict", 1), ("cohort", 1), ("cohort", 2), ("ray", 2))
DISTINCT = 2  # images of a kind that are drawn
COHORT_MODEL = ROOT / "tests" / "fixtures" / "old_models" / "6237412" / "global-to-local-2d"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale")
    parser.add_argument("--xrays", type=int, default=32)
    parser.add_argument("--cts", type=int, default=12)
    parser.add_argument("--chunk", type=int, default=4, help="images of a part of a cohort")
    parser.add_argument("--cohort", type=int, default=None, metavar="IMAGES", help="one cohort of so many X-rays")
    parser.add_argument("--workers", type=int, default=2, help="of that cohort")
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args(arguments)
    command = f"python -m benchmarks scale {shlex.join(arguments)}".strip()
    with tempfile.TemporaryDirectory(prefix="anatomark-scale-") as name:
        folder = Path(name)
        if options.cohort is not None:
            told = scale_cohort.measured(
                folder, model=COHORT_MODEL, images=options.cohort, workers=options.workers, seed=options.seed
            )
            about = {"images": options.cohort, "workers": options.workers}
            result = {"kind": "scale_cohort", **about, **provenance(command), **told}
            print(write(f"scale_cohort_{options.cohort}", result))
            return
        counts = {"X-ray": options.xrays, "CT": options.cts}
        rows: list[dict[str, Any]] = []
        for kind in KINDS:
            for engine, workers in ENGINES:
                about = {"image": kind, "engine": engine, "workers": workers, "images": counts[kind]}
                rows.append(about | _measured(folder, kind, engine, workers, counts[kind], options.chunk, options.seed))
                result = {"kind": "scale", **provenance(command), "chunk": options.chunk, "rows": rows}
                print(write("scale", result))  # after each, so that one that is ended keeps what it has


def _measured(folder: Path, kind: str, engine: str, workers: int, images: int, chunk: int, seed: int) -> dict[str, Any]:
    """One engine at one kind of images: an unbroken run, and one that is killed half way and given again."""
    if engine == "ray" and find_spec("ray") is None:
        return {"not_measured": "Ray is not installed"}
    place = folder / kind
    if not place.exists():
        _make(place, KINDS[kind], images, seed)
    out = folder / f"{kind}-{engine}-{workers}"
    spec = {
        "engine": engine,
        "workers": workers,
        "model": str(place / "model"),
        "images": str(place / "images"),
        "spacing": KINDS[kind]["spacing"] if kind == "X-ray" else None,
        "out": str(out),
        "chunk": chunk,
        "log": str(folder / "log"),
    }
    whole = launch(spec)
    whole.watch()
    marks, size = whole.marks(), sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    told = {
        "seconds_start": marks[0][0],
        "images_a_second": (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0]),
        "core_seconds_an_image": whole.told()["core_seconds"] / images,
        "worker_bytes": whole.peaks["worker"] or whole.peaks["lead"],
        "bytes_an_image": size / images,
    }
    shutil.rmtree(out)
    killed = launch(spec)
    if killed.watch(until=images // 2):
        raise RuntimeError(f"{engine} had predicted all {images} images before it could be killed; give more")
    known = killed.marks()[-1][1]
    killed.kill()
    time.sleep(2)  # workers end when they find nobody to tell
    kept = _kept(out, engine)
    again = launch(spec)
    again.watch()
    told |= {"predicted_at_kill": known, "kept_at_kill": kept, "in_the_result": _in_the_result(out, engine)}
    print(json.dumps({"image": kind, "engine": engine, "workers": workers, **told}), flush=True)
    return told


def _make(place: Path, kind: dict[str, Any], images: int, seed: int) -> None:
    """`images` images in place/images, and the model in place/model."""
    from anatomark.data.phantoms import PhantomSpec, phantom
    from anatomark.formats.images import write_image
    from anatomark.methods.suitability import NAME
    from anatomark.ready_made import run_folder

    shutil.copytree(run_folder(kind["model"]), place / "model", ignore=shutil.ignore_patterns(NAME))
    shape = {name: kind[name] for name in ("landmarks", "shape", "spacing", "modality")}
    spec = PhantomSpec(ndim=len(kind["shape"]), oblique=False, **shape)
    ending = "png" if spec.ndim == 2 else "nii.gz"
    (place / "images").mkdir()
    for index in range(images):
        path = place / "images" / f"i{index:05d}.{ending}"
        if index < DISTINCT:
            write_image(phantom(seed, index, spec)[0], path)
        else:
            shutil.copy(place / "images" / f"i{index % DISTINCT:05d}.{ending}", path)


def _kept(out: Path, engine: str) -> int:
    """Images that a command that was killed has left, whole."""
    if engine != "predict":
        return scale_cohort.kept_images(out)
    from anatomark.prediction_journal import NAME

    return max(0, (out / NAME).read_bytes().count(b"\n") - 1)


def _in_the_result(out: Path, engine: str) -> int:
    """Images that the tables name, each once."""
    import csv

    if engine != "predict":
        from anatomark.cohort.collect import collect_cohort

        collect_cohort(out)
    with open(out / "images.csv", newline="", encoding="utf-8") as file:
        names = [row["image"] for row in csv.DictReader(file)]
    if len(set(names)) != len(names):
        raise RuntimeError(f"{engine}: an image is in the result twice")
    return len(names)
