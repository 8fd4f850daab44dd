"""anatomark init: write a first dataset.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[Path, typer.Argument(help="Folder with images, and landmark files or tables.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write. [default: FOLDER/dataset.yaml]", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random split.")] = 0,
) -> None:
    """Write a first dataset.yaml from what a folder holds. It guesses no frame and no spacing: it asks."""
    from anatomark.data.init import init_dataset
    from anatomark.data.schema import ASKED

    path = init_dataset(folder, out, seed=seed)
    lines = path.read_text(encoding="utf-8").splitlines()
    asked = [n for n, line in enumerate(lines, 1) if ASKED in line.split("#")[0]]
    print(f"wrote {path}")
    if asked:
        lines_asked = f"line{'s' * (len(asked) > 1)} {', '.join(map(str, asked))}"
        print(f"fill in the ??? in {lines_asked}, then run: anatomark check {path}")
    else:
        print(f"look it over, then run: anatomark check {path}")
