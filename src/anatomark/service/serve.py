"""Start the service, and run it until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from anatomark.ensemble import read_cards
from anatomark.errors import ModelError, OutputError
from anatomark.ready_made import run_folder
from anatomark.service.app import make_app
from anatomark.service.limits import Limits
from anatomark.service.predictor import Predictor
from anatomark.web.access import Access, AllowedRoots, decide_access
from anatomark.web.server import address, listen, require_server
from anatomark.web.server import serve as serve_app


def serve(
    runs: Sequence[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    names: Sequence[str] = (),
    roots: Sequence[str | Path] = (),
    corrections: str | Path | None = None,
    limits: Limits | None = None,
    device: str = "auto",
    show: Callable[[str], None] = print,
) -> None:
    """Serve the models of finished trainings until a signal ends it.

    `names` are further host names of the server; `roots` are the folders from which images may be read by path;
    `corrections` is the folder for corrected landmarks. `show` gets a line when the service is ready.

    Raises AccessError, ModelError or SettingsError before anything is loaded, and ModelError for a model that cannot
    be loaded before a request is accepted.
    """
    require_server("serve")
    access = decide_access(host, token, names)
    allowed = AllowedRoots(roots)
    models = named_runs(runs)
    corrections_folder = None if corrections is None else _folder(Path(corrections))
    listening = listen(host, port)
    logging.getLogger("uvicorn.error").addFilter(_without_cancelled)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of bytes of requests, which are not logged
    try:
        asyncio.run(_serve(models, access, allowed, corrections_folder, limits or Limits(), device, listening, show))
    finally:
        listening.close()


async def _serve(
    models: Mapping[str, Path],
    access: Access,
    allowed: AllowedRoots,
    corrections: Path | None,
    limits: Limits,
    device: str,
    listening: socket.socket,
    show: Callable[[str], None],
) -> None:
    predictor = Predictor(models, limits, device=device)
    try:
        await predictor.start()
        app = make_app(predictor, access, allowed, corrections)
        url = address(listening, access.host)

        def started() -> None:
            show(f"serving {', '.join(models)} at {url} (paths and examples are listed there; stop with Ctrl-C)")

        await serve_app(app, listening, patience=limits.seconds + 5, started=started)
    finally:
        await predictor.stop()


def named_runs(runs: Sequence[str | Path]) -> Mapping[str, Path]:
    """{name of the folder: run folder}; a ready-made model may be given by its name.

    Raises ModelError for two folders of the same name, and for a folder that is not a run.
    """
    models: dict[str, Path] = {}
    for run in map(run_folder, runs):
        name = run.resolve().name
        if name in models:
            raise ModelError(f"two runs have the name {name!r}: {models[name]} and {run}; rename one of the folders")
        read_cards(run)
        models[name] = run
    if not models:
        raise ModelError("no model to serve; give the --out folder of anatomark train")
    return models


def _folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written to: {error.strerror}; choose another folder") from error
    return folder


def _without_cancelled(record: logging.LogRecord) -> bool:
    """Whether to log a message of the server: not that it stopped while a client was still sending."""
    return "Cancel" not in record.getMessage()
