"""Pillow for files whose size is judged elsewhere, and without its warnings."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager

from anatomark.formats import itk

_lock, _opening = threading.Lock(), threading.Lock()
_inside = 0
_limit: int | None = None


@contextmanager
def unlimited() -> Generator[None]:
    """Pillow decodes pictures of any size, and what its libraries print reaches nobody.

    A user's own film may have more pixels than Pillow allows; the service judges sizes by the header, before. Calls may
    overlap in several threads: the first takes the limit away, the last brings it back.
    """
    global _inside, _limit
    from PIL import Image

    with _lock:
        _inside += 1
        if _inside == 1:
            _limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with itk.silent():
            yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                Image.MAX_IMAGE_PIXELS = _limit


@contextmanager
def without_warnings() -> Generator[None]:
    """For opening a file, where Pillow warns of faults in tags that are of no weight; one thread at a time."""
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
