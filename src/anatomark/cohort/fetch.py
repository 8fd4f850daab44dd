"""An image on this machine, wherever it is."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from anatomark.cohort.places import file_system, is_uri, local
from anatomark.core.image import Image
from anatomark.errors import AnatomarkError, ImageError
from anatomark.formats.header import Orientation
from anatomark.formats.images import SUFFIXES, read_image


def fetch_image(place: str, *, spacing: tuple[float, ...] | None, orientation: Orientation, page: int | None) -> Image:
    """The Image at a path or URI; raises as `read_image`, and messages have the URI. A copy is gone afterwards."""
    if not is_uri(place):
        return read_image(local(place), spacing=spacing, orientation=orientation, page=page)
    with _copied(place) as path:
        try:
            return read_image(path, spacing=spacing, orientation=orientation, page=page)
        except AnatomarkError as error:
            raise type(error)(str(error).replace(str(path), place)) from None


@contextmanager
def _copied(uri: str) -> Generator[Path]:
    fs, path = file_system(uri)
    with tempfile.TemporaryDirectory(prefix="anatomark-") as folder:
        copy = Path(folder) / uri.rstrip("/").rsplit("/", 1)[-1]
        try:
            named = uri.lower().endswith(SUFFIXES)
            if not named and fs.isdir(path):  # the files of a DICOM series
                fs.get(f"{path.rstrip('/')}/", f"{copy}/", recursive=True)
            else:
                fs.get_file(path, str(copy))
        except FileNotFoundError:
            raise ImageError(f"{uri} does not exist; correct the manifest") from None
        except Exception as error:  # each file system has errors of its own
            raise ImageError(f"{uri} cannot be fetched: {error or type(error).__name__}; try again") from error
        yield copy
