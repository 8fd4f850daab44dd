"""The views of a study's images, made once and kept while there is room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from anatomark.data.cases import Case
from anatomark.review.view import View, view_of

ROOM = 512 << 20  # bytes


class Views:
    """The View of each case by its number; the least used go where `room` is short. Safe between threads."""

    def __init__(self, cases: Sequence[Case], room: int = ROOM) -> None:
        self._cases, self._room = cases, room
        self._held: OrderedDict[int, View] = OrderedDict()
        self._looking = threading.Lock()
        self._making = [threading.Lock() for _ in cases]

    def view(self, number: int) -> View:
        """The View of case `number`; raises as reading its image does."""
        with self._making[number]:  # two requests for one image make it once
            with self._looking:
                if number in self._held:
                    self._held.move_to_end(number)
                    return self._held[number]
            made = view_of(self._cases[number].read_image())
            with self._looking:
                self._held[number] = made
                while len(self._held) > 1 and sum(len(view.nifti) for view in self._held.values()) > self._room:
                    self._held.popitem(last=False)
            return made
