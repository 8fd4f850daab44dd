"""The process that reads images for `formats.reader_process`, until its channel closes or an image ends it."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import struct
import sys
import tempfile
import traceback
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np

from anatomark.errors import AnatomarkError, NativeReaderError
from anatomark.formats import itk

_FOR_HEADER = 1 << 30  # bytes of memory that reading a header may take, libraries included
_A_VOXEL = 64  # bytes that decoding a voxel may take: a colour in double precision, twice
_FEWEST = 2  # bytes that an image takes in any case, for each voxel
_GRACE = 30.0  # seconds after which it ends itself where nobody does


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    most, reader = int(sys.argv[2]), import_module(sys.argv[3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt from the keyboard is for the other process to handle
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)
        itk.collect(printed.fileno())
        while (order := _order(channel)) is not None:
            signal.setitimer(signal.ITIMER_REAL, order["seconds"] + _GRACE)
            answer, array = _answer(order, reader, most)
            answer["printed"] = _summary(printed)
            _send(channel, answer, array)
            signal.setitimer(signal.ITIMER_REAL, 0)


def _order(channel: socket.socket) -> dict[str, Any] | None:
    head = channel.recv(4, socket.MSG_WAITALL)
    return json.loads(channel.recv(struct.unpack("<I", head)[0], socket.MSG_WAITALL)) if len(head) == 4 else None


def _answer(order: dict[str, Any], reader: Any, most: int) -> tuple[dict[str, Any], np.ndarray[Any, Any] | None]:
    """What the header says and the array, or the error."""
    path, given = order["path"], {name: order[name] for name in ("spacing", "orientation", "page")}
    stated = ""
    try:
        _limit(_FOR_HEADER)
        voxels = math.prod(reader.read_header(path, **given).grid.shape)
        stated = f" for the {voxels} voxels that its header states"
        if _FEWEST * voxels > most:
            raise MemoryError
        _limit(min(most, _FOR_HEADER + _A_VOXEL * voxels))
        image, header = reader.load_image(path, **given)
        told = {"remarks": header.remarks, "stored": header.stored, "pages": header.pages}
        about = {"grid": header.grid.to_dict(), "shape": image.array.shape, "dtype": image.array.dtype.str}
        return told | about, image.array
    except AnatomarkError as error:
        return {"error": type(error).__name__, "message": str(error)}, None
    except MemoryError:
        line = f"{path} takes too much memory{stated}; it is damaged, or crop or resample it"
        return {"error": NativeReaderError.__name__, "message": line}, None
    except Exception:
        return {"error": "", "message": traceback.format_exc()}, None


def _limit(bytes_: int) -> None:
    """Let this process take so much memory beyond what it has now."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + bytes_, hard))
    except (ImportError, OSError, ValueError):  # only Linux keeps to such a limit
        pass


def _summary(printed: IO[bytes]) -> str:
    """The first line that libraries have printed for an image, and how many more; "" for none."""
    printed.seek(0)
    lines = printed.read().decode("utf-8", "replace").splitlines()
    printed.seek(0)
    printed.truncate()
    if not lines:
        return ""
    return f"{lines[0][:200]!r}" + (f" and {len(lines) - 1} more lines" if len(lines) > 1 else "")


def _send(channel: socket.socket, answer: dict[str, Any], array: np.ndarray[Any, Any] | None) -> None:
    text = json.dumps(answer).encode()
    head = struct.pack("<I", len(text))
    if array is None:
        channel.sendall(head + text)
        return
    with _memory() as memory:
        memory.write(np.ascontiguousarray(array).data.cast("B"))
        memory.flush()
        socket.send_fds(channel, [head], [memory.fileno()])
    channel.sendall(text)


def _memory() -> IO[bytes]:
    """Memory without a name; a file without one where there is none."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("anatomark"), "wb")
    return tempfile.TemporaryFile()


if __name__ == "__main__":
    main()
