"""The way of a training to another machine and back, small, on the CPU."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from anatomark import evaluate, load_dataset, make_phantoms
from benchmarks import portable

FEW = ["spacing=[4,4]", "global_steps=6", "local_steps=6", "validations=1"]
SETS = [word for text in FEW for word in ("--set", text)]


@pytest.mark.slow
def test_prepared_images_alone_are_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_phantoms(tmp_path / "phantoms", ndim=2, cases=10, landmarks=5)
    carried, run = tmp_path / "carried", tmp_path / "run"
    portable.main(["prepare", str(data), "--out", str(carried), "--splits", "test", "--plan-for", "cpu", *SETS[:2]])
    kept = tmp_path / "phantoms"
    kept.rename(tmp_path / "elsewhere")  # neither image nor description is there any more
    words = ["train", str(carried), "--out", str(run), "--device", "cpu", *SETS[2:]]
    portable.main(words)
    assert capsys.readouterr().out.strip().endswith("finished")
    portable.main(["score", str(carried), str(run), "--device", "cpu"])
    said = capsys.readouterr().out
    (tmp_path / "elsewhere").rename(kept)
    metrics = evaluate(load_dataset(data), run / "predictions_test.csv", split="test")
    assert f"MRE {metrics['overall']['mre']:.3f}" in said


@pytest.mark.slow
def test_it_stops_in_time_and_goes_on(tmp_path: Path) -> None:
    data = make_phantoms(tmp_path / "phantoms", ndim=2, cases=8, landmarks=3)
    asked = {"method": "global-to-local", "splits": [], "device": "cpu", "memory_gib": 4.0}
    portable.prepared(str(data), None, tmp_path / "carried", settings={"spacing": [4.0, 4.0]}, **asked)
    run = tmp_path / "run"
    few = {"global_steps": 100_000, "local_steps": 4, "validations": 1, "checkpoint_every": 10}
    told = {"method": "global-to-local", "device": "cpu", "settings": few, "seconds": 600}
    lengths = []
    for _ in range(2):
        alarm_once(run / "checkpoint.safetensors", longer_than=sum(lengths))
        assert not portable.trained(tmp_path / "carried", run, **told)
        lengths.append(len((run / "log.jsonl").read_text().splitlines()))
    assert lengths[1] > lengths[0]


def alarm_once(checkpoint: Path, *, longer_than: int) -> None:
    """Ring when there is a checkpoint and a log with more lines, as the clock would."""
    log = checkpoint.with_name("log.jsonl")

    def watch() -> None:
        while not (checkpoint.exists() and len(log.read_text().splitlines()) > longer_than + 1):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGALRM)

    threading.Thread(target=watch, daemon=True).start()


@pytest.mark.slow
def test_no_image_library_is_loaded_on_the_way(tmp_path: Path) -> None:
    data = make_phantoms(tmp_path / "phantoms", ndim=2, cases=8, landmarks=3)
    portable.main(["prepare", str(data), "--out", str(tmp_path / "carried"), "--splits", "test", *SETS[:2]])
    script = (
        "import sys; from benchmarks import portable; sys.modules['SimpleITK'] = sys.modules['PIL'] = None\n"
        f"portable.main({['train', str(tmp_path / 'carried'), '--out', str(tmp_path / 'run'), *SETS[2:]]!r})\n"
        f"portable.main({['score', str(tmp_path / 'carried'), str(tmp_path / 'run')]!r})\n"
    )
    root = Path(portable.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "predictions_test.csv").exists()
