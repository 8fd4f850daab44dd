"""What a network's deepest features say of an image, and whether that is usual.

Points may lie as usual in an image of another kind, and the grey values at a few hundred nodes may say little; the
features that a network has learned to find landmarks by change with both. They are judged by few numbers: for each
channel of the deepest level, mean and standard deviation over the image, and the mean at the points that were found. Of
these the logarithm of the root mean squared Mahalanobis distance (`methods.components`) is one more deviation of
`methods.suitability`. Networks answer to images that they learned from in another way than to others, so that it takes
validation cases to say what is usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.errors import ModelError
from anatomark.methods.components import Components

if TYPE_CHECKING:
    from torch import Tensor

KIND = "features"
MOST = 24  # training images to learn from, evenly chosen
FEWEST = 8  # images of either kind
PARTS = 10
LEAST = 0.05  # standard deviation that is believed, at least
LEAST_SCALE = 1e-3  # of a channel, times the mean size of all


@dataclass(frozen=True, eq=False)
class DeepFeatures:
    """Of an image: `mean` and `deviation` (C,) of each channel, and its values at the points, `at` (N, C)."""

    mean: Floats
    deviation: Floats
    at: Floats

    @classmethod
    def of(cls, features: Tensor, elements: Floats) -> DeepFeatures:
        """Of features (1, C, *grid) with points at `elements` (N, d) of the grid; those outside of it take the next."""
        last = np.array(features.shape[2:]) - 1
        nearest = np.clip(np.round(np.nan_to_num(elements)), 0, last).astype(np.int64)
        at = features[0][(slice(None), *nearest.T.tolist())]
        flat = features[0].flatten(1).float()
        numbers = (flat.mean(1), flat.std(1, correction=0), at.float().T)
        return cls(*(part.double().cpu().numpy() for part in numbers))

    @property
    def summary(self) -> Floats:
        """(3C,) all that is judged."""
        return np.concatenate([self.mean, self.deviation, self.at.mean(axis=0)])

    def joined(self, other: DeepFeatures, better: NDArray[np.bool_]) -> DeepFeatures:
        """Of two parts of an image, whose points are those of `other` where these are `better` (N,)."""
        both = ((self.mean + other.mean) / 2, (self.deviation + other.deviation) / 2)
        return DeepFeatures(*both, np.where(better[:, None], other.at, self.at))


@dataclass(frozen=True, eq=False)
class UsualFeatures:
    """What is usual for summaries: their `middle` and `scale` (F,), the `components` of what these leave, and `center`,
    `deviation` and `farthest` distance from it of the logarithm of their distances, among `count` images."""

    middle: Floats
    scale: Floats
    components: Components
    center: float
    deviation: float
    farthest: float
    count: int

    @classmethod
    def learned(cls, taught: Floats, found: Floats) -> UsualFeatures | None:
        """From the summaries of training images (M, F), each judged without the tenth it belongs to, and of validation
        images (V, F), which are the ones that others are like. None where either are too few."""
        if min(len(taught), len(found)) < FEWEST:
            return None
        middle, scale = taught.mean(axis=0), taught.std(axis=0)
        scale = scale + LEAST_SCALE * max(float(np.abs(taught).mean()), 1e-12)
        own, unseen = (((summaries - middle) / scale)[..., None] for summaries in (taught, found))
        components = Components.fitted(own)
        unseen = _logarithms(components, unseen)
        parts = np.arange(len(own)) % PARTS
        held_out = [_logarithms(Components.fitted(own[parts != part]), own[parts == part]) for part in np.unique(parts)]
        own = np.concatenate(held_out)
        center = float(unseen.mean())
        apart = np.concatenate([own - own.mean(), unseen - center])
        deviation = max(float(unseen.std(ddof=1)), float(own.std(ddof=1)), LEAST)
        farthest = max(float(np.abs(apart).max()), float(own.max()) - center)
        return cls(middle, scale, components, center, deviation, farthest, len(apart))

    def apart(self, features: DeepFeatures) -> float:
        """How far an image lies beyond the usual distance; 0 where it is nearer. ModelError for another network's."""
        summary = features.summary
        if summary.shape != self.middle.shape:
            raise ModelError(
                f"suitability.safetensors knows {len(self.middle)} numbers of features, but the network has "
                f"{len(summary)}; copy the whole run folder again"
            )
        relative = ((summary - self.middle) / self.scale)[None, :, None]
        return max(0.0, float(_logarithms(self.components, relative)[0]) - self.center)

    def tensors(self) -> dict[str, Floats]:
        """All that `of_tensors` needs but the number of images."""
        return {
            "features_scale": np.stack([self.middle, self.scale]),
            "features_mean": self.components.mean,
            "features_axes": self.components.axes,
            "features_usual": np.array([self.components.noise, self.center, self.deviation, self.farthest]),
        }

    @classmethod
    def of_tensors(cls, held: Mapping[str, Floats], count: int) -> UsualFeatures | None:
        """What `tensors` gave; None where there is nothing of it. KeyError or ValueError for something else."""
        if "features_scale" not in held:
            return None
        size = held["features_scale"].shape[-1]
        axes = held["features_axes"]
        wanted = {"scale": (2, size), "mean": (size, 1), "axes": (len(axes), size), "usual": (4,)}
        parts = {name: held[f"features_{name}"] for name in wanted}
        if any(parts[name].shape != of or not np.isfinite(parts[name]).all() for name, of in wanted.items()):
            raise ValueError("features")
        noise, center, deviation, farthest = parts["usual"].tolist()
        if noise <= 0 or deviation <= 0 or count < 2 or (parts["scale"][1] <= 0).any():
            raise ValueError("features")
        middle, scale = parts["scale"]
        return cls(middle, scale, Components(parts["mean"], axes, noise), center, deviation, farthest, count)


def _logarithms(components: Components, relative: Floats) -> Floats:
    """(M,) of the distances of images with `relative` summaries (M, F, 1)."""
    return np.log(np.maximum(components.distances(relative), 1e-6))
