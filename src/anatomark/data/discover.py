"""What a folder of somebody's data holds: images, landmark files, tables."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anatomark.data.cases import natural, read_columns
from anatomark.errors import AnatomarkError, DescriptionError
from anatomark.formats.images import image_name, is_image, list_images

DEPTH = 4
LANDMARK_ENDINGS = (".mrk.json", ".fcsv", ".csv", ".tsv", ".txt")
COLUMNS = {
    "image": ("image", "image_name", "image_id", "file", "filename", "file_name", "case", "case_id", "id"),
    "landmark": ("landmark", "label", "landmark_name", "point", "name"),
    "x": ("x", "x_mm", "x_px", "col", "column"),
    "y": ("y", "y_mm", "y_px", "row"),
    "z": ("z", "z_mm", "slice"),
    "observer": ("observer", "rater", "reader", "annotator"),
    "frame": ("frame",),
    "state": ("state",),
    "changed": ("changed",),
    "subject": ("subject", "subject_id", "patient", "patient_id", "person"),
    "split": ("split", "subset", "fold"),
    "spacing_x": ("spacing_x", "spacing_x_mm", "sx"),
    "spacing_y": ("spacing_y", "spacing_y_mm", "sy"),
    "spacing_z": ("spacing_z", "spacing_z_mm", "sz"),
}


@dataclass(frozen=True)
class FoundImages:
    """Images in `folder` (relative to the root) by `pattern`; `cases` maps case names to files."""

    folder: str
    pattern: str
    cases: dict[str, Path]
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True)
class FoundTable:
    """A table with a column for the image; `columns` maps ours to its names."""

    path: str
    columns: dict[str, str]
    values: dict[str, list[str]]


@dataclass(frozen=True)
class FoundFiles:
    """Landmark files, one a case, by a `pattern` with {case}."""

    pattern: str
    files: tuple[Path, ...]


def find_images(root: Path) -> FoundImages:
    """The images of the folder, of its fullest subfolder, or one in each subfolder.

    Raises DescriptionError where there is none.
    """
    by_folder = {folder: files for folder in _folders(root) if (files := list_images(folder))}
    if root in by_folder and not (by_folder[root] == [root] and len(by_folder) > 1):
        return _in_folder(root, root, by_folder)
    by_folder.pop(root, None)
    if not by_folder:
        raise DescriptionError(
            f"no image found in {root}, down to {DEPTH} folders deep; give the folder with the images "
            "(NIfTI, NRRD, MetaImage, DICOM, PNG, JPEG, TIFF, BMP)"
        )
    (parent, pattern), cases = _case_folders(root, by_folder)
    if len(cases) > 1:
        return FoundImages(parent, pattern, {name: cases[name] for name in sorted(cases, key=natural)})
    fullest = max(by_folder, key=lambda folder: (len(by_folder[folder]), -len(folder.parts)))
    siblings = [folder for folder in by_folder if folder.parent == fullest.parent]
    files = [file for folder in siblings for file in by_folder[folder]]
    endings = {_ending(file) for file in files}
    distinct = {image_name(file) for file in files}
    if len(siblings) > 1 and len(endings) == 1 and len(distinct) == len(files) and endings != {""}:
        cases = {image_name(f): f for f in sorted(files, key=lambda f: natural(f.name))}
        return FoundImages(_relative(fullest.parent, root), f"*/*{endings.pop()}", cases)
    return _in_folder(fullest, root, by_folder)


def _case_folders(root: Path, by_folder: dict[Path, list[Path]]) -> tuple[tuple[str, str], dict[str, Path]]:
    """The folder and pattern, with {case} a folder's name, that fit most images, and the image of each case."""
    found: dict[tuple[str, str], dict[str, Path]] = {}
    for file in (file for files in by_folder.values() for file in files):
        parts = file.relative_to(root).parts
        for k, case in enumerate(parts[:-1]):
            key = "/".join(parts[:k]) or ".", "{case}/" + _put_case("/".join(parts[k + 1 :]), case)
            found.setdefault(key, {})[case] = file
    return max(found.items(), key=lambda item: len(item[1]))


def find_files(root: Path, cases: Iterable[str]) -> list[FoundFiles]:
    """Landmark files whose path holds a case's name, grouped by pattern, the most frequent first."""
    known = set(cases)
    groups: dict[str, list[Path]] = {}
    for folder in _folders(root):
        for path in sorted(folder.iterdir()):
            relative = path.relative_to(root).as_posix()
            if path.name.lower().endswith(LANDMARK_ENDINGS) and path.is_file():
                case = _case_in(relative, known)
                if case:
                    groups.setdefault(_put_case(relative, case), []).append(path)
    found = [FoundFiles(pattern, tuple(files)) for pattern, files in groups.items()]
    return sorted(found, key=lambda f: (-len(f.files), natural(f.pattern)))


def find_tables(root: Path, cases: Iterable[str]) -> list[FoundTable]:
    """Tables with a column for the image of which most values are cases."""
    known = set(cases)
    tables = []
    for folder in _folders(root, depth=2):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() not in (".csv", ".tsv") or not path.is_file():
                continue
            try:
                values = read_columns(path)
            except AnatomarkError:
                continue
            columns = _columns(values)
            images = values.get(columns.get("image", ""), [])
            hits = sum(image in known or image_name(Path(image)) in known for image in images)
            if images and hits >= len(images) / 2:
                tables.append(FoundTable(_relative(path, root), columns, values))
    return tables


def _columns(values: dict[str, list[str]]) -> dict[str, str]:
    lower = {name.lower(): name for name in values}
    found: dict[str, str] = {}
    for ours, theirs in COLUMNS.items():
        name = next((lower[t] for t in theirs if t in lower and lower[t] not in found.values()), None)
        if name is not None:
            found[ours] = name
    return found


def _folders(root: Path, depth: int = DEPTH) -> list[Path]:
    found = []
    for place, below, _ in os.walk(root):
        folder = Path(place)
        below[:] = sorted(name for name in below if not name.startswith("."))
        if len(folder.relative_to(root).parts) >= depth or (folder != root and is_image(folder)):
            below[:] = []
        if folder == root or not is_image(folder):
            found.append(folder)
    return found


def _in_folder(folder: Path, root: Path, by_folder: dict[Path, list[Path]]) -> FoundImages:
    files = by_folder[folder]
    endings = {_ending(file) for file in files}
    elsewhere = tuple(_relative(other, root) for other in by_folder if other != folder)
    pattern = f"*{endings.pop()}" if len(endings) == 1 and endings != {""} else "*"
    return FoundImages(_relative(folder, root), pattern, {image_name(f): f for f in files}, elsewhere)


def _ending(file: Path) -> str:
    return file.name[len(image_name(file)) :]


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _case_in(relative: str, known: set[str]) -> str | None:
    """The longest case name that is a folder of the path, or a part of its file name between separators."""
    *folders, name = relative.split("/")
    ending = next(e for e in LANDMARK_ENDINGS if name.lower().endswith(e))
    stem = name[: -len(ending)]
    cuts = [0, *(k for m in re.finditer(r"[^A-Za-z0-9]+", stem) for k in m.span()), len(stem)]
    parts = {stem[a:b] for a in cuts for b in cuts if b > a} | set(folders)
    return max((p for p in parts if p in known), key=len, default=None)


def _put_case(relative: str, case: str) -> str:
    pattern = rf"(?<![A-Za-z0-9]){re.escape(case)}(?![A-Za-z0-9])"
    return re.sub(pattern, "{case}", relative)


def names_in(files: Sequence[Path], most: int = 50) -> list[str]:
    """Landmark names in the order they first appear; files that cannot be read are passed over."""
    from anatomark.formats.landmarks import read_landmarks

    names: dict[str, None] = {}
    for path in files[:most]:
        for frame in (None, "pixel"):  # names do not depend on the frame; a table that says none gets any
            try:
                names.update(dict.fromkeys(read_landmarks(path, frame=frame).names))
                break
            except AnatomarkError:
                continue
    return list(names)
