"""What a method is: the parts that the training loop, the model and the command line rely on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from anatomark.core.grid import Grid

if TYPE_CHECKING:
    import torch

    from anatomark.data.cache import Cache, CachedCase
    from anatomark.data.working import WorkingImage
    from anatomark.methods.presence import PresenceModel

Floats = NDArray[np.float64]
Schedule = Literal["cosine", "constant", "warm-restarts"]


class CommonSettings(BaseModel):
    """The settings of every method: the working images and the training loop. `None` waits for the plan."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    # Of each stage, the settings that make its training need less memory where they are smaller: those to change first
    # come first, the size of the network last.
    memory_settings: ClassVar[Mapping[str, Sequence[str]]] = {}

    spacing: tuple[PositiveFloat, ...] | None = Field(None, description="fine working spacing, z y x (world units)")
    pool: tuple[PositiveInt, ...] | None = Field(None, description="the coarse level has means over this many elements")
    align: Literal["none", "rigid", "affine"] = Field("none", description="images are brought into a template's world")
    template: str | None = Field(
        None, description="the training case to align to, a copy of which goes into the model; None: the most typical"
    )
    validation_fraction: float = Field(
        0.15, ge=0, lt=1, description="share of subjects kept from training to choose by"
    )
    cache_memory_gib: NonNegativeFloat = Field(4.0, description="a larger cache is read from disk by a thread")
    keep_cache: bool = Field(False, description="leave the prepared cache in the run folder when training has ended")

    seed: int = Field(0, ge=0)
    precision: Literal["auto", "bf16-mixed", "32-true"] = "auto"
    amsgrad: bool = False
    weight_decay: NonNegativeFloat = 1e-4
    gradient_clip: NonNegativeFloat = Field(1.0, description="largest norm of the gradient; 0: not clipped")
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the averaged weights that are kept; 0: the last ones")
    validations: PositiveInt = Field(20, description="how often each stage is validated")
    patience: PositiveInt = Field(
        10, description="validations without improvement after which a stage ends; of 5 cases or more"
    )
    checkpoint_every: PositiveInt = 200

    def bounds(self, ndim: int) -> tuple[CommonSettings, CommonSettings]:
        """These settings, with what a stage plans from the stages before it at the least and at the most it may be."""
        return self, self


class AugmentedSettings(CommonSettings):
    """And those of methods that are trained on warped crops."""

    mirror: bool | None = Field(None, description="mirrored training images; None: where left/right pairs are declared")
    rotation_degrees: NonNegativeFloat = 12.0
    scale: NonNegativeFloat = 0.12
    shear: NonNegativeFloat = 0.05
    elastic: NonNegativeFloat = Field(0.01, description="s.d. of elastic control points, share of the crop")
    ripple: float | None = Field(
        0.0, ge=0, le=0.15, description="s.d. of finer elastic control points, share of their distance"
    )
    ripple_elements: PositiveFloat = Field(20.0, description="distance of finer elastic control points, elements")
    gain: NonNegativeFloat = 0.25
    shift: NonNegativeFloat = 0.1
    gamma: NonNegativeFloat = 0.35
    noise: NonNegativeFloat = 0.04


@dataclass(frozen=True)
class DataFacts:
    """What a plan looks at: the canonical Grids of the training images, landmarks, pairs and memory."""

    grids: tuple[Grid, ...]
    landmarks: int
    has_pairs: bool
    memory_bytes: float


@dataclass(frozen=True)
class StagePlan:
    """What the training loop needs to know of a stage."""

    steps: int
    batch: int
    learning_rate: float
    schedule: Schedule
    patches: int = 0  # patches in a step, where it is patches that a stage learns from


@dataclass(frozen=True, eq=False)
class Located:
    """One stage's answer for an image: points (N, d) world, spread (N,) world units, posterior mass (N,)."""

    points_world: Floats
    spread: Floats
    mass: Floats


class Method(Protocol):
    """A method in training and in use. Constructed from planned settings; see `global_to_local.method`.

    A method without stages, whose time no training step can tell, also has `try_out(images, cases)`: seconds of a
    "prediction" and of "finish" with that many cases, from a small part of each; afterwards it can be saved.
    """

    name: str
    Settings: type[Any]
    presets: Mapping[str, Callable[[int], dict[str, Any]]]
    settings: Any
    networks: dict[str, torch.nn.Module]
    presence: PresenceModel

    def __init__(self, settings: Any, *, ndim: int, landmarks: int) -> None: ...

    @staticmethod
    def plan(settings: Any, facts: DataFacts, *, on_gpu: bool) -> Any:
        """Settings completed from the data; SettingsError where they do not fit them."""
        ...

    @property
    def stages(self) -> tuple[str, ...]: ...

    def stage_plan(self, stage: str) -> StagePlan: ...

    def begin(self, stage: str, cache: Cache, device: torch.device) -> None:
        """Make the network of a stage, planning what waited for the stages before it."""
        ...

    def make_networks(self) -> None:
        """All networks, with weights yet to be loaded."""
        ...

    def example_batch(
        self,
        stage: str,
        cases: Sequence[CachedCase],
        mirrored: NDArray[np.int64],
        rng: np.random.Generator,
        device: torch.device,
    ) -> dict[str, Any]:
        """Random examples of `cases`, as tensors on `device`, for `loss`."""
        ...

    def loss(self, stage: str, network: Any, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """The weighted loss terms of a batch."""
        ...

    def validate(self, stage: str, cases: Sequence[CachedCase], device: torch.device) -> float:
        """Mean radial error (world units) of the stage over the present landmarks of `cases`; NaN without any."""
        ...

    def finish(self, cache: Cache, device: torch.device) -> None:
        """What is learned after the last stage: presence."""
        ...

    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        """The answer of each stage, up to stage `upto`, for one image."""
        ...
