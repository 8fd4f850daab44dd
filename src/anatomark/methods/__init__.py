"""The localization methods, by the names that users type."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from anatomark.errors import UnknownNameError

if TYPE_CHECKING:
    from anatomark.methods.interface import Method

METHODS = {
    "global-to-local": ("anatomark.methods.global_to_local.method", "GlobalToLocal"),
    "two-stage": ("anatomark.methods.two_stage.method", "TwoStage"),
    "heatmap": ("anatomark.methods.heatmap.method", "Heatmap"),
    "atlas": ("anatomark.methods.atlas.method", "Atlas"),
}


def method_class(name: str) -> type[Method]:
    """The class of a method; UnknownNameError names the methods there are."""
    if name not in METHODS:
        raise UnknownNameError(f"no method {name!r}; there are: {', '.join(METHODS)}")
    module, attribute = METHODS[name]
    return getattr(import_module(module), attribute)
