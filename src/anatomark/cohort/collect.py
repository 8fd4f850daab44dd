"""One table of all parts, written as they are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from anatomark.cohort.extra import require_cohort
from anatomark.cohort.ledger import open_ledger
from anatomark.cohort.status import ranges
from anatomark.cohort.store import Store
from anatomark.errors import OutputError
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.table import write_rows
from anatomark.prediction_files import each_table

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
        parts = (ledger.read(number) for number in range(1, ledger.parts + 1))
        (_write_csv if table == "csv" else _write_parquet)(each_table(parts, ledger.record.points, file), rows)
    return ledger.store.place(name)


def _write_csv(tables: Iterator[LandmarkTable], path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        write_rows(tables, file)


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
