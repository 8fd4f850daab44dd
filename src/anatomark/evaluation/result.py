"""Results as documents: frozen values that become dictionaries, JSON text, and files that are written together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from anatomark.formats.atomic import replacing

Interval = tuple[float, float]
"""Lower and upper limit; in a document a list of two numbers."""

ONLY_IF_KNOWN = {"only if known": True}
"""Metadata of a field whose key is left out of the document while it is None."""
INLINE = {"inline": True}
"""Metadata of a field whose own keys stand in the document instead of it."""


@dataclass(frozen=True, eq=False)
class Result:
    """A frozen value whose fields are the keys of its document, in their order."""

    def to_dict(self) -> dict[str, Any]:
        """The document: dictionaries, lists, strings, numbers and None, as the JSON file holds them."""
        document: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.metadata == INLINE:
                document |= value.to_dict()
            elif value is not None or each.metadata != ONLY_IF_KNOWN:
                document[each.name] = _plain(value)
        return document


@dataclass(frozen=True, eq=False)
class Report(Result, Mapping[str, Any]):
    """A Result that a file holds; it also reads as its own document: `report["overall"]["mre"]`.

    It equals any mapping with the same content, such as what `json.load` makes of its file.
    """

    @cached_property
    def _document(self) -> dict[str, Any]:
        return self.to_dict()

    def __getitem__(self, key: str) -> Any:
        return self._document[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._document)

    def __len__(self) -> int:
        return len(self._document)


def _plain(value: object) -> Any:
    """What JSON can hold: results and mappings as dictionaries, sequences as lists."""
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def json_text(report: Result) -> str:
    """The document of a report as indented JSON; a number that is not finite is a bug and raises ValueError."""
    return json.dumps(report.to_dict(), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def write_together(folder: Path, texts: Mapping[str, str | Callable[[TextIO], None]]) -> None:
    """All of the files or none: they take their places when every one is whole. Long ones are written by a function."""
    with ExitStack() as stack:
        for name, text in texts.items():
            path = stack.enter_context(replacing(folder / name))
            with open(path, "w", encoding="utf-8") as file:
                if isinstance(text, str):
                    file.write(text)
                else:
                    text(file)
