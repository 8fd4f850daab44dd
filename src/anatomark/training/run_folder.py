"""The run folder: all that a training leaves behind.

settings.json            the complete network and training, planned values included
budget.json              with --minutes: the time and the first number of steps of each stage
request.json             what was asked for: method, data set, preset, set values; a resumed run must ask the same
log.jsonl                a line every few steps and every validation
tensorboard/             the same for TensorBoard, with pictures of validation cases
validation_NAME.jpg      the last of these pictures of a stage
checkpoint.safetensors   the stage in progress; gone when the run has ended
stage_NAME.safetensors   the kept weights of an ended stage; gone when the run has ended
cache/                   the prepared cache; gone when the run has ended, unless keep_cache
model.json               with model.safetensors, all that prediction needs
model.safetensors
error_bounds.safetensors  how far predictions may be off; see `methods.error_bound`
suitability.safetensors   what is usual in suitable images; see `methods.suitability`

A run with folds has folds.json, which says what was asked and which cases each fold leaves out, a run folder fold1,
fold2, ... for each, out_of_fold.csv, and, when all have ended, ensemble.json and error_bounds.safetensors of its own. A
run of both methods has request.json, a run folder for each method, called as it is, and in the end the same two files.
A run that tries methods first has trial.json, which says what it saw, and a folder trial/ until it has seen it.
"""

from __future__ import annotations

import reprlib
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from anatomark.ensemble import ENSEMBLE
from anatomark.errors import SettingsError
from anatomark.formats.atomic import new_folder, sweep, write_json
from anatomark.formats.json_text import parsed
from anatomark.formats.locks import holding
from anatomark.methods.interface import AnyDetector, AnyPlan, Plan

_SHORT = reprlib.Repr()  # a list of cases may be long
_SHORT.maxlist, _SHORT.maxstring = 4, 60


FORMAT = 2  # of settings.json
FOLDS = "folds.json"  # of a run with folds, in whose folder each fold has a run folder
OUT_OF_FOLD = "out_of_fold.csv"  # predictions of each case by the fold that has not seen it


def fold_folders(run: Path) -> list[Path]:
    """The run folders of a run with folds, [] for any other; SettingsError where its list is damaged."""
    try:
        count = parsed((run / FOLDS).read_text(encoding="utf-8"))["folds"]
        return [fold_folder(run, number) for number in range(count)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError, KeyError, TypeError):
        raise SettingsError(f"{run / FOLDS} is damaged; copy it again or choose another --out") from None


def fold_folder(run: Path, number: int) -> Path:
    """The run folder of a fold, `number` counted from 0; fold1 is the first."""
    return run / f"fold{number + 1}"


@contextmanager
def alone_in(out: Path) -> Generator[None]:
    """The folder `out`, in which no other process trains meanwhile; new and still empty, it is removed on failure.

    Raises SettingsError where another process does, or where `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise SettingsError(f"{out} exists and is not a run folder; choose another --out")
    busy = SettingsError(f"another process is training in {out}; wait until it has ended, or choose another --out")
    with new_folder(out), holding(out, busy):
        yield


class RunFolder:
    """Paths of a run and its plan. `open` makes or continues the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = path / "settings.json"
        self.budget = path / "budget.json"
        self.request = path / "request.json"
        self.log = path / "log.jsonl"
        self.tensorboard = path / "tensorboard"
        self.checkpoint = path / "checkpoint.safetensors"
        self.cache = path / "cache"
        self.trial = path / "trial.json"
        self.model = path / "model.json"
        self.weights = path / "model.safetensors"

    def stage(self, name: str) -> Path:
        return self.path / f"stage_{name}.safetensors"

    def picture(self, stage: str) -> Path:
        return self.path / f"validation_{stage}.jpg"

    def stages(self) -> list[Path]:
        """The weights of the stages that have ended, as long as the run is not finished."""
        return sorted(self.path.glob("stage_*.safetensors"))

    @property
    def finished(self) -> bool:
        return self.model.exists() or (self.path / ENSEMBLE).exists()

    @property
    def begun(self) -> bool:
        """Whether there is work in it that another run would destroy."""
        own = any(path.exists() for path in (self.log, self.checkpoint, self.weights, self.model, self.trial))
        return own or any(self.path.glob("*/request.json"))

    def open(self, request: dict[str, Any]) -> bool:
        """Make the folder, or continue it; true where there is a run of the same `request` to go on with.

        A run that was stopped before its first step makes way for another request. Raises SettingsError where the
        folder holds something else, and names what differs.
        """
        sweep(self.path)
        if self.request.exists():
            earlier, now = _flat(self._earlier_request()), _flat(request)
            different = sorted(k for k in now.keys() | earlier.keys() if now.get(k) != earlier.get(k))
            if not different:
                return True
            if self.begun:
                short = _SHORT.repr
                changes = "; ".join(f"{k} was {short(earlier.get(k))}, now {short(now.get(k))}" for k in different)
                raise SettingsError(f"{self.path} holds a run of another kind ({changes}); choose another --out")
            self.settings.unlink(missing_ok=True)
            write_json(self.request, request)
            return True
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise SettingsError(f"{self.path} exists and is not a run folder; choose another --out")
        with new_folder(self.path):
            write_json(self.request, request)
        return False

    def _earlier_request(self) -> dict[str, Any]:
        try:
            earlier = parsed(self.request.read_text(encoding="utf-8"))
        except ValueError:
            earlier = None
        if not isinstance(earlier, dict):
            raise SettingsError(f"{self.request} is damaged, the run cannot go on; choose another --out")
        return earlier

    def tidy(self, *, keep_cache: bool) -> None:
        """Remove what a finished run needs no more."""
        for leftover in (self.checkpoint, self.budget, *self.stages()):
            leftover.unlink(missing_ok=True)
        if not keep_cache:
            shutil.rmtree(self.cache, ignore_errors=True)

    def discard(self, *, keep_folder: bool) -> None:
        """Remove what a run has left that never took a step; the folder too, unless it is to be kept."""
        shutil.rmtree(self.cache, ignore_errors=True)
        self.request.unlink(missing_ok=True)
        self.settings.unlink(missing_ok=True)
        self.budget.unlink(missing_ok=True)
        if not keep_folder:
            self.path.rmdir()

    def write_plan(self, plan: AnyPlan) -> None:
        """Write settings.json: the complete network and training."""
        parts = {"network": plan.network.model_dump(), "training": plan.training.model_dump()}
        write_json(self.settings, {"format": FORMAT, **parts, "undecided": plan.undecided})

    def read_plan(self, kind: type[AnyDetector]) -> AnyPlan:
        """What `write_plan` wrote of a method; SettingsError where it is damaged or of another version."""
        try:
            held = cast("dict[str, Any]", parsed(self.settings.read_text(encoding="utf-8")))
            if held.get("format") != FORMAT:
                raise SettingsError(
                    f"{self.settings} belongs to another version of anatomark, which began this run; "
                    "finish it with that one, or choose another --out"
                )
            network = kind.network_type.model_validate(held["network"])
            training = kind.training_type.model_validate(held["training"])
            return Plan(network, training, tuple(map(str, held["undecided"])))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SettingsError(f"{self.settings} is damaged; choose another --out") from None


def _flat(request: dict[str, Any]) -> dict[str, Any]:
    """A request with "settings.NAME" for each of its settings."""
    settings = request.get("settings")
    if not isinstance(settings, dict):
        return request
    return {k: v for k, v in request.items() if k != "settings"} | {f"settings.{k}": v for k, v in settings.items()}
