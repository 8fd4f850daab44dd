"""Image files: those that a pattern of a description finds, their order, and names that tell them apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from anatomark.data.label_maps import fits
from anatomark.errors import DescriptionError
from anatomark.formats.images import image_name, list_images
from anatomark.formats.text import composed


def match_pattern(folder: Path, pattern: str, exclude: Sequence[str]) -> list[Path]:
    """The images in `folder` that a shell pattern fits and no pattern of `exclude`, in natural order."""
    if pattern == "*":
        return [path for path in list_images(folder) if not excluded(path, folder, exclude)]
    found = (path for path in folder.glob(pattern) if not excluded(path, folder, exclude))
    return sorted(found, key=lambda p: (natural(p.name), p))


def match_case_pattern(folder: Path, pattern: str, exclude: Sequence[str]) -> tuple[list[Path], list[str]]:
    """(images, cases) by a pattern with {case} in it, in the natural order of the cases."""
    shell, _, rest = composed(pattern).partition("{case}")
    expression = re.compile(_regex(shell) + "(?P<case>[^/]+)" + _regex(rest).replace(r"\{case\}", "(?P=case)"))
    found: list[tuple[Path, str]] = []
    for path in folder.glob(pattern.replace("{case}", "*")):
        match = expression.fullmatch(composed(path.relative_to(folder).as_posix()))
        if match and not excluded(path, folder, exclude):
            found.append((path, match["case"]))
    found.sort(key=lambda pair: natural(pair[1]))
    return [path for path, _ in found], [name for _, name in found]


def excluded(path: Path, folder: Path, patterns: Sequence[str]) -> bool:
    """Whether a file below `folder` is hidden, as a Mac's ._ files are, or fits one of the shell `patterns`."""
    parts = path.relative_to(folder).parts
    return any(part.startswith(".") for part in parts) or any(fits(path, pattern) for pattern in patterns)


def _regex(shell: str) -> str:
    return re.escape(shell).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sorting key by which case_2 comes before case_10."""
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", composed(text)) if p]


def distinct_names(files: Sequence[Path]) -> list[str]:
    """The image names of `files`; those that several share with their folders before them."""
    names = [image_name(file) for file in files]
    whole = [file.absolute() for file in files]
    if len(set(whole)) < len(whole):
        twice = next(path for path in whole if whole.count(path) > 1)
        raise DescriptionError(f"duplicate image {twice}; give each image once")
    for depth in range(1, max((len(path.parts) for path in whole), default=1)):
        shared = {name for name, count in Counter(names).items() if count > 1}
        if not shared:
            break
        before = [path.parts[max(1, len(path.parts) - 1 - depth) : -1] for path in whole]
        names = [
            "_".join([*folders, image_name(path)]) if name in shared else name
            for path, folders, name in zip(whole, before, names, strict=True)
        ]
    if len(set(names)) < len(names):
        alike = " and ".join(str(path) for path, name in zip(files, names, strict=True) if names.count(name) > 1)
        raise DescriptionError(f"{alike} differ only in their ending; rename them, or leave all but one out")
    return names
