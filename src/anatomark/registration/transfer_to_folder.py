"""Transfer of a template's landmarks to many images: one table, and landmark files where they are wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anatomark.core.image import Image, require_usable
from anatomark.errors import AnatomarkError, DescriptionError, ImageError, UnknownNameError
from anatomark.formats.atomic import new_folder
from anatomark.formats.images import image_name, is_image, list_images, read_image
from anatomark.formats.landmarks import landmarks_table, read_landmarks, write_landmarks
from anatomark.formats.table import write_table
from anatomark.registration.deformable import Backend, choose_backend
from anatomark.registration.transfer import Transferred, require_on, require_tolerance, transfer_landmarks

if TYPE_CHECKING:
    from anatomark.formats.landmark_table import LandmarkTable

FORMATS = ("csv", "mrk.json", "fcsv")


@dataclass
class TransferSummary:
    """What became of the images: `transferred` {name: its landmarks}, `failed` {name: the reason in one line}."""

    table: Path
    transferred: dict[str, Transferred] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def transfer_to_folder(
    template: str | Path,
    landmarks: str | Path,
    inputs: Iterable[str | Path],
    *,
    out: str | Path,
    backend: Backend = "auto",
    tolerance: float | None = None,
    formats: Sequence[str] = ("csv",),
    frame: str | None = None,
    spacing: Sequence[float] | None = None,
    seed: int = 0,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
    show: Callable[[str], None] = lambda line: None,
) -> TransferSummary:
    """Transfer the landmarks of an image file `template` to `inputs` and write `out`/transferred.csv.

    The table has a row for each landmark of each image, the doubtful ones `not annotated`, the there-and-back
    inconsistency as `spread`; it can stand as `annotations` in a dataset.yaml. It is written anew after each image,
    whole, so that an interrupted run leaves what it has; an earlier one is replaced.

    Args:
        template: the image file of the landmarks.
        landmarks: their file.
        inputs: images and folders of images.
        out: folder to write.
        backend: "auto", "simpleitk" or "elastix".
        tolerance: as in `transfer_landmarks`.
        formats: adds out/NAME.mrk.json or out/NAME.fcsv.
        frame: of `landmarks` where the file states none.
        spacing: in mm along x, y[, z], for images that state none, the template too.
        seed: of the registration's samples.
        progress: called with the number of images done, that of all, and the next one's name.
        show: called with a line for each image.

    Returns:
        The table's path, what was `transferred`, and the reasons of the images that `failed`.

    Raises:
        AnatomarkError: no image received the landmarks; the first one's error.

    Examples:
        >>> anatomark.transfer_to_folder("template.nii.gz", "template.csv", ["images/"], out="carried").table
        PosixPath('carried/transferred.csv')
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise UnknownNameError(f"no format {unknown[0]!r}; there are: {', '.join(FORMATS)}")
    choose_backend(backend)  # told before any work
    require_tolerance(tolerance)
    images = _images(inputs)
    fixed = _read(Path(template), spacing)
    points = read_landmarks(landmarks, frame=frame, grid=fixed.grid)
    require_on(fixed, points, source=f"the landmarks in {landmarks}")
    folder = Path(out)
    summary = TransferSummary(folder / "transferred.csv")
    first_error: AnatomarkError | None = None
    with new_folder(folder):
        for done, (name, path) in enumerate(images.items()):
            progress(done, len(images), name)
            try:
                moving = _read(path, spacing)
                result = transfer_landmarks(fixed, points, moving, backend=backend, tolerance=tolerance, seed=seed)
            except AnatomarkError as error:
                reason = str(error) if str(path) in str(error) else f"{path}: {error}"
                summary.failed[name] = reason
                first_error = first_error or type(error)(reason)
                continue
            summary.transferred[name] = result
            for ending in formats:
                if ending != "csv":
                    write_landmarks(result.landmarks, folder / f"{name}.{ending}")
            write_table(transfer_table(summary.transferred), summary.table)
            show(f"{name}: {result.summary}")
        progress(len(images), len(images), "")
        if first_error is not None and not summary.transferred:
            if len(summary.failed) == 1:
                raise first_error
            raise type(first_error)(
                f"none of {len(images)} images received the landmarks; the first error: {first_error}"
            )
    return summary


def transfer_table(results: Mapping[str, Transferred]) -> LandmarkTable:
    """The rows of transferred.csv: every landmark of every image, LPS, lengths to 0.1 um."""
    table = landmarks_table({(name, ""): result.landmarks for name, result in results.items()})
    spread = np.concatenate([result.inconsistency for result in results.values()])
    return replace(table, coordinates=np.round(table.coordinates, 4), spread=np.round(spread, 4))


def _read(path: Path, spacing: Sequence[float] | None) -> Image:
    image = read_image(path, spacing=spacing)
    require_usable(image, path)
    return image


def _images(inputs: Iterable[str | Path]) -> dict[str, Path]:
    """{name: path} of the images that `inputs` stand for, each name once."""
    found: list[Path] = []
    for given in map(Path, inputs):
        if not given.exists():
            raise ImageError(f"{given}: no such file or folder; give an image or a folder of images")
        inside = list_images(given) if given.is_dir() and not is_image(given) else [given]
        if not inside:
            raise ImageError(
                f"{given}: a folder without images directly in it, and its subfolders are not searched; "
                "give the folders that hold some"
            )
        found += inside
    if not found:
        raise ImageError("no image to transfer landmarks to: give image files, or folders that hold some")
    names = [image_name(path) for path in found]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        which = " and ".join(str(path) for name, path in zip(names, found, strict=True) if name == twice[0])
        raise DescriptionError(
            f"two images have the name {twice[0]!r}: {which}; transfer to them into folders of their own"
        )
    return dict(zip(names, found, strict=True))
