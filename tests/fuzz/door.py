"""A door: a place where files from others come in, examples of such files, and how they are changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz.binary_changes import (
    change_bmp,
    change_gzip,
    change_jpeg,
    change_nifti,
    change_png,
    change_safetensors,
    change_tiff,
    change_zip,
)
from tests.fuzz.byte_changes import change_bytes
from tests.fuzz.dicom_changes import change_dicom
from tests.fuzz.text_changes import change_json, change_lines, change_xml, change_yaml

Files = Mapping[str, bytes]
Change = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Door:
    """`seeds` are sound sets of files {path: content}; `enter` opens a folder that holds one, changed.

    `fixed` are files of a set that are never changed. `by_structure` is how often a change knows what it changes.
    """

    name: str
    seeds: Callable[[], list[Files]]
    enter: Callable[[Path], object]
    fixed: tuple[str, ...] = ()
    by_structure: float = 0.6


def tried(*calls: Callable[[], object]) -> None:
    """Make all `calls`; where none gives a value, raise the last refusal."""
    from anatomark.errors import AnatomarkError

    refused: list[AnatomarkError] = []
    for call in calls:
        try:
            call()
        except AnatomarkError as error:
            if "\n" in str(error):
                raise
            error.__context__ = None  # with its frames, it would keep all that was read until the next collection
            refused.append(error.with_traceback(None))
    if len(refused) == len(calls) > 0:
        raise refused[-1]


def changed_files(door: Door, seeds: list[Files], seed: int, number: int) -> Files:
    """The files of input `number`, the same for the same `seed`; the first are the seeds of the door."""
    if number < len(seeds):
        return seeds[number]
    rng = Random(f"{door.name} {seed} {number}")
    files = dict(rng.choice(seeds))
    names = [name for name in files if name not in door.fixed]
    for name in rng.sample(names, 1 if len(names) == 1 or rng.random() < 0.8 else 2):
        content = files[name]
        changes = changes_of(content)
        if changes and rng.random() < door.by_structure:
            files[name] = rng.choice(changes)(content, rng)
        else:
            files[name] = change_bytes(content, rng, tuple(other for held in seeds for other in held.values()))
    if len(files) > 1 and rng.random() < 0.02:
        del files[rng.choice(names)]
    return files


def changes_of(content: bytes) -> list[Change]:
    """The changes that know what `content` is."""
    if content.startswith(b"\x1f\x8b"):
        return [change_gzip]
    if content.startswith(b"PK\x03\x04"):
        return [change_zip]
    if content.startswith(b"\x89PNG"):
        return [change_png]
    if content.startswith((b"II*\0", b"MM\0*")):
        return [change_tiff]
    if content.startswith(b"\xff\xd8"):
        return [change_jpeg]
    if content.startswith(b"BM") and len(content) > 60:
        return [change_bmp]
    if content[128:132] == b"DICM":
        return [change_dicom]
    if content[344:347] in (b"n+1", b"ni1"):
        return [change_nifti]
    if len(content) > 9 and content[8:9] == b"{" and content[7] == 0:
        return [change_safetensors]
    try:
        text = content[:4096].decode()
    except UnicodeDecodeError:
        return [change_lines] if content.startswith((b"NRRD", b"ObjectType", b"NDims")) else []
    if text.lstrip().startswith(("{", "[")):
        try:
            json.loads(content)
        except ValueError:  # a journal: lines of JSON
            return [change_lines, _change_json_line]
        return [change_json]
    if text.lstrip().startswith("<"):
        return [change_xml]
    return [change_yaml, change_yaml, change_lines] if text.startswith("name:") else [change_lines]


def _change_json_line(content: bytes, rng: Random) -> bytes:
    lines = content.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = change_json(lines[at], rng)
    return b"\n".join(lines) + b"\n"
