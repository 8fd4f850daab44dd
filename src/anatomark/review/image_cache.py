"""The views of a study's images, made once and kept in memory up to a limit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from anatomark.data.cases import Case
from anatomark.review.view import View, view_of

MAX_BYTES = 512 << 20


class ImageCache:
    """The View of each case by its number; beyond `max_bytes`, the least recently used are dropped. Thread-safe."""

    def __init__(self, cases: Sequence[Case], max_bytes: int = MAX_BYTES) -> None:
        self._cases, self._max_bytes = cases, max_bytes
        self._views: OrderedDict[int, View] = OrderedDict()
        self._lock = threading.Lock()
        self._making = [threading.Lock() for _ in cases]

    def view(self, number: int) -> View:
        """The View of case `number`; raises as reading its image does."""
        with self._making[number]:  # two requests for one image make it once
            with self._lock:
                if number in self._views:
                    self._views.move_to_end(number)
                    return self._views[number]
            made = view_of(self._cases[number].read_image())
            with self._lock:
                self._views[number] = made
                while len(self._views) > 1 and sum(len(view.nifti) for view in self._views.values()) > self._max_bytes:
                    self._views.popitem(last=False)
            return made
