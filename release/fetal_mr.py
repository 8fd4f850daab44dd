"""Make the small copy of fetal_mr that comes with the package, from the data set itself:

    python release/fetal_mr.py FOLDER datasets/fetal_mr

FOLDER has images/*.nii.gz (0.8 mm, uint8), landmarks.csv and images.csv; datasets/fetal_mr/README.md says where they
are from. All volumes are kept, at SPACING; tables are copied as they are.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from anatomark import Image, read_image, write_image

SPACING = 1.2  # mm
TABLES = ("landmarks.csv", "images.csv")


def reduced(image: Image) -> Image:
    """The image at SPACING along each axis, uint8 as before."""
    array = image.resampled(image.grid.respaced(SPACING)).array
    return Image(np.clip(np.round(array), 0, 255).astype(np.uint8), image.grid.respaced(SPACING))


def main(source: Path, target: Path) -> None:
    """Write images and tables to `target`."""
    (target / "images").mkdir(parents=True, exist_ok=True)
    for path in sorted((source / "images").glob("*.nii.gz")):
        write_image(reduced(read_image(path)), target / "images" / path.name)
    for name in TABLES:
        shutil.copyfile(source / name, target / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
