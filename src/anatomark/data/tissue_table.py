"""The table that says which labels look alike, and how bright they are: tissues of `anatomark.data.synthetic_images`.

One row for each label, `label` the number in the map. The other columns may be left out, or a cell empty: `tissue`,
a name that labels with the same grey values share; `mean_low`, `mean_high`, the range of their mean grey value;
`sd_low`, `sd_high`, the range of its standard deviation within an image. Without a range, a tissue may have any.
"""

from __future__ import annotations

from pathlib import Path

from anatomark.data.case_list import read_columns
from anatomark.data.did_you_mean import did_you_mean
from anatomark.data.synthetic_images import MEANS, SDS, Range, Tissue
from anatomark.errors import DescriptionError, SettingsError
from anatomark.formats.text import number

COLUMNS = ("label", "tissue", "mean_low", "mean_high", "sd_low", "sd_high")


def read_tissues(path: str | Path) -> tuple[Tissue, ...]:
    """The tissues of a CSV or TSV; DescriptionError, with the label, for what does not hold together.

    Columns of other names are passed over.
    """
    path = Path(path)
    columns = read_columns(path)
    if "label" not in columns:
        raise DescriptionError(
            f"the table {path} has no column 'label'{did_you_mean('label', columns)} (there are: "
            f"{', '.join(columns)}); its columns are {', '.join(COLUMNS)}"
        )
    labels: dict[str, list[int]] = {}
    ranges: dict[tuple[str, str], Range] = {}
    for row, text in enumerate(columns["label"]):
        if not (text.isascii() and text.isdecimal()):
            raise DescriptionError(
                f"the table {path}, row {row + 2}: the label {text!r} is not a whole number from 0 on"
            )
        name = (columns["tissue"][row] if "tissue" in columns else "") or text
        labels.setdefault(name, []).append(int(text))
        for what in ("mean", "sd"):
            found = _range(columns, what, row, path)
            if found is not None and ranges.setdefault((name, what), found) != found:
                raise DescriptionError(
                    f"the table {path}, row {row + 2}: tissue {name!r} has two ranges for {what}; keep one, or give "
                    "the labels tissues of their own"
                )
    try:
        return tuple(
            Tissue(name, tuple(numbers), ranges.get((name, "mean"), MEANS), ranges.get((name, "sd"), SDS))
            for name, numbers in labels.items()
        )
    except SettingsError as error:
        raise DescriptionError(f"the table {path}: {error}") from None


def _range(columns: dict[str, list[str]], what: str, row: int, path: Path) -> Range | None:
    cells = [columns[name][row] if name in columns else "" for name in (f"{what}_low", f"{what}_high")]
    if not any(cells):
        return None
    try:
        low, high = (number(cell) for cell in cells)
    except ValueError:
        raise DescriptionError(
            f"the table {path}, row {row + 2}: {what}_low and {what}_high are {cells[0]!r} and {cells[1]!r}; give two "
            "numbers, or none"
        ) from None
    return low, high
