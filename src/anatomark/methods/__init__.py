"""The localization methods, by the names that users type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
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


GROUP = "anatomark.methods"  # of entry points, by which an installed package brings a method

_registered: dict[str, type[AnyDetector]] = {}


def register(detector: type[AnyDetector]) -> None:
    """Make a detector class of one's own known by its `name`, to train it and to load its models in this process.

    A package needs no such call: it names its class in an entry point of the group `anatomark.methods`.
    """
    if detector.name in METHODS:
        raise ValueError(f"{detector.name!r} is one of the methods that are here already; choose another name")
    _registered[detector.name] = detector


def known_methods() -> tuple[str, ...]:
    """The names of all methods: those of this package, then those of others."""
    return tuple(dict.fromkeys((*METHODS, *_registered, *sorted(_installed()))))


def detector_class(name: str) -> type[AnyDetector]:
    """The detector class of a method; UnknownNameError names the methods there are."""
    if name in _registered:
        return _registered[name]
    if name not in METHODS and (entry := _installed().get(name)) is not None:
        return _loaded(entry)
    module, attribute = _entry(METHODS, name, known_methods)
    return getattr(import_module(module), attribute)


def network_class(name: str) -> type[Network]:
    """The network of a method that model.json of format 1 may name; raises as `detector_class`."""
    module, attribute = _entry(NETWORKS, name, lambda: tuple(NETWORKS))
    return getattr(import_module(module), attribute)


def _entry(table: Mapping[str, tuple[str, str]], name: str, known: Callable[[], Sequence[str]]) -> tuple[str, str]:
    if name not in table:
        raise UnknownNameError(f"no method {name!r}; there are: {', '.join(known())}")
    return table[name]


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _loaded(entry: EntryPoint) -> type[AnyDetector]:
    """The class of an entry point; UnknownNameError where its package is damaged or calls it otherwise."""
    package = entry.dist.name if entry.dist is not None else entry.module
    try:
        detector = entry.load()
    except (ImportError, AttributeError) as error:
        raise UnknownNameError(
            f"method {entry.name!r} of {package} cannot be imported ({error}); install that package again"
        ) from None
    own = getattr(detector, "name", None)
    if own != entry.name:
        raise UnknownNameError(f"method {entry.name!r} of {package} calls itself {own!r}; both names must agree")
    return detector
