"""The images of a folder, in the order of their paths, which is the same on every machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anatomark.formats.dicom_files.dicom import is_dicom
from anatomark.formats.header import tell
from anatomark.formats.images import SUFFIXES, is_image

RECORD = "cohort.json"  # in the folder of a result


def list_folder(folder: Path, *, recursive: bool) -> Iterator[Path]:
    """Images as `formats.images.list_images` finds them, without label maps; one folder is listed at a time.

    A subfolder with the result of a cohort is passed over: there may be pictures in it.
    """
    series = is_image(folder)
    if series:
        yield folder
    folders: list[Path] = []
    files: list[Path] = []
    for name in sorted(os.listdir(folder)):
        path = folder / name
        if name.startswith("."):
            continue
        if path.is_dir():
            folders += [path] if not (path / RECORD).exists() else []
        elif is_image(path) and not (series and is_dicom(path)):
            files.append(path)
    yield from _without_label_maps(files, folder)
    for path in folders:
        if recursive:
            yield from list_folder(path, recursive=True)
        elif is_image(path):
            yield path


def _without_label_maps(files: list[Path], folder: Path) -> list[Path]:
    """`files` without label maps, which are looked for where a name speaks of one: files are opened for that."""
    from anatomark.data.label_maps import WORDS, find_label_maps

    if not any(WORDS.intersection(re.split(r"[^a-z]+", file.name.lower())) for file in files):
        return files
    maps = find_label_maps(files)
    left_out = set(maps.files)
    if left_out:
        tell([f"{folder}: {maps.told('not predicted; list such a file in a manifest if it should be')}"])
    return [file for file in files if file not in left_out]


def list_remote_folder(fs: Any, folder: str, *, recursive: bool) -> Iterator[str]:
    """Paths of the files below `folder` on an fsspec file system that end as images do, relative to it."""
    pending = [folder.rstrip("/")]
    while pending:
        found = sorted(fs.ls(pending.pop(), detail=True), key=lambda info: str(info["name"]))
        inner: list[str] = []
        for info in found:
            name = str(info["name"]).rstrip("/")
            if name.rsplit("/", 1)[-1].startswith("."):
                continue
            if info["type"] == "directory":
                inner.append(name)
            elif name.lower().endswith(SUFFIXES):
                yield name[len(folder.rstrip("/")) + 1 :]
        pending += reversed(inner) if recursive else []
