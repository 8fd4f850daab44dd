"""anatomark show: a picture of an image with its landmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anatomark.cli.options import Frame, parse_spacing


def show(
    image: Annotated[Path, typer.Argument(help="Image to show.")],
    landmarks: Annotated[
        list[Path],
        typer.Argument(help="One or two landmark files or tables; of many images, those of this one are shown."),
    ],
    out: Annotated[Path, typer.Option(help="Picture to write: a .png file.")],
    frame: Annotated[
        Frame | None,
        typer.Option(
            metavar="LPS|RAS|pixel", help="Frame of the landmarks, if they do not state it.", case_sensitive=False
        ),
    ] = None,
    spacing: Annotated[
        str | None, typer.Option(metavar="X,Y[,Z]", help="Spacing in mm of an image that does not state one.")
    ] = None,
    size: Annotated[int, typer.Option(min=100, max=10000, help="Longer side of the picture, in pixels.")] = 1000,
) -> None:
    """Draw landmarks on their image: one set, or two that are compared. The first are crosses, the second rings."""
    from anatomark.show import show_landmarks

    shown = show_landmarks(
        image,
        landmarks,
        out=out,
        frame=None if frame is None else frame.value,
        spacing=parse_spacing(spacing),
        size=size,
    )
    if shown.distances:
        farthest = max(shown.distances, key=lambda name: shown.distances[name])
        mean = sum(shown.distances.values()) / len(shown.distances)
        unit = shown.sets[0].unit
        print(
            f"{mean:.2f} {unit} apart on average, over {len(shown.distances)} landmarks that both have; "
            f"most at {farthest}, {shown.distances[farthest]:.2f} {unit}"
        )
    print(f"picture: {shown.picture}")
