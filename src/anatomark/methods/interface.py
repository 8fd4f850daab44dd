"""What a method is: the parts that training, models and the command line rely on.

A *detector* finds landmarks; it is a value: fitted once, or loaded, and never changed. How it is fitted is its own
affair. Methods whose networks learn by gradient steps describe these in a `Staged` value and leave the steps to the
`Trainer` (see `fit_stages`); others look at the cases by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid
from anatomark.methods.deep_features import DeepFeatures
from anatomark.methods.presence import PresenceModel
from anatomark.methods.settings import Network, Schedule, Settings, Training

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from anatomark.data.cache import Cache, CachedCase
    from anatomark.data.working import WorkingImage

SettingsT = TypeVar("SettingsT", bound=Settings, contravariant=True)
NetworkT = TypeVar("NetworkT", bound=Network)
TrainingT = TypeVar("TrainingT", bound=Training)
Networks: TypeAlias = "Mapping[str, nn.Module]"  # by the names of their stages
Batch: TypeAlias = "dict[str, Tensor]"


@dataclass(frozen=True)
class DataFacts:
    """What a plan looks at: the canonical Grids of the training images, landmarks, pairs, memory and device.

    `turn_degrees` is the angle by which nearly all training images are turned at most (`data.shapes.usual_turn`). So
    many `devices` share each batch; on GPUs each has the memory.
    """

    grids: tuple[Grid, ...]
    landmarks: int
    has_pairs: bool
    memory_bytes: float
    on_gpu: bool = False
    devices: int = 1
    turn_degrees: float = 0.0


@dataclass(frozen=True)
class Plan(Generic[NetworkT, TrainingT]):
    """The complete network and training that `plan` makes of settings and data.

    `undecided` names the values that the errors of an earlier stage still decide; until then they stand for the most
    that may come of these.
    """

    network: NetworkT
    training: TrainingT
    undecided: tuple[str, ...] = ()


@dataclass(frozen=True)
class StagePlan:
    """What the training loop needs to know of a stage."""

    steps: int
    batch: int
    learning_rate: float
    schedule: Schedule
    share: float = 1.0  # of a time budget
    validations_after: int = 0  # how often all validation cases are located after it, to fit what gradients do not
    patches: int = 0  # patches in a step, where a stage learns from patches
    case_bytes: float = 0.0  # rough memory that one case of the batch keeps for the backward pass
    smaller: tuple[str, ...] = ()  # settings that make a step need less memory: the batch, then others


@dataclass(frozen=True, eq=False)
class Located:
    """One stage's answer for an image: points (N, d) world, spread (N,) world units, posterior mass (N,).

    `features` are the deepest ones of a network that has seen all of the image.
    """

    points_world: Floats
    spread: Floats
    mass: Floats
    features: DeepFeatures | None = None


def features_of(located: Sequence[Located]) -> DeepFeatures | None:
    """The deepest features of the network that has seen all of the image, by the answers of all stages."""
    return next((stage.features for stage in located if stage.features is not None), None)


def masses_of(located: Sequence[Located]) -> Floats:
    """(N, stages) the posterior masses of the answers of all stages."""
    return np.stack([stage.mass for stage in located], axis=-1)


class Detector(Protocol[SettingsT, NetworkT, TrainingT]):
    """A method that has learned to find landmarks, complete with what it learned; a value that nothing changes."""

    name: ClassVar[str]
    presets: ClassVar[Mapping[str, Callable[[int], dict[str, Any]]]]  # settings by the image's dimension
    settings_type: ClassVar[type[Settings]]
    network_type: ClassVar[type[Network]]
    training_type: ClassVar[type[Training]]
    first_look: ClassVar[str | None]  # a stage whose answer takes much less time than that of all, if there is one
    quick: ClassVar[bool]  # whether an image takes seconds at most, so that more can be learned from copies of cases

    @property
    def network(self) -> NetworkT: ...

    @property
    def presence(self) -> PresenceModel: ...

    @classmethod
    def plan(cls, asked: SettingsT, facts: DataFacts) -> Plan[NetworkT, TrainingT]:
        """Network and training completed from the data; SettingsError where they do not fit them."""
        ...

    @classmethod
    def fit(
        cls, plan: Plan[NetworkT, TrainingT], cache: Cache, trainer: Trainer
    ) -> Detector[SettingsT, NetworkT, TrainingT]:
        """What is learned from the training and validation cases of `cache`."""
        ...

    @classmethod
    def load(
        cls,
        network: NetworkT,
        tensors: Mapping[str, Tensor],
        presence: PresenceModel,
        *,
        device: torch.device,
        source: str,
    ) -> Detector[SettingsT, NetworkT, TrainingT]:
        """The detector that has `tensors`, on `device`; ModelError, which names `source`, where these do not fit."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All that it learned but presence."""
        ...

    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        """The answer of each stage, up to stage `upto`, for one image. Pure."""
        ...


AnyDetector: TypeAlias = Detector[Any, Any, Any]
AnyPlan: TypeAlias = Plan[Any, Any]


class Staged(Protocol):
    """What the training loop asks of a method whose networks learn by gradient steps, one stage after another.

    A value: what a stage decides for the next one comes back as another `Staged`. `networks` are those of the stages
    that have ended, and in `errors` and `located` also of the one in progress.
    """

    @property
    def stages(self) -> tuple[str, ...]: ...

    @property
    def plan(self) -> AnyPlan: ...

    def adapted(self, stage: str, networks: Networks, cache: Cache, device: torch.device) -> Self:
        """The same with what `stage` takes from the stages before it."""
        ...

    def with_steps(self, stage: str, steps: int) -> Self:
        """The same with `steps` for the length of `stage`."""
        ...

    def make(self, stage: str, networks: Networks, cache: Cache) -> nn.Module:
        """The network that `stage` begins with, on the CPU; the same one each time."""
        ...

    def stage_plan(self, stage: str) -> StagePlan: ...

    def batch(
        self,
        stage: str,
        cases: Sequence[CachedCase],
        mirrored: NDArray[np.int64],
        rng: np.random.Generator,
        device: torch.device,
        *,
        first: int = 0,
    ) -> Batch:
        """Random examples of `cases`, as tensors on `device`, for `loss`.

        Of a batch that several processes share, these are the examples from the place `first` on. `rng` is the same in
        all of them: what the whole batch has in common is drawn from it, each example from its own of
        `examples.generators`.
        """
        ...

    def loss(self, stage: str, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The weighted loss terms of a batch; of one that several processes share, this one's part of their sums.

        So a mean over landmarks is `nets.split_batch.batch_mean`.
        """
        ...

    def errors(self, stage: str, networks: Networks, cases: Sequence[CachedCase], device: torch.device) -> Floats:
        """(C, N) errors (world units) of the stage for C cases, NaN unless a landmark is present.

        Their mean chooses the weights to keep.
        """
        ...

    def located(self, stage: str, networks: Networks, image: WorkingImage, device: torch.device) -> Located:
        """The answer of the stage for one image, to be drawn; `networks` as in `errors`."""
        ...


class Trainer(Protocol):
    """Who trains the networks of a `Staged`, and knows the device, the run folder and the clock."""

    @property
    def device(self) -> torch.device: ...

    def train(self, staged: StagedT, stage: str, networks: Networks, cache: Cache) -> tuple[StagedT, nn.Module]:
        """`staged` with the steps that a time budget, if there is one, leaves to `stage`, and the network of `stage`.

        The network has the weights that the stage ends with; those kept, if it has ended before.
        """
        ...


StagedT = TypeVar("StagedT", bound=Staged)


def fit_stages(staged: StagedT, cache: Cache, trainer: Trainer) -> tuple[StagedT, dict[str, nn.Module]]:
    """The networks of all stages, trained one after another, and `staged` as its stages have adapted it."""
    networks: dict[str, nn.Module] = {}
    for stage in staged.stages:
        staged = staged.adapted(stage, networks, cache, trainer.device)
        staged, networks[stage] = trainer.train(staged, stage, networks, cache)
    return staged, networks
