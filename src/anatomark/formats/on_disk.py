"""Whether a file is there that another file names: what no disk can have as a name is not there."""

from __future__ import annotations

import errno
from pathlib import Path


def is_file(path: Path) -> bool:
    """As `path.is_file()`, and False for a name that is too long."""
    try:
        return path.is_file()
    except OSError as error:
        return _raised_unless_too_long(error)


def exists(path: Path) -> bool:
    """As `path.exists()`, and False for a name that is too long."""
    try:
        return path.exists()
    except OSError as error:
        return _raised_unless_too_long(error)


def _raised_unless_too_long(error: OSError) -> bool:
    if error.errno != errno.ENAMETOOLONG:
        raise error
    return False
