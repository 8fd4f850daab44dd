"""A process that predicts for `cohort.processes`, until its channel closes."""

from __future__ import annotations

import signal
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from anatomark.cohort.work import Order, Predictor
from anatomark.errors import AnatomarkError


@dataclass(frozen=True)
class Ready:
    """The model is loaded."""


@dataclass(frozen=True)
class Together:
    """So many images are predicted now, more than one."""

    images: int


@dataclass(frozen=True)
class Stopped:
    """The process cannot go on, and another could not either."""

    error: AnatomarkError


def main(channel: Connection, order: Order, place: int) -> None:
    """Takes Tasks and sends Predicted for each of their images; an error that is no image's ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt from the keyboard is for the other process to handle
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the other process has ended
        try:
            predictor = Predictor(order, place)
            channel.send(Ready())
            while True:
                task = channel.recv()
                for entries in predictor.batches_of(task):
                    if len(entries) > 1:
                        channel.send(Together(len(entries)))
                    for predicted in predictor.predict(task.number, entries):
                        channel.send(predicted)
        except AnatomarkError as error:
            channel.send(Stopped(error))
