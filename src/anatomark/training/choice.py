"""Which of several methods goes on after a short trial: the one with the lowest error, or a preferred one beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from anatomark.errors import SettingsError
from anatomark.formats.atomic import write_json
from anatomark.formats.json_text import parsed

FORMAT = 1
LEVEL = 0.95  # of the interval within which two methods do not differ


@dataclass(frozen=True)
class Tried:
    """What a trial saw of a method: the mean radial `error` on validation cases, in the unit of their points, after
    training for `minutes`; `subjects` has the mean error of each subject's landmarks. `steps` are those of all stages,
    None of a method that takes none."""

    method: str
    error: float
    minutes: float
    subjects: Mapping[str, float]
    steps: int | None = None


@dataclass(frozen=True)
class Trial:
    """The record of a trial: what was `tried` so far, of methods that each have `seconds`, and what was `chosen`.

    `guess` is the error of the mean place of each landmark in the training images. `left_out` says why a method was not
    tried; `because` why one was chosen. `cache` is the folder of the chosen method's prepared images.
    """

    seconds: float | None = None
    tried: tuple[Tried, ...] = ()
    guess: float | None = None
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    chosen: str | None = None
    because: str = ""
    cache: str = ""

    @property
    def minutes(self) -> float:
        """That all trials took together."""
        return sum(each.minutes for each in self.tried)

    def save(self, path: Path) -> None:
        """Write trial.json."""
        write_json(path, {"format": FORMAT, **asdict(self)})

    @classmethod
    def read(cls, path: Path) -> Trial:
        """What trial.json says, an empty record where there is none; SettingsError where it is damaged."""
        try:
            held = cast("dict[str, Any]", parsed(path.read_text(encoding="utf-8")))
            if held.pop("format") != FORMAT:
                raise ValueError("format")
            return replace(cls(**held), tried=tuple(Tried(**each) for each in held["tried"]))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise SettingsError(f"{path} is damaged; choose another --out") from None


def choose(tried: Sequence[Tried], reasons: Mapping[str, str], guess: float) -> tuple[str, str]:
    """The method to go on with, and why. `tried` are in the order of preference, for the `reasons` by method.

    It is the first method whose error does not differ from the lowest by more than chance: the 95 % t-interval of the
    mean difference, paired over the subjects of the validation cases, reaches zero. A short trial on a few cases
    orders methods of equal skill at random, and what is known of long trainings is then worth more. A method whose
    error is not below that of a `guess` has learned nothing yet, and loses; where that is so of all, the time was too
    short to tell, and the first one is taken.
    """
    begun = [each for each in tried if each.error < guess]
    if not begun:
        name = tried[0].method
        return name, f"{name} goes on: no method has learned more than the mean place of each landmark ({guess:.2f})"
    best = min(begun, key=lambda each: each.error)
    for each in begun:
        if each is best:
            break
        lower, upper = difference(each, best)
        if lower <= 0:
            return each.method, (
                f"{each.method} goes on: it cannot be told from {best.method} in so short a trial (its error is larger "
                f"by {lower:.2f} to {upper:.2f}), and {reasons[each.method]}"
            )
    return best.method, f"{best.method} goes on: it has the lowest error"


def difference(one: Tried, other: Tried) -> tuple[float, float]:
    """The interval of how much larger the error of `one` is, a mean over the subjects; (inf, inf) where it has none."""
    from scipy import stats

    shared = [subject for subject in one.subjects if subject in other.subjects]
    apart = np.array([one.subjects[subject] - other.subjects[subject] for subject in shared])
    if not np.isfinite(apart).all() or len(apart) < 2:
        return math.inf, math.inf
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(apart) - 1) * apart.std(ddof=1) / math.sqrt(len(apart)))
    return float(apart.mean()) - half, float(apart.mean()) + half
