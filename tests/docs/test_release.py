"""What stands beside the package for a release says the same as the package itself; `make package` builds it."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import anatomark
from release.audit import faults_of

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = {"torch": "pytorch"}  # names that conda-forge has for packages of PyPI


def loaded(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_every_file_has_the_version_of_the_package():
    assert loaded("CITATION.cff")["version"] == anatomark.__version__
    assert loaded("release/conda/recipe.yaml")["context"]["version"] == anatomark.__version__


def test_the_recipe_has_the_dependencies_of_the_package():
    run = loaded("release/conda/recipe.yaml")["requirements"]["run"]
    split = [re.fullmatch(r"([\w.-]+)(>=[\d.]+)", wanted) for wanted in PROJECT["dependencies"]]
    expected = {f"{CONDA.get(found[1].lower(), found[1].lower())} {found[2]}" for found in split}
    assert set(run) == expected | {f"python {PROJECT['requires-python']}"}


def test_the_image_copies_what_there_is_and_is_no_root():
    text = (ROOT / "release" / "Dockerfile").read_text(encoding="utf-8")
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for sources in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            assert f"!{source}" in allowed
    (extras,) = re.findall(r"/source\[([\w,-]+)\]", text)
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    assert text.index("\nUSER anatomark\n") < text.index("\nENTRYPOINT ")


def test_an_audit_that_was_none_is_not_taken_for_a_good_one():
    whole = {"name": "a", "version": "1.0", "vulns": []}
    weak = {"name": "b", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
    unknown = {"name": "c", "skip_reason": "not found"}
    assert faults_of([whole]) == []
    assert faults_of([whole, weak]) == ["b 2.0: PYSEC-1, mended in 2.1"]
    assert "not audited: 1 of 2 packages" in faults_of([whole, unknown])[0]
    assert "not audited" in faults_of([])[0]


@pytest.mark.parametrize("name", ["bug.md", "wish.md"])
def test_templates_of_issues_have_a_heading(name):
    text = (ROOT / ".github" / "ISSUE_TEMPLATE" / name).read_text(encoding="utf-8")
    assert {"name", "about"} <= set(yaml.safe_load(text.split("---\n")[1]))
