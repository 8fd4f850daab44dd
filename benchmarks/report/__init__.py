"""benchmarks/README.md from the results, so that no number there is typed by hand; a kind of result a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.report.ablation import ablation
from benchmarks.report.accuracy import accuracy
from benchmarks.report.bounds import bounds
from benchmarks.report.brain import brain
from benchmarks.report.clinic import clinic
from benchmarks.report.estimate import estimate
from benchmarks.report.evaluation import evaluation
from benchmarks.report.growth import growth, pictures
from benchmarks.report.house import house, house_calls
from benchmarks.report.limited import limited, picture
from benchmarks.report.onnx import onnx
from benchmarks.report.precision import precision
from benchmarks.report.prediction import prediction
from benchmarks.report.review import loop, review
from benchmarks.report.scale import scale, scale_batches, scale_cohort, scale_training
from benchmarks.report.service import service
from benchmarks.report.startup import startup
from benchmarks.report.suitability import suitability
from benchmarks.report.suspects import suspects
from benchmarks.report.time_to_error import time_to_error
from benchmarks.report.training import training
from benchmarks.report.transfer import transfer
from benchmarks.results import FOLDER, read_all

HEAD = """# Benchmarks

`python -m benchmarks report` writes this page: the tables from `benchmarks/results/*.json`, with no number typed by
hand, and below them the goals and findings of `benchmarks/notes.md`. [docs/results.md](../docs/results.md) sums up.

The data sets are not in this repository; set `ANATOMARK_DATA` to the folder that holds them, or give `--root`.
"""

SECTIONS = {  # of all results of a kind, in their order
    "time_to_error": time_to_error,
    "ablation": ablation,
    "brain": brain,
    "transfer": transfer,
    "suitability": suitability,
    "bounds": bounds,
    "clinic": clinic,
    "suspects": suspects,
    "prediction": prediction,
    "precision": precision,
    "onnx": onnx,
    "training": training,
    "startup": startup,
    "estimate": estimate,
    "growth": growth,
    "evaluation": evaluation,
    "scale": scale,
    "scale_training": scale_training,
    "scale_batches": scale_batches,
    "scale_cohort": scale_cohort,
    "service": service,
    "loop": loop,
    "review": review,
    "house": house,
    "house_calls": house_calls,
}


def main(arguments: Sequence[str]) -> None:
    here = Path(__file__).parents[1]
    for result in read_all("limited"):
        name = f"limited_{result['dataset']}.svg"
        (FOLDER / name).write_text(picture(result), encoding="utf-8")
    for result in read_all("growth"):
        for name, drawn in pictures(result).items():
            (FOLDER / name).write_text(drawn, encoding="utf-8")
    notes = here / "notes.md"
    (here / "README.md").write_text(document(notes.read_text() if notes.exists() else ""))


def document(notes: str) -> str:
    """All sections, those that have results."""
    of_set: dict[str, list[dict]] = {}
    for result in read_all("accuracy"):
        of_set.setdefault(result["dataset"], []).append(result)
    sections = [HEAD, *(accuracy(results) for results in of_set.values())]
    sections += [limited(result) for result in read_all("limited")]
    for kind, section in SECTIONS.items():
        results = read_all(kind)
        sections += [section(results)] if results else []
    return "\n".join([*sections, notes] if notes else sections)
