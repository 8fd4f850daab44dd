"""What is asked of a training: the method, its settings and the device, resolved once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from anatomark.data.did_you_mean import did_you_mean
from anatomark.deprecation import warn_renamed
from anatomark.errors import SettingsError
from anatomark.methods import detector_class
from anatomark.methods.interface import AnyDetector
from anatomark.methods.settings import EARLIER_UNTIL, Settings
from anatomark.nets.devices import choose_device
from anatomark.training.processes import ALONE, Processes

if TYPE_CHECKING:
    from anatomark.training.data import TrainingData


@dataclass(frozen=True)
class Request:
    """A `method` with its `settings`: those `given`, over those of the `preset`; `device` is "cpu" or "cuda".

    `asked` is what a user called for where that was no method: "auto" or "both". The `processes` share each step; a run
    may be resumed by another number of them.
    """

    method: type[AnyDetector]
    settings: Settings
    device: str
    preset: str | None
    given: Mapping[str, Any]
    asked: str | None = None
    processes: Processes = ALONE

    @classmethod
    def resolved(
        cls,
        method: str,
        ndim: int,
        *,
        preset: str | None,
        settings: Mapping[str, Any] | None,
        device: str,
        processes: Processes = ALONE,
    ) -> Request:
        """SettingsError that names all faults at once; UnknownNameError for a method there is not."""
        kind = detector_class(method)
        given = dict(settings or {})
        resolved = resolve_settings(kind, ndim, preset, given)
        return cls(kind, resolved, choose_device(device), preset, given, processes=processes)

    def for_one_of(self, trainings: int) -> Request:
        """The same for one of so many trainings that follow one another: they share the time budget."""
        minutes = self.settings.minutes
        if minutes is None:
            return self
        return replace(self, settings=self.settings.model_copy(update={"minutes": minutes / trainings}))

    def record(self, data: TrainingData | None = None) -> dict[str, Any]:
        """What the run folder keeps, to know the same request again; with `data`, also what is learned from."""
        asked = {
            "method": self.asked or self.method.name,
            "preset": self.preset,
            "settings": json.loads(json.dumps(dict(self.given))),
        }
        if data is None:
            return asked
        return {
            **asked,
            "dataset": data.name,
            "landmarks": list(data.names),
            "train": list(data.roles["train"]),
            "validation": list(data.roles["validation"]),
        }


def resolve_settings(
    kind: type[AnyDetector], ndim: int, preset: str | None, settings: Mapping[str, Any] | None
) -> Settings:
    """The settings of a detector class with a preset and overrides; SettingsError names all faults at once."""
    if preset is not None and preset not in kind.presets:
        known = ", ".join(kind.presets) or "it has none"
        raise SettingsError(f"no preset {preset!r} for {kind.name}; there are: {known}")
    present = kind.settings_type.earlier_names
    given = dict(settings or {})
    for old, new in present.items():
        if old in given and new in given:
            raise SettingsError(f"{old} and {new} are two names of one setting; give {new}")
        if old in given:
            warn_renamed(f"setting {old}", new, until=EARLIER_UNTIL)
    values = {**(kind.presets[preset](ndim) if preset else {}), **{present.get(k, k): v for k, v in given.items()}}
    try:
        return kind.settings_type(**values)
    except ValidationError as error:
        faults: list[str] = []
        for fault in error.errors():
            name = ".".join(str(part) for part in fault["loc"][:1])
            if fault["type"] == "extra_forbidden":
                known = list(kind.settings_type.model_fields)
                faults.append(f"no setting {name!r}{did_you_mean(name, known) or '; there are: ' + ', '.join(known)}")
            elif not name:
                faults.append(fault["msg"].removeprefix("Value error, "))
            else:
                faults.append(f"{name}={fault['input']!r}: {fault['msg'].lower()}")
        raise SettingsError("; ".join(faults)) from None


def settings_of(kind: type[AnyDetector], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `settings` that a detector class knows, by any name that they have had."""
    asked = kind.settings_type
    known = {*asked.model_fields, *asked.earlier_names, *asked.fixed}
    return {name: value for name, value in settings.items() if name in known}


def parse_setting(text: str) -> tuple[str, Any]:
    """("key", value) of "key=value"; the value is read as YAML: 1.5, true, [1, 2] and null are what they seem."""
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise SettingsError(f"--set {text!r} is not of the form key=value")
    try:
        return key.strip(), yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        raise SettingsError(f"--set {text!r}: the value cannot be read") from None
