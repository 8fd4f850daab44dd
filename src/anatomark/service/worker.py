"""The process that predicts: it reads jobs and writes answers, one per line, until its input ends or it is killed.

Uploaded files are opened here and nowhere else, so that a file which crashes a reader or takes too long or too much
memory ends this process and not the service. `python -m anatomark.service.worker`; the first line that it reads is
the order to load models, its first answer describes them.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from anatomark.ensemble import methods_of, read_cards, read_ensemble
from anatomark.errors import AnatomarkError
from anatomark.loading import load
from anatomark.service.carry_out import carry_out
from anatomark.service.job import Job
from anatomark.service.rejected import RequestRejected, status_of

if TYPE_CHECKING:
    from anatomark.model import Model
    from anatomark.service.job import Job


def main() -> None:
    answers = _answer_stream()
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_listen, args=(sys.stdin.buffer, lines, Path(order["spool"])), daemon=True).start()
    try:
        models = _load(order)
    except AnatomarkError as error:
        _write(answers, {"problem": str(error)})
        return
    _write(answers, {"models": {name: about(name, model, order["runs"][name]) for name, model in models.items()}})
    while True:
        _write(answers, _answer(lines.get(), models))


def about(name: str, model: Model, run: str) -> dict[str, Any]:
    """The description of a model; `card` is its model.json, or that of the first member."""
    ensemble, cards = read_ensemble(Path(run)), read_cards(Path(run))
    return {
        "name": name,
        "method": methods_of(cards),
        "dimension": model.ndim,
        "unit": model.unit,
        "dataset": model.dataset,
        "landmarks": list(model.names),
        "pairs": [list(pair) for pair in model.pairs],
        "members": len(cards),
        "folds": len(cards) if ensemble is not None and ensemble.kind == "folds" else 0,
        "error_bounds": all(model.bounds.reason(landmark) is None for landmark in model.names),
        "card": cards[0].model_dump(mode="json"),
    }


def _load(order: dict[str, Any]) -> dict[str, Model]:
    import_module("SimpleITK")  # otherwise the first prediction waits for it
    return {name: load(run, device=order["device"]) for name, run in order["runs"].items()}


def _answer(line: bytes, models: dict[str, Model]) -> dict[str, Any]:
    job = Job.of_line(line)
    try:
        return {"file": str(carry_out(job, models[job.model]))}
    except AnatomarkError as error:
        reason = error.reason if isinstance(error, RequestRejected) else type(error).__name__
        return {"status": status_of(error), "detail": _without_folders(str(error), job), "reason": reason}
    except MemoryError:
        return {
            "status": 413,
            "detail": "the image is too large for this machine's memory; crop or resample it",
            "reason": "memory",
        }
    except Exception as error:
        if (
            "alloc" in str(error).lower() or "out of memory" in str(error).lower()
        ):  # torch has no error of its own on CPUs
            return {
                "status": 413,
                "detail": "the image is too large for this machine's memory; crop or resample it",
                "reason": "memory",
            }
        traceback.print_exc()
        return {
            "status": 500,
            "detail": "internal error of the service; its log has the details",
            "reason": "bug",
        }


def _without_folders(message: str, job: Job) -> str:
    """A message without the folders of this machine, which clients must not learn."""
    unpacked = Path(job.folder) / "unpacked"
    for folder in (unpacked, Path(job.path).parent, Path(job.folder)):
        message = message.replace(f"{folder}{os.sep}", "")
    message = message.replace(str(unpacked), Path(job.path).name)
    return " ".join(message.split())


def _listen(orders: BinaryIO, lines: queue.SimpleQueue[bytes], spool: Path) -> None:
    """Queue the jobs; when the service has ended, even by a kill, delete its files and end."""
    for line in orders:
        lines.put(line)
    shutil.rmtree(spool, ignore_errors=True)
    os._exit(0)


def _answer_stream() -> BinaryIO:
    """The standard output for answers alone; what libraries print goes to the standard error."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return answers


def _write(answers: BinaryIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
