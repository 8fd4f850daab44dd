"""Files found by a pattern of a description, without those that it excludes or that a system has left there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from anatomark.data.label_maps import fits
from anatomark.formats.images import list_images
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
    found = []
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
