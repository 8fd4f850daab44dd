"""Provenance: the command line that repeats a result, and the versions that made it."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import anatomark

Option = str | float | Path | Sequence[float] | None
"""The value of an option of the command line; None where it was not given."""


def command_line(verb: str, arguments: Sequence[str], options: Mapping[str, Option]) -> str:
    """`anatomark VERB ARGUMENTS --option value`, quoted for a shell; options without a value are left out."""
    words = [word for option, value in options.items() if value is not None for word in (f"--{option}", _text(value))]
    return shlex.join(["anatomark", verb, *arguments, *words])


def _text(value: str | float | Path | Sequence[float]) -> str:
    if isinstance(value, str | float | int | Path):
        return str(value)
    return ",".join(f"{number:g}" for number in value)


def package_versions(*packages: str) -> dict[str, str]:
    """The versions of this package, of `packages` and of Python."""
    versions = {"anatomark": anatomark.__version__}
    versions |= {package: version(package) for package in packages}
    return versions | {"python": platform.python_version()}
