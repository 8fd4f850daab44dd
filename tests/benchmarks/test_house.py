"""Counts of a made-up package, and the calls between its files."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.house_calls import Call, Place, returns, told, traced
from benchmarks.house_counts import circles, counted
from benchmarks.report.house import house, house_calls

FILES = {
    "__init__.py": "from made_up.a import start\n",
    "a.py": """
        import json
        from typing import Any
        from made_up import b

        def start(count: int, *rest: Any, other: "list[Any] | None" = None) -> int:
            assert count > 0
            return sum(b.step(k) for k in range(count)) + b.last()

        def back() -> int:
            return 1
        """,
    "b.py": """
        from typing import TYPE_CHECKING, Any
        from made_up.inner.c import Thing, twice

        if TYPE_CHECKING:
            from made_up import d

        def step(k: Any) -> int:
            return Thing(k).value + twice(k)

        def last() -> int:
            from made_up.a import back
            import os
            return back()
        """,
    "inner/__init__.py": "",
    "inner/c.py": """
        class Thing:
            def __init__(self, k):
                self.k = k

            @property
            def value(self):
                return self.k

        def twice(k):
            return 2 * k
        """,
    "d.py": "from made_up import a\n",
    "methods/settings.py": """
        class Values(Base):
            known: ClassVar[int] = 1
            seed: int = Field(0, description="of random numbers")
            steps: int = 3

        class OneSettings(Values):
            size: int = Field(2, ge=1)

        class OneNetwork(Base):
            width: int = 4

        USER_SETTINGS = ("seed", "size")
        """,
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "made_up"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("\n".join(line.removeprefix(" " * 8) for line in text.splitlines()) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "made_up"]:
        del sys.modules[name]


def test_counts_are_those_of_the_package(package: Path) -> None:
    found = counted(package)
    assert (found.files, found.functions, found.asserts) == (7, 7, 1)
    assert found.any_parameters == 2, "`list[Any] | None` is not exactly Any"
    assert (found.own_late_imports, found.other_late_imports) == (1, 1)
    assert (found.settings, found.settings_without_description, found.settings_for_users) == (3, 2, 2)
    assert found.lines == sum(found.lines_by_package.values())
    assert set(found.lines_by_package) == {"__init__.py", "a.py", "b.py", "d.py", "inner", "methods"}
    assert (found.longest_function, found.longest_function_lines) == ("b.py:last", 4)
    assert found.longest_file == "b.py"


def test_circles_count_late_imports_and_those_for_types_but_not_the_entrance(package: Path) -> None:
    assert counted(package).circles == (("made_up.a", "made_up.b", "made_up.d"),)
    (package / "d.py").write_text("from made_up.inner import c\n")
    assert counted(package).circles == (("made_up.a", "made_up.b"),)
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == ()


def test_calls_between_files_stand_once_in_order_without_constructors_and_properties(package: Path) -> None:
    start = importlib.import_module("made_up").start
    calls = traced(package, lambda: start(3))
    assert [f"{caller} -> {called}" for caller, called in calls] == [
        "a.py:start.<genexpr> -> b.py:step",
        "b.py:step -> inner/c.py:twice",
        "a.py:start -> b.py:last",
        "b.py:last -> a.py:back",
    ]
    assert returns(calls) == 1  # into b.py again; a.py was not called before
    assert [line[0] for line in told(calls).splitlines()[2:]] == [" ", " ", "R", " "]


def test_a_return_is_a_room_entered_again_after_it_was_left() -> None:
    def rooms(order: str) -> list[Call]:
        return [(Place("x", "f"), Place(room, "g")) for room in order]

    assert [returns(rooms(order)) for order in ("", "aab", "aba", "abab", "abcc")] == [0, 0, 1, 2, 0]


def test_the_report_has_a_column_for_each_source(package: Path) -> None:
    about = {"command": "python -m benchmarks house", "commit": "abc1234"}
    counts = [{"name": name, **about, **counted(package).to_dict()} for name in ("now", "before")]
    text = house(counts)
    assert "| count | before (abc1234) | now (abc1234) |" in text
    assert "| asserts | 1 | 1 |" in text
    assert "Circles, now: `made_up.a` – `made_up.b` – `made_up.d`." in text
    way = {"calls": 4, "rooms": 3, "returns": 1}
    assert "| train | now (abc1234) | 4 | 3 | 1 |" in house_calls(
        [{"name": "now", **about, "predict": way, "train": way}]
    )
