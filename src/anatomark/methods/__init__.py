"""The localization methods, by the names that users type."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from anatomark.errors import UnknownNameError

if TYPE_CHECKING:
    from anatomark.methods.interface import AnyDetector
    from anatomark.methods.settings import Network

METHODS = {
    "unet-votes": ("anatomark.methods.unet_votes.method", "UNetVotes"),
    "global-to-local": ("anatomark.methods.global_to_local.method", "GlobalToLocal"),
    "two-stage": ("anatomark.methods.two_stage.method", "TwoStage"),
    "heatmap": ("anatomark.methods.heatmap.method", "Heatmap"),
    "atlas": ("anatomark.methods.atlas.method", "Atlas"),
}
# Their networks alone, for files of format 1, in modules that load no torch.
NETWORKS = {
    "global-to-local": ("anatomark.methods.global_to_local.config", "GlobalToLocalNetwork"),
    "two-stage": ("anatomark.methods.two_stage.config", "TwoStageNetwork"),
    "heatmap": ("anatomark.methods.heatmap.config", "HeatmapNetwork"),
    "atlas": ("anatomark.methods.atlas.config", "AtlasNetwork"),
}


_registered: dict[str, type[AnyDetector]] = {}


def register(detector: type[AnyDetector]) -> None:
    """Make a detector class of one's own known by its `name`, to train it and to load its models in this process."""
    if detector.name in METHODS:
        raise ValueError(f"{detector.name!r} is one of the methods that are here already; choose another name")
    _registered[detector.name] = detector


def detector_class(name: str) -> type[AnyDetector]:
    """The detector class of a method; UnknownNameError names the methods there are."""
    if name in _registered:
        return _registered[name]
    module, attribute = _entry(METHODS, name)
    return getattr(import_module(module), attribute)


def network_class(name: str) -> type[Network]:
    """The network of a method that model.json of format 1 may name; raises as `detector_class`."""
    module, attribute = _entry(NETWORKS, name)
    return getattr(import_module(module), attribute)


def _entry(table: Mapping[str, tuple[str, str]], name: str) -> tuple[str, str]:
    if name not in table:
        raise UnknownNameError(f"no method {name!r}; there are: {', '.join(table)}")
    return table[name]
