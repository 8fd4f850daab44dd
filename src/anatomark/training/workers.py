"""The other processes of a training on several devices: they wait for a stage, take its steps, and end with process 0.

A stage is sent whole: what it learns by, the networks before it and where its prepared images are. Everything else of a
training is done by process 0 alone, which has no other program than on one device.
"""

from __future__ import annotations

import copy
import os
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch.distributed as dist
from rich.progress import Progress
from torch import nn

from anatomark.data.cache import Cache, open_cache
from anatomark.errors import AnatomarkError, LostProcessError, ModelError
from anatomark.methods.interface import Networks, Staged
from anatomark.training.budget import Budget
from anatomark.training.log import NO_LOG
from anatomark.training.loop import RunContext, StageLoop
from anatomark.training.processes import Processes
from anatomark.training.run_folder import RunFolder


@dataclass(frozen=True, eq=False)
class StageJob:
    """A stage for all processes to train; the folders `cache` and `run` are where each of them can read."""

    staged: Staged
    stage: str
    networks: Networks  # of the stages before, on the CPU
    cache: Path
    run: Path
    budget: Budget | None
    device: str
    precision: str


def train_stage(
    context: RunContext, staged: Staged, stage: str, networks: Networks, cache: Cache, budget: Budget | None
) -> tuple[nn.Module, float | None]:
    """The network of a stage and its error on validation cases (see `StageLoop.run`), trained by all processes.

    Raises LostProcessError where another of these has ended.
    """
    processes = context.processes
    if processes.count == 1:
        return StageLoop(context, staged, stage, networks, cache, budget).run()
    if cache.folder is None:
        raise ValueError("prepared images in memory alone cannot be shared; open_cache gives those of a folder")
    there = {name: copy.deepcopy(network).cpu() for name, network in networks.items()}
    folders = {"cache": cache.folder.absolute(), "run": context.run.path.absolute()}
    device = context.fabric.device.type
    job = StageJob(staged, stage, there, **folders, budget=budget, device=device, precision=context.precision)
    try:
        processes.share(job)
        return StageLoop(context, staged, stage, networks, cache, budget).run()
    except ModelError:  # raised by all processes, which go on
        raise
    except BaseException as error:
        dist.destroy_process_group()  # the others are in the middle of a step, and end with the connection
        if not _lost(error):
            raise
        raise LostProcessError(
            "another process of this training has ended, and so does the training; the same command resumes from the "
            "last checkpoint"
        ) from None


@contextmanager
def leading(processes: Processes) -> Generator[None]:
    """What process 0 does, who in the end sends the others home."""
    try:
        yield
    finally:
        if processes.count > 1 and dist.is_initialized():
            with suppress(RuntimeError):  # they have ended
                processes.share(None)
            dist.destroy_process_group()


def work(processes: Processes) -> NoReturn:
    """What all others do: train the stages that process 0 sends, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # process 0 has been interrupted, too
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        while (job := processes.share(None)) is not None:
            with suppress(AnatomarkError):  # as process 0, which says so
                _train(job, processes)
    except RuntimeError as error:
        if not _lost(error):
            raise
    raise SystemExit(0)


def _train(job: StageJob, processes: Processes) -> None:
    """Take part in a stage. Images are mapped from the file, whose pages all processes of a machine share."""
    fabric = processes.fabric(job.device, job.precision)
    networks = {name: network.to(fabric.device) for name, network in job.networks.items()}
    context = RunContext(fabric, RunFolder(job.run), NO_LOG, Progress(disable=True), processes, job.precision)
    cache = open_cache(job.cache, memory_limit_bytes=0)
    StageLoop(context, job.staged, job.stage, networks, cache, job.budget).run()


def _lost(error: BaseException) -> bool:
    """Whether the connection to another process has broken."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())


def _end_with_parent(parent: int) -> None:
    """End this process once that which has started it is no more; a GPU would wait for it in the middle of a step."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
