"""A part of a cohort: the Parquet file of the outcomes of many images."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anatomark.errors import OutputError
from anatomark.outcome import Outcome, Points

if TYPE_CHECKING:
    import pyarrow as pa

_ABOUT = b"anatomark"  # the key in Parquet's metadata


def to_parquet(outcomes: Sequence[Outcome], points: Points) -> bytes:
    """The Parquet file of `outcomes`, a row for each; the same outcomes give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = json.dumps({"landmarks": points.names, "ndim": points.ndim, "unit": points.unit, "frame": "LPS"})
    schema = _schema().with_metadata({_ABOUT: about.encode()})
    columns = {name: [getattr(outcome, name) for outcome in outcomes] for name in schema.names}
    content = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), content)
    return content.getvalue()


def from_parquet(content: bytes, source: str) -> list[Outcome]:
    """The outcomes in a file; `source` names it in OutputError where it is damaged."""
    return [Outcome(**_row(row)) for row in _read(content, source, None).to_pylist()]


def errors_in(content: bytes, source: str) -> list[tuple[str, str]]:
    """(id, reason, "" for a predicted image) of each row; raises as `from_parquet`."""
    table = _read(content, source, ["id", "error"])
    return list(zip(table.column("id").to_pylist(), table.column("error").to_pylist(), strict=True))


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


def _read(content: bytes, source: str, columns: list[str] | None) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(content), columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise OutputError(f"{source} is damaged ({error}); delete it and run the command again") from None
    if any(name not in table.schema.names for name in columns or _schema().names):
        raise OutputError(f"{source} is no part of a cohort; delete it and run the command again")
    return table


def _schema() -> pa.Schema:
    import pyarrow as pa

    texts, lists = ("unsuitable", "taken_for", "warning"), ("points", "presence", "spread", "bound")
    return pa.schema(
        [
            ("id", pa.string()),
            ("error", pa.string()),
            *((name, pa.list_(pa.float64())) for name in lists),
            ("suitability", pa.float64()),
            *((name, pa.string()) for name in texts),
        ]
    )
