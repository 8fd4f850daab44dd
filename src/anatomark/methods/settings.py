"""What a person may ask of a training, and the two complete values that a plan makes of it: network and training.

Three kinds of values, each frozen:

- *Settings*: what was asked for. `None` means "not decided": only `plan` ever sees it.
- *Network*: all that prediction needs to know beside the weights. Complete; it is part of model.json.
- *Training*: how the networks learn. Complete; it is part of the run's settings.json, and prediction never reads it.

A field has one name wherever it occurs, so that settings are a union of network, training and what decides them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from anatomark.data.working import GreyValues, Sampling

Schedule = Literal["cosine", "constant", "warm-restarts"]
Align = Literal["none", "rigid", "affine"]
Level = Literal["none", "default", "strong"]
Size = tuple[PositiveInt, ...]  # elements along each array axis
Channels = tuple[Size, ...]  # of the convolutions of each level
EARLIER_UNTIL = "0.2"
Asked = TypeVar("Asked", bound="Settings")
Part = TypeVar("Part", bound=BaseModel)


def unit(name: str) -> dict[str, Any]:
    """The unit of a field, for the page of settings."""
    return {"unit": name}


class TrainingValues(BaseModel):
    """What settings and training have in common: values that every method has a default for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: str | None = Field(
        None, description="id of the training case to align to; without, the most typical one. A copy is in the model"
    )
    validation_fraction: float = Field(
        0.15,
        ge=0,
        lt=1,
        description="part of the training subjects that is set aside for validation, where the set has no such split",
    )
    cache_memory_gib: NonNegativeFloat = Field(
        4.0,
        description="prepared images are kept in memory up to this size, else they are read from disk",
        json_schema_extra=unit("GiB"),
    )
    keep_cache: bool = Field(False, description="keep the prepared images in the run folder when training has ended")
    seed: int = Field(0, ge=0, description="of all random numbers: the same seed draws the same examples")
    precision: Literal["auto", "bf16-mixed", "32-true"] = Field(
        "auto", description="of the arithmetic; auto: bfloat16 where the device computes in it"
    )
    amsgrad: bool = Field(False, description="the AMSGrad variant of AdamW")
    weight_decay: NonNegativeFloat = Field(1e-4, description="of AdamW")
    gradient_clip: NonNegativeFloat = Field(1.0, description="largest norm of the gradient; 0: not clipped")
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the averaged weights that are kept; 0: the last ones")
    validations: PositiveInt = Field(20, description="how often a stage is validated")
    validation_pictures: bool = Field(
        True, description="at each validation, draw what is found in two cases: a median one and the worst"
    )
    patience: PositiveInt = Field(10, description="validations without improvement after which a stage stops early")
    checkpoint_every: PositiveInt = Field(200, description="interval of checkpoints", json_schema_extra=unit("steps"))


class Settings(TrainingValues):
    """What may be asked of every method. Lengths per axis are in array-axis order."""

    # What settings were called before: these names still load, and warn, until version EARLIER_UNTIL.
    earlier_names: ClassVar[Mapping[str, str]] = {}
    # Settings that have become constants, by all names they had, and what they are fixed at.
    fixed: ClassVar[Mapping[str, str]] = {}

    align: Align = Field("none", description="bring images into a template's world before all else: the kind of map")
    spacing: tuple[PositiveFloat, ...] | None = Field(
        None,
        description="spacing of the working images along each array axis; without, from the data",
        json_schema_extra=unit("mm (or px), z y x"),
    )
    pool: Size | None = Field(None, description="elements that the coarse working image averages along each axis")
    grey_values: GreyValues = Field(
        "foreground",
        description="what the 99.5th percentile is taken from that means 1 to the network: the whole image, or its "
        "brighter part, whose values do not depend on how much air is in view",
    )
    minutes: PositiveFloat | None = Field(
        None, description="how long the whole training may take on this machine", json_schema_extra=unit("minutes")
    )
    epochs: PositiveFloat | None = Field(
        None,
        description="how often each training image is seen, over all stages together",
        json_schema_extra=unit("epochs"),
    )

    @model_validator(mode="before")
    @classmethod
    def _by_their_present_names(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        given = cast("dict[str, object]", values)
        if fixed := [f"{name} is fixed now, at {cls.fixed[name]}" for name in given if name in cls.fixed]:
            raise ValueError(f"{', '.join(fixed)}; leave {'it' if len(fixed) == 1 else 'them'} out")
        twice = [f"{old} and {new}" for old, new in cls.earlier_names.items() if old in given and new in given]
        if twice:
            raise ValueError(f"{twice[0]} are two names of one setting; give one")
        return {cls.earlier_names.get(name, name): value for name, value in given.items()}

    @model_validator(mode="after")
    def _one_length(self) -> Settings:
        if self.minutes is not None and self.epochs is not None:
            raise ValueError("minutes and epochs both say how long to train; give one")
        return self


class AugmentedSettings(Settings):
    """And of methods that train on warped crops: each strength without a value is that of the `augmentation` level."""

    earlier_names: ClassVar[Mapping[str, str]] = {"ripple": "elastic_fine"}
    fixed: ClassVar[Mapping[str, str]] = {
        "shear": "that of the augmentation level",
        "elastic_fine_spacing": "20 elements",
        "ripple_elements": "20 elements",
    }

    augmentation: Level = Field(
        "default", description="how far training images are turned, scaled, bent and changed in grey: none to strong"
    )
    mirror: bool | None = Field(
        None, description="train on mirrored images too; without, where left/right pairs are declared"
    )
    rotation_degrees: NonNegativeFloat | None = Field(
        None,
        description="largest rotation; without, that of the augmentation level, or of the training images",
        json_schema_extra=unit("degrees"),
    )
    scale: NonNegativeFloat | None = Field(None, description="largest relative change of size")
    elastic: NonNegativeFloat | None = Field(None, description="s.d. of elastic control points, relative to the crop")
    elastic_fine: float | None = Field(
        None,
        ge=0,
        le=0.15,
        description="s.d. of control points of a finer elastic deformation, relative to their distance, 20 elements",
    )
    gain: NonNegativeFloat | None = Field(None, description="largest relative change of contrast")
    shift: NonNegativeFloat | None = Field(
        None, description="largest change of brightness, relative to the range of grey values"
    )
    gamma: NonNegativeFloat | None = Field(None, description="largest logarithm of the exponent of grey values")
    noise: NonNegativeFloat | None = Field(
        None, description="largest s.d. of noise, relative to the range of grey values"
    )
    cut_fraction: float = Field(
        0.0,
        ge=0,
        le=1,
        description="part of the training examples whose image is cut off at a random side, and the landmarks beyond "
        "are absent",
    )


class Network(BaseModel):
    """What prediction needs to know of every method beside its weights; lengths per axis in array-axis order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    landmarks: PositiveInt
    spacing: tuple[PositiveFloat, ...] = Field(min_length=2, max_length=3)
    pool: Size
    align: Align
    grey_values: GreyValues = "image"  # of models that were trained before there was a choice

    @property
    def ndim(self) -> int:
        return len(self.spacing)

    @property
    def sampling(self) -> Sampling:
        """How the detector's working images are made."""
        return Sampling(self.spacing, self.pool, self.grey_values)

    @property
    def answers(self) -> int:
        """How many answers a detector gives for an image, each with a posterior mass."""
        return 1

    @classmethod
    def from_format_1(cls, settings: Mapping[str, object], landmarks: int) -> Self:
        """The network of a model.json of format 1, which held all settings in one; those of training are passed over.

        Raises pydantic's ValidationError where something is missing or damaged.
        """
        known = {name: value for name, value in settings.items() if name in cls.model_fields}
        return cls.model_validate({**known, "landmarks": landmarks})

    @model_validator(mode="after")
    def _one_dimension(self) -> Network:
        if len(self.pool) != self.ndim:
            raise ValueError(f"pool has {len(self.pool)} entries, spacing {self.ndim}")
        return self


class Training(TrainingValues):
    """How every method learns."""

    minutes: PositiveFloat | None = Field(None, description="time budget; None: the steps are given")


class AugmentedTraining(Training):
    """And those that train on warped crops."""

    mirror: bool
    rotation_degrees: NonNegativeFloat
    scale: NonNegativeFloat
    shear: NonNegativeFloat
    elastic: NonNegativeFloat
    elastic_fine: float = Field(ge=0, le=0.15)
    gain: NonNegativeFloat
    shift: NonNegativeFloat
    gamma: NonNegativeFloat
    noise: NonNegativeFloat
    cut_fraction: float = Field(0.0, ge=0, le=1)


class CroppedTraining(AugmentedTraining):
    """And those whose crops may be smaller than the images."""

    landmark_crop_fraction: float = Field(ge=0, le=1)


ANY_POSE = 90.0  # degrees: images that are turned by more lie in any way
_DEFAULT = {
    "rotation_degrees": 12.0,
    "scale": 0.12,
    "shear": 0.05,
    "elastic": 0.01,
    "elastic_fine": 0.0,
    "gain": 0.25,
    "shift": 0.1,
    "gamma": 0.35,
    "noise": 0.04,
}
STRENGTHS: Mapping[Level, Mapping[str, float]] = {
    "none": dict.fromkeys(_DEFAULT, 0.0),
    "default": _DEFAULT,
    "strong": {
        "rotation_degrees": 25.0,
        "scale": 0.2,
        "shear": 0.1,
        "elastic": 0.02,
        "elastic_fine": 0.1,
        "gain": 0.4,
        "shift": 0.2,
        "gamma": 0.5,
        "noise": 0.08,
    },
}


def planned_augmentation(
    asked: AugmentedSettings, *, has_pairs: bool, ndim: int, turn_degrees: float = 0.0, elastic_fine: float = 0.0
) -> dict[str, float | bool]:
    """`mirror` and the strengths: those asked for, else those of the level; `elastic_fine` is a method's default.

    Where training images are turned by more than the level turns them, up to `turn_degrees`, so are the copies.
    """
    level = dict(STRENGTHS[asked.augmentation])
    if asked.augmentation != "none" and asked.align == "none":
        level["rotation_degrees"] = max(level["rotation_degrees"], _turn_in_planes(turn_degrees, ndim))
    if asked.augmentation == "default":
        level["elastic_fine"] = elastic_fine
    mirror = has_pairs and asked.augmentation != "none"
    given = {name: value for name, value in asked if name in ("mirror", *level) and value is not None}
    return {"mirror": mirror, **level, **given}


def _turn_in_planes(degrees: float, ndim: int) -> float:
    """The largest rotation in each plane of the axes, for images that are turned by up to so many degrees in all."""
    if degrees > ANY_POSE:
        return 180.0
    return float(round(degrees / math.sqrt(ndim * (ndim - 1) / 2)))


def take(part: type[Part], asked: Settings, planned: Mapping[str, object]) -> Part:
    """The `part` (a Network or Training) of what was asked for, completed by what was `planned`."""
    values = {**{name: value for name, value in asked if value is not None}, **planned}
    return part.model_validate({name: value for name, value in values.items() if name in part.model_fields})


def stage_steps(asked: Settings, own: int | None, default: int, *, cases: int, batch: int, share: float) -> int:
    """Steps of a stage: its `own` where given, else its `share` of the asked epochs over `cases`, else the default."""
    if own is not None:
        return own
    if asked.epochs is None:
        return default
    return max(1, round(asked.epochs * share * cases / batch))
