"""model.json, the card of a trained model: what beside the weights is needed to predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from anatomark.errors import ModelError, UnknownNameError
from anatomark.formats.atomic import write_json
from anatomark.formats.json_text import parsed
from anatomark.methods import network_class
from anatomark.methods.in_view import InView
from anatomark.methods.presence import PresenceModel
from anatomark.version import __version__

FORMAT = 2
NAME = "model.json"


class Presence(BaseModel):
    """A `methods.presence.PresenceModel`."""

    weights: tuple[Annotated[FiniteFloat, Field(ge=0)], ...]
    bias: FiniteFloat
    learned_from: str = ""


class View(BaseModel):
    """A `methods.in_view.InView`."""

    weights: tuple[Annotated[FiniteFloat, Field(ge=0)], ...]
    depth: Annotated[FiniteFloat, Field(ge=0)]
    bias: FiniteFloat


class Template(BaseModel):
    """What is beside the grey values of a `data.alignment.Alignment`: the kind of map, the case, `Grid.to_dict`."""

    kind: Literal["rigid", "affine"]
    case: str
    grid: dict[str, Any]


class Card(BaseModel):
    """All of model.json; `network` is judged by the method."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    anatomark: str
    method: str
    dataset: str
    ndim: Literal[2, 3]
    unit: Literal["mm", "px"]
    landmarks: Annotated[tuple[str, ...], Field(min_length=1)]
    pairs: tuple[tuple[str, str], ...]
    presence: Presence
    in_view: View | None = None
    alignment: Template | None = None
    network: dict[str, Any]

    @model_validator(mode="after")
    def _names_agree(self) -> Card:
        if len(set(self.landmarks)) < len(self.landmarks):
            raise ValueError("duplicate landmark")
        strange = {name for pair in self.pairs for name in pair} - set(self.landmarks)
        if strange:
            raise ValueError(f"pairs name {sorted(strange)[0]!r}, which is not a landmark")
        return self


def require_own(folder: Path, path: Path) -> None:
    """ModelError where `path` in the folder of a model is no file of its own, as a stranger may have made it."""
    require_within(folder, path)
    if path.exists() and not path.is_file():
        raise ModelError(f"{path} is not a file; copy the whole folder again")


def require_within(folder: Path, path: Path) -> None:
    """ModelError where `path` is a link out of the folder of a model, or a name that no disk has."""
    try:
        within = path.resolve().is_relative_to(folder.resolve())
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # too long, with a zero, a link to itself
        reason = error.strerror if isinstance(error, OSError) else "no such name can be"
        raise ModelError(f"{path} cannot be read: {reason}; copy the whole folder again") from None
    if not within:
        raise ModelError(f"{path} is a link out of its folder; put what it leads to there (cp -rL), if it is yours")


def read_card(run: Path) -> Card:
    """The card in a run folder, of this format or an earlier one.

    ModelError where there is none, or none that this version understands.
    """
    path = run / NAME
    require_own(run, path)
    try:
        held = parsed(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        begun = any((run / name).exists() for name in ("request.json", "folds.json"))
        state = "its training has not finished" if begun else "it is not a run folder"
        todo = "give the --out folder of anatomark train, or a name that anatomark models lists"
        raise ModelError(f"{run} has no {NAME}: {state}; {todo}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not valid JSON"
        raise ModelError(f"{path} cannot be read: {reason}; copy it again or train again") from None
    if not isinstance(held, dict):
        raise not_a_model(path, "not a JSON object")
    return _card(path, cast("dict[str, Any]", held))


def _card(path: Path, held: dict[str, Any]) -> Card:
    number = held.get("format")
    if isinstance(number, int) and number > FORMAT:
        raise ModelError(
            f"{path} has format {number}, this anatomark ({__version__}) reads {FORMAT} and earlier ones; update "
            f"anatomark ({held.get('anatomark', 'a newer one')} wrote it)"
        )
    try:
        if number == 1:
            held = _from_format_1(held)
        elif number != FORMAT:
            raise not_a_model(path, f"format {number!r}")
        return Card(**held)
    except ValidationError as error:
        raise not_a_model(path, first_fault(error)) from None
    except UnknownNameError as error:
        raise not_a_model(path, str(error)) from None
    except (KeyError, TypeError, ValueError):
        raise not_a_model(path, "something is missing or of another type") from None


def _from_format_1(held: Mapping[str, Any]) -> dict[str, Any]:
    """The same card in today's format: format 1 held the settings of network and training in one."""
    settings = {"align": "none", **held["settings"]}
    network = network_class(held["method"]).from_format_1(settings, len(held["landmarks"]))
    rest = {name: value for name, value in held.items() if name != "settings"}
    return {**rest, "format": FORMAT, "network": network.model_dump()}


def change_presence(run: Path, presence: PresenceModel) -> None:
    """Write model.json of a run folder anew, with `presence`."""
    _change(run, {"presence": Presence(**asdict(presence))})


def change_in_view(run: Path, in_view: InView | None) -> None:
    """Write model.json of a run folder anew, with `in_view`."""
    _change(run, {"in_view": None if in_view is None else View(**asdict(in_view))})


def _change(run: Path, update: dict[str, Any]) -> None:
    write_json(run / NAME, read_card(run).model_copy(update=update).model_dump(mode="json"))


def first_fault(error: ValidationError) -> str:
    """The first fault in a few words, after the place where it is."""
    fault = error.errors()[0]
    where = ".".join(map(str, fault["loc"]))
    what = fault["msg"].removeprefix("Value error, ").lower()
    return f"{where}: {what}" if where else what


def not_a_model(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path} does not describe a model ({reason}); copy it again or train again")
