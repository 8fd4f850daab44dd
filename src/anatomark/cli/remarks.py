"""Remarks logged under `anatomark` (how a file was interpreted, for instance), as lines on the terminal."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MAX_ALIKE = 3  # lines with the same ending that are shown; further ones are counted
_END = 40


class _Lines(logging.Handler):
    """`warning: ...` on standard error, each line once, however often its file is read.

    Lines begin with the file: of those with the same ending, the first few are shown, and at the end the number of
    the others.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._seen: set[str] = set()
        self._alike: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        line = " ".join(record.getMessage().split())
        if line in self._seen:
            return
        self._seen.add(line)
        self._alike[line[-_END:]] += 1
        if self._alike[line[-_END:]] <= MAX_ALIKE:
            print_line(f"{record.levelname.lower()}: {line}")

    def count(self) -> None:
        """Print how many lines were not shown."""
        for end, count in self._alike.items():
            if count > MAX_ALIKE:
                print_line(f"warning: {count - MAX_ALIKE} more files like these: ... {end.split(' ', 1)[-1]}")


def print_line(line: str) -> None:
    from anatomark.formats.itk import print_error

    print_error(line)


@contextmanager
def show_remarks() -> Iterator[None]:
    """Show warnings logged under `anatomark`, and those of names that have changed, as lines of their own."""
    logger, lines = logging.getLogger("anatomark"), _Lines()
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(lines)
    try:
        with warnings.catch_warnings():
            _show_renamed(warnings.showwarning)
            yield
    finally:
        lines.count()
        logger.removeHandler(lines)
        logger.propagate = propagates


def _show_renamed(show: Any) -> None:
    """Show a FutureWarning as a line, without the line of code that it comes from, and others as before."""

    def line(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if category is FutureWarning:
            print_line(f"warning: {message}")
        else:
            show(message, category, *where, **more)

    warnings.showwarning = line
