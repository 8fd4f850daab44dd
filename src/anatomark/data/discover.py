"""What a folder of somebody's data holds: images, landmark files, tables."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from anatomark.data.case_list import read_columns
from anatomark.data.discover_formats import FoundExport, find_exports, is_one_image
from anatomark.data.image_files import natural
from anatomark.data.label_maps import NO_LABEL_MAPS, LabelMaps, find_label_maps, fits
from anatomark.data.splits import our_split
from anatomark.errors import AnatomarkError, DescriptionError
from anatomark.formats.image_names import ImageNames
from anatomark.formats.images import image_name, is_image, list_images
from anatomark.formats.landmarks import read_landmarks
from anatomark.formats.text import composed

DEPTH = 4
LANDMARK_ENDINGS = (".mrk.json", ".json", ".fcsv", ".csv", ".tsv", ".txt", ".pts", ".mps", ".landmarkascii")
_OTHERS = (".json", ".pts", ".mps", ".landmarkascii")  # endings that files of many kinds have
WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
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
    """Images in `folder` (relative to the root) by `pattern`; `cases` maps case names to files.

    `label_maps` lie beside them and are none; `exclude` are the shell patterns of those that `pattern` would take in.
    """

    folder: str
    pattern: str
    cases: dict[str, Path]
    elsewhere: tuple[str, ...] = ()
    label_maps: LabelMaps = NO_LABEL_MAPS
    exclude: tuple[str, ...] = ()


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
    maps = find_label_maps([file for files in by_folder.values() for file in files])
    if maps.files:
        out = set(maps.files)
        kept = {folder: [file for file in files if file not in out] for folder, files in by_folder.items()}
        by_folder = {folder: files for folder, files in kept.items() if files}
    found = _find(root, by_folder)
    taken = [file for file in maps.files if _takes(root / found.folder, found.pattern, file)]
    exclude = tuple(pattern for pattern in maps.patterns if any(fits(file, pattern) for file in taken))
    return replace(found, label_maps=maps, exclude=exclude)


def _takes(folder: Path, pattern: str, file: Path) -> bool:
    """Whether the pattern of images in `folder` takes the file in."""
    if not file.is_relative_to(folder):
        return False
    parts = file.relative_to(folder).parts
    wanted = pattern.replace("{case}", "*").split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _find(root: Path, by_folder: dict[Path, list[Path]]) -> FoundImages:
    if root in by_folder and not (by_folder[root] == [root] and len(by_folder) > 1):
        return _in_folder(root, root, by_folder)
    by_folder.pop(root, None)
    if not by_folder:
        raise DescriptionError(
            f"no image found in {root}, down to {DEPTH} folders deep; give the folder with the images "
            "(NIfTI, NRRD, MetaImage, DICOM, PNG, JPEG, TIFF, BMP, WebP)"
        )
    (parent, pattern), cases = _case_folders(root, by_folder)
    if len(cases) > 1:
        return FoundImages(parent, pattern, {name: cases[name] for name in sorted(cases, key=natural)})
    fullest = max(by_folder, key=lambda folder: (len(by_folder[folder]), -len(folder.parts)))
    siblings = [folder for folder in by_folder if folder.parent == fullest.parent]
    files = [file for folder in siblings for file in by_folder[folder]]
    endings = {_ending(file) for file in files}
    distinct = {image_name(file) for file in files}
    alike = len({ending.lower() for ending in endings}) == 1 and endings != {""}
    if len(siblings) > 1 and alike and len(distinct) == len(files):
        cases = {image_name(f): f for f in sorted(files, key=lambda f: natural(f.name))}
        return FoundImages(_relative(fullest.parent, root), f"*/*{_any_case(endings)}", cases)
    return _in_folder(fullest, root, by_folder)


def _any_case(endings: set[str]) -> str:
    """The one ending, or a shell pattern of it in either letter case: .[pP][nN][gG]."""
    ending = min(endings)
    if len(endings) == 1:
        return ending
    return "".join(f"[{sign.lower()}{sign.upper()}]" if sign.isalpha() else sign for sign in ending)


def _case_folders(root: Path, by_folder: dict[Path, list[Path]]) -> tuple[tuple[str, str], dict[str, Path]]:
    """The folder and pattern, with {case} a folder's name, that fit most images, and the image of each case."""
    found: dict[tuple[str, str], dict[str, Path]] = {}
    for file in (file for files in by_folder.values() for file in files):
        parts = file.relative_to(root).parts
        for k, case in enumerate(parts[:-1]):
            key = "/".join(parts[:k]) or ".", "{case}/" + _put_case("/".join(parts[k + 1 :]), case)
            found.setdefault(key, {})[composed(case)] = file
    # train/, val/ and test/ are no cases, even where the names in them are the same
    found = {key: cases for key, cases in found.items() if len(cases) > 5 or not all(map(our_split, cases))}
    key = max(found, key=lambda key: len(found[key]), default=(".", "*"))
    return key, found.get(key, {})


def find_files(root: Path, cases: Iterable[str]) -> list[FoundFiles]:
    """Landmark files whose path holds a case's name, grouped by pattern, the most frequent first."""
    known = set(cases)
    groups: dict[str, list[Path]] = {}
    for folder in _folders(root):
        for path in sorted(folder.iterdir()):
            relative = composed(path.relative_to(root).as_posix())
            if path.name.lower().endswith(LANDMARK_ENDINGS) and path.is_file():
                case = _case_in(relative, known)
                if case:
                    groups.setdefault(_put_case(relative, case), []).append(path)
    found = [
        FoundFiles(pattern, tuple(files))
        for pattern, files in groups.items()
        if pattern.endswith(".mrk.json") or not pattern.lower().endswith(_OTHERS) or is_one_image(files[0])
    ]
    return sorted(found, key=lambda f: (-len(f.files), natural(f.pattern)))


def exports_in(root: Path, cases: Mapping[str, Path]) -> list[FoundExport]:
    """The landmark files of other programs that hold many of the images."""
    return find_exports(root, _folders(root, depth=2), cases)


def find_tables(
    root: Path, cases: Mapping[str, Path], exports: Sequence[FoundExport] = ()
) -> tuple[list[FoundTable], list[str]]:
    """Tables with a column for the image of which most values are cases, and lines on those that cannot be read.

    `exports` need not be such tables.
    """
    names = ImageNames(list(cases), list(cases.values()))
    tables: list[FoundTable] = []
    remarks: list[str] = []
    for folder in _folders(root, depth=2):
        for path in sorted(folder.iterdir()):
            if not path.is_file() or path.name.startswith((".", "~$")):
                continue
            if path.suffix.lower() in WORKBOOKS:
                remarks.append(f"{path} is a spreadsheet's own file and not looked into; save the table as 'CSV UTF-8'")
            if path.suffix.lower() not in (".csv", ".tsv"):
                continue
            try:
                values = read_columns(path)
            except AnatomarkError as error:
                if _relative(path, root) not in {export.path for export in exports}:
                    remarks.append(f"not looked into: {error}")
                continue
            columns = _columns(values)
            if _names_images(values.get(columns.get("image", ""), []), names):
                tables.append(FoundTable(_relative(path, root), columns, values))
            elif _relative(path, root) not in {export.path for export in exports}:
                other = next((name for name, cells in values.items() if _names_images(cells, names)), None)
                remarks += [] if other is None else [_other_words(path, root, other, [*values])]
                if other is None and {"image", "landmark", "x", "y"} <= columns.keys():
                    listed = ", ".join(list(dict.fromkeys(values[columns["image"]]))[:3])
                    found = ", ".join([*cases][:3])
                    remarks.append(
                        f"not taken: most images in {path} ({listed}) are none of those found ({found}), or may be "
                        f"several; call them as their files in its column {columns['image']!r}"
                    )
    return tables, remarks


def _names_images(values: Sequence[str], names: ImageNames) -> bool:
    """Whether most of the values of a column are cases."""
    return bool(values) and sum(match >= 0 for match in names.match(values).images) >= len(values) / 2


def _other_words(path: Path, root: Path, image: str, columns: Sequence[str]) -> str:
    """A line on a table of the images in whose header we do not know the column of images."""
    named = f"{{image: {image}, landmark: NAME, x: NAME, y: NAME}}"
    return (
        f"not taken: {path} names the images in its column {image!r}, which init does not know (columns "
        f"{', '.join(columns[:8])}); if it holds landmarks, write `annotations: [{{table: {_relative(path, root)}, "
        f"columns: {named}}}]` with its own columns for NAME"
    )


def _columns(values: dict[str, list[str]]) -> dict[str, str]:
    lower = {name.lower(): name for name in values}
    found: dict[str, str] = {}
    for ours, theirs in COLUMNS.items():
        name = next((lower[t] for t in theirs if t in lower and lower[t] not in found.values()), None)
        if name is not None:
            found[ours] = name
    return found


def _folders(root: Path, depth: int = DEPTH) -> list[Path]:
    found: list[Path] = []
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
    return composed(file.name)[len(image_name(file)) :]


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
    names: dict[str, None] = {}
    for path in files[:most]:
        for frame in (None, "pixel"):  # names do not depend on the frame; a table that says none gets any
            try:
                names.update(dict.fromkeys(read_landmarks(path, frame=frame).names))
                break
            except AnatomarkError:
                continue
    return list(names)
