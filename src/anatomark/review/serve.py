"""Serve the review page of a data set or folder until it is stopped."""

from __future__ import annotations

import asyncio
import getpass
import os
import shlex
import socket
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

from anatomark.errors import AccessError, SettingsError
from anatomark.review.api import ReviewApi
from anatomark.review.app import make_app
from anatomark.review.assistant import Assistant
from anatomark.review.record import Record, checked_name
from anatomark.review.study import Study, open_study
from anatomark.web.access import decide_access, make_token
from anatomark.web.server import address, listen, require_server, serve

PORT = 8770  # the default; another free port if it is taken


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

    `reviewer` defaults to the login name; `open_study` explains the other parameters. `show` gets the address, which
    contains a token: whoever has it can view and correct. It is that of the environment variable ANATOMARK_TOKEN, else
    a new one.

    Raises MissingExtraError without the extra `server`, AccessError for a host or port that is not available,
    ReviewError if the same review is already open, and as `open_study`.
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
    dataset = study.dataset
    listening = free_socket(host, port)
    record = None
    assistant = None if loaded is None else Assistant(loaded, study.cases, dataset.names)
    try:
        record = Record(
            study.folder, name, dataset=dataset.name, order=dataset.names, ndim=dataset.ndim, unit=dataset.unit
        )
        access = access.with_opening()
        page = f"{address(listening, host)}/?token="
        show(f"{dataset.name}: {len(study.cases)} cases, reviewed by {name}; every change goes to {record.table}")
        show(f"open {page}{access.token}   (stop with Ctrl-C)")

        def started() -> None:
            if browser:
                webbrowser.open(f"{page}{access.opening}")

        api = ReviewApi(study, record, assistant, "" if model is None else adapt_command(model, study, split, root))
        asyncio.run(serve(make_app(api, access), listening, started=started))
    finally:
        listening.close()
        if assistant is not None:
            assistant.close()
        if record is not None:
            record.close()


def adapt_command(model: str | Path, study: Study, split: str | None, root: str | Path | None) -> str:
    """The command that adapts `model` to the accepted cases; "" for a folder of images, which needs a description."""
    if study.dataset.path is None:
        return ""
    out = f"{Path(model).name}_{study.dataset.name}"
    out = str(Path("runs") / out) if Path(model).parent == Path() else str(Path(model).parent / out)
    words = ["anatomark", "calibrate", model, study.dataset.path, "--reviews", study.folder, "--out", out]
    words += [] if split is None else ["--split", split]
    words += [] if root is None else ["--root", root]
    return shlex.join(map(str, words))


def login_name() -> str:
    """The login name of this user; SettingsError if the system has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        raise SettingsError("there is no login name on this system; give --reviewer NAME") from None


def free_socket(host: str, port: int | None) -> socket.socket:
    """A listening socket on `port`, or without one on PORT or any free port; AccessError if there is none."""
    if port is not None:
        return listen(host, port)
    try:
        return listen(host, PORT)
    except AccessError:
        return listen(host, 0)
