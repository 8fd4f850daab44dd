"""Ready-made models: trained and described by this project, found by their names wherever a run folder is wanted.

Each has a folder with what a run folder holds for prediction (weights in float16), about.yaml, and README.md, its model
card (Mitchell et al., FAT* 2019, doi:10.1145/3287560.3287596), which has all that a user should know of it.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from anatomark.errors import ModelError, UnknownNameError

ABOUT, CARD = "about.yaml", "README.md"
_HERE = Path(__file__).parent
PLACES = (_HERE / "models", _HERE.parents[1] / "models")  # of an installed package, of its source tree


class About(BaseModel):
    """about.yaml: what a list and a first look want to know; README.md is made from it and from measurements."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    images: str  # what it may be given
    data: str  # what it has learned from
    terms: str  # of use, in one sentence
    use: str
    limits: str
    landmarks: dict[str, str]  # each name, in words


def ready_made() -> dict[str, Path]:
    """{name: folder} of the models that came with this package."""
    found: dict[str, Path] = {}
    for place in PLACES:
        for folder in sorted(place.iterdir()) if place.is_dir() else ():
            if (folder / ABOUT).exists():
                found.setdefault(folder.name, folder)
    return found


def run_folder(run: str | Path) -> Path:
    """The folder `run`, or that of the ready-made model of this name; a folder that is there comes first."""
    path = Path(run)
    return path if path.exists() else ready_made().get(str(run), path)


def about(folder: Path) -> About | None:
    """What a ready-made model's folder says of it; None for any other folder. ModelError where it is damaged."""
    path = folder / ABOUT
    if not path.exists():
        return None
    import yaml

    try:
        return About(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, yaml.YAMLError, ValidationError):
        raise ModelError(f"{path} does not describe a model; install anatomark again") from None


def described(name: str) -> tuple[About, Path]:
    """The About of a ready-made model, and its folder. UnknownNameError where there is none of this name."""
    models = ready_made()
    if name not in models:
        there = f"there are: {', '.join(models)}" if models else "this installation has none"
        raise UnknownNameError(f"no ready-made model {name!r}; {there}")
    known = about(models[name])
    assert known is not None
    return known, models[name]
