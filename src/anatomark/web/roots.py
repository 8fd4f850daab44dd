"""The folders that a server may read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from anatomark.errors import AccessError

# names that are devices for Windows in any folder, and characters with a meaning there
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_FOREIGN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')


class AllowedRoots:
    """Paths below `folders`, with links resolved; any other path is refused.

    A request's path is relative to one of the folders, with / between its parts; the first folder that has it is used.
    """

    def __init__(self, folders: Sequence[str | Path]) -> None:
        self.folders = tuple(_real_folder(Path(folder)) for folder in folders)

    def resolve(self, path: str) -> Path:
        """The existing file or folder that `path` names, without links. Raises `AccessError`.

        Paths outside and paths that do not exist are refused with the same message, which reveals nothing about the
        rest of the disk.
        """
        if not self.folders:
            raise AccessError("no folder may be read by path; upload the image, or start the server with --root FOLDER")
        require_plain(path)
        for folder in self.folders:
            resolved = self._within(folder / path, folder)
            if resolved is not None:
                return resolved
        raise AccessError(f"{path!r} is not below an allowed folder; give a path relative to one of them")

    def require_inside(self, folder: Path) -> None:
        """AccessError if an entry of `folder`, which `resolve` gave, is a link that leads outside."""
        for entry in folder.iterdir():
            if entry.is_symlink() and not any(self._within(entry, root) for root in self.folders):
                raise AccessError(f"{entry.name!r} is a link to a file outside the allowed folders; copy the file")

    def _within(self, path: Path, folder: Path) -> Path | None:
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # missing, circular links, no permission, too long
            return None
        is_readable = real.is_file() or real.is_dir()  # to open a pipe can take for ever
        return real if is_readable and real.is_relative_to(folder) else None


def require_plain(path: str) -> None:
    """AccessError for a path not made of plain names: absolute, with .., or with a special meaning on some system."""
    parts = path.split("/")
    invalid = (
        not path
        or len(path) > 1000
        or _FOREIGN.search(path) is not None
        or any(part in ("", ".", "..") or part != part.rstrip(". ") or _DEVICES.fullmatch(part) for part in parts)
        or not path.isprintable()
    )
    if invalid:
        raise AccessError(f"{path[:100]!r} is not a plain relative path; give names separated by /, without . and ..")


def _real_folder(folder: Path) -> Path:
    try:
        real = folder.resolve(strict=True)
    except (OSError, RuntimeError):
        real = None
    if real is None or not real.is_dir():
        raise AccessError(f"{folder} is not a folder; give one that exists")
    return real
