"""Ctrl-C and SIGTERM: a command ends soon, and says how to go on."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer

PATIENCE = 1.5  # seconds for what is being written or read, after which the process ends all the same
GOES_ON = {
    "cohort": "the same command goes on",
    "review": "every change is saved; the same command opens the review again",
    "serve": "",
}
_OTHERWISE = "the same command begins again"


_untold: list[int] = []  # the signal that has come, until the verb has said how to go on


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM."""


def listen() -> None:
    """From now on, SIGTERM is an interrupt as Ctrl-C is, and either ends the process in little more than PATIENCE.

    Where they are ignored, as in the background of some shells, they stay so.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupted)


def _interrupted(number: int, _: object) -> None:
    code = 128 + number
    _untold.append(number)
    ending = threading.Timer(PATIENCE, os._exit, (code,))
    ending.daemon = True
    ending.start()
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def exit_code(stop: KeyboardInterrupt) -> int:
    """As shells have it: 130 after Ctrl-C, 143 after SIGTERM. To be asked for by whoever says how to go on."""
    _untold.clear()
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


def exit_code_before(code: int) -> int:
    """The exit code where one has come from typer: a signal that came before the verb began ends it with 130 there."""
    if code != 130 or not _untold:
        return code
    print(f"interrupted; {_OTHERWISE}", file=sys.stderr, flush=True)
    return 128 + _untold.pop()


def interruptible(verb: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The `function` of a verb that says how to go on when it is interrupted."""

    @wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except KeyboardInterrupt as stop:
            if advice := GOES_ON.get(verb, _OTHERWISE):
                print(f"interrupted; {advice}", file=sys.stderr, flush=True)
            raise typer.Exit(exit_code(stop)) from None

    return called
