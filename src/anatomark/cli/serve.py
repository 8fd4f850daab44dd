"""anatomark serve: serve predictions over HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from anatomark.cli.options import Device


def serve(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN ...", help="Run folders of finished trainings, or names of ready-made models."),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; a token is required if other machines can reach it.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(help="Token that requests must send. Visible in the process list; prefer --token-file."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token.", show_default="the variable ANATOMARK_TOKEN")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Further host name of the server, as behind a proxy; may be repeated.")
    ] = None,
    root: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Folder whose images may be predicted by path; may be repeated."),
    ] = None,
    corrections: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for corrected landmarks; without it, none are accepted."),
    ] = None,
    max_upload_mib: Annotated[float, typer.Option(help="Maximum size of a request.")] = 512,
    max_voxels: Annotated[int, typer.Option(help="Maximum size of an image.")] = 2**28,
    timeout: Annotated[float, typer.Option(help="Time limit of one prediction, in seconds.")] = 300,
    queue: Annotated[
        int, typer.Option(help="Maximum number of waiting predictions; further requests get status 503.")
    ] = 8,
    device: Annotated[Device, typer.Option(help="Device to compute on.")] = Device.auto,
) -> None:
    """Serve trained models over HTTP: predictions of uploaded images, or of images below allowed folders."""
    from anatomark.service.limits import Limits
    from anatomark.service.serve import serve

    serve(
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
    """The token given directly, in a file or in the environment; None if there is none."""
    from anatomark.errors import AccessError

    if token is not None and token_file is not None:
        raise AccessError("--token and --token-file are both given; leave out one")
    if token_file is not None:
        try:
            return token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise AccessError(
                f"cannot read a token from {token_file}: {reason}; give a text file of one line"
            ) from None
    return token or os.environ.get("ANATOMARK_TOKEN") or None
