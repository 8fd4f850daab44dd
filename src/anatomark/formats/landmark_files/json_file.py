"""JSON files of people: read whole or refused in one line, and known by their beginning."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anatomark.errors import LandmarkFileError
from anatomark.formats.header import tell
from anatomark.formats.text import read_text

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:]', re.DOTALL)
_DEEPEST = 12


def read_json(path: Path, wanted: str) -> Any:
    """What the file holds; `wanted` ends the line on one that cannot be read. Raises `LandmarkFileError`."""
    text = read_text(path, wanted)
    try:
        return json.loads(text)
    except RecursionError:
        raise LandmarkFileError(f"{path} is nested too deeply for a landmark file; give {wanted}") from None
    except ValueError as error:
        raise LandmarkFileError(f"{path} is not valid JSON ({error}); give {wanted}") from error


def json_paths(text: str) -> frozenset[str]:
    """The places of the keys in the beginning of a JSON file, such as "images[].file_name"; empty where it is none."""
    if text.lstrip()[:1] not in ("{", "["):
        return frozenset()
    found: set[str] = set()
    places: list[str] = [""]  # of the values that are open
    opened: list[str] = []
    key, last = "", ""
    for token in _TOKEN.findall(text):
        if token in "{[":
            here = places[-1] + "[]" if opened and opened[-1] == "[" else key or places[-1]
            opened.append(token)
            places.append(here)
            if len(opened) > _DEEPEST:
                break
        elif token in "}]":
            if not opened:
                break
            opened.pop()
            places.pop()
        elif token == ":":
            if opened and opened[-1] == "{" and last:
                key = f"{places[-1]}.{last}" if places[-1] else last
                found.add(key)
        else:
            last = token[1:-1]
    return frozenset(found)


def dicts_in(value: Any, what: str, path: Path) -> list[dict[str, Any]]:
    """`value` as the list of objects that it must be; `what` names it. None is an empty list."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise LandmarkFileError(f"{path}: {what} is {shortened(value)}, expected a list of objects; export it again")
    return value


def name_in(value: Any, what: str, path: Path) -> str:
    """`value` as a name, without spaces at its ends; whole numbers are names too."""
    if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
        return str(value).strip()
    raise LandmarkFileError(f"{path}: {what} is {shortened(value)}, expected a name; name it")


def numbers_in(value: Any, count: int, what: str, path: Path) -> list[float]:
    """`value` as `count` finite numbers; `what` names it in the message."""
    cells: Sequence[Any] = value if isinstance(value, list) else []
    try:
        numbers = [float(cell) for cell in cells if type(cell) in (int, float)]
    except OverflowError:
        numbers = []
    if len(cells) != count or len(numbers) != count or not np.isfinite(numbers).all():
        wanted = "a number" if count == 1 else f"{count} numbers"
        came = cells[0] if count == 1 and len(cells) == 1 else value
        raise LandmarkFileError(f"{path}: {what} is {shortened(came)}, expected {wanted}; correct it")
    return numbers


def shortened(value: Any, most: int = 60) -> str:
    """A value as it may stand in a line."""
    text = repr(value) if isinstance(value, str | int | float | bool) or value is None else _as_json(value)
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 3] + "..."


def _as_json(value: Any) -> str:
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    return json.dumps(value[:8]) if isinstance(value, list) and not any(map(_nested, value[:8])) else "a list"


def _nested(value: Any) -> bool:
    return isinstance(value, list | dict)


def names_in_groups(groups: Mapping[str, Sequence[str]], path: Path) -> dict[tuple[str, str], str]:
    """{(group, point): name of the landmark} of points in named groups, such as the skeletons or categories of a file.

    Points keep their names where these are distinct over all groups, else all are called `group_point`; a remark says
    so.
    """
    count = Counter(point for points in groups.values() for point in dict.fromkeys(points))
    shared = next((point for point, times in count.items() if times > 1), None)
    if shared is not None:
        first, *_ = (group for group, points in groups.items() if shared in points)
        tell([f"{path}: several groups have a point {shared!r}, so landmarks are called as {first}_{shared}"])
    return {
        (group, point): point if shared is None else f"{group}_{point}"
        for group, points in groups.items()
        for point in points
    }
