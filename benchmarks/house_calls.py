"""The calls from one file of the package into another, in order, while one image is predicted and a data set trained.

python -m benchmarks.house_calls FOLDER

runs in a process of its own, since it traces it; `python -m benchmarks house --calls` starts it, with the source that
is asked for first on the path, and writes into FOLDER predict.txt, train.txt and calls.json.

A line "caller -> called" is a function of one file and the function of another that it calls. Each such pair stands
once, where it happens first: so steps of training, cases and landmarks that repeat it add nothing. Left out are files
below core/ and errors.py, as all files speak of Grid, Image and Landmarks; files below nets/, whose layers torch calls
in turns; properties, which are read like values; names with a leading underscore, which no other file calls by name
(constructors, validators); and what runs while a module is imported.

A *room* is a file that is called. A *return* is a call into a room that was entered before and left since: the line's
room differs from that of the line before, and stands in an earlier one.
"""

from __future__ import annotations

import ast
import json
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

LEFT_OUT = ("core/", "nets/", "errors.py")
PROPERTIES = ("property", "cached_property", "functools.cached_property")
OPTIMIZED = 0x1  # flag of the code of functions; that of modules and classes has it not
FEW_STEPS = {
    "global_stem": 4,
    "global_blocks": [1, 1, 1, 1],
    "global_channels": [4, 6, 8, 12],
    "global_head": 8,
    "global_steps": 3,
    "local_channels": [[4, 4], [6]],
    "local_head": 6,
    "local_steps": 3,
    "validations": 1,
    "precision": "32-true",
}


@dataclass(frozen=True)
class Place:
    """A function in a file of the package, whose path is relative to it."""

    file: str
    function: str

    @property
    def name(self) -> str:
        return self.function.rpartition(".")[2]

    def __str__(self) -> str:
        return f"{self.file}:{self.function}"


Call = tuple[Place, Place]


class Tracer:
    """Keeps the calls between files of the package in `folder`, of all threads begun while it is on."""

    def __init__(self, folder: Path) -> None:
        self._prefix = f"{folder}/"
        self._properties = set(properties(folder))
        self._seen: dict[Call, None] = {}  # in the order in which they came
        self._places: dict[CodeType, Place | None] = {}

    @property
    def calls(self) -> list[Call]:
        return list(self._seen)

    def __enter__(self) -> Tracer:
        threading.setprofile(self._event)
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _event(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call":
            return
        called = self._place(frame.f_code)
        if called is None or called.name.startswith(("_", "<")) or called.file.startswith(LEFT_OUT):
            return
        if (frame.f_code.co_filename, frame.f_code.co_firstlineno) in self._properties:
            return
        caller = self._caller(frame)
        if caller is not None and caller.file != called.file:
            self._seen.setdefault((caller, called))

    def _caller(self, frame: FrameType) -> Place | None:
        """The nearest function of the package below `frame`; None where there is none, or a module is imported."""
        below = frame.f_back
        while below is not None:
            if (place := self._place(below.f_code)) is not None:
                return place if below.f_code.co_flags & OPTIMIZED else None
            below = below.f_back
        return None

    def _place(self, code: CodeType) -> Place | None:
        if code not in self._places:
            inside = code.co_filename.startswith(self._prefix)
            file = code.co_filename.removeprefix(self._prefix)
            self._places[code] = Place(file, code.co_qualname.replace("<locals>.", "")) if inside else None
        return self._places[code]


def properties(folder: Path) -> Iterator[tuple[str, int]]:
    """(file, first line) of the properties in the files of a package."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(ast.unparse(d) in PROPERTIES for d in node.decorator_list):
                yield str(path), node.decorator_list[0].lineno


def returns(calls: Sequence[Call]) -> int:
    """How often a room is entered again after it was left."""
    rooms = [called.file for _, called in calls]
    entered: set[str] = set()
    count = 0
    for before, room in zip(["", *rooms], rooms, strict=False):
        count += room != before and room in entered
        entered.add(room)
    return count


def told(calls: Sequence[Call]) -> str:
    """The calls, a line each; each return is marked with an R."""
    rooms = [called.file for _, called in calls]
    lines = [f"{len(calls)} calls, {len(set(rooms))} rooms, {returns(calls)} returns (R)", ""]
    for index, (caller, called) in enumerate(calls):
        back = index > 0 and called.file != rooms[index - 1] and called.file in rooms[:index]
        lines.append(f"{'R' if back else ' '} {caller} -> {called}")
    return "\n".join(lines) + "\n"


def traced(package: Path, action: Callable[[], object]) -> list[Call]:
    with Tracer(package) as tracer:
        action()
    return tracer.calls


def main(arguments: Sequence[str]) -> None:
    import anatomark
    from anatomark import load_dataset, make_phantoms, predict_to_folder, train

    out = Path(arguments[0])
    package = Path(anatomark.__file__).parent
    ways: dict[str, list[Call]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = make_phantoms(folder / "phantoms", ndim=2, cases=20, landmarks=4, shape=(64, 72), spacing=(2.5, 3.0))
        image = load_dataset(data).split("test")[0].image_path
        given: dict[str, Any] = {"device": "cpu", "settings": FEW_STEPS}
        ways["train"] = traced(package, lambda: train(data, out=folder / "run", **given))
        asked: dict[str, Any] = {"out": folder / "predicted", "spacing": (2.5, 3.0), "device": "cpu"}
        ways["predict"] = traced(package, lambda: predict_to_folder(folder / "run", [image], **asked))
    counts: dict[str, Any] = {"package": str(package)}
    for way, calls in ways.items():
        (out / f"{way}.txt").write_text(told(calls), encoding="utf-8")
        rooms = {called.file for _, called in calls}
        counts[way] = {"calls": len(calls), "rooms": len(rooms), "returns": returns(calls)}
    (out / "calls.json").write_text(json.dumps(counts), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
