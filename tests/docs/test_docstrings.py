"""The docstrings of the public names, from which the page of Python is made: complete, and with examples that parse."""

import ast
import doctest
import inspect
import re

import numpy as np
import pytest

import anatomark

NAMES = [name for name in anatomark.__all__ if name != "__version__"]
RUN = ("Grid", "Image", "Landmarks", "State", "Synthesis", "Tissue")  # whose examples need no files


def documented(text, section):
    """The names that a section of a docstring explains, and its lines."""
    found = re.search(rf"^{section}:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    return re.findall(r"^    (\w+): ", found[1], re.MULTILINE) if found else []


@pytest.mark.parametrize("name", NAMES)
def test_arguments_result_and_errors_are_explained(name):
    thing = getattr(anatomark, name)
    text = inspect.getdoc(thing) + "\n"
    if isinstance(thing, type):
        fields = list(getattr(thing, "__dataclass_fields__", getattr(thing, "__members__", {})))
        assert documented(text, "Attributes") == fields
        return
    signature = inspect.signature(thing)
    assert documented(text, "Args") == list(signature.parameters)
    assert ("\nReturns:\n" in text) == (signature.return_annotation not in (None, "None"))
    for error in documented(text, "Raises"):
        assert issubclass(getattr(anatomark.errors, error), anatomark.AnatomarkError)
    assert documented(text, "Raises") or name == "propose_landmarks"


@pytest.mark.parametrize("name", NAMES)
def test_examples_parse(name):
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(getattr(anatomark, name)))
    assert examples
    for example in examples:
        ast.parse(example.source)
        used = set(re.findall(r"anatomark\.(\w+)", example.source))
        assert used <= set(anatomark.__all__)


@pytest.mark.parametrize("name", RUN)
def test_examples_that_need_no_files_are_right(name):
    text = inspect.getdoc(getattr(anatomark, name))
    test = doctest.DocTestParser().get_doctest(text, {"anatomark": anatomark, "np": np}, name, None, None)
    told: list[str] = []
    assert doctest.DocTestRunner().run(test, out=told.append).failed == 0, "".join(told)
