"""The process that predicts: it reads a job a line and writes a line an answer, until it is told no more or killed.

Foreign files are opened here and nowhere else, so that what breaks a reader, takes too long or too much memory breaks
this process and not the service. `python -m anatomark.service.worker`; its first line is the order, its first answer
tells of the models.
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

from anatomark.card import read_card
from anatomark.errors import AnatomarkError
from anatomark.loading import load
from anatomark.service.carry_out import carry_out
from anatomark.service.job import Job
from anatomark.service.refused import Refused, status_of

if TYPE_CHECKING:
    from anatomark.model import Model
    from anatomark.service.job import Job


def main() -> None:
    answers = _own_answers()
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_listen, args=(sys.stdin.buffer, lines, Path(order["spool"])), daemon=True).start()
    try:
        models = _load(order)
    except AnatomarkError as error:
        _say(answers, {"problem": str(error)})
        return
    _say(answers, {"models": {name: about(name, model, order["runs"][name]) for name, model in models.items()}})
    while True:
        _say(answers, _answer(lines.get(), models))


def about(name: str, model: Model, run: str) -> dict[str, Any]:
    """What the service tells of a model; `card` is its model.json, of a run with folds that of the first."""
    folds = len(model.members) if len(model.members) > 1 else 0
    first = sorted(path.parent for path in Path(run).glob("*/model.json"))[0] if folds else Path(run)
    card = read_card(first).model_dump(mode="json")
    return {
        "name": name,
        "method": card["method"],
        "dimension": model.ndim,
        "unit": model.unit,
        "dataset": model.dataset,
        "landmarks": list(model.names),
        "pairs": [list(pair) for pair in model.pairs],
        "folds": folds,
        "error_bounds": all(model.bounds.reason(landmark) is None for landmark in model.names),
        "card": card,
    }


def _load(order: dict[str, Any]) -> dict[str, Model]:
    import_module("SimpleITK")  # else the first image would wait for it
    return {name: load(run, device=order["device"]) for name, run in order["runs"].items()}


def _answer(line: bytes, models: dict[str, Model]) -> dict[str, Any]:
    job = Job.of_line(line)
    try:
        return {"file": str(carry_out(job, models[job.model]))}
    except AnatomarkError as error:
        reason = error.reason if isinstance(error, Refused) else type(error).__name__
        return {"status": status_of(error), "detail": _told(str(error), job), "reason": reason}
    except MemoryError:
        return {"status": 413, "detail": "the image is too large for this machine's memory", "reason": "memory"}
    except Exception as error:
        if (
            "alloc" in str(error).lower() or "out of memory" in str(error).lower()
        ):  # torch has no error of its own on CPUs
            return {"status": 413, "detail": "the image is too large for this machine's memory", "reason": "memory"}
        traceback.print_exc()
        return {
            "status": 500,
            "detail": "an error of the service, not of the request; its log has more",
            "reason": "bug",
        }


def _told(message: str, job: Job) -> str:
    """A message without the folders of this machine, which are nobody's business."""
    unpacked = Path(job.folder) / "unpacked"
    for folder in (unpacked, Path(job.path).parent, Path(job.folder)):
        message = message.replace(f"{folder}{os.sep}", "")
    message = message.replace(str(unpacked), Path(job.path).name)
    return " ".join(message.split())


def _listen(orders: BinaryIO, lines: queue.SimpleQueue[bytes], spool: Path) -> None:
    """Hands on the jobs; when the service is gone, even killed, nothing of it stays behind."""
    for line in orders:
        lines.put(line)
    shutil.rmtree(spool, ignore_errors=True)
    os._exit(0)


def _own_answers() -> BinaryIO:
    """The standard output for answers alone; what a library prints goes to the standard error."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return answers


def _say(answers: BinaryIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
