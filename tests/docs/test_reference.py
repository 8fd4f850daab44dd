"""Everything that a user can type or read has its place in the documentation.

Settings, formats and the keys of metrics are compared where they are tested: `tests/methods/test_settings.py`,
`tests/formats/test_every_format.py`, `tests/evaluation/test_documented_keys.py`.
"""

import ast
import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

import anatomark
from anatomark.cli.reference import commands_page
from anatomark.data.schema import Description
from anatomark.formats.images import SUFFIXES
from anatomark.prediction_files import IMAGE_COLUMNS
from website.drawings.__main__ import DRAWINGS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def named(path):
    return str(path.relative_to(DOCS))


def test_the_page_of_commands_is_that_of_the_commands():
    assert page("cli.md") == commands_page(), "python -m anatomark.cli.reference > docs/cli.md"


def test_every_public_name_is_on_the_page_of_python():
    shown = re.findall(r"^::: anatomark\.[\w.]+\.(\w+)$", page("api.md"), re.MULTILINE)
    assert sorted([*shown, "__version__"]) == anatomark.__all__


def keys_of(model):
    """The keys of a description and of its parts."""
    for name, field in model.model_fields.items():
        yield name
        for part in _parts(field.annotation):
            yield from keys_of(part)


def _parts(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _parts(inner)


def test_every_key_of_a_description_is_on_its_page():
    text = page("dataset.md")
    missing = {key for key in keys_of(Description) if not re.search(rf"\b{key}\b", text)}
    assert missing == set()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_image_format_is_on_the_page_of_formats(suffix):
    assert re.search(rf"(?<!\w){re.escape(suffix)}\b", page("formats.md")), suffix


def test_every_column_of_predictions_is_on_the_page_of_files():
    text = page("files.md")
    columns = ("image", "landmark", "x", "y", "frame", "unit", "presence", "spread", "error_bound_mm", *IMAGE_COLUMNS)
    assert [column for column in columns if f"`{column}`" not in text] == []


def test_every_page_is_in_the_menu():
    config = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"([\w/]+\.md)$", config, re.MULTILINE))
    assert {named(path) for path in PAGES} <= listed


def test_drawings_are_those_of_the_script():
    for name, drawing in DRAWINGS.items():
        assert page(f"drawings/{name}.svg") == drawing(), "python -m website.drawings"
    assert {path.stem for path in (DOCS / "drawings").iterdir()} == set(DRAWINGS)


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_blocks_say_what_they_are_and_parse(path):
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S):
        assert language in ("", "text", "python", "yaml"), language
        if language == "python":
            ast.parse(block)
        elif language == "yaml":
            yaml.safe_load(block)
