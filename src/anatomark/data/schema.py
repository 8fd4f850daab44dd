"""What a `dataset.yaml` may say. docs/dataset.md explains every key, with an example that has nearly all of them."""

from __future__ import annotations

import re
from typing import Annotated, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from anatomark.data.measurements import Measurement
from anatomark.formats.header import Orientation

PLACEHOLDER = "???"
"""What `anatomark init` writes where only a person can know."""
Name = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v), Field(min_length=1)]
Frame = Literal["LPS", "RAS", "pixel"]
Missing = Literal["absent", "not annotated"]


def _missing_values(value: object) -> object:
    """A list of points, numbers and words; a single one without its list, too. YAML's null is the word null."""
    return None if value is None else [_missing_value(entry) for entry in _listed(value)]


def _missing_value(entry: object) -> list[float] | float | str:
    if entry is None:
        return "null"
    if isinstance(entry, str) and entry.strip():
        return entry.strip()
    cells = _listed(entry)
    numbers = [float(cell) for cell in cells if isinstance(cell, int | float) and not isinstance(cell, bool)]
    if not numbers or len(numbers) < len(cells):
        raise ValueError(f"expected points, numbers or words, such as [[-1, -1], -9999, NA], got {entry!r:.60}")
    return numbers if isinstance(entry, list) else numbers[0]


def _listed(value: object) -> list[object]:
    """A list as it is, anything else as a list of one."""
    return cast("list[object]", value) if isinstance(value, list) else [value]


def _pattern_or_list(value: object) -> object:
    entries = _listed(value)
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(v, str | int) for v in entries)):
        return value
    raise ValueError(f"expected a shell pattern or a list of subjects or cases, got {value!r:.60}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageColumns(_Part):
    """Names of the case table's columns."""

    image: str = "image"
    case: str | None = None
    spacing: list[str] | None = None
    page: str | None = None


class Images(_Part):
    """Where the images are."""

    folder: str = "."
    pattern: str = "*"
    exclude: list[Name] = []
    table: str | None = None
    columns: ImageColumns = ImageColumns()
    spacing: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] | None = None
    cases: Literal["files", "annotations"] = "files"
    stack: bool = False
    orientation: Orientation = "shown"

    @field_validator("exclude", mode="before")
    @classmethod
    def _one_pattern(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("spacing", mode="before")
    @classmethod
    def _no_placeholder(cls, value: object) -> object:
        if isinstance(value, str) and PLACEHOLDER in value:
            raise ValueError("the spacing is still ???; write mm along x, y[, z], or delete the line to work in pixels")
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise ValueError(f"is one number, {value}; write mm along each of x, y[, z], such as [{value}, {value}]")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Images:
        if self.spacing is not None and self.columns.spacing is not None:
            raise ValueError("spacing is given both as a constant and as columns; keep one")
        if self.table is None and self.columns != ImageColumns():
            raise ValueError("columns belong to a table; add `table:` or leave them out")
        if self.table is not None and self.pattern != "*":
            raise ValueError("pattern and table exclude each other; the table lists the images")
        if self.exclude and (self.table is not None or self.cases == "annotations"):
            raise ValueError("exclude is for images found by a pattern; take the others out of the table")
        if self.stack and self.table is not None and self.columns.page is None:
            raise ValueError("stack with a table needs the column of pages, counted from 1, as `columns: {page: NAME}`")
        if self.columns.page is not None and not self.stack:
            raise ValueError("columns.page goes with `stack: true`; write both, or leave both out")
        if self.stack and self.cases == "annotations":
            raise ValueError("stack needs the images, of which it counts the pages; leave `cases: annotations` out")
        if self.table is not None and self.cases == "annotations":
            raise ValueError("`cases: annotations` and table exclude each other; the table lists the cases")
        return self


class Subjects(_Part):
    """Which cases are of one person."""

    column: str | None = None
    pattern: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Subjects:
        if (self.column is None) == (self.pattern is None):
            raise ValueError("needs either `column` or `pattern`")
        if self.pattern is not None:
            try:
                groups = re.compile(self.pattern).groups
            except re.error as error:
                raise ValueError(f"pattern {self.pattern!r} is not a regular expression: {error}") from None
            if groups != 1:
                raise ValueError(f"pattern {self.pattern!r} needs exactly one group ( ) around the subject")
        return self


class Observers(_Part):
    """How names of observers are read."""

    session: str | None = None
    combined: list[Name] = []

    @field_validator("session")
    @classmethod
    def _grouped(cls, value: str | None) -> str | None:
        try:
            groups = 1 if value is None else re.compile(value).groups
        except re.error as error:
            raise ValueError(f"{value!r} is not a regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"{value!r} needs exactly one group ( ) around the observer")
        return value


class LandmarkColumns(_Part):
    """Names of a landmark table's columns, where they differ from ours."""

    image: str | None = None
    landmark: str | None = None
    x: str | None = None
    y: str | None = None
    z: str | None = None
    observer: str | None = None
    state: str | None = None
    frame: str | None = None


class Annotations(_Part):
    """One source of landmarks: a long table or one file a case."""

    table: str | None = None
    files: str | None = None
    frame: Frame | None = None
    columns: LandmarkColumns = LandmarkColumns()
    observer: Name | None = None

    @field_validator("frame", mode="before")
    @classmethod
    def _no_placeholder(cls, value: object) -> object:
        if isinstance(value, str) and PLACEHOLDER in value:
            raise ValueError(
                "the frame of the coordinates is still ???; write LPS or RAS (mm), or pixel (column, row[, slice])"
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Annotations:
        if (self.table is None) == (self.files is None):
            raise ValueError("a source needs either `table` or `files`")
        if self.files is not None and "{case}" not in self.files:
            raise ValueError(f"files {self.files!r} must contain {{case}}, which stands for the case name")
        if self.files is not None and self.columns != LandmarkColumns():
            raise ValueError("columns belong to a table, not to files")
        if self.observer is not None and self.columns.observer is not None:
            raise ValueError("observer is given both as a constant and as a column; keep one")
        return self


class Description(_Part):
    """A whole `dataset.yaml`; see the module's text."""

    name: Name
    dimension: Literal[2, 3]
    root: str | None = None
    landmarks: Annotated[list[Name], Field(min_length=1)]
    pairs: list[tuple[Name, Name]] = []
    images: Images
    subjects: Subjects | None = None
    splits: dict[Name, Annotated[str | list[Name], BeforeValidator(_pattern_or_list)]] = {}
    annotations: list[Annotations] = []
    missing: Missing = "not annotated"
    missing_values: Annotated[list[list[float] | float | str] | None, BeforeValidator(_missing_values)] = None
    reference: Name = "mean"
    reviews: Name | None = None
    observers: Observers = Observers()
    measurements: list[Measurement] = []

    @field_validator("annotations", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        one: list[object] = [value]
        return one

    @field_validator("landmarks", mode="before")
    @classmethod
    def _no_placeholder(cls, value: object) -> object:
        if value == PLACEHOLDER:
            raise ValueError("the landmark names are still ???; list them, like [nasion, sella]")
        return value

    @property
    def split_column(self) -> str | None:
        """The case table's column with the split, where `splits` has {column: name}."""
        column = self.splits.get("column")
        return column if isinstance(column, str) else None

    @property
    def split_words(self) -> dict[str, str]:
        """{word of the split column: our name for it}, of the words that have another."""
        named = {name: words for name, words in self.splits.items() if name != "column"}
        return {word: name for name, words in named.items() for word in ([words] if isinstance(words, str) else words)}
