"""What every method returns for an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anatomark.core.landmarks import Landmarks

Floats = NDArray[np.float64]
SAID_ABSENT_BELOW = 0.5  # a presence below says that the landmark is not in the image


@dataclass(frozen=True, eq=False)
class Prediction:
    """A located point for every landmark, how likely it is in the image, and how far its votes lie apart.

    `landmarks` has coordinates for all N (state PRESENT), whatever the presence says; `presence` (N,) is a probability;
    `spread` (N,) is the root mean square distance of the votes, in the landmarks' unit. `warning` is what a person
    should know of the image, such as that it could not be aligned.
    """

    landmarks: Landmarks
    presence: Floats
    spread: Floats
    warning: str | None = None
