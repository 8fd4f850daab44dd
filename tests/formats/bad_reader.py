"""Reads images, but for some names: then it crashes, hangs, takes all memory, is wrong or prints a lot."""

import ctypes
import os
import signal
import time
from pathlib import Path

import numpy as np

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.errors import ImageError
from anatomark.formats.header import Header


def read_header(path, **given):
    if "header" in Path(path).name:
        os.kill(os.getpid(), signal.SIGSEGV)
    side = 10**6 if "huge" in Path(path).name else 4
    return Header(Grid.without_spacing((side, side)))


def load_image(path, **given):
    name = Path(path).name
    if "crash" in name:
        ctypes.string_at(0)
    if "leave" in name:
        os._exit(3)
    if "hang" in name:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        time.sleep(100)
    if "bloat" in name:
        np.ones(1 << 33, np.uint8)
    if "refuse" in name:
        raise ImageError(f"{path} is refused; do not")
    if "bug" in name:
        raise KeyError("bug")
    if "print" in name:
        os.write(2, b"Corrupt JPEG data\nsecond\nthird\n")
    header = Header(Grid.without_spacing((4, 4)), (f"{path}: a remark",), 6, 2)
    return Image(np.arange(16, dtype=">i2").reshape(4, 4), header.grid), header
