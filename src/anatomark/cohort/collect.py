"""One table of all parts, written as they are read."""

from __future__ import annotations

import csv
import math
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from anatomark.cohort.extra import require_cohort
from anatomark.cohort.ledger import Ledger, open_ledger
from anatomark.cohort.outcome import Outcome, Points
from anatomark.cohort.status import ranges
from anatomark.cohort.store import Store
from anatomark.core.grid import Floats
from anatomark.core.landmarks import State
from anatomark.errors import OutputError
from anatomark.formats.table import LandmarkTable, write_table
from anatomark.prediction_files import IMAGE_COLUMNS

Table = Literal["csv", "parquet"]


def collect_cohort(out: str | Path, *, table: Table = "csv") -> str:
    """Write predictions.csv (or .parquet) and images.csv of a finished cohort; the place of the table.

    The columns are those of `predict`; images are in the order of the manifest. Memory holds one part at a time.

    Args:
        out: the folder or URI that `predict_cohort` wrote.
        table: "csv" or "parquet".

    Returns:
        The path or URI of the table of landmarks.

    Raises:
        OutputError: parts are missing.

    Examples:
        >>> anatomark.collect_cohort("predicted")
        'predicted/predictions.csv'
    """
    require_cohort()
    ledger = open_ledger(Store(str(out)), None)
    present = ledger.present()
    missing = tuple(number for number in range(1, ledger.parts + 1) if number not in present)
    if missing:
        raise OutputError(
            f"{out}: {len(missing)} of {ledger.parts} parts are missing: {ranges(missing)}; predict them first, with "
            "the command that began"
        )
    name = f"predictions.{table}"
    with (
        ledger.store.writing(name, f".{table}") as rows,
        ledger.store.writing("images.csv") as images,
        open(images, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(IMAGE_COLUMNS)
        (_write_csv if table == "csv" else _write_parquet)(_tables(ledger, writer), rows)
    return ledger.store.place(name)


def _tables(ledger: Ledger, images: Any) -> Iterator[LandmarkTable]:
    """The rows of predictions.csv, part by part; on the way, each image gets its row in images.csv."""
    for number in range(1, ledger.parts + 1):
        outcomes = ledger.read(number)
        images.writerows(_image_row(outcome) for outcome in outcomes)
        yield landmark_table(outcomes, ledger.record.points)


def _image_row(outcome: Outcome) -> tuple[str, ...]:
    """A row of images.csv, as `prediction_files` writes it."""
    suitability = "" if math.isnan(outcome.suitability) else f"{outcome.suitability:.4g}"
    return (outcome.id, suitability, outcome.unsuitable, outcome.taken_for, outcome.warning, outcome.error)


def landmark_table(outcomes: list[Outcome], points: Points) -> LandmarkTable:
    """The rows of predictions.csv for the predicted ones of `outcomes`."""
    predicted = [outcome for outcome in outcomes if not outcome.error]
    rows = len(predicted) * len(points.names)

    def numbers(name: str, *shape: int) -> Floats:
        return np.array([getattr(outcome, name) for outcome in predicted], dtype=float).reshape(rows, *shape)

    return LandmarkTable(
        image=np.repeat(np.array([outcome.id for outcome in predicted], dtype=str), len(points.names)),
        landmark=np.tile(np.array(points.names, dtype=str), len(predicted)),
        coordinates=numbers("points", points.ndim),
        states=np.full(rows, State.PRESENT, dtype=np.uint8),
        observer=np.full(rows, "", dtype=str),
        frame="LPS",
        unit=points.unit,
        presence=numbers("presence"),
        spread=numbers("spread"),
        bound=numbers("bound"),
    )


def _write_csv(tables: Iterator[LandmarkTable], path: Path) -> None:
    """The tables after one another, each as `write_table` writes it, with one header."""
    with open(path, "wb") as whole, tempfile.TemporaryDirectory(prefix="anatomark-") as folder:
        one = Path(folder) / "part.csv"
        header = b""
        for table in tables:
            write_table(table, one)
            with open(one, "rb") as file:
                first = file.readline()
                if first != header:
                    if header:
                        raise ValueError(f"parts with other columns: {first!r} after {header!r}")
                    header = first
                    whole.write(first)
                shutil.copyfileobj(file, whole)


def _write_parquet(tables: Iterator[LandmarkTable], path: Path) -> None:
    """The same columns as in CSV; texts and lengths as Parquet has them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: pq.ParquetWriter | None = None
    try:
        for table in tables:
            axes = dict(zip("xyz", table.coordinates.T, strict=False))
            bound = {} if table.bound is None else {f"error_bound_{table.unit}": table.bound}
            same = {"frame": [table.frame] * len(table), "unit": [table.unit] * len(table)}
            texts = {"image": table.image.tolist(), "landmark": table.landmark.tolist()}
            arrays = {**texts, **axes, **same, "presence": table.presence, "spread": table.spread, **bound}
            kinds = {name: pa.string() if name in {**texts, **same} else pa.float64() for name in arrays}
            rows = pa.table({name: pa.array(arrays[name], type=kind) for name, kind in kinds.items()})
            writer = writer or pq.ParquetWriter(path, rows.schema)
            writer.write_table(rows)
    finally:
        if writer is not None:
            writer.close()
