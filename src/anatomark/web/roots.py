"""The folders that a server may read, and nothing beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from anatomark.errors import AccessError

# names that Windows takes for devices wherever they stand, and characters that it reads as something else
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_FOREIGN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')


class AllowedRoots:
    """Paths below `folders`, resolved; a path from elsewhere is refused, whatever it is called and linked as.

    A request's path is relative to one of the folders, with / between its parts; the first folder that has it counts.
    """

    def __init__(self, folders: Sequence[str | Path]) -> None:
        self.folders = tuple(_real_folder(Path(folder)) for folder in folders)

    def resolve(self, path: str) -> Path:
        """The existing file or folder that `path` names, without links. Raises `AccessError`.

        What lies outside and what does not exist are refused in the same words, so that nothing is told of the rest of
        the disk.
        """
        if not self.folders:
            raise AccessError("no folder may be read by path; upload the image, or start the server with --root FOLDER")
        require_plain(path)
        for folder in self.folders:
            found = self._within(folder / path, folder)
            if found is not None:
                return found
        raise AccessError(f"{path!r} is not below an allowed folder; give a path relative to one of them")

    def require_inside(self, folder: Path) -> None:
        """AccessError if an entry of `folder`, which `resolve` gave, is a link that leads outside."""
        for entry in folder.iterdir():
            if entry.is_symlink() and not any(self._within(entry, root) for root in self.folders):
                raise AccessError(f"{entry.name!r} is a link that leads outside of the allowed folders; copy the file")

    def _within(self, path: Path, folder: Path) -> Path | None:
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # missing, a loop of links, no permission, too long
            return None
        return real if real.is_relative_to(folder) else None


def require_plain(path: str) -> None:
    """AccessError for a path not made of plain names: absolute, with .., or one that means more to some system."""
    parts = path.split("/")
    strange = (
        not path
        or len(path) > 1000
        or _FOREIGN.search(path) is not None
        or any(part in ("", ".", "..") or part != part.rstrip(". ") or _DEVICES.fullmatch(part) for part in parts)
        or not path.isprintable()
    )
    if strange:
        raise AccessError(f"{path[:100]!r} is no plain relative path; give names with / between them, without . and ..")


def _real_folder(folder: Path) -> Path:
    try:
        real = folder.resolve(strict=True)
    except (OSError, RuntimeError):
        real = None
    if real is None or not real.is_dir():
        raise AccessError(f"{folder} is no folder; give one that exists")
    return real
