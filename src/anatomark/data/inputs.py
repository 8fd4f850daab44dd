"""What a user gives to be predicted (images, folders of images, data sets), as cases with names of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from anatomark.data.case_list import named_pages
from anatomark.data.cases import Case
from anatomark.data.description import load_dataset
from anatomark.data.image_files import distinct_names
from anatomark.data.label_maps import find_label_maps
from anatomark.errors import DescriptionError, ImageError, UnknownNameError
from anatomark.formats.header import tell
from anatomark.formats.images import is_image, list_images


def find_inputs(
    paths: Iterable[str | Path],
    *,
    split: str | None = None,
    spacing: Sequence[float] | None = None,
    root: str | Path | None = None,
    stack: bool = False,
) -> tuple[Case, ...]:
    """The cases that `paths` (images, folders of images, data sets) stand for, those of data sets first.

    `split` chooses cases of data sets, whose data lie under `root`; `spacing` (x, y[, z] in mm) is for images that have
    none. An image that no data set describes is a case of its own; with `stack`, every page of an image file is. Images
    of the same name get as many of their folders put before it as tell them apart. Label maps beside images are left
    out, with a remark.

    Raises ImageError where a path or a folder holds no image, UnknownNameError for `split` where images have none,
    DescriptionError for images whose names are the same.
    """
    files: list[Path] = []
    found: list[Case] = []
    lengths = tuple(float(length) for length in spacing) if spacing is not None else None
    for path in map(Path, paths):
        if path.suffix.lower() in (".yaml", ".yml") or (path / "dataset.yaml").is_file():
            dataset = load_dataset(path, root)
            cases = dataset.cases if split is None else dataset.split(split)
            found += [replace(case, spacing=case.spacing or lengths) for case in cases]
        elif not path.exists():
            raise ImageError(f"{path}: no such file or folder; give an image, a folder of images or a dataset.yaml")
        elif path.is_dir() and not is_image(path):
            files += _images_in(path)
        else:
            files.append(path)
    if files and split is not None:
        raise UnknownNameError(f"--split {split} needs a dataset.yaml: {files[0]} has no splits")
    found += _named(files, lengths, stack)
    if not found:
        raise ImageError("no image to predict: give image files, folders of images or a dataset.yaml")
    _require_distinct(found)
    return tuple(found)


def _images_in(folder: Path) -> list[Path]:
    """The images directly in `folder`, without label maps."""
    files = list_images(folder)
    if not files:
        raise ImageError(
            f"{folder}: a folder without images directly in it, and its subfolders are not searched; give the folders "
            "with images, or a dataset.yaml"
        )
    maps = find_label_maps(files)
    left_out = set(maps.files)
    if left_out:
        tell([f"{folder}: {maps.told('not predicted; name such a file itself if it should be')}"])
    return [file for file in files if file not in left_out]


def _named(files: Sequence[Path], spacing: tuple[float, ...] | None, stack: bool) -> list[Case]:
    named = list(zip(distinct_names(files), files, strict=True))
    if not stack:
        return [Case(name, file, name, spacing=spacing) for name, file in named]
    return [Case(page_name, file, name, spacing=spacing, page=page)
            for name, file in named for page_name, page in named_pages(file, name)]  # fmt: skip


def _require_distinct(cases: Sequence[Case]) -> None:
    twice = [name for name, count in Counter(case.id for case in cases).items() if count > 1]
    if twice:
        paths = " and ".join(str(case.image_path) for case in cases if case.id == twice[0])
        raise DescriptionError(
            f"two inputs have the case name {twice[0]!r}: {paths}; predict them into separate folders"
        )
