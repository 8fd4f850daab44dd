"""What prediction asks of networks: calls with tensors in and tensors out, and nothing else of them.

The networks themselves answer, or another runtime does that has their graphs (`anatomark.exports`); what happens before
and after the calls is the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from torch import Tensor, nn

Call: TypeAlias = "Callable[..., tuple[Tensor, ...]]"
Calls: TypeAlias = "Mapping[str, Call]"  # by their names


SOME = 2  # landmarks in an example, where there may be any number: of one, exporters would take it as fixed


class Size(NamedTuple):
    """A size that may be any: `factor` times a number called `name`, at least `least`, and `plus`."""

    name: str
    factor: int = 1
    plus: int = 0
    least: int = 1


@dataclass(frozen=True, eq=False)
class Graph:
    """A call as it is exported, with the `network` that answers it.

    `inputs` has an example of each tensor by its name, in the order of the call; `outputs` has the axes of what comes
    back, in words. `sizes` are those that may be others than the examples', {input: {axis: size}}; those of one name
    are equal.
    """

    name: str
    network: nn.Module
    call: Call
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, str]
    sizes: Mapping[str, Mapping[int, Size]] = field(default_factory=dict)


def image_sizes(factors: Sequence[int], plus: int = 0) -> dict[int, Size]:
    """The sizes along the spatial axes of (B, C, *spatial): multiples of `factors` (d,), and `plus`."""
    names = ("depth", "height", "width")[3 - len(factors) :]
    return {axis + 2: Size(name, factor, plus) for axis, (name, factor) in enumerate(zip(names, factors, strict=True))}
