"""anatomark serve: predictions for other programs, over HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from anatomark.cli.train import Device


def serve(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN ...", help="Run folders of finished trainings.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that other machines can reach needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(help="What a request must know. Other users see it in the list of processes: rather use a file."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token. Without both, the variable ANATOMARK_TOKEN.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="A further name that the server is called by, as behind a proxy.")
    ] = None,
    root: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="A folder whose images may be predicted by path.")
    ] = None,
    corrections: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where corrected landmarks are kept; none are taken without.")
    ] = None,
    max_upload_mib: Annotated[float, typer.Option(help="Largest request.")] = 512,
    max_voxels: Annotated[int, typer.Option(help="Largest image.")] = 2**28,
    timeout: Annotated[float, typer.Option(help="Seconds that one prediction may take.")] = 300,
    queue: Annotated[int, typer.Option(help="Predictions that may wait; more are answered 503.")] = 8,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
) -> None:
    """Serve trained models over HTTP: predictions of uploaded images, or of images below allowed folders."""
    from anatomark.service.limits import Limits
    from anatomark.service.serve import serve as run

    run(
        runs,
        host=host,
        port=port,
        token=read_token(token, token_file),
        names=name or (),
        roots=root or (),
        corrections=corrections,
        limits=Limits(max_upload_mib, max_voxels, timeout, queue),
        device=device.value,
        show=lambda line: print(line, flush=True),
    )


def read_token(token: str | None, token_file: Path | None) -> str | None:
    """The token that is given, in a file, or in the environment; None where there is none."""
    from anatomark.errors import AccessError

    if token is not None and token_file is not None:
        raise AccessError("--token and --token-file are both given; leave one out")
    if token_file is not None:
        try:
            return token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise AccessError(f"{token_file} holds no token: {reason}; write one line into it") from None
    return token or os.environ.get("ANATOMARK_TOKEN") or None
