"""Curves for TensorBoard, written by the training itself: a full disk stops it with a word and not in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from anatomark.errors import OutputError

Plot = Callable[[str, float, int], None]
SECONDS_BETWEEN_FLUSHES = 5.0


@contextmanager
def curves(folder: Path) -> Iterator[Plot]:
    """A function that adds (name, value, step) to a new event file in `folder`; OutputError where it cannot."""
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
    from tensorboardX.summary import scalar

    try:
        folder.mkdir(parents=True, exist_ok=True)
        writer, flushed = EventsWriter(str(folder / "events")), 0.0

        def plot(name: str, value: float, step: int) -> None:
            nonlocal flushed
            writer.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
            if time.monotonic() - flushed > SECONDS_BETWEEN_FLUSHES:
                writer.flush()
                flushed = time.monotonic()

        try:
            yield plot
            writer.flush()
        finally:
            with suppress(OSError):  # what could not be written before cannot be now
                writer.close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{folder} cannot be written: {reason}; choose another place or make room") from error
