"""The attributes of a DICOM dataset as numbers, text and items, whatever a file has for them.

pydicom warns of, or refuses, what the standard would not allow; an attribute that cannot be understood is absent here.
"""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement, RawDataElement
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

_FORMS = {"US": "H", "SS": "h", "US or SS": "H", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}


@contextmanager
def quiet() -> Generator[None]:
    """pydicom's warnings of values that the standard would not allow stay away: they are the file's, not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def value(dataset: Dataset | None, keyword: str) -> tuple[object, ...]:
    """The values of an attribute: numbers, or texts as they are written; none where it is absent or empty."""
    if dataset is None:
        return ()
    from pydicom.datadict import dictionary_VR
    from pydicom.dataelem import RawDataElement

    raw = _element(dataset, keyword)
    if not isinstance(raw, RawDataElement):
        decoded: object = None if raw is None else raw.value
        if isinstance(decoded, list | tuple):
            return tuple(cast("list[object]", decoded))
        return () if decoded is None or decoded == "" else (decoded,)
    content = raw.value or b""
    form = _FORMS.get(dictionary_VR(raw.tag) if raw.VR is None or raw.VR == "UN" else raw.VR)
    if form is not None:
        count = len(content) // struct.calcsize(form)
        return struct.unpack_from(f"{'<' if raw.is_little_endian else '>'}{count}{form}", content)
    try:
        written = content.decode("utf-8")
    except UnicodeDecodeError:
        written = content.decode("latin-1")
    written = written.strip(" \0")
    return tuple(part.strip(" \0") for part in written.split("\\")) if written else ()


def _element(dataset: Dataset, keyword: str) -> DataElement | RawDataElement | None:
    """The element as pydicom read it, most often not yet decoded; None where there is none."""
    try:
        return dataset.get_item(_tag(keyword))
    except Exception:  # it decodes some all the same, which anybody may have written
        return None


@cache
def _tag(keyword: str) -> BaseTag:
    from pydicom.tag import Tag

    return Tag(keyword)


def numbers(dataset: Dataset | None, keyword: str) -> tuple[float, ...]:
    """The numbers of an attribute; none where it is absent, or where one is not a finite number."""
    try:
        parsed = tuple(float(cast("str | float", part)) for part in value(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return ()
    return parsed if all(map(math.isfinite, parsed)) else ()


def number(dataset: Dataset | None, keyword: str) -> float | None:
    """The one number of an attribute; None where there is not exactly one."""
    parsed = numbers(dataset, keyword)
    return parsed[0] if len(parsed) == 1 else None


def whole(dataset: Dataset | None, keyword: str) -> int:
    """The whole number of an attribute; 0 where there is none."""
    return int(number(dataset, keyword) or 0)


def text(dataset: Dataset | None, keyword: str) -> str:
    """The text of an attribute in one line, several values joined by a backslash; empty where it is absent."""
    return _printable("\\".join(str(part) for part in value(dataset, keyword)))


def uid_name(uid: str) -> str:
    """What the standard calls a UID; the UID itself where it is not the standard's."""
    from pydicom.uid import UID

    with quiet():
        return _printable(UID(uid).name)


def _printable(written: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in written)


def item(dataset: Dataset | None, keyword: str) -> Dataset | None:
    """The first item of a sequence; None where there is none."""
    return next(iter(items(dataset, keyword)), None)


def items(dataset: Dataset | None, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where it is absent, or cannot be understood."""
    from pydicom.dataelem import RawDataElement
    from pydicom.sequence import Sequence

    if dataset is None or (element := _element(dataset, keyword)) is None:
        return []
    if isinstance(element, RawDataElement):
        try:
            with quiet():
                element = dataset[_tag(keyword)]
        except Exception:  # pydicom decodes at this moment what anybody may have written
            return []
    return list(element.value) if isinstance(element.value, Sequence) else []


def functional(
    dataset: Dataset, frame: int, sequence: str, keyword: str, frames: list[Dataset] | None = None
) -> Dataset:
    """The item of a functional group that has `keyword` for a frame: its own, the shared one, or the dataset itself.

    `frames` are the items of PerFrameFunctionalGroupsSequence where the caller has them already.
    """
    frames = items(dataset, "PerFrameFunctionalGroupsSequence") if frames is None else frames
    own = frames[frame] if frame < len(frames) else None
    for group in (own, item(dataset, "SharedFunctionalGroupsSequence")):
        stated = item(group, sequence)
        if stated is not None and value(stated, keyword):
            return stated
    return dataset
