"""`anatomark convert IN OUT`: landmarks and images from one format to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anatomark.errors import SettingsError
from anatomark.formats.landmarks import WRITTEN


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Landmark file, table, folder of them, or image.")],
    target: Annotated[
        str,
        typer.Argument(metavar="OUT", help="File to write; a name that ends in / is a folder (with --format)."),
    ],
    image: Annotated[
        Path | None, typer.Option(help="Image of the landmarks, or folder of images: for pixel coordinates.")
    ] = None,
    from_frame: Annotated[
        str | None, typer.Option(metavar="LPS|RAS|pixel", help="Frame of IN, where it states none.")
    ] = None,
    to_frame: Annotated[
        str | None, typer.Option(metavar="LPS|RAS|pixel", help="Frame of OUT; the format's own, or LPS, if left out.")
    ] = None,
    spacing: Annotated[
        str | None, typer.Option(metavar="X,Y[,Z]", help="Spacing in mm of images that state none.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help=f"Format of OUT, for a folder or an ending that several share: {', '.join(WRITTEN)}."
        ),
    ] = None,
    missing: Annotated[
        list[str] | None,
        typer.Option("--missing-values", metavar="X,Y|N|WORD", help="What IN has for a missing point: -1,-1 or NA."),
    ] = None,
) -> None:
    """Write landmarks or an image in another format, chosen by the names of IN and OUT."""
    from anatomark.formats.convert import convert as convert_files
    from anatomark.formats.missing import MissingValues

    written = convert_files(
        source,
        target,
        image=image,
        from_frame=from_frame,
        to_frame=to_frame,
        spacing=_numbers(spacing),
        format=format,
        missing=MissingValues.parse(missing or ()),
    )
    typer.echo(f"wrote {written[0]}" if len(written) == 1 else f"wrote {len(written)} files to {target}")


def _numbers(spacing: str | None) -> list[float] | None:
    from anatomark.formats.text import number

    if spacing is None:
        return None
    try:
        return [number(part) for part in spacing.split(",")]
    except ValueError as error:
        raise SettingsError(f"--spacing is {spacing!r}; wanted numbers in mm such as 0.25,0.25") from error
