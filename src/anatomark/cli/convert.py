"""anatomark convert: convert landmarks and images between formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anatomark.cli.options import parse_spacing
from anatomark.formats.landmarks import WRITTEN


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Landmark file, table, folder of them, or image.")],
    target: Annotated[
        str,
        typer.Argument(metavar="OUT", help="File to write; a name ending in / is a folder (needs --format)."),
    ],
    image: Annotated[
        Path | None, typer.Option(help="Image of the landmarks, or folder of images; needed for pixel coordinates.")
    ] = None,
    from_frame: Annotated[
        str | None, typer.Option(metavar="LPS|RAS|pixel", help="Frame of IN, if it does not state one.")
    ] = None,
    to_frame: Annotated[
        str | None,
        typer.Option(metavar="LPS|RAS|pixel", help="Frame of OUT.", show_default="that of the format, else LPS"),
    ] = None,
    spacing: Annotated[
        str | None, typer.Option(metavar="X,Y[,Z]", help="Spacing in mm of images that do not state one.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help=f"Format of OUT, for a folder or an ambiguous file ending: {', '.join(WRITTEN)}."
        ),
    ] = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(
            "--missing-values", metavar="X,Y|N|WORD", help="Code for missing points in IN, such as -1,-1 or NA."
        ),
    ] = None,
) -> None:
    """Convert landmarks or an image to another format; the names of IN and OUT determine the formats."""
    from anatomark.formats.convert import convert
    from anatomark.formats.missing import MissingValues

    written = convert(
        source,
        target,
        image=image,
        from_frame=from_frame,
        to_frame=to_frame,
        spacing=parse_spacing(spacing),
        format=format,
        missing=MissingValues.parse(missing or ()),
    )
    typer.echo(f"wrote {written[0]}" if len(written) == 1 else f"wrote {len(written)} files to {target}")
