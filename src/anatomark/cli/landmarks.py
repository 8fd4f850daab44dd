"""anatomark landmarks: salient, well-spread points proposed on a template."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anatomark.cli.predict import parse_spacing


def landmarks(
    template: Annotated[Path, typer.Argument(help="The image to place landmarks on.")],
    count: Annotated[int, typer.Option(min=1, help="How many.")],
    out: Annotated[Path, typer.Option(help="File to write: .csv, .mrk.json or .fcsv.")],
    scale: Annotated[
        float | None,
        typer.Option(help="Size of the structures looked for (mm, or px).", show_default="1/150 of a side"),
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Least distance to the image's border (mm, or px).", show_default="4 scales")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Image above zero where landmarks may lie, such as a brain.")
    ] = None,
    spacing: Annotated[
        str | None, typer.Option(metavar="X,Y[,Z]", help="Spacing in mm of an image that states none.")
    ] = None,
) -> None:
    """Propose landmarks on a template, to be carried onto other images with `anatomark transfer`."""
    from anatomark.formats.images import read_image, require_usable
    from anatomark.formats.landmarks import landmark_suffix, write_landmarks
    from anatomark.registration.interest import propose_landmarks

    landmark_suffix(out)  # told before any work
    image = read_image(template, spacing=parse_spacing(spacing))
    require_usable(image, template)
    where = None if mask is None else read_image(mask, spacing=parse_spacing(spacing))
    found = propose_landmarks(image, count=count, scale=scale, margin=margin, mask=where)
    write_landmarks(found, out)
    print(f"{len(found)} landmarks: {out}")
