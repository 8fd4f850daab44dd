"""The manifest of a cohort: its images one after another, in an order that stays, each with an id of its own."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np

from anatomark.cohort.manifest_folder import list_folder, list_remote_folder
from anatomark.cohort.manifest_table import read_csv_rows, read_parquet_rows
from anatomark.cohort.places import file_system, is_uri, join, local, parent, plain
from anatomark.errors import DescriptionError, ImageError, SettingsError, UnknownNameError
from anatomark.formats.header import Orientation
from anatomark.formats.text import composed

_TABLES = {".csv": read_csv_rows, ".tsv": read_csv_rows, ".parquet": read_parquet_rows}


@dataclass(frozen=True)
class Entry:
    """An image: its `id` in tables, the path or URI at `place`, and as what the manifest `stated` it.

    `spacing` is mm along x, y[, z], None where the manifest has none; `page` (from 1) is the one in a file of many.
    """

    id: str
    place: str
    stated: str
    spacing: tuple[float, ...] | None = None
    page: int | None = None
    orientation: Orientation = "shown"


@dataclass(frozen=True, eq=False)
class Manifest:
    """`entries` gives the images anew each time that it is called; `name` is what the user gave."""

    name: str
    entries: Callable[[], Iterator[Entry]]

    def chunks(self, size: int) -> Iterator[tuple[int, tuple[Entry, ...]]]:
        """(number from 1, images) of each chunk."""
        entries, number = self.entries(), 0
        while chunk := tuple(islice(entries, size)):
            number += 1
            yield number, chunk


@dataclass(frozen=True)
class Contents:
    """How many images a manifest has, and the SHA-256 of their list; the images themselves are not in it."""

    images: int
    sha256: str


def open_manifest(
    given: str | Path,
    *,
    recursive: bool = False,
    stack: bool = False,
    split: str | None = None,
    root: str | Path | None = None,
) -> Manifest:
    """The Manifest in a CSV, TSV or Parquet file, a dataset.yaml, or of a folder, by path or URI.

    A table has a column path (or uri), and may have id, spacing (or spacing_x, spacing_y, spacing_z) and page. Its
    relative paths are relative to it. An id is by default the path, as stated or relative to the folder. `recursive`
    searches subfolders, too; with `stack`, every page of a file is an image; `split` and `root` are of a dataset.yaml.
    Raises DescriptionError or ImageError where it is none of these.
    """
    name = str(given)
    suffix = Path(name).suffix.lower()
    described = suffix in (".yaml", ".yml") or (not is_uri(name) and (local(name) / "dataset.yaml").is_file())
    if split is not None and not described:
        raise UnknownNameError(f"--split {split} needs a dataset.yaml: {name} has no splits")
    if described:
        listed = _of_dataset(local(name), split, root)
    elif suffix in _TABLES:
        listed = _of_table(name, _TABLES[suffix])
    elif is_uri(name):
        listed = _of_remote_folder(name, recursive)
    elif local(name).is_dir():
        listed = _of_folder(local(name), recursive)
    elif local(name).exists():
        raise DescriptionError(
            f"{name} is no manifest; give a .csv or .parquet with a column path, a folder or a dataset.yaml"
        )
    else:
        raise ImageError(f"{name}: no such file or folder; give a manifest, a folder of images or a dataset.yaml")
    return Manifest(name, (lambda: _each_page(listed())) if stack else listed)


def read_contents(manifest: Manifest) -> Contents:
    """How many images there are and which, in 8 bytes of memory for each.

    Raises DescriptionError where there is none, or two have one id.
    """
    digest, hashes = hashlib.sha256(), array("Q")
    for entry in manifest.entries():
        line = [entry.id, entry.stated, entry.spacing, entry.page, entry.orientation]
        digest.update(json.dumps(line).encode() + b"\n")
        hashes.append(_hash(entry.id))
    if not hashes:
        raise DescriptionError(f"{manifest.name} lists no image; give one that does")
    values = np.frombuffer(hashes, dtype=np.uint64).copy()
    values.sort()
    alike = set(values[1:][values[1:] == values[:-1]].tolist())
    if alike:
        _refuse_twice(manifest, alike)
    return Contents(len(hashes), digest.hexdigest())


def _hash(id: str) -> int:
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "little")


def _refuse_twice(manifest: Manifest, alike: set[int]) -> None:
    first: dict[str, str] = {}
    for entry in manifest.entries():
        if _hash(entry.id) in alike:
            if entry.id in first:
                raise DescriptionError(
                    f"{manifest.name}: two images have the id {entry.id!r}: {first[entry.id]} and {entry.stated}; "
                    "give each image once, or a column id"
                )
            first[entry.id] = entry.stated


def _of_table(name: str, read: Callable[[str], Iterator[dict[str, object]]]) -> Callable[[], Iterator[Entry]]:
    folder = parent(name)

    def listed() -> Iterator[Entry]:
        for row in read(name):
            stated, page = str(row["path"]), row.get("page")
            by_default = plain(stated) if page is None else f"{plain(stated)}_{page}"
            id = composed(str(row.get("id") or by_default))
            yield Entry(id, join(folder, stated.replace("\\", "/")), stated, row.get("spacing"), page)  # pyright: ignore[reportArgumentType]

    return listed


def _of_folder(folder: Path, recursive: bool) -> Callable[[], Iterator[Entry]]:
    def listed() -> Iterator[Entry]:
        found = False
        for path in list_folder(folder, recursive=recursive):
            found = True
            stated = folder.resolve().name if path == folder else path.relative_to(folder).as_posix()
            yield Entry(composed(stated), str(path), stated)
        if not found:
            raise ImageError(f"{folder}: a folder without images{_advice(recursive)}")

    return listed


def _of_remote_folder(uri: str, recursive: bool) -> Callable[[], Iterator[Entry]]:
    fs, path = file_system(uri)
    if not fs.isdir(path):
        raise ImageError(f"{uri}: no such folder; give a folder of images, a .csv or a .parquet")

    def listed() -> Iterator[Entry]:
        found = False
        for stated in list_remote_folder(fs, path, recursive=recursive):
            found = True
            yield Entry(composed(stated), join(uri, stated), stated)
        if not found:
            raise ImageError(f"{uri}: a folder without images{_advice(recursive)}")

    return listed


def _advice(recursive: bool) -> str:
    return "; give another" if recursive else " directly in it; --recursive searches its subfolders, too"


def _of_dataset(path: Path, split: str | None, root: str | Path | None) -> Callable[[], Iterator[Entry]]:
    from anatomark.data.description import load_dataset

    @cache
    def entries() -> tuple[Entry, ...]:
        dataset = load_dataset(path, root)
        found = []
        for case in dataset.cases if split is None else dataset.split(split):
            below = case.image_path.is_relative_to(dataset.root)
            stated = case.image_path.relative_to(dataset.root) if below else case.image_path
            at = str(case.image_path)
            found.append(Entry(case.id, at, stated.as_posix(), case.spacing, case.page, case.orientation))
        return tuple(found)

    return lambda: iter(entries())


def _each_page(entries: Iterator[Entry]) -> Iterator[Entry]:
    from anatomark.data.case_list import named_pages

    for entry in entries:
        if entry.page is not None:
            yield entry
        elif is_uri(entry.place):
            raise SettingsError(f"{entry.place}: --stack cannot count the pages of a URI; list them in a column page")
        else:
            for name, page in named_pages(local(entry.place), entry.id):
                yield replace(entry, id=name, page=page)
