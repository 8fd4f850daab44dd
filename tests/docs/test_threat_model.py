"""The threat model names tests for what it claims, and these exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "concepts" / "threat_model.md").read_text(encoding="utf-8")


def test_every_test_that_it_names_exists():
    modules = set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE))
    assert modules
    assert [name for name in modules if not (ROOT / name).is_file()] == []
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert [name for name in named if f"def {name}(" not in code] == []


def test_each_category_of_owasp_has_a_test():
    rows = re.findall(r"^\| API(\d+) \|.*\| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 11))
    assert all("`test_" in shown for _, shown in rows)
