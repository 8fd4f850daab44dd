"""What is logged under `anatomark` (how a file was understood, for instance), as lines on the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Lines(logging.Handler):
    """`warning: ...` on standard error, each line once however often its file is read."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        from anatomark.formats.itk import print_error

        line = " ".join(record.getMessage().split())
        if line not in self._shown:
            self._shown.add(line)
            print_error(f"{record.levelname.lower()}: {line}")


@contextmanager
def show_remarks() -> Iterator[None]:
    """While it lasts, warnings logged under `anatomark` are shown as lines of their own, and nowhere else."""
    logger, lines = logging.getLogger("anatomark"), _Lines()
    passes_on, logger.propagate = logger.propagate, False
    logger.addHandler(lines)
    try:
        yield
    finally:
        logger.removeHandler(lines)
        logger.propagate = passes_on
