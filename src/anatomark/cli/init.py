"""anatomark init: write a first dataset.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[Path, typer.Argument(help="Folder with images, and landmark files or tables.")],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write.", show_default="FOLDER/dataset.yaml"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random split.")] = 0,
) -> None:
    """Write a first dataset.yaml for the files in a folder. Frame and spacing are never guessed; you fill them in."""
    from anatomark.data.init import init_dataset
    from anatomark.data.schema import PLACEHOLDER

    path = init_dataset(folder, out, seed=seed)
    lines = path.read_text(encoding="utf-8").splitlines()
    open_lines = [n for n, line in enumerate(lines, 1) if PLACEHOLDER in line.split("#")[0]]
    print(f"wrote {path}")
    if open_lines:
        numbers = f"line{'s' * (len(open_lines) > 1)} {', '.join(map(str, open_lines))}"
        print(f"fill in the ??? in {numbers}, then run: anatomark check {path}")
    else:
        print(f"review it, then run: anatomark check {path}")
