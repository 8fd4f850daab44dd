"""Images read in a process of their own: one at which a library crashes, hangs or takes all memory costs only itself.

Libraries that decode images believe what their files say. So foreign images of a batch are read by a second process,
`formats.reader_worker`, which is started again where it ends or has to be ended. It hands arrays over in memory that
both have, without a copy. Where the system cannot pass such memory on (Windows), images are read in this process.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import anatomark.errors
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.errors import AnatomarkError, NativeReaderError
from anatomark.formats.header import Header, Orientation
from anatomark.formats.images import load_image

LOGGER = logging.getLogger("anatomark.native")
SECONDS = 120.0  # for one image, beside the time of its bytes
_BYTES_PER_SECOND = 2e6  # of a slow disk or network
_MEMORY_SHARE = 0.75
AVAILABLE = hasattr(socket, "send_fds") and bool(sys.executable)


class Load(Protocol):
    """What reads an image: `formats.images.load_image`, or a `ReaderProcesses`' `load`."""

    def __call__(
        self,
        path: str | Path,
        *,
        spacing: Sequence[float] | None = None,
        orientation: Orientation = "shown",
        page: int | None = None,
    ) -> tuple[Image, Header]: ...


class ReaderProcesses:
    """`load` as `formats.images.load_image`, each image in one of `count` processes, which `with` ends.

    An image may take `seconds`, more where its file is large, and as much memory as its header lets expect, at most
    `memory_bytes` (without, three quarters of the machine's). `module` has the functions that read.
    """

    def __init__(
        self,
        count: int = 1,
        *,
        seconds: float = SECONDS,
        memory_bytes: int | None = None,
        module: str = "anatomark.formats.images",
    ) -> None:
        self.seconds = seconds
        limit = memory_bytes or int(_MEMORY_SHARE * _memory())
        self._all = [_Process(limit, module) for _ in range(count if AVAILABLE else 0)]
        self._free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        for process in self._all:
            self._free.put(process)

    def __enter__(self) -> ReaderProcesses:
        for process in self._all:
            process.start()  # they load their libraries meanwhile
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._all:
            process.end()

    def load(
        self,
        path: str | Path,
        *,
        spacing: Sequence[float] | None = None,
        orientation: Orientation = "shown",
        page: int | None = None,
    ) -> tuple[Image, Header]:
        """The image in a file or folder; several threads may ask. Nothing goes to the log but what libraries print.

        Raises as `load_image`, and NativeReaderError.
        """
        if not self._all:
            return load_image(path, spacing=spacing, orientation=orientation, page=page)
        order = {"path": str(path), "orientation": orientation, "page": page}
        order["spacing"] = None if spacing is None else [float(length) for length in spacing]
        seconds = self.seconds + _size(Path(path)) / _BYTES_PER_SECOND
        process = self._free.get()
        try:
            answer, descriptor = process.ask(order, seconds)
        finally:
            self._free.put(process)
        if answer.get("printed"):
            LOGGER.info(f"{path}: its libraries print {answer['printed']}")
        if descriptor is None:
            raise _error(answer)
        header = Header(Grid.from_dict(answer["grid"]), tuple(answer["remarks"]), answer["stored"], answer["pages"])
        return Image(_array(descriptor, answer), header.grid), header


class _Process:
    """One process that reads; it is there from the first image on, and again after one that ended it."""

    def __init__(self, memory_bytes: int, module: str) -> None:
        self.memory_bytes, self.module = memory_bytes, module
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def start(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "anatomark.formats.reader_worker"]
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(self.memory_bytes), self.module],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        self._channel = ours

    def ask(self, order: dict[str, Any], seconds: float) -> tuple[dict[str, Any], int | None]:
        """(answer, descriptor of the array's memory) to an order. Raises NativeReaderError where none comes."""
        if self._process is None or self._process.poll() is not None:  # no image's fault
            self.end()
            self.start()
        assert self._channel is not None
        path = order["path"]
        try:
            self._channel.settimeout(seconds)
            text = json.dumps(order | {"seconds": seconds}).encode()
            self._channel.sendall(struct.pack("<I", len(text)) + text)
            head, descriptors, _, _ = socket.recv_fds(self._channel, 4, 1)
            return json.loads(self._received(head)), descriptors[0] if descriptors else None
        except TimeoutError:
            self.end()
            raise NativeReaderError(
                f"{path} could not be read within {seconds:.0f} s; it is damaged, or its disk too slow: copy it again, "
                "or leave it out"
            ) from None
        except (OSError, EOFError):
            raise NativeReaderError(
                f"{path} cannot be read: a library crashed at it ({self.end()}); it is damaged, copy or export it again"
            ) from None

    def _received(self, head: bytes) -> bytes:
        assert self._channel is not None
        if len(head) < 4:
            raise EOFError
        left = struct.unpack("<I", head)[0]
        parts: list[bytes] = []
        while left:
            part = self._channel.recv(min(left, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def end(self) -> str:
        """End the process; how it ended, where it did so by itself."""
        if self._process is None or self._channel is None:
            return "not started"
        self._channel.close()
        try:
            code = self._process.wait(0.5)  # a closed channel ends one that waits
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._process, self._channel = None, None
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _array(descriptor: int, answer: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The array in the memory of a descriptor, which lives as long as the array."""
    shape, dtype = tuple(answer["shape"]), np.dtype(answer["dtype"])
    try:
        memory = mmap.mmap(descriptor, int(np.prod(shape)) * dtype.itemsize, flags=mmap.MAP_PRIVATE)
    finally:
        os.close(descriptor)
    return np.frombuffer(memory, dtype).reshape(shape)


def _error(answer: dict[str, Any]) -> Exception:
    kind = getattr(anatomark.errors, str(answer.get("error")), None)
    if isinstance(kind, type) and issubclass(kind, AnatomarkError):
        return kind(answer["message"])
    return RuntimeError(answer["message"])  # a bug, with its traceback


def _size(path: Path) -> int:
    try:
        files = path.iterdir() if path.is_dir() else (path,)
        return sum(file.stat().st_size for file in files)
    except OSError:
        return 0


def _memory() -> int:
    """Bytes of memory of the machine, or of the container."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return found
