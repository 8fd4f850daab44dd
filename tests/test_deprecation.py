"""Names that have changed: they work, say so in one line, and are taken out in time."""

import warnings

import pytest
from typing_extensions import deprecated

import anatomark
from anatomark.cli.main import run
from anatomark.deprecation import renamed, warn_renamed
from anatomark.methods.settings import EARLIER_UNTIL


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_earlier_names_of_settings_are_taken_out_in_time():
    assert numbers(anatomark.__version__) < numbers(EARLIER_UNTIL), "empty `earlier_names`, or name a later version"


def test_the_warning_names_both_and_comes_from_the_caller():
    def door():
        warn_renamed("setting a", "b", until="0.3")

    told = r"^setting a is called b now; version 0\.3 will not know the earlier name$"
    with pytest.warns(FutureWarning, match=told) as warned:
        door()
    assert warned[0].filename == __file__


def test_a_function_says_so_when_it_is_called():
    @deprecated(renamed("old()", "new()", until="0.3"), category=FutureWarning)
    def old() -> int:
        return 1

    with pytest.warns(FutureWarning, match=r"old\(\) is called new\(\) now"):
        assert old() == 1


def test_the_command_line_says_it_in_one_line(tmp_path, capfd):
    data = anatomark.make_phantoms(tmp_path / "data", cases=3, shape=(32, 40), spacing=(5, 5))
    asked = ["--method", "global-to-local", "--set", "local_uniform=0.5", "--set", "global_crop=[1]"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert run(["train", str(data), "--out", str(tmp_path / "run"), *asked]) == 2
    told = capfd.readouterr().err.splitlines()
    assert told[0] == (
        "warning: setting local_uniform is called uniform_window_fraction now; "
        f"version {EARLIER_UNTIL} will not know the earlier name"
    )
    assert len(told) == 2, "and the error"
