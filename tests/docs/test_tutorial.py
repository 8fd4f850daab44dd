"""The first tutorial does what it says, with fewer images and a shorter training."""

import re
import shlex
from pathlib import Path

import pytest

from anatomark.cli.main import run

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "first_model.md"
SHORT = ["--set", "steps=4", "--set", "validations=1"]


@pytest.mark.slow
def test_the_first_tutorial(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    calls = [block for language, block in blocks if not language]
    (program,) = (block for language, block in blocks if language == "python")

    made = shlex.split(calls[0])
    assert made[:2] == ["python", "-c"]
    exec(made[2].replace("cases=60", "cases=12, shape=(64, 72), spacing=(2.5, 3)"), {})
    for call in calls[1:]:
        program_name, verb, *words = shlex.split(call)
        assert program_name == "anatomark"
        if verb == "train":
            words = [*words[: words.index("--minutes")], "--device", "cpu", *SHORT]
        assert run([verb, *words]) == 0, capsys.readouterr().err
    assert (tmp_path / "evaluation" / "report.html").is_file()
    assert list((tmp_path / "predicted" / "overlays").iterdir())

    namespace: dict[str, object] = {}
    exec(program.replace('{"minutes": 3}', '{"steps": 4, "validations": 1}'), namespace)
    assert "error below" in capsys.readouterr().out
