"""The one process that predicts, seen from the service: predictions in turn, each with an end to its time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from anatomark.errors import ModelError
from anatomark.service.job import Job
from anatomark.service.limits import Limits
from anatomark.service.refused import Refused

START_SECONDS = 600.0  # to load the models
_LONGEST_LINE = 64 << 20  # a model of thousands of landmarks tells their names in one line


class Predictor:
    """Predictions of the models in `runs` {name: run folder}, one at a time.

    A prediction that takes longer than `limits.seconds` ends with its process, and a new one is started. `spool` is the
    folder for what is uploaded and answered; it is gone when this has stopped.
    """

    def __init__(self, runs: Mapping[str, Path], limits: Limits, *, device: str = "auto") -> None:
        self.runs, self.limits, self.device = dict(runs), limits, device
        self.models: dict[str, dict[str, Any]] = {}
        self.spool = Path(tempfile.mkdtemp(prefix="anatomark-serve-"))
        self.taken = 0  # requests that wait or are worked on
        self.seconds = 1.0  # that a prediction took of late
        self.stopped = False
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._restart: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        return self._process is not None and self._process.returncode is None and bool(self.models) and not self.stopped

    @property
    def waiting(self) -> int:
        return max(0, self.taken - 1)

    async def start(self) -> None:
        """Starts the process and waits until it has loaded the models. Raises ModelError where it cannot."""
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        environment.pop("ANATOMARK_TOKEN", None)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "anatomark.service.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE,
            env=environment,
            start_new_session=True,  # an interrupt from the keyboard is for the service to handle
        )
        runs = {name: str(run.resolve()) for name, run in self.runs.items()}
        order = {"runs": runs, "device": self.device, "spool": str(self.spool)}
        try:
            line = json.dumps(order).encode() + b"\n"
            told: dict[str, Any] | None = await self._exchange(process, line, START_SECONDS)
        except TimeoutError:
            told = {"problem": f"the models could not be loaded within {START_SECONDS:g} s"}
        if told is None or "models" not in told:
            await _kill(process)
            raise ModelError((told or {}).get("problem", "the models could not be loaded; see the messages above"))
        self.models, self._process = told["models"], process

    async def stop(self) -> None:
        """Ends the process, and deletes what was uploaded."""
        self.stopped = True
        if self._restart is not None:
            self._restart.cancel()
            await asyncio.wait({self._restart})
        if self._process is not None:
            await _kill(self._process)
        await asyncio.to_thread(shutil.rmtree, self.spool, ignore_errors=True)

    @contextlib.contextmanager
    def place(self) -> Iterator[Path]:
        """A place in the queue, as a new folder that is deleted in the end. Raises `Refused` (503) where it is full."""
        if self.taken > self.limits.queue or self.stopped:
            raise self.busy("the queue is full")
        self.taken += 1
        try:
            folder = Path(tempfile.mkdtemp(dir=self.spool))
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            self.taken -= 1

    async def predict(self, job: Job, gone: Callable[[], Awaitable[bool]]) -> Path:
        """The file with the answer; raises `Refused`. `gone` says whether whoever asked has left meanwhile."""
        try:
            await asyncio.wait_for(self._turn.acquire(), self.limits.seconds)
        except TimeoutError:
            raise self.busy("the queue was too long") from None
        try:
            if await gone():
                raise Refused(408, "nobody waits for this any more", reason="left")
            process = await self._running()
            began = time.monotonic()
            try:
                told = await self._exchange(process, job.line(), self.limits.seconds)
            except TimeoutError:
                raise Refused(
                    504,
                    f"the prediction took longer than {self.limits.seconds:g} s; send a smaller image, or start the "
                    "service with a longer --timeout",
                    reason="time",
                ) from None
            self.seconds += 0.2 * (time.monotonic() - began - self.seconds)
        finally:
            self._turn.release()
        if told is None:
            raise Refused(
                422,
                "the image broke the process that read it: it is damaged, or too large for this machine's memory",
                reason="worker ended",
            )
        if "file" not in told:
            raise Refused(told["status"], told["detail"], reason=told["reason"])
        return Path(told["file"])

    def busy(self, why: str) -> Refused:
        """The refusal of one request too many, with the time after which it may be sent again."""
        later = min(120, max(1, math.ceil(self.seconds * max(1, self.taken))))
        return Refused(503, f"{why}; ask again in {later} s", reason="queue", headers=(("retry-after", str(later)),))

    async def _exchange(
        self, process: asyncio.subprocess.Process, line: bytes, seconds: float
    ) -> dict[str, Any] | None:
        """The answer of a process to a line; None where it ended. Whatever else happens, it is not left half-way."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(line)
            await process.stdin.drain()
            answer = await asyncio.wait_for(process.stdout.readline(), seconds)
            if answer.endswith(b"\n"):
                return json.loads(answer)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except BaseException:
            await self._give_up(process)
            raise
        await self._give_up(process)
        return None

    async def _give_up(self, process: asyncio.subprocess.Process) -> None:
        """Ends a process, and starts another in the place of one that was at work."""
        await _kill(process)
        if process is self._process:
            self._process = None
            self._begin_again()

    def _begin_again(self) -> None:
        """Starts a new process, without anybody having to wait for it."""
        if not self.stopped and (self._restart is None or self._restart.done()):
            self._restart = asyncio.create_task(self._start_quietly())

    async def _start_quietly(self) -> None:
        with contextlib.suppress(ModelError, OSError):
            await self.start()

    async def _running(self) -> asyncio.subprocess.Process:
        """The process, where need be as soon as it has loaded its models; raises `Refused` (503) where it cannot."""
        if not self.ready:
            self._begin_again()
            if self._restart is not None:
                await asyncio.wait({self._restart})
        if self._process is None or not self.ready:
            raise self.busy("the models cannot be loaded at the moment")
        return self._process


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
