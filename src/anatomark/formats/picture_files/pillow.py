"""Pillow for files whose size is judged elsewhere, and without its warnings."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from anatomark.formats import itk

_lock, _opening = threading.Lock(), threading.Lock()
_inside = 0
_limit: int | None = None


@contextmanager
def _unlimited() -> Generator[None]:
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
def opened(open_image: Callable[[], Any]) -> Generator[Any]:
    """The picture that `open_image` opens, of any size; what Pillow's libraries print reaches nobody.

    Neither do Pillow's warnings while it opens a file, of faults in tags that are of no weight; for that, one thread
    opens at a time.
    """
    with _unlimited():
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = open_image()
        with picture:
            yield picture
