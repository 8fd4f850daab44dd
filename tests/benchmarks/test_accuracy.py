"""The accuracy benchmark on a run of a few steps: every answer is there, and the last is what predict says."""

import json
from pathlib import Path
from typing import Any

import pytest

from anatomark import evaluate, load, load_dataset
from anatomark.formats.table import write_table
from anatomark.methods.prediction import prediction_table
from benchmarks import results
from benchmarks.accuracy import main
from benchmarks.report.accuracy import accuracy


@pytest.mark.parametrize("phantoms", [2], ids=["2D"], indirect=True)  # 3D takes the same way, and long
@pytest.mark.slow
def test_every_answer_is_scored(phantoms: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    asked = [str(phantoms), "--run", str(run), "--splits", "test", "--train-command", "c", "--train-commit", "abc"]
    main(asked)
    dataset = load_dataset(phantoms)
    (path,) = (tmp_path / "results").iterdir()
    assert path.name == f"accuracy_{dataset.name}_global-to-local.json"
    result: dict[str, Any] = json.loads(path.read_text())
    entry = result["splits"]["test"]
    assert list(entry["answers"]) == ["global", "local"]
    assert entry["answers"]["global"]["n_missing"] == 0

    model = load(run, device="cpu")
    predictions = {case.id: model.predict(case.read_image()) for case in dataset.split("test")}
    write_table(prediction_table(predictions), tmp_path / "p.csv")
    expected = evaluate(dataset, tmp_path / "p.csv", split="test")["overall"]
    assert {key: entry["answers"]["local"][key] for key in expected} == expected
    assert result["train"]["steps"] == {"global": 20, "local": 20}
    assert "| test (3) | global-to-local | **local** |" in accuracy([result])
