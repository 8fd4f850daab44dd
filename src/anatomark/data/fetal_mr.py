"""The data set that comes with the package: MR templates of fetal brains, with landmarks."""

from __future__ import annotations

import shutil
from pathlib import Path

from anatomark.errors import OutputError
from anatomark.formats.atomic import replacing_folder

_HERE = Path(__file__).parents[1]
PLACES = (_HERE / "datasets", _HERE.parents[1] / "datasets")  # of an installed package, of its source tree


def copy_fetal_mr(folder: str | Path) -> Path:
    """Copies the data set of fetal brain MR that comes with the package; the path of its `dataset.yaml`.

    It has 15 volumes of 1.2 mm, averages of fetuses of 21 to 34 weeks with spina bifida, and 7 landmarks in each; CC0.
    README.md in the copy says where it is from (doi:10.12688/openreseurope.13914.2), and what it is not good for.

    Args:
        folder: where to copy it, a new or empty folder.

    Returns:
        The path of the description.

    Raises:
        OutputError: the folder holds something, or the system refuses.

    Examples:
        >>> anatomark.copy_fetal_mr("fetal")
        PosixPath('fetal/dataset.yaml')
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} already exists; name a new folder")
    source = next(place / "fetal_mr" for place in PLACES if (place / "fetal_mr").is_dir())
    with replacing_folder(folder) as partial:
        shutil.copytree(source, partial, dirs_exist_ok=True)
    return folder / "dataset.yaml"
