"""One command that predicts many images, watched from outside: `launch(spec)` starts this file.

A spec has "engine" ("predict", "cohort" or "ray"), "workers", "model", "images" (a folder or a dataset.yaml),
"spacing", "out", "chunk" and "log", a file that gets a line for each image: the time, and how many are done.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, resident_bytes

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Launched:
    """A command at work; `peaks` are the largest resident sets so far, of the process that leads and of a worker."""

    process: subprocess.Popen[str]
    log: Path
    began: float
    peaks: dict[str, int] = field(default_factory=lambda: {"lead": 0, "worker": 0})

    def watch(self, until: int | None = None) -> bool:
        """Wait for the end, or until so many images are done; whether the command has ended."""
        while self.process.poll() is None:
            self._look()
            if until is not None and (marks := self.marks()) and marks[-1][1] >= until:
                return False
            time.sleep(0.05)
        if self.process.returncode not in (0, 1):
            raise RuntimeError(f"the command ended with {self.process.returncode}")
        return True

    def marks(self) -> list[tuple[float, int]]:
        """(seconds after the start, images done) of each line of the log."""
        if not self.log.exists():
            return []
        lines = [line.split() for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [(float(at) - self.began, int(done)) for at, done in lines]

    def told(self) -> dict[str, Any]:
        """What the command says at its end."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.read().strip().splitlines()[-1])

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _look(self) -> None:
        for pid in (self.process.pid, *descendants(self.process.pid)):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
                size = resident_bytes(pid, "VmHWM")
            except (OSError, ValueError, IndexError):
                continue  # it has just ended
            actor = b"spawn_main" in words or words.startswith(b"ray::_Actor")
            kind = "lead" if pid == self.process.pid else "worker" if actor else None
            if kind is not None:
                self.peaks[kind] = max(self.peaks[kind], size)


def launch(spec: dict[str, Any]) -> Launched:
    """Start it in a process of its own. Without a number of threads in the environment, the engine chooses.

    Ray's actors are as urgent as other processes: by themselves they give way to all else on the machine.
    """
    log = Path(spec["log"])
    log.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    environment["RAY_worker_niceness"] = str(os.nice(0))
    command = [sys.executable, "-m", "benchmarks.scale_run", json.dumps(spec)]
    began = time.time()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return Launched(process, log, began)


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [found for child in children for found in (child, *descendants(child))]


def main(spec: dict[str, Any]) -> None:
    with open(spec["log"], "a") as file:
        last = 0

        def note(done: int) -> None:
            nonlocal last
            if done > last:
                last = done
                file.write(f"{time.time()} {done}\n")
                file.flush()

        _predict(spec, note)
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"core_seconds": sum(r.ru_utime + r.ru_stime for r in (own, others))}))


def _predict(spec: dict[str, Any], note: Any) -> None:
    same: dict[str, Any] = {"out": spec["out"], "spacing": spec["spacing"], "device": "cpu", "overlays": False}
    if spec["engine"] == "predict":
        from anatomark.predict import predict_to_folder

        predict_to_folder(spec["model"], [spec["images"]], **same, progress=lambda done, total, name: note(done))
        return
    from anatomark.cohort.run import predict_cohort

    ray = "local" if spec["engine"] == "ray" else None
    predict_cohort(
        spec["model"],
        spec["images"],
        **same,
        workers=spec["workers"],
        chunk=spec["chunk"],
        ray=ray,
        progress=lambda progress: note(progress.done),
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
