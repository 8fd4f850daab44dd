"""Every value of a two-stage training. `None` means that the plan fills it in from the data.

The paper (Zhang, Liu, Shen, IEEE TIP 2017, doi 10.1109/TIP.2017.2721106) states the two stages and their roles; layers,
patch size, losses and optimiser could not be read and are this project's choice throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from anatomark.methods.interface import AugmentedSettings


class TwoStageSettings(AugmentedSettings):
    """Flat and complete: what a run used is what its `settings.json` says. Lengths per axis are in array-axis order."""

    memory_settings: ClassVar[Mapping[str, Sequence[str]]] = {
        "stage1": ("stage1_batch", "stage1_crop", "channels"),
        "stage2_frozen": ("stage2_batch", "image", "channels"),
        "stage2": ("stage2_batch", "image", "channels"),
    }

    ripple: float | None = Field(
        None, ge=0, le=0.15, description="s.d. of finer elastic control points, share of their distance"
    )

    # the network of patches
    channels: tuple[tuple[PositiveInt, ...], ...] | None = Field(
        None, description="unpadded convolutions of each level; the stride is 2^(levels - 1)"
    )
    context: tuple[PositiveInt, ...] | None = Field(
        None, description="dilations of further convolutions on the last level, for a larger patch"
    )
    hidden: tuple[PositiveInt, ...] = Field((256,), description="1x1 layers before the displacements")

    # stage 1: displacements from patches
    stage1_crop: tuple[PositiveInt, ...] | None = Field(None, description="elements; a crop holds crop/stride patches")
    stage1_batch: PositiveInt | None = None
    stage1_steps: PositiveInt | None = None
    stage1_learning_rate: PositiveFloat = 2e-3
    near_landmarks: float = Field(0.5, ge=0, le=1, description="share of crops drawn around a landmark, else anywhere")
    near: PositiveFloat | None = Field(None, description="distance (world units) at which a patch counts 1/e")

    far_weight: NonNegativeFloat | None = Field(None, description="what the farthest patch still counts")

    # stage 2: all landmarks jointly
    image: tuple[PositiveInt, ...] | None = Field(
        None, description="elements of an image in training; None: whole ones"
    )
    rounds: PositiveInt = Field(2, description="rounds of voting; each weighs patches by their distance from the last")
    rank: PositiveInt = Field(32, description="numbers between the voted coordinates and their joint correction")
    stage2_batch: PositiveInt | None = None
    frozen_steps: PositiveInt | None = Field(None, description="steps of the extra layers alone")
    frozen_learning_rate: PositiveFloat = 5e-3
    stage2_steps: PositiveInt | None = Field(None, description="steps end to end")
    stage2_learning_rate: PositiveFloat = 2e-3
    fixed_normalisation: bool | None = Field(None, description="keep stage 1's; None: with less than 4 images a step")
    displacement_weight: NonNegativeFloat | None = Field(None, description="weight of stage 1's loss in stage 2")
    say_weight: NonNegativeFloat = Field(0.1, description="weight of the votes' cross-entropy with the nearest patches")
    class_weight: NonNegativeFloat = Field(0.3, description="weight of the classifier behind the presence")

    # the close look, stage 2's last layers
    look: bool | None = Field(None, description="a close look around each voted point; None: unless landmarks are many")
    look_level: NonNegativeInt | None = Field(None, description="level of `channels` whose features it sees; 0: finest")
    look_window: tuple[PositiveInt, ...] | None = Field(None, description="elements it sees around a point")
    look_channels: tuple[tuple[PositiveInt, ...], ...] | None = Field(
        None, description="convolutions of each level of the small network of each landmark"
    )
    look_jitter: NonNegativeFloat | None = Field(None, description="s.d. of its place in training, world units")


PRESETS: dict[str, Callable[[int], dict[str, Any]]] = {}  # the paper's settings are not public
