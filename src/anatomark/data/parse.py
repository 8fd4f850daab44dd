"""From the content of a `dataset.yaml` to a Description, or all its faults in one message."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast, get_args

from pydantic import BaseModel, ValidationError

from anatomark.data.did_you_mean import did_you_mean
from anatomark.data.measurements import measurement_faults
from anatomark.data.schema import Description
from anatomark.errors import DescriptionError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def parse(data: object, source: str) -> Description:
    """The Description in `data`, which is what the yaml `source` holds.

    Raises DescriptionError with every fault at once.
    """
    if not isinstance(data, dict):
        raise DescriptionError(f"{source}: a dataset description consists of `key: value`, got {data!r:.60}")
    faults: list[str] = []
    description = None
    try:
        description = Description.model_validate(data)
    except ValidationError as error:
        faults += [_fault_line(fault) for fault in error.errors()]
    faults += _cross_faults(cast("dict[object, object]", data), description)
    if faults or description is None:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise DescriptionError(f"{source}: {count}: " + "; ".join(faults))
    return description


def _fault_line(fault: ErrorDetails) -> str:
    location = list(fault["loc"])
    where = ".".join(str(p + 1) if isinstance(p, int) else str(p) for p in location)
    if fault["type"] == "extra_forbidden":
        known = _keys(location[:-1])
        return f"unknown key `{where}`{did_you_mean(str(location[-1]), known) or ', known here: ' + ', '.join(known)}"
    if fault["type"] == "missing":
        return f"`{where}` is missing"
    if fault["type"] == "value_error":
        return f"`{where}`: {fault.get('ctx', {}).get('error')}"
    return f"`{where}`: {fault['msg'][0].lower()}{fault['msg'][1:]}, got {reprlib.repr(fault['input']):.60}"


def _keys(location: Sequence[int | str]) -> list[str]:
    """The keys allowed at a location of the yaml."""
    model: type[BaseModel] = Description
    for part in location:
        if isinstance(part, str):
            kinds = [model.model_fields[part].annotation, *get_args(model.model_fields[part].annotation)]
            model = next(k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel))
    return list(model.model_fields)


def _as_list(value: object) -> list[object]:
    """A list of the yaml, [] where something else is written."""
    return cast("list[object]", value) if isinstance(value, list) else []


def _cross_faults(data: Mapping[object, object], description: Description | None) -> list[str]:
    """Faults between the parts; those on names are found even where another part does not parse."""
    faults: list[str] = []
    names = [str(name) for name in _as_list(data.get("landmarks"))]
    duplicates = sorted({n for n in names if names.count(n) > 1})
    if duplicates:
        faults.append(f"`landmarks`: duplicate landmarks: {', '.join(duplicates)}")
    paired = [str(name) for pair in _as_list(data.get("pairs")) for name in _as_list(pair)]
    faults += [
        f"`pairs`: {n!r} is not in landmarks{did_you_mean(n, names)}" for n in dict.fromkeys(paired) if n not in names
    ]
    faults += [f"`pairs`: duplicate landmark {n!r}" for n in dict.fromkeys(paired) if paired.count(n) > 1]
    if description is None:
        return faults
    faults += measurement_faults(description.measurements, names, description.dimension)
    images, ndim = description.images, description.dimension
    if images.stack and ndim != 2:
        faults.append("`images.stack`: the pages of a stack are 2D; write `dimension: 2`, or leave stack out")
    for key, spacing in (("spacing", images.spacing), ("columns.spacing", images.columns.spacing)):
        if spacing is not None and len(spacing) != ndim:
            faults.append(f"`images.{key}`: a {ndim}D set needs {ndim} values (x, y[, z]), got {spacing}")
    if description.split_column is not None and images.table is None:
        faults.append("`splits.column` needs `images.table`, or is not a valid name for a split")
    if description.split_column is not None:
        words = [
            w for n, of in description.splits.items() if n != "column" for w in ([of] if isinstance(of, str) else of)
        ]
        faults += [f"`splits`: {w!r} has two names" for w in dict.fromkeys(words) if words.count(w) > 1]
    for value in description.missing_values or ():
        if isinstance(value, list) and len(value) != ndim:
            faults.append(f"`missing_values`: a {ndim}D set needs {ndim} coordinates, got {value}")
    if images.cases == "annotations" and not any(a.table for a in description.annotations):
        faults.append("`images.cases`: annotations needs a landmark `table`, which names the cases")
    if description.subjects and description.subjects.column and images.table is None:
        faults.append("`subjects.column` needs `images.table`")
    observers = {a.observer for a in description.annotations if a.observer}
    in_files = all(a.observer or a.files for a in description.annotations)
    if description.reference != "mean" and in_files and description.reference not in observers:
        faults.append(
            f"`reference`: {description.reference!r} is neither mean nor an observer"
            f"{did_you_mean(description.reference, [*observers, 'mean'])}"
        )
    return faults
