"""The doors of data sets: descriptions with their tables, predictions, the files of a review, settings of a run."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.door import Door, Files, tried
from tests.fuzz.text_changes import ODD_VALUES

FLAT = """name: small
dimension: 2
images:
  folder: images
  pattern: "{case}.png"
  spacing: [1.0, 1.2]
subjects:
  pattern: "case_(.*)"
landmarks: [p01, p02, p03]
annotations:
  - table: landmarks.csv
    columns: {image: image, landmark: landmark}
splits: {train: 0.6, val: 0.2, test: 0.2}
pairs: [[p02, p03]]
reference: mean
"""


@cache
def phantoms() -> Files:
    """A data set of two small images with all its files."""
    from anatomark.data.phantoms import make_phantoms

    with tempfile.TemporaryDirectory() as folder:
        make_phantoms(Path(folder), ndim=2, cases=3, landmarks=5, shape=(16, 20), spacing=(1.0, 1.2), seed=4)
        found = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def description_seeds() -> list[Files]:
    made = dict(phantoms())
    other = dict(made)
    other["dataset.yaml"] = FLAT.encode()
    third = dict(made)
    text = made["dataset.yaml"].decode()
    third["dataset.yaml"] = text.encode() + b"missing_values: [-1, NA]\nmissing: absent\nreviews: reviews/*.csv\n"
    return [made, other, third]


def enter_description(folder: Path) -> None:
    """What every command does with a description, and `check` beyond that."""
    from anatomark.data.check import check
    from anatomark.data.description import load_dataset

    def loaded() -> None:
        dataset = load_dataset(folder / "dataset.yaml")
        for case in dataset.cases:
            case.reference.select(dataset.names)

    tried(loaded, lambda: check(folder / "dataset.yaml"))


def enter_folder(folder: Path) -> None:
    """What `init` does with a folder as it is."""
    from anatomark.data.init import init_dataset

    (folder / "dataset.yaml").unlink(missing_ok=True)
    init_dataset(folder)


def predictions_seeds() -> list[Files]:
    lines = ["image,landmark,x,y,presence,spread,error_bound_mm,frame,unit"]
    for case in ("case_000", "case_001", "case_002"):
        lines += [f"{case},p0{k},{4 + k},{5 + 2 * k},0.{k}5,1.5,2.{k},LPS,mm" for k in range(1, 6)]
    return [{"predictions.csv": ("\n".join(lines) + "\n").encode(), **phantoms()}]


def enter_predictions(folder: Path) -> None:
    """What `evaluate` does with a table of predictions."""
    from anatomark.data.description import load_dataset
    from anatomark.evaluation.evaluate import evaluate

    evaluate(load_dataset(folder / "dataset.yaml"), folder / "predictions.csv", samples=0)


def journal_seeds() -> list[Files]:
    head = {"journal": 1, "dataset": "small", "reviewer": "anna", "ndim": 2, "unit": "mm"}
    at = "2026-01-01T10:00:00.000Z"
    lines = [json.dumps(head)]
    for revision, values in enumerate(
        ({"p01": {"state": "present", "point": [1.5, 2.5], "how": "placed"}}, {"p02": None}, {})
    ):
        entry: dict[str, Any] = {
            "revision": revision + 1,
            "case": f"case_00{revision}",
            "at": at,
            "by": "anna",
            "set": values,
        }
        if revision == 2:
            entry |= {"accepted": True, "note": "blurred"}
        lines.append(json.dumps(entry))
    table = (
        "image,landmark,x,y,state,observer,frame,unit,changed\ncase_000,p01,1.5,2.5,present,anna,LPS,mm," + at + "\n"
    )
    notes = {"reviewer": "anna", "revision": 3, "cases": {"case_002": {"accepted": at, "note": "", "changed": at}}}
    journal, rest = "\n".join(lines) + "\n", {"anna.csv": table.encode(), "anna.cases.json": json.dumps(notes).encode()}
    return [{"anna.journal.jsonl": journal.encode(), **rest}, rest]


def enter_journal(folder: Path) -> None:
    """What `review` does with the files of a review, and `train` with those of an accepted one."""
    from anatomark.data.reviews import accepted_cases
    from anatomark.review.entries import Placement
    from anatomark.review.record import Record

    def changed() -> None:
        record = Record(folder, "anna", dataset="small", order=("p01", "p02"), ndim=2, unit="mm")
        try:
            base = record.case("case_000").revision
            record.change("case_000", base, {"p01": Placement.from_dict({"state": "present", "point": [1, 2]}, "", 2)})
        finally:
            record.close()

    tried(lambda: accepted_cases(folder), changed)


def settings_seeds() -> list[Files]:
    models = Path(__file__).parents[1] / "fixtures" / "old_models" / "6237412"
    made: list[Files] = []
    for name in ("global-to-local-2d", "two-stage-3d", "heatmap-2d", "atlas-3d"):
        files = {file: (models / name / file).read_bytes() for file in ("settings.json", "request.json")}
        made.append({**files, "method": name[:-3].encode()})
    folds = (models / "folds-2d" / "folds.json").read_bytes()
    return [*made, {"folds.json": folds, "method": b"atlas"}]


def enter_settings(folder: Path) -> None:
    """What `train` does with the settings of a run that goes on, and with those of the command line."""
    from anatomark.methods import detector_class
    from anatomark.training.request import parse_setting, resolve_settings
    from anatomark.training.run_folder import RunFolder, fold_folders

    kind = detector_class((folder / "method").read_text())
    run = RunFolder(folder)
    text = run.settings.read_text(errors="replace") if run.settings.exists() else ""
    rng = Random(text)
    names = list(kind.settings_type.model_fields)
    given = {rng.choice(names): rng.choice(ODD_VALUES) for _ in range(rng.randrange(1, 4))}
    tried(lambda: resolve_settings(kind, 2, None, given))
    tried(lambda: parse_setting(f"{names[0]}={text[:4000]}"))
    if run.settings.exists():
        tried(lambda: run.read_plan(kind), lambda: run.open({"method": kind.name, "settings": {}, "preset": None}))
    else:
        tried(lambda: fold_folders(folder))


PICTURES = tuple(f"images/case_00{k}.png" for k in range(3))
DOORS = [
    Door("description", description_seeds, enter_description, fixed=PICTURES),
    Door("folder for init", description_seeds, enter_folder, fixed=("dataset.yaml",)),
    Door("predictions table", predictions_seeds, enter_predictions, fixed=("dataset.yaml", "landmarks.csv", *PICTURES)),
    Door("review journal", journal_seeds, enter_journal),
    Door("settings of a run", settings_seeds, enter_settings, fixed=("method",)),
]
