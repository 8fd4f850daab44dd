"""The complete network and training of atlas: here a "network" is how the atlases are registered to an image."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from anatomark.methods.settings import Network, Size, Training

Registration = Literal["rigid", "affine", "deformable"]
Backend = Literal["simpleitk", "elastix"]


class AtlasNetwork(Network):
    """How many atlases are registered in full, and how; `pool` makes the coarse images that rank them.

    `atlas_shapes` are those of the grey values of the atlases, none before these are chosen. `seed` is of the random
    samples that registrations compare.
    """

    nearest: PositiveInt
    registration: Registration
    backend: Backend
    seed: int = Field(ge=0)
    atlas_shapes: tuple[Size, ...]

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if any(len(shape) != self.ndim for shape in self.atlas_shapes):
            raise ValueError(f"atlas_shapes are not {self.ndim}D")
        return self


class AtlasTraining(Training):
    """How many training cases become atlases at most."""

    atlases: PositiveInt
