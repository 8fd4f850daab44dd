"""Paths and URIs: what a text names, how one is found from another, and the file system that it is on."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from anatomark.errors import MissingExtraError, OutputError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters or more: C:// is a drive


def is_uri(place: str) -> bool:
    """Whether `place` is a URI of another file system than this machine's, such as s3://bucket/folder."""
    return _SCHEME.match(place) is not None and not place.startswith("file://")


def local(place: str) -> Path:
    """The path on this machine, also of a file:// URI."""
    return Path(unquote(place.removeprefix("file://"))) if place.startswith("file://") else Path(place)


def join(place: str, name: str) -> str:
    """What `name` names as seen from the folder `place`; an absolute path or a URI stays as it is."""
    if _SCHEME.match(name):
        return name
    if is_uri(place):
        return f"{place.rstrip('/')}/{name}"
    return os.path.join(local(place) if place.startswith("file://") else place, name)


def parent(place: str) -> str:
    """The folder of a file."""
    return place.rsplit("/", 1)[0] if is_uri(place) else str(local(place).parent)


def plain(name: str) -> str:
    """A relative path in one form: forward slashes, no `./`."""
    return name if _SCHEME.match(name) else posixpath.normpath(name.replace("\\", "/"))


def file_system(uri: str) -> tuple[Any, str]:
    """(fsspec's file system, path on it). MissingExtraError, OutputError where there is none for such a URI."""
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(uri)
    except ImportError as error:
        raise MissingExtraError(f"{uri} needs another package: {error}; install it with pip") from None
    except ValueError as error:
        raise OutputError(f"{uri}: {error}; give a path or a URI such as s3://bucket/folder") from None


def as_file_name(id: str) -> str:
    """A relative path for files about the image `id`, which stays below its folder whatever the id holds."""
    parts = [quote(part, safe=" ()[]+,=@") for part in id.split("/") if part not in ("", ".")]
    return "/".join("%2E%2E" if part == ".." else part for part in parts)
