"""What is logged under `anatomark` (how a file was understood, for instance), as lines on the terminal."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

ALIKE = 3  # lines that end alike are shown; the others are counted
_END = 40


class _Lines(logging.Handler):
    """`warning: ...` on standard error, each line once however often its file is read.

    Lines begin with their file, so thousands of files of one kind differ there: of those that end alike the first few
    are shown, and in the end how many more there were.
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
        if self._alike[line[-_END:]] <= ALIKE:
            print_line(f"{record.levelname.lower()}: {line}")

    def count(self) -> None:
        """Says how many lines were not shown."""
        for end, count in self._alike.items():
            if count > ALIKE:
                print_line(f"warning: {count - ALIKE} more files like these: ... {end.split(' ', 1)[-1]}")


def print_line(line: str) -> None:
    from anatomark.formats.itk import print_error

    print_error(line)


@contextmanager
def show_remarks() -> Iterator[None]:
    """While it lasts, warnings logged under `anatomark` are shown as lines of their own, and nowhere else."""
    logger, lines = logging.getLogger("anatomark"), _Lines()
    passes_on, logger.propagate = logger.propagate, False
    logger.addHandler(lines)
    try:
        yield
    finally:
        lines.count()
        logger.removeHandler(lines)
        logger.propagate = passes_on
