"""Train, kill, resume, predict, evaluate: in 2D and 3D, through the command line where a user would use it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anatomark import evaluate, load, load_dataset
from anatomark.data.cache import open_cache
from anatomark.errors import SettingsError
from anatomark.formats.table import read_table
from anatomark.predict import predict_to_folder
from anatomark.training.train import train


def losses(run: Path) -> list[dict[str, Any]]:
    """The log without its times."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith("seconds")} for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize(
    "phantoms", [2, pytest.param(3, marks=pytest.mark.long)], ids=["2D", "3D"], indirect=True, scope="session"
)
def test_a_killed_run_goes_on_to_the_same_losses_and_weights(
    phantoms: Path, run: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    settings = [text for k, v in tiny.items() for text in ("--set", f"{k}={json.dumps(v)}")]
    command = [
        sys.executable,
        "-m",
        "anatomark",
        "train",
        str(phantoms),
        "--out",
        str(out),
        "--device",
        "cpu",
        *settings,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    checkpoint, deadline = out / "checkpoint.safetensors", time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists(), "the run ended before it could be killed"
    assert not (out / "model.json").exists()

    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert losses(out) == losses(run)
    assert (out / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in run.iterdir())


def test_predict_needs_no_truth_and_evaluate_reads_what_it_wrote(phantoms: Path, run: Path, tmp_path: Path) -> None:
    dataset = load_dataset(phantoms)
    cases = dataset.split("test")
    images = tmp_path / "images"
    images.mkdir()
    for case in cases:  # images alone, elsewhere, as a user would have them
        (images / case.image_path.name).write_bytes(case.image_path.read_bytes())
    spacing = cases[0].spacing
    summary = predict_to_folder(
        run, [images], out=tmp_path / "out", spacing=spacing, formats=("csv", "mrk.json", "fcsv")
    )
    assert summary.failed == {}
    table = read_table(summary.table)
    header = summary.table.read_text().splitlines()[0]
    axes = "x,y" if dataset.ndim == 2 else "x,y,z"
    assert header == f"image,landmark,{axes},frame,unit,presence,spread,error_bound_{dataset.unit}"
    assert len(table) == len(cases) * len(dataset.names)
    assert ((table.presence >= 0) & (table.presence <= 1)).all()
    assert (table.spread >= 0).all()
    for case in cases:
        for name in (f"{case.id}.mrk.json", f"{case.id}.fcsv", f"overlays/{case.id}.png"):
            assert (tmp_path / "out" / name).stat().st_size > 100

    metrics = evaluate(dataset, summary.table, split="test", out=tmp_path / "evaluation")
    located = {(i, n): c for i, n, c in zip(table.image, table.landmark, table.coordinates, strict=True)}
    told = metrics["presence"]["confusion"]["present"]
    assert sum(told.values()) == sum(int(case.reference.present.sum()) for case in cases)
    if not told["absent"]:
        errors = [
            np.linalg.norm(located[case.id, name] - case.reference[name])
            for case in cases
            for name in dataset.names
            if np.isfinite(case.reference[name]).all()
        ]
        assert metrics["overall"]["mre"] == pytest.approx(np.mean(errors), rel=1e-9)
    assert (tmp_path / "evaluation" / "report.html").stat().st_size > 10_000


def test_predictions_do_not_depend_on_what_was_predicted_before(phantoms: Path, run: Path) -> None:
    model = load(run, device="cpu")
    first, second = (case.read_image() for case in load_dataset(phantoms).cases[:2])
    alone = load(run, device="cpu").predict(second)
    model.predict(first)
    after = model.predict(second)
    assert after.landmarks == alone.landmarks
    np.testing.assert_array_equal(after.presence, alone.presence)
    np.testing.assert_array_equal(after.spread, alone.spread)


def test_a_finished_run_is_left_as_it_is_and_another_request_is_refused(
    phantoms: Path, run: Path, tiny: dict[str, Any]
) -> None:
    before = (run / "model.safetensors").stat().st_mtime_ns
    said: list[str] = []
    train(phantoms, out=run, device="cpu", settings=tiny, show=said.append)
    assert "is finished" in said[0]
    assert (run / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(SettingsError, match=r"\(settings.global_steps was 20, now 30\); choose another --out"):
        train(phantoms, out=run, device="cpu", settings={**tiny, "global_steps": 30})


def test_the_run_folder_says_all_that_was_used(run: Path) -> None:
    settings = json.loads((run / "settings.json").read_text())
    assert settings["undecided"] == []
    assert all(settings["network"][name] is not None for name in ("spacing", "pool", "local_window"))
    assert all(settings["training"][name] is not None for name in ("global_crop", "window_jitter"))
    assert list((run / "tensorboard").glob("events*"))
    assert not (run / "cache").exists()
    names = {key for record in losses(run) for key in record}
    assert {"displacement", "class", "coordinate", "loss", "validation_mre"} <= names


@pytest.mark.parametrize("phantoms", [2], ids=["2D"], indirect=True)  # 3D takes the same way, and long
@pytest.mark.slow
def test_training_goes_the_same_way_from_disk_as_from_memory(
    phantoms: Path, run: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    out = train(
        phantoms,
        out=tmp_path / "disk",
        device="cpu",
        settings={**tiny, "cache_memory_gib": 0, "keep_cache": True},
    )
    assert not open_cache(out / "cache", memory_limit_bytes=0).in_memory
    assert losses(out) == losses(run)
