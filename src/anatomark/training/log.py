"""The log of a run: a line every few steps and every validation, and the same as curves and pictures for TensorBoard.

The training itself writes the curves, so that a full disk stops it with a word and not in a thread.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from anatomark.errors import OutputError
from anatomark.formats.atomic import write_text

Plot = Callable[[str, float, int], None]  # (curve, value, step)
Show = Callable[[str, bytes, tuple[int, int], int], None]  # (name, JPEG, width and height, step)
SECONDS_BETWEEN_FLUSHES = 5.0


@dataclass(frozen=True)
class RunLog:
    """The log in `file`, a JSON record a line; what is measured also goes to `plot`, and pictures to `show`."""

    file: Path
    plot: Plot
    show: Show = lambda name, picture, size, step: None

    def add(self, stage: str, step: int, measured: Mapping[str, float], **more: float) -> None:
        """Add a line with what was `measured` at a step, to be plotted, and `more`; OutputError where it cannot be."""
        try:
            with open(self.file, "a", encoding="utf-8") as file:
                file.write(json.dumps({"stage": stage, "step": step, **measured, **more}) + "\n")
        except OSError as error:
            todo = "make room and give the same command again"
            raise OutputError(f"{self.file} cannot be written: {error.strerror}; {todo}") from error
        for name, value in measured.items():
            self.plot(f"{stage}/{name}", value, step)

    def rewind(self, stage: str | None, step: int) -> None:
        """Drop the lines past `step` of `stage` (all lines where `stage` is None): those steps are done again."""
        if not self.file.exists():
            return
        whole = self.file.read_text(encoding="utf-8")
        kept = ""
        for line in whole.splitlines():
            try:
                record = json.loads(line)
                late = stage is None or (record["stage"] == stage and record["step"] > step)
            except (ValueError, KeyError, TypeError):
                break  # a kill can cut the last line
            if late:
                break
            kept += line + "\n"
        if kept != whole:
            write_text(self.file, kept)


NO_LOG = RunLog(Path(os.devnull), lambda name, value, step: None)  # of a process that does not write


@contextmanager
def open_log(file: Path, curves: Path) -> Generator[RunLog]:
    """The log in `file`, with a new event file in the folder `curves`; OutputError where that cannot be."""
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
    from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboardX.summary import scalar

    try:
        curves.mkdir(parents=True, exist_ok=True)
        writer, flushed = EventsWriter(str(curves / "events")), 0.0

        def plot(name: str, value: float, step: int) -> None:
            add(scalar(name, value), step)

        def show(name: str, picture: bytes, size: tuple[int, int], step: int) -> None:
            image = Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=picture)
            add(Summary(value=[Summary.Value(tag=name, image=image)]), step)

        def add(summary: Summary, step: int) -> None:
            nonlocal flushed
            writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))
            if time.monotonic() - flushed > SECONDS_BETWEEN_FLUSHES:
                writer.flush()
                flushed = time.monotonic()

        try:
            yield RunLog(file, plot, show)
            writer.flush()
        finally:
            with suppress(OSError):  # what could not be written before cannot be now
                writer.close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{curves} cannot be written: {reason}; choose another place or make room") from error
