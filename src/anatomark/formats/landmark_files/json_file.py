"""JSON files of people: read whole or refused in one line, and known by their beginning."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from anatomark.errors import LandmarkFileError
from anatomark.formats.header import tell
from anatomark.formats.text import read_text

JsonObject: TypeAlias = "dict[str, JsonValue]"
JsonValue: TypeAlias = "str | float | bool | list[JsonValue] | JsonObject | None"
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:]', re.DOTALL)
_DEEPEST = 12


def read_json(path: Path, expected: str) -> JsonValue:
    """The content of the file; `wanted` ends the line on one that cannot be read. Raises `LandmarkFileError`."""
    text = read_text(path, expected)
    try:
        return json.loads(text)
    except RecursionError:
        raise LandmarkFileError(f"{path} is nested too deeply for a landmark file; give {expected}") from None
    except ValueError as error:
        raise LandmarkFileError(f"{path} is not valid JSON ({error}); give {expected}") from error


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


def objects_in(value: JsonValue) -> list[JsonObject] | None:
    """The objects of a list; None where it is no list, or has something else in it."""
    if not isinstance(value, list):
        return None
    objects = [item for item in value if isinstance(item, dict)]
    return objects if len(objects) == len(value) else None


def texts_in(value: JsonValue) -> list[str] | None:
    """The texts of a list; None where it is no list, or one of them is blank or no text."""
    if not isinstance(value, list):
        return None
    texts = [item for item in value if isinstance(item, str) and item.strip()]
    return texts if len(texts) == len(value) else None


def dicts_in(value: JsonValue, what: str, path: Path) -> list[JsonObject]:
    """`value` as the list of objects that it must be; `what` names it. None is an empty list."""
    objects = [] if value is None else objects_in(value)
    if objects is None:
        raise LandmarkFileError(f"{path}: {what} is {shortened(value)}, expected a list of objects; export it again")
    return objects


def name_in(value: JsonValue, what: str, path: Path) -> str:
    """`value` as a name, without spaces at its ends; whole numbers are names too."""
    if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
        return str(value).strip()
    raise LandmarkFileError(f"{path}: {what} is {shortened(value)}, expected a name; name it")


def numbers_in(value: JsonValue, count: int, what: str, path: Path) -> list[float]:
    """`value` as `count` finite numbers; `what` names it in the message."""
    numbers = finite_numbers(value, count)
    if numbers is None:
        expected = "a number" if count == 1 else f"{count} numbers"
        given = value[0] if count == 1 and isinstance(value, list) and len(value) == 1 else value
        raise LandmarkFileError(f"{path}: {what} is {shortened(given)}, expected {expected}; correct it")
    return numbers


def finite_numbers(value: JsonValue, count: int) -> list[float] | None:
    """`value` as a list of `count` finite numbers; None where it is none."""
    cells = value if isinstance(value, list) else []
    try:
        numbers = [float(cell) for cell in cells if isinstance(cell, int | float) and not isinstance(cell, bool)]
    except OverflowError:
        return None
    return numbers if len(cells) == len(numbers) == count and np.isfinite(numbers).all() else None


def shortened(value: JsonValue, most: int = 60) -> str:
    """A value as it may stand in a line."""
    text = repr(value) if isinstance(value, str | int | float | bool) or value is None else _as_json(value)
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 3] + "..."


def _as_json(value: list[JsonValue] | JsonObject) -> str:
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    return "a list" if any(isinstance(item, list | dict) for item in value[:8]) else json.dumps(value[:8])


def names_in_groups(groups: Mapping[str, Sequence[str]], path: Path) -> dict[tuple[str, str], str]:
    """{(group, point): name of the landmark} of points in named groups, such as the skeletons or categories of a file.

    Points keep their names where these are distinct over all groups, else all are called `group_point`; a remark says
    so.
    """
    count = Counter(point for points in groups.values() for point in dict.fromkeys(points))
    duplicate = next((point for point, times in count.items() if times > 1), None)
    if duplicate is not None:
        first, *_ = (group for group, points in groups.items() if duplicate in points)
        tell([f"{path}: several groups have a point {duplicate!r}, so landmarks are called as {first}_{duplicate}"])
    return {
        (group, point): point if duplicate is None else f"{group}_{point}"
        for group, points in groups.items()
        for point in points
    }
