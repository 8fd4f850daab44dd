"""`python -m tests.kills.long_run`: many predictions by one process, or by the service; memory and open files then.

The slope is that of a line through the samples of the later half, in KiB for 1,000 predictions.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

OLD = Path(__file__).parents[1] / "fixtures" / "old_models"
MODEL, IMAGE = OLD / "6237412" / "global-to-local-2d", OLD / "image_2d.mha"
SAMPLES = 40


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m tests.kills.long_run", description=__doc__)
    asked.add_argument("--predictions", type=int, default=50_000)
    asked.add_argument("--minutes", type=float, default=600.0, help="at most")
    asked.add_argument("--service", action="store_true", help="by the service, over HTTP")
    given = asked.parse_args()
    (served if given.service else alone)(given.predictions, 60 * given.minutes)


def alone(count: int, seconds: float) -> None:
    """Predictions of one image, read anew each time, in this process."""
    from anatomark import load
    from anatomark.formats.images import read_image

    model = load(MODEL, device="cpu")
    watched(lambda: model.predict(read_image(IMAGE)), count, seconds, {"this process": os.getpid()})


def served(count: int, seconds: float) -> None:
    """Uploads to `anatomark serve`: its process and the one that predicts."""
    program = "from anatomark.cli.main import main; main()"
    call = [sys.executable, "-c", program, "serve", str(MODEL), "--port", "0", "--device", "cpu"]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"TMPDIR": folder}
        with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as service:
            try:
                assert service.stdout is not None
                line = next(text for text in map(bytes.decode, service.stdout) if "http" in text)
                found = re.search(r"http://\S+:\d+", line)
                assert found is not None
                _until_ready(found[0])
                children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
                processes = {"service": service.pid, "process that predicts": int(children[0])}
                watched(lambda: _upload(found[0]), count, seconds, processes)
                left = [path for path in Path(folder).rglob("*") if path.is_file()]
                print(f"uploads left: {len(left)}")
            finally:
                service.terminate()
                service.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)


def watched(predict: Callable[[], object], count: int, seconds: float, processes: dict[str, int]) -> None:
    """Predict so often, and print what the memory and the open files of the processes do."""
    began, done = time.monotonic(), 0
    seen: dict[str, list[tuple[int, int, int]]] = {name: [] for name in processes}
    while done < count and time.monotonic() - began < seconds:
        predict()
        done += 1
        due = len(next(iter(seen.values()))) + 1
        if done >= due * count / SAMPLES or time.monotonic() - began >= due * seconds / SAMPLES:
            for name, process in processes.items():
                seen[name].append((done, memory_of(process), len(os.listdir(f"/proc/{process}/fd"))))
    print(f"{done} predictions in {(time.monotonic() - began) / 60:.1f} minutes")
    for name, samples in seen.items():
        later = samples[len(samples) // 2 :]
        files = [each[2] for each in later]
        print(
            f"{name}: {later[0][1] / 1024:.0f} to {later[-1][1] / 1024:.0f} MiB from prediction {later[0][0]} on, "
            f"slope {_slope([(n, kib) for n, kib, _ in later]) * 1000:.1f} KiB per 1000 predictions, "
            f"{min(files)} to {max(files)} open files"
        )


def memory_of(process: int) -> int:
    """Resident memory in KiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def _slope(samples: list[tuple[int, int]]) -> float:
    """Of the least-squares line."""
    import numpy as np

    counts, sizes = np.array(samples, dtype=float).T
    return float(np.polyfit(counts, sizes, 1)[0]) if len(samples) > 1 else float("nan")


def _until_ready(url: str) -> None:
    for _ in range(2400):
        try:
            urllib.request.urlopen(f"{url}/v1/health/ready", timeout=30).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the service does not become ready")


def _upload(url: str) -> None:
    edge = "a-line-that-is-not-in-the-image"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="x.mha"\r\n\r\n'
    body = head.encode() + IMAGE.read_bytes() + f"\r\n--{edge}--\r\n".encode()
    request = urllib.request.Request(
        f"{url}/v1/predict", body, {"content-type": f"multipart/form-data; boundary={edge}"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        answer.read()


if __name__ == "__main__":
    main()
