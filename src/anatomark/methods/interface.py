"""What a method is: the parts that the training loop, the model and the command line rely on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

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

    spacing: tuple[PositiveFloat, ...] | None = Field(None, description="fine working spacing, z y x (world units)")
    pool: tuple[PositiveInt, ...] | None = Field(None, description="the coarse level has means over this many elements")
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
    patience: PositiveInt = Field(10, description="validations without improvement after which a stage ends")
    checkpoint_every: PositiveInt = 200


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


@dataclass(frozen=True, eq=False)
class Located:
    """One stage's answer for an image: points (N, d) world, spread (N,) world units, posterior mass (N,)."""

    points_world: Floats
    spread: Floats
    mass: Floats


class Method(Protocol):
    """A method in training and in use. Constructed from planned settings; see `global_to_local.method`."""

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
