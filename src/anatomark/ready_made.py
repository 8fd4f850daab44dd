"""Ready-made models: trained and described by this project, usable by name wherever a run folder is expected.

Each has a folder with the files of a run folder that prediction needs (weights in float16), about.yaml, and README.md,
its model card (Mitchell et al., FAT* 2019, doi:10.1145/3287560.3287596).
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from anatomark.errors import ModelError, UnknownNameError

_CHECKSUM = re.compile(r"^\| ([\w-]+\.(?:json|safetensors)) \| ([0-9a-f]{64}) \|$", re.MULTILINE)
ABOUT, CARD = "about.yaml", "README.md"
_HERE = Path(__file__).parent
PLACES = (_HERE / "models", _HERE.parents[1] / "models")  # of an installed package, of its source tree


class About(BaseModel):
    """about.yaml: the summary of a model; README.md is generated from it and from measurements."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    images: str  # it is meant for
    data: str  # it was trained on
    terms: str  # of use, in one sentence
    use: str
    limits: str
    landmarks: dict[str, str]  # {name: description}


def ready_made() -> dict[str, Path]:
    """{name: folder} of the models that came with this package."""
    models: dict[str, Path] = {}
    for place in PLACES:
        for folder in sorted(place.iterdir()) if place.is_dir() else ():
            if (folder / ABOUT).exists():
                models.setdefault(folder.name, folder)
    return models


def run_folder(run: str | Path) -> Path:
    """The folder `run` if it exists, else the folder of the ready-made model of this name."""
    path = Path(run)
    return path if path.exists() else ready_made().get(str(run), path)


def is_ready_made(folder: Path) -> bool:
    """Whether `folder` is that of a model that came with this package; a copy of one is not."""
    return folder.resolve() in {own.resolve() for own in ready_made().values()}


def about(folder: Path) -> About | None:
    """The About of the folder of a ready-made model or of its copy, else None. ModelError if it is damaged."""
    path = folder / ABOUT
    return _read(path) if path.exists() else None


def _read(path: Path) -> About:
    try:
        return About(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, yaml.YAMLError, ValidationError):
        raise ModelError(f"{path} does not describe a model; install anatomark again") from None


def changed_files(folder: Path) -> list[str]:
    """What of a ready-made model, or of a copy of one, is not as its card says, a line each: [] if it is whole.

    ModelError if there is no card, or one without checksums.
    """
    path = folder / CARD
    try:
        stated = dict(_CHECKSUM.findall(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        raise ModelError(f"{folder} has no {CARD}, the card with its checksums; it is no ready-made model") from None
    if not stated:
        raise ModelError(f"{path} has no checksums; it is of an earlier version, or no card of a ready-made model")
    here = {file.name for file in folder.glob("*.safetensors")} | stated.keys()
    return [f"{name} {fault}" for name in sorted(here) if (fault := _fault(folder / name, stated.get(name)))]


def _fault(file: Path, stated: str | None) -> str:
    if stated is None:
        return "does not belong to it"
    try:
        with open(file, "rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if found == stated else f"is another: its SHA-256 is {found}, the card has {stated}"


def described(name: str) -> tuple[About, Path]:
    """The About and the folder of a ready-made model. UnknownNameError if there is none of this name."""
    models = ready_made()
    if name not in models:
        available = f"there are: {', '.join(models)}" if models else "this installation has none"
        raise UnknownNameError(f"no ready-made model {name!r}; {available}")
    return _read(models[name] / ABOUT), models[name]
