"""A detector made of networks, one a stage: planned, fitted, kept in a file, loaded, and moved to a device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Self

import numpy as np
import torch
from torch import Tensor

from anatomark.core.grid import Floats
from anatomark.data.cache import Cache
from anatomark.data.working import WorkingImage
from anatomark.errors import ModelError
from anatomark.methods.calls import Calls, Graph
from anatomark.methods.interface import (
    DataFacts,
    Located,
    Networks,
    NetworkT,
    Plan,
    SettingsT,
    Trainer,
    TrainingT,
    fit_stages,
)
from anatomark.methods.memory import require_memory
from anatomark.methods.presence import PresenceModel, fit_presence
from anatomark.methods.search import Search, found, found_together
from anatomark.methods.settings import Network, Settings, Training
from anatomark.methods.staged import NetworkStages
from anatomark.nets.weights import require_tensors, under_prefix, with_prefix


@dataclass(frozen=True, eq=False)
class NetworkDetector(ABC, Generic[SettingsT, NetworkT, TrainingT]):
    """The `network` that was planned, the trained `networks` of its stages in evaluation mode, and `presence`.

    A method adds its name and types, `planned`, `search`, and what this asks of the networks: `own_calls`, and the same
    as `graphs` to export. Where another runtime answers, `runtime` has its calls, and there are no networks. A method
    that uses its networks without calls has `locate` in place of `search`.
    """

    network: NetworkT
    networks: Networks
    presence: PresenceModel
    runtime: Calls | None = None

    name: ClassVar[str]
    presets: ClassVar[Mapping[str, Callable[[int], dict[str, Any]]]] = {}
    settings_type: ClassVar[type[Settings]]
    network_type: ClassVar[type[Network]]
    training_type: ClassVar[type[Training]]
    stages_type: ClassVar[type[NetworkStages[Any, Any]]]  # how the networks of a plan learn
    first_look: ClassVar[str | None] = None
    quick: ClassVar[bool] = True
    replaced: ClassVar[frozenset[str]] = frozenset()  # stages whose network the next one goes on with
    beside_networks: ClassVar[frozenset[str]] = frozenset()  # beginnings of names of what `beside` has
    earlier_tensors: ClassVar[Mapping[str, str]] = {}  # beginnings of names in models of format 1: the first that fits

    def __post_init__(self) -> None:
        for module in self.networks.values():
            module.eval()

    @classmethod
    @abstractmethod
    def planned(cls, asked: SettingsT, facts: DataFacts) -> Plan[NetworkT, TrainingT]:
        """`plan` before its stages are checked against the memory."""

    def search(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> Search[list[Located]]:
        """`locate` as a search, which asks the networks by `calls`."""
        yield from ()
        return self.locate(image, device, upto=upto)

    def locate(self, image: WorkingImage, device: torch.device, *, upto: str | None = None) -> list[Located]:
        """The answer of each stage, up to stage `upto`, for one image. Pure."""
        return found(self.search(image, device, upto=upto), self.calls)

    def locate_together(self, images: Sequence[WorkingImage], device: torch.device) -> list[list[Located]]:
        """`locate` for several images, which the networks see as one batch where what they see has the same size."""
        if self.runtime is not None:  # exported graphs are of one image
            return [self.locate(image, device) for image in images]
        return found_together([self.search(image, device) for image in images], self.calls)

    @property
    def calls(self) -> Calls:
        """What `search` asks of the networks, by who answers."""
        return self.own_calls if self.runtime is None else self.runtime

    @property
    def own_calls(self) -> Calls:
        """The calls, which the networks themselves answer."""
        return {}

    def graphs(self) -> tuple[Graph, ...]:
        """The same calls as graphs to export; none where the method has not stated them."""
        return ()

    def geometry(self) -> dict[str, object]:
        """Where the graphs look, in numbers for whoever calls them without this package."""
        return {}

    @classmethod
    def plan(cls, asked: SettingsT, facts: DataFacts) -> Plan[NetworkT, TrainingT]:
        """Network and training completed from the data; SettingsError where they do not fit them or the memory."""
        planned = cls.planned(asked, facts)
        together = facts.memory_bytes * (facts.devices if facts.on_gpu else 1)
        require_memory(cls.stages_type(planned), together)
        return planned

    @classmethod
    def fit(cls, plan: Plan[NetworkT, TrainingT], cache: Cache, trainer: Trainer) -> Self:
        """Train the stages, then fit what gradients do not.

        Presence is fitted to validation cases, or to all where few of those lack landmarks. Raises ModelError rather
        than to give a detector whose weights are not finite.
        """
        staged, networks = fit_stages(cls.stages_type(plan), cache, trainer)
        network: NetworkT = staged.plan.network
        kept = {stage: module for stage, module in networks.items() if stage not in cls.replaced}
        detector = cls(network, kept, PresenceModel.unfitted(network.answers))
        detector = detector.completed(cache, trainer.device)
        if not all(torch.isfinite(tensor).all() for tensor in detector.tensors().values()):
            todo = "train again into another --out with a lower learning rate or precision=32-true"
            raise ModelError(f"{cls.name}: the trained weights are not finite; {todo}")
        return detector.calibrated(cache, trainer.device)

    def completed(self, cache: Cache, device: torch.device) -> Self:
        """The same with what is fitted to the cases of `cache` after the last stage, but presence: here nothing."""
        return self

    def calibrated(self, cache: Cache, device: torch.device) -> Self:
        """The same with presence fitted to the cases of `cache`."""

        def masses(image: WorkingImage) -> Floats:
            return np.stack([answer.mass for answer in self.locate(image, device)], axis=-1)

        return replace(self, presence=fit_presence(masses, len(self.presence.weights), cache))

    @classmethod
    def load(
        cls,
        network: NetworkT,
        tensors: Mapping[str, Tensor],
        presence: PresenceModel,
        *,
        device: torch.device,
        source: str,
    ) -> Self:
        """The detector that has `tensors`, on `device`; ModelError, which names `source`, where these do not fit."""
        named = {_present_name(name, cls.earlier_tensors): tensor for name, tensor in tensors.items()}
        present = {name: tensor for name, tensor in named.items() if name.split(".", 1)[0] not in cls.beside_networks}
        with torch.device("meta"):  # what a stranger's model.json asks for is not allocated before it is compared
            _require_tensors(cls.stages_type.untrained(network), present, source)
        networks = cls.stages_type.untrained(network)
        for stage, module in networks.items():
            module.load_state_dict(under_prefix(stage, present))
        detector = cls(network, networks, presence).with_beside(named, source)
        for module in networks.values():
            module.to(device)
        return detector

    def tensors(self) -> dict[str, Tensor]:
        """The weights of all networks, each under the name of its stage, and what it learned beside them."""
        weights = {
            name: tensor
            for stage, module in self.networks.items()
            for name, tensor in with_prefix(stage, module.state_dict()).items()
        }
        return {**weights, **self.beside()}

    def beside(self) -> dict[str, Tensor]:
        """What it learned beside the weights of its networks, which an exported model needs as well: here nothing."""
        return {}

    def with_beside(self, tensors: Mapping[str, Tensor], source: str) -> Self:
        """The same with what `beside` gave, which is among `tensors`; ModelError, which names `source`, for others'."""
        return self


def _require_tensors(networks: Networks, tensors: Mapping[str, Tensor], source: str) -> None:
    """ModelError names which tensors of the `networks` are missing, foreign or misshapen."""
    foreign = sorted({name.split(".", 1)[0] for name in tensors} - set(networks))
    if foreign:
        raise ModelError(f"{source}: foreign tensors ({', '.join(foreign)}); not this model's weights")
    for stage, module in networks.items():
        shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
        require_tensors(shapes, under_prefix(stage, tensors), source)


def _present_name(tensor: str, earlier_names: Mapping[str, str]) -> str:
    """The name of a tensor by that of a model of any format."""
    for earlier, present in earlier_names.items():
        if tensor.startswith(earlier):
            return present + tensor.removeprefix(earlier)
    return tensor
