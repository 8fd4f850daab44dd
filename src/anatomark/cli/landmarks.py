"""anatomark landmarks: salient, well-spread points proposed on a template."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anatomark.cli.options import parse_spacing


def landmarks(
    template: Annotated[Path, typer.Argument(help="Image to place landmarks on.")],
    count: Annotated[int, typer.Option(min=1, help="Number of landmarks.")],
    out: Annotated[Path, typer.Option(help="File to write: .csv, .mrk.json or .fcsv.")],
    scale: Annotated[
        float | None,
        typer.Option(help="Size of the structures to find (mm, or px).", show_default="1/150 of a side"),
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Minimum distance to the image border (mm, or px).", show_default="4 scales")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Image that is above zero where landmarks may lie, such as a brain mask.")
    ] = None,
    spacing: Annotated[
        str | None, typer.Option(metavar="X,Y[,Z]", help="Spacing in mm of an image that does not state one.")
    ] = None,
) -> None:
    """Propose landmarks on a template, which `anatomark transfer` can transfer to other images."""
    from anatomark.core.image import require_usable
    from anatomark.formats.images import read_image
    from anatomark.formats.landmarks import landmark_suffix, write_landmarks
    from anatomark.registration.interest import propose_landmarks

    landmark_suffix(out)  # an unknown ending is reported before any work
    image = read_image(template, spacing=parse_spacing(spacing))
    require_usable(image, template)
    allowed = None if mask is None else read_image(mask, spacing=parse_spacing(spacing))
    proposed = propose_landmarks(image, count=count, scale=scale, margin=margin, mask=allowed)
    write_landmarks(proposed, out)
    print(f"{len(proposed)} landmarks: {out}")
