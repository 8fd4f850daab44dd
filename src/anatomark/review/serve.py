"""`review`: from a data set or folder to a page that is open until it is ended."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

from anatomark.errors import AccessError, SettingsError
from anatomark.review.app import make_app
from anatomark.review.assistant import Assistant
from anatomark.review.desk import Desk
from anatomark.review.record import Record, checked_name
from anatomark.review.study import open_study
from anatomark.web.access import decide_access, make_token
from anatomark.web.server import address, listen, require_server, serve

PORT = 8770  # where nobody asked for a certain one


def review(
    given: str | Path,
    *,
    reviewer: str | None = None,
    predictions: str | Path | None = None,
    frame: str | None = None,
    model: str | Path | None = None,
    landmarks: Sequence[str] = (),
    split: str | None = None,
    root: str | Path | None = None,
    spacing: Sequence[float] | None = None,
    out: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    browser: bool = True,
    device: str = "auto",
    show: Callable[[str], None] = print,
) -> None:
    """Serve the review page of a dataset.yaml or a folder of images, until interrupted.

    `reviewer` defaults to the login name; the rest is told in `open_study`. The address, which `show` gets, holds a
    token: who has it may look and correct. It is that of the environment variable ANATOMARK_TOKEN, else a new one.

    Raises MissingExtraError without the extra `server`, AccessError for a host or port that cannot be had, ReviewError
    where the same review is open already, and as `open_study`.
    """
    require_server("review", "filelock")
    name = checked_name(reviewer if reviewer is not None else login_name())
    access = decide_access(host, os.environ.get("ANATOMARK_TOKEN") or make_token())
    loaded = None
    if model is not None:
        from anatomark.loading import load  # brings torch, which a review without a model does not need

        loaded = load(model, device=device)
    study = open_study(
        given, reviewer=name, predictions=predictions, frame=frame, model=loaded, landmarks=landmarks, split=split,
        root=root, spacing=spacing, out=out,
    )  # fmt: skip
    about = study.dataset
    listening = free_socket(host, port)
    record = None
    assistant = None if loaded is None else Assistant(loaded, study.cases, about.names)
    try:
        record = Record(study.folder, name, dataset=about.name, order=about.names, ndim=about.ndim, unit=about.unit)
        opened = f"{address(listening, host)}/?token={access.token}"
        show(f"{about.name}: {len(study.cases)} cases, reviewed by {name}; every change goes to {record.table}")
        show(f"open {opened}   (Ctrl-C ends it)")

        def started() -> None:
            if browser:
                webbrowser.open(opened)

        asyncio.run(serve(make_app(Desk(study, record, assistant), access), listening, started=started))
    finally:
        listening.close()
        if assistant is not None:
            assistant.close()
        if record is not None:
            record.close()


def login_name() -> str:
    """The name that this user logged in with; SettingsError where the system knows none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        raise SettingsError("this system knows no login name; say who reviews with --reviewer NAME") from None


def free_socket(host: str, port: int | None) -> socket.socket:
    """A listening socket on `port`, or on PORT, or on any free one; AccessError where there is none."""
    if port is not None:
        return listen(host, port)
    try:
        return listen(host, PORT)
    except AccessError:
        return listen(host, 0)
