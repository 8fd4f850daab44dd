"""ensemble.json: the run folders whose models are the members of one, and what corrects their presence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from anatomark.card import Card, read_card, require_own, require_within
from anatomark.errors import ModelError
from anatomark.formats.atomic import write_json
from anatomark.formats.json_text import parsed
from anatomark.methods.presence import PresenceModel
from anatomark.version import __version__

ENSEMBLE = "ensemble.json"
FORMAT = 2

Kind = Literal["folds", "methods"]


@dataclass(frozen=True)
class Ensemble:
    """`members` are run folders in that of the whole: the `kind` says whether they are folds or methods.

    `presence` corrects the probability of each member, where it is there.
    """

    members: tuple[Path, ...]
    kind: Kind
    presence: PresenceModel | None = None

    def save(self, run: Path) -> None:
        """Write ensemble.json, after which the folder `run` holds a whole model."""
        about = {
            "format": FORMAT,
            "anatomark": __version__,
            "kind": self.kind,
            "members": [member.name for member in self.members],
            "presence": None if self.presence is None else asdict(self.presence),
        }
        write_json(run / ENSEMBLE, about)


def read_ensemble(run: Path) -> Ensemble | None:
    """What ensemble.json in a run folder says, of this format or the earlier one; None where there is none.

    Raises ModelError where it is damaged, or of a later format.
    """
    path = run / ENSEMBLE
    require_own(run, path)
    try:
        about = cast("dict[str, Any]", parsed(path.read_text(encoding="utf-8")))
        number = about["format"]
        if number not in (1, FORMAT):
            raise ModelError(
                f"{path} has format {number!r}, this version reads {FORMAT} and earlier ones; "
                "update anatomark, or use the one that wrote it"
            )
        kind: Kind = "folds" if number == 1 else about["kind"]
        names = [str(name) for name in about["folds" if number == 1 else "members"]]
        members = tuple(run / name for name in names)
        if any(name != Path(name).name or name in ("", "..") for name in names):
            raise ValueError("members")
        held = about["presence"]
        weights = () if held is None else tuple(float(w) for w in held["weights"])
        presence = None if held is None else PresenceModel(weights, float(held["bias"]), str(held["learned_from"]))
        if not members or len(weights) > 1 or kind not in ("folds", "methods"):
            raise ValueError("members")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{path} does not describe an ensemble; copy it again or train again") from None
    for member in members:
        require_within(run, member)
    return Ensemble(members, kind, presence)


def read_cards(run: Path) -> list[Card]:
    """The model.json of each member of the model in a run folder; of a model with one member, its own.

    Raises ModelError as `read_card` and `read_ensemble`.
    """
    ensemble = read_ensemble(run)
    return [read_card(run)] if ensemble is None else [read_card(member) for member in ensemble.members]


def methods_of(cards: list[Card]) -> str:
    """The methods of a model's members, each named once."""
    return ", ".join(dict.fromkeys(card.method for card in cards))
