"""anatomark synthesize: a data set of synthetic images from label maps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def synthesize(
    dataset: Annotated[
        Path, typer.Argument(help="dataset.yaml with the landmarks, whose images are label maps or have some.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the new data set.")],
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Label maps beside real images, such as 'labels/{case}.nii.gz'; the real images stay in the set.",
            show_default="the images themselves",
        ),
    ] = None,
    tissues: Annotated[
        Path | None,
        typer.Option(
            help="CSV with the columns label, tissue, mean_low, mean_high, sd_low, sd_high.",
            show_default="any brightness",
        ),
    ] = None,
    copies: Annotated[int, typer.Option(min=1, help="Synthetic images of each label map.")] = 4,
    thick: Annotated[
        float,
        typer.Option(min=1, help="Thickest slices, in elements of the label map; half of the images have thick ones."),
    ] = 1.0,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Only the label maps of this split.", show_default="train with --labels, else all"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the grey values.")] = 0,
    root: Annotated[Path | None, typer.Option(help="Folder of the data, if not where the description says.")] = None,
) -> None:
    """Make images of random contrast from label maps, to train on. Can be stopped and resumed."""
    from rich.markup import escape
    from rich.progress import Progress

    from anatomark.data.description import load_dataset
    from anatomark.data.synthesize import synthesize_dataset
    from anatomark.data.synthetic_images import Synthesis

    with Progress(transient=True) as bars:
        bar = bars.add_task("making images", total=None)
        path = synthesize_dataset(
            dataset,
            out=out,
            labels=labels,
            tissues=tissues,
            synthesis=Synthesis(thick=thick),
            copies=copies,
            splits=split or (),
            seed=seed,
            root=root,
            progress=lambda done, total, name: bars.update(bar, completed=done, total=total, description=escape(name)),
        )
    print(f"{len(load_dataset(path).cases)} images: {path}")
