"""Label maps and masks beside images: files that segmentation leaves there, and that are no cases."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from anatomark.core.grid import Grid
from anatomark.errors import AnatomarkError
from anatomark.formats.image_names import stem
from anatomark.formats.reader_process import Load, ReaderProcesses
from anatomark.formats.text import composed

WORDS = frozenset(
    {
        "seg",
        "segs",
        "segm",
        "segmentation",
        "segmentations",
        "label",
        "labels",
        "labelmap",
        "labelmaps",
        "lbl",
        "lbls",
        "mask",
        "masks",
        "msk",
        "roi",
        "rois",
    }
)
IMAGE_WORDS = frozenset(
    {
        "image",
        "images",
        "img",
        "imgs",
        "im",
        "volume",
        "volumes",
        "vol",
        "scan",
        "scans",
        "ct",
        "mr",
        "mri",
        "raw",
        "orig",
        "original",
    }
)
FEW_LEVELS = 64
SAMPLED = 1 << 21  # voxels that are looked at
TRIED = 4  # files of a kind that are opened, where all of them agree


@dataclass(frozen=True)
class LabelMaps:
    """Files that are label maps by all signs, and shell patterns (by name, or by path below a folder with a "/")."""

    files: tuple[Path, ...] = ()
    patterns: tuple[str, ...] = ()

    def told(self, what: str = "left out") -> str:
        """A line that says so."""
        one = len(self.files) == 1
        shown = self.files[0].name if one else ", ".join(self.patterns[:3]) + " ..." * (len(self.patterns) > 3)
        kind = "a label map or mask" if one else "label maps or masks"
        number = "1 file" if one else f"{len(self.files)} files"
        return f"{number} ({shown}) {'is' if one else 'are'} {kind}, no image{'s' * (not one)}: {what}"


NO_LABEL_MAPS = LabelMaps()


def find_label_maps(files: Sequence[Path]) -> LabelMaps:
    """Those of the image `files` that are label maps.

    A name alone is no proof (mask_patient.png may be a photograph), nor are few grey values. A file is one whose name
    says so, that goes with an image by its name or its Grid, and that holds few whole numbers; or, whatever its name,
    one of few whole numbers on the Grid of an image of many whose name its own begins with or whose folder it shares.
    """
    files = [file for file in files if file.is_file()]  # a DICOM series is none
    words = {file: _words(file) for file in files}
    top = {file.parent for file in files}
    top = {folder for folder in top if all(other.is_relative_to(folder) for other in top)}  # its name is of all files
    named = {f for f in files if words[f] & WORDS or (f.parent not in top and _words_of(f.parent.name) & WORDS)}
    images = [file for file in files if file not in named]
    bases = {_base(image) for image in images}
    by_stem = {(image.parent, stem(image.name)): image for image in images}
    by_folder: dict[Path, list[Path]] = {}
    for image in images:
        by_folder.setdefault(image.parent, []).append(image)

    kinds: dict[str, list[Path]] = {}
    for file in files:
        if file in named:
            kinds.setdefault(_pattern(file), []).append(file)
        elif (partner := _longer_than(file, by_stem)) is not None:
            rest = stem(file.name)[len(stem(partner.name)) :]
            kinds.setdefault(f"*{rest}{_ending(file)}", []).append(file)
        elif 1 < len(by_folder[file.parent]) <= 8 and len(by_folder) > 1:  # a folder for each case
            kinds.setdefault(f"*/{file.name}", []).append(file)

    with ReaderProcesses(1 if kinds else 0) as readers:
        looks = cache(partial(_look, load=readers.load))

        def is_map(file: Path) -> bool:
            own = looks(file)
            by_name = file in named and (_base(file) in bases or (not _base(file) and file.parent in by_folder))
            if own is None:
                return by_name
            if not own.few:
                return False
            if by_name:
                return True
            longer = _longer_than(file, by_stem)
            others = [longer] if longer is not None else by_folder.get(file.parent, []) or images
            near = [looks(other) for other in others[:20] if other != file]
            return any(other is not None and not other.few and _same_grid(own.grid, other.grid) for other in near)

        found: list[Path] = []
        for members in kinds.values():
            tried = members[:TRIED]
            verdicts = [is_map(file) for file in tried]
            if all(verdicts):
                found += members
            elif any(verdicts):
                found += [file for file in members if is_map(file)]
    chosen = set(found)
    if len(chosen) == len(files):
        return NO_LABEL_MAPS
    return LabelMaps(tuple(file for file in files if file in chosen), _patterns(kinds, chosen, files))


def _patterns(kinds: dict[str, list[Path]], chosen: set[Path], files: Sequence[Path]) -> tuple[str, ...]:
    """Shell patterns that fit the chosen files and no other of `files`."""
    patterns: list[str] = []
    for pattern, members in kinds.items():
        mine = [file for file in members if file in chosen]
        if not mine:
            continue
        if any(fits(file, pattern) for file in files if file not in chosen):
            patterns += [file.name for file in mine]
        else:
            patterns.append(pattern)
    return tuple(dict.fromkeys(patterns))


def fits(file: Path, pattern: str) -> bool:
    """Whether a file's name, or its path where the pattern has a "/", ends in what the pattern says."""
    whole = composed(file.as_posix() if "/" in pattern else file.name)
    return fnmatch.fnmatchcase(whole, composed(f"*/{pattern}" if "/" in pattern else pattern))


@dataclass(frozen=True)
class _Look:
    grid: Grid
    few: bool


def _look(file: Path, load: Load) -> _Look | None:
    """The Grid of an image and whether it holds few whole numbers; None where it cannot be read."""
    try:
        image, _ = load(file)
    except AnatomarkError:
        return None
    values = image.array.ravel()[:: max(1, image.array.size // SAMPLED)]
    if values.dtype.kind == "f" and (not np.isfinite(values).all() or (values != np.round(values)).any()):
        return _Look(image.grid, False)
    levels, counts = np.unique(values, return_counts=True)
    most = np.sort(counts)[-16:].sum() / max(1, counts.sum())  # a mask saved as JPEG has noise at its borders
    return _Look(image.grid, bool((len(levels) <= FEW_LEVELS and len(levels) < 0.1 * values.size) or most >= 0.99))


def _same_grid(a: Grid, b: Grid) -> bool:
    return a.shape == b.shape and np.allclose(a.affine, b.affine, rtol=1e-3, atol=1e-3)


def _words(file: Path) -> frozenset[str]:
    return _words_of(stem(file.name))


def _words_of(name: str) -> frozenset[str]:
    return frozenset(part.lower() for part in _parts(name))


def _parts(name: str) -> list[str]:
    """The words and numbers of a name: case0-Label2 is case, 0, Label, 2."""
    return re.findall(r"[^\W\d_]+?(?=[A-Z][a-z]|[\W\d_]|$)|\d+", composed(name))


def _base(file: Path) -> tuple[str, ...]:
    """What a name says of the case: its words without those for labels and for images."""
    return tuple(w for part in _parts(stem(file.name)) if (w := part.lower()) not in WORDS and w not in IMAGE_WORDS)


def _longer_than(file: Path, images: Mapping[tuple[Path, str], Path]) -> Path | None:
    """The image in the same folder whose name this one begins with, and goes on after a separator."""
    own = stem(file.name)
    ends = [at for at, sign in enumerate(own) if at and sign in "-_ ."]
    return next((images[key] for at in reversed(ends) if (key := (file.parent, own[:at])) in images), None)


def _ending(file: Path) -> str:
    name = composed(file.name)
    return name[len(stem(name)) :]


def _pattern(file: Path) -> str:
    """The shell pattern of the files that are named so: *_seg.nii.gz, mask_*.png, labels/*.png."""
    name, ending = stem(file.name), _ending(file)
    word = "|".join(sorted(WORDS, key=len, reverse=True))
    if re.fullmatch(word, name, re.IGNORECASE):
        return name + ending
    if last := re.search(rf"[\W_]+(?:{word})$|(?<=[a-z0-9])(?:Seg|Mask|Label)$", name, re.IGNORECASE):
        return f"*{last[0]}{ending}"
    if first := re.match(rf"(?:{word})[\W_]+", name, re.IGNORECASE):
        return f"{first[0]}*{ending}"
    if _words_of(file.parent.name) & WORDS:
        return f"{composed(file.parent.name)}/*{ending}"
    return name + ending
