"""The worker process as the service sees it: predictions one after another, each with a time limit."""

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
from anatomark.service.rejected import RequestRejected

START_SECONDS = 600.0  # to load the models
_LONGEST_LINE = 64 << 20  # the names of thousands of landmarks are in one line


class Predictor:
    """Predictions of the models in `runs` {name: run folder}, one at a time.

    When a prediction takes longer than `limits.seconds`, its process is killed and a new one is started. `spool` is the
    folder for uploads and results; it is deleted by `stop`.
    """

    def __init__(self, runs: Mapping[str, Path], limits: Limits, *, device: str = "auto") -> None:
        self.runs, self.limits, self.device = dict(runs), limits, device
        self.models: dict[str, dict[str, Any]] = {}
        self.spool = Path(tempfile.mkdtemp(prefix="anatomark-serve-"))
        self.accepted = 0  # requests that wait or are being predicted
        self.seconds = 1.0  # running mean time of a prediction
        self.stopped = False
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._restart: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        return self._process is not None and self._process.returncode is None and bool(self.models) and not self.stopped

    @property
    def waiting(self) -> int:
        return max(0, self.accepted - 1)

    async def start(self) -> None:
        """Start the process and wait until it has loaded the models. Raises ModelError if it cannot."""
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
            answer: dict[str, Any] | None = await self._exchange(process, line, START_SECONDS)
        except TimeoutError:
            answer = {"problem": f"the models could not be loaded within {START_SECONDS:g} s"}
        if answer is None or "models" not in answer:
            await _kill(process)
            raise ModelError((answer or {}).get("problem", "the models could not be loaded; see the messages above"))
        self.models, self._process = answer["models"], process

    async def stop(self) -> None:
        """End the process and delete all uploads."""
        self.stopped = True
        if self._restart is not None:
            self._restart.cancel()
            await asyncio.wait({self._restart})
        if self._process is not None:
            await _kill(self._process)
        await asyncio.to_thread(shutil.rmtree, self.spool, ignore_errors=True)

    @contextlib.contextmanager
    def slot(self) -> Iterator[Path]:
        """A slot in the queue, as a new folder that is deleted afterwards; RequestRejected (503) if it is full."""
        if self.accepted > self.limits.queue or self.stopped:
            raise self.busy("the queue is full")
        self.accepted += 1
        try:
            folder = Path(tempfile.mkdtemp(dir=self.spool))
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            self.accepted -= 1

    async def predict(self, job: Job, is_disconnected: Callable[[], Awaitable[bool]]) -> Path:
        """The file with the result; raises RequestRejected, also when the client `is_disconnected` before its turn."""
        try:
            await asyncio.wait_for(self._turn.acquire(), self.limits.seconds)
        except TimeoutError:
            raise self.busy("no free slot in time") from None
        try:
            if await is_disconnected():
                raise RequestRejected(408, "the client has disconnected", reason="left")
            process = await self._running()
            began = time.monotonic()
            try:
                answer = await self._exchange(process, job.line(), self.limits.seconds)
            except TimeoutError:
                raise RequestRejected(
                    504,
                    f"the prediction took longer than {self.limits.seconds:g} s; send a smaller image, or start the "
                    "service with a longer --timeout",
                    reason="time",
                ) from None
            self.seconds += 0.2 * (time.monotonic() - began - self.seconds)
        finally:
            self._turn.release()
        if answer is None:
            raise RequestRejected(
                422,
                "the process that read the image ended: the image is damaged, or too large for this machine's memory; "
                "check it, or resample it",
                reason="worker ended",
            )
        if "file" not in answer:
            raise RequestRejected(answer["status"], answer["detail"], reason=answer["reason"])
        return Path(answer["file"])

    def busy(self, why: str) -> RequestRejected:
        """The rejection of a request for now, with the time after which to retry."""
        later = min(120, max(1, math.ceil(self.seconds * max(1, self.accepted))))
        return RequestRejected(
            503, f"{why}; retry in {later} s", reason="queue", headers=(("retry-after", str(later)),)
        )

    async def _exchange(
        self, process: asyncio.subprocess.Process, line: bytes, seconds: float
    ) -> dict[str, Any] | None:
        """The answer of a process to a line, None if it ended; a process is killed unless it answers."""
        stdin, stdout = _pipes(process)
        try:
            stdin.write(line)
            await stdin.drain()
            answer = await asyncio.wait_for(stdout.readline(), seconds)
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
        """Kill a process, and replace it if it was the current one."""
        await _kill(process)
        if process is self._process:
            self._process = None
            self._restart_in_background()

    def _restart_in_background(self) -> None:
        """Start a new process in the background."""
        if not self.stopped and (self._restart is None or self._restart.done()):
            self._restart = asyncio.create_task(self._start_quietly())

    async def _start_quietly(self) -> None:
        with contextlib.suppress(ModelError, OSError):
            await self.start()

    async def _running(self) -> asyncio.subprocess.Process:
        """The process, after a restart if necessary; RequestRejected (503) if its models cannot be loaded."""
        if not self.ready:
            self._restart_in_background()
            if self._restart is not None:
                await asyncio.wait({self._restart})
        if self._process is None or not self.ready:
            raise self.busy("the models are not loaded")
        return self._process


def _pipes(process: asyncio.subprocess.Process) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
    if process.stdin is None or process.stdout is None:
        raise ValueError("the process was started without pipes")
    return process.stdin, process.stdout


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
