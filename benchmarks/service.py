"""The service under load on loopback: clients that ask without pause, their waiting, and the memory of both processes.

python -m benchmarks service --clients 8 --seconds 60 --queue 4

Without --run and --images, a small 3D model is trained on phantoms first. A client that is refused (503) waits as long
as it is told, as clients should.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, resident_bytes
from benchmarks.results import provenance, write

EDGE_SECONDS = 10.0  # of the time, at its beginning and its end, whose memory is compared
SMALL = {"global_steps": 60, "local_steps": 60, "validations": 2, "precision": "32-true"}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks service")
    parser.add_argument("--run", type=Path, default=None, help="default: a small model of phantoms")
    parser.add_argument("--images", type=Path, default=None, help="default: those phantoms")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--queue", type=int, default=4)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        run, images = options.run, options.images
        if run is None or images is None:
            run, images = _small_model(Path(name))
        told = under_load(run, images, Path(name), options.clients, options.seconds, options.queue)
    result = {
        "kind": "service",
        "clients": options.clients,
        "seconds": options.seconds,
        "queue": options.queue,
        "model": run.name if options.run else "a small one of 3D phantoms (48 x 64 x 56 voxels)",
        **provenance(f"python -m benchmarks service {shlex.join(arguments)}".strip()),
        **told,
    }
    print(json.dumps({key: value for key, value in told.items() if key != "memory"}, indent=1))
    print(write(f"service_{options.clients}_clients", result))


def under_load(run: Path, images: Path, folder: Path, clients: int, seconds: float, queue: int) -> dict[str, Any]:
    """What `clients` got from a service within `seconds`, and the memory that it took."""
    log = folder / "service.txt"
    command = [sys.executable, "-m", "anatomark", "serve", str(run), "--port", "0", "--queue", str(queue)]
    loads = [os.getloadavg()[0]]
    with open(log, "w") as output:
        service = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            url = _address(service, log)
            (worker,) = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
            forms = [_form(path) for path in sorted(images.iterdir()) if path.is_file()]
            end = time.monotonic() + seconds
            answers: list[tuple[int, float]] = []  # status, seconds
            threads = [threading.Thread(target=_client, args=(url, forms, k, end, answers)) for k in range(clients)]
            for thread in threads:
                thread.start()
            memory = []
            while time.monotonic() < end:
                memory.append([resident_bytes(service.pid), resident_bytes(worker)])
                time.sleep(0.5)
            for thread in threads:
                thread.join()
        finally:
            service.terminate()
            service.wait()
    loads.append(os.getloadavg()[0])
    waited = sorted(each for status, each in answers if status == 200)
    edge = max(1, round(EDGE_SECONDS / 0.5))

    def mean(samples: list[list[int]], which: int) -> float:
        return sum(sample[which] for sample in samples) / len(samples)

    return {
        "answers": {str(status): count for status, count in sorted(Counter(status for status, _ in answers).items())},
        "seconds_p50": _percentile(waited, 0.50),
        "seconds_p95": _percentile(waited, 0.95),
        "seconds_max": waited[-1] if waited else None,
        "a_second": len(waited) / seconds,
        "bytes_service": [mean(memory[edge : 2 * edge], 0), mean(memory[-edge:], 0)],
        "bytes_worker": [mean(memory[edge : 2 * edge], 1), mean(memory[-edge:], 1)],
        "memory": memory,
        "load": loads,
        "unexpected": "Traceback" in log.read_text(),
    }


def _small_model(folder: Path) -> tuple[Path, Path]:
    from anatomark import make_phantoms, train

    dataset = make_phantoms(folder / "phantoms", ndim=3, cases=16, landmarks=5, seed=0)
    return train(dataset, out=folder / "small", device="cpu", settings=SMALL), folder / "phantoms" / "images"


def _address(service: subprocess.Popen, log: Path) -> str:
    while service.poll() is None:
        found = re.search(r"http://\S+:\d+", log.read_text())
        if found:
            return found[0]
        time.sleep(0.1)
    raise SystemExit(log.read_text())


def _form(path: Path) -> tuple[bytes, dict[str, str]]:
    boundary = "benchmark"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
    return (
        head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode(),
        {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )


def _client(
    url: str,
    forms: list[tuple[bytes, dict[str, str]]],
    first: int,
    end: float,
    answers: list[tuple[int, float]],
) -> None:
    turn = first
    while time.monotonic() < end:
        body, headers = forms[turn % len(forms)]
        turn += 1
        began, wait = time.monotonic(), 0.0
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/predict", body, headers)) as answer:
                answer.read()
                status = answer.status
        except urllib.error.HTTPError as error:
            with error:
                status, wait = error.code, float(error.headers.get("Retry-After", 0))
        except OSError:
            status = 0  # no answer at all
        answers.append((status, time.monotonic() - began))
        time.sleep(max(0.0, min(wait, end - time.monotonic())))


def _percentile(values: Sequence[float], part: float) -> float | None:
    """The smallest of sorted `values` that `part` of them do not exceed."""
    return values[min(len(values) - 1, int(part * len(values)))] if values else None
