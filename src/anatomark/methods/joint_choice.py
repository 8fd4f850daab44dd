"""All landmarks choose their places together: of the modes that the votes for each leave open, those that make a shape.

Votes for one landmark know nothing of the others. Where landmarks look alike (left and right, neighbouring vertebrae),
their posterior has several modes, and the largest one is the wrong one as often as not. The typical shape of the
training images tells: it is laid onto some of the modes by a similarity, many times (Fischler and Bolles, Commun. ACM
24(6):381-395, 1981, doi:10.1145/358669.358692), and the poses by which most landmarks have a mode where they are
expected are refined. How shapes vary is learned as probabilistic principal components (see `methods.components`), with
a noise of each landmark's own. A landmark that fits nowhere counts for nothing, as in a mixture with a uniform density.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from anatomark.core.grid import Floats
from anatomark.data.shapes import Fit, align_shape, similarity, typical_shape
from anatomark.errors import ModelError
from anatomark.methods.components import Components

FEWEST = 8  # shapes to learn from
MODES = 4  # of a posterior
TAKEN = 3.0  # times its kernel, that a mode takes from the weights of the votes around it
POSES = 400  # tried, of which a few are refined
REFINED = 6
JUDGING = 64  # landmarks, evenly chosen, that poses are judged by
ROUNDS = 5
NOWHERE = 1e-3  # the density of a landmark that fits nowhere, of that at its expected place
START = 0.6  # patches: s.d. of a coordinate of a mode, before the image has shown it
LEAST, MOST = 0.3, 1.0  # patches: its limits
MEDIAN = {2: 1.3863, 3: 2.3660}  # of a chi-squared distribution with so many degrees of freedom
LEAST_SIZE = 0.05  # of the standard deviation of sizes, that is believed
FREEDOM = 3.0  # degrees of it, of the Student's t density of sizes
AGREEING = 1 / 3  # of the landmarks, at least, that have to go together
TRUSTED = 0.5  # a trust from here on says that a mode goes with the other landmarks
LEAST_NOISE = 0.1  # of the mean variance, that a landmark has at least


class Modes(NamedTuple):
    """The modes of posteriors: places (N, K, d) in the world, and the mass (N, K) of each, at most 1 in all."""

    places: Floats
    mass: Floats

    @classmethod
    def single(cls, places: Floats, mass: Floats) -> Modes:
        """One mode a landmark: `places` (N, d) and `mass` (N,)."""
        return cls(places[:, None], mass[:, None])


class Choice(NamedTuple):
    """For each landmark the place (N, d) that its mode and the others come to, and its `trust` (N,) from 0 to 1.

    Where the trust is low, no mode goes with the others, and the place is that which these let expect.
    """

    places: Floats
    trust: Floats


class Pose(NamedTuple):
    """H similarities from the frame of the shape to the world: scale (H,), rotation (H, d, d) and offset (H, d)."""

    scale: Floats
    rotation: Floats
    offset: Floats

    @classmethod
    def of(cls, fit: Fit) -> Pose:
        return cls(fit.scales, fit.rotations, fit.offsets)

    def laid(self, places: Floats) -> Floats:
        """(H, N, K, d) `places` (N, K, d) of the world, in the frame of the shape."""
        moved = (places - self.offset[:, None, None]) @ self.rotation[:, None]
        return moved / self.scale[:, None, None, None]

    def back(self, points: Floats) -> Floats:
        """(N, d) points of the frame of the shape, in the world; of the one pose."""
        return self.scale[0] * (points @ self.rotation[0].T) + self.offset[0]


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """How landmarks lie to each other in the training images.

    `mean` (N, d) and `axes` (K, N, d), each as long as the standard deviation along it, are in the frame and the unit
    of the typical shape; `noise` (N,) is the variance of a coordinate that they leave, 0 for a landmark that no
    training image has. `size` and `size_deviation` are those of the logarithm of its scale in the images.
    """

    mean: Floats
    axes: Floats
    noise: Floats
    size: float
    size_deviation: float

    @classmethod
    def learned(cls, shapes: Floats) -> ShapeModel | None:
        """From `shapes` (M, N, d) in the world, NaN where a landmark is not known; None where they are too few."""
        d = shapes.shape[2]
        shapes = shapes[np.isfinite(shapes).all(axis=2).sum(axis=1) >= d + 2]
        if len(shapes) < FEWEST:
            return None
        typical = typical_shape(shapes)
        known = np.asarray(np.isfinite(typical).all(axis=1))
        if known.sum() < d + 2:
            return None
        fit = align_shape(typical, shapes)
        on = np.isfinite(fit.scales)
        moved = ((shapes - fit.offsets[:, None]) @ fit.rotations / fit.scales[:, None, None])[on][:, known]
        components = Components.fitted(moved)
        whole, _ = components.expected(moved)
        there = np.isfinite(moved)
        free = max(0.2, 1 - (len(components.axes) + d + 1) / len(moved))  # what the axes have not been fitted to
        left = np.where(there, (moved - whole) ** 2, 0.0).sum(axis=(0, 2)) / (free * there.sum(axis=(0, 2)))
        sizes = np.log(fit.scales[on])
        mean, axes, noise = (
            np.zeros_like(typical),
            np.zeros((len(components.axes), *typical.shape)),
            np.zeros(len(known)),
        )
        mean[known], axes[:, known] = components.mean, components.axes.reshape(len(axes), -1, d)
        noise[known] = np.maximum(left, LEAST_NOISE * left.mean() + 1e-12)
        return cls(mean, axes, noise, float(sizes.mean()), max(LEAST_SIZE, float(sizes.std())))

    def choose(self, modes: Modes, patch: float) -> Choice | None:
        """What the landmarks choose together among their `modes`; `patch` is the length of a patch that votes.

        A landmark that the model does not know keeps its largest mode. None where too few agree.
        """
        known = self.noise > 0
        if known.sum() < modes.places.shape[2] + 2:
            return None
        part = replace(self, mean=self.mean[known], axes=self.axes[:, known], noise=self.noise[known])
        chosen = part._chosen(Modes(modes.places[known], modes.mass[known]), patch)
        if (chosen.trust >= TRUSTED).sum() < max(modes.places.shape[2] + 2, AGREEING * known.sum()):
            return None
        places, trust = modes.places[:, 0].copy(), np.ones(len(known))
        places[known], trust[known] = chosen
        return Choice(places, trust)

    def _chosen(self, modes: Modes, patch: float) -> Choice:
        """`choose`, where all landmarks are known, whether few agree or many."""
        best, highest = Choice(modes.places[:, 0], np.zeros(len(modes.places))), -math.inf
        for pose in self._poses(modes, START * patch):
            probability, choice = self._refined(modes, pose, patch)
            if probability > highest:
                best, highest = choice, probability
            if (choice.trust >= TRUSTED).all():  # all agree: no other pose would be better
                break
        return best

    def _poses(self, modes: Modes, error: float) -> list[Pose]:
        """The best of many poses, each laid onto modes of a few landmarks; `error` is the s.d. of their coordinates."""
        n, k, d = modes.places.shape
        count = POSES if k > 1 else POSES // 10
        rng = np.random.default_rng(0)
        share = modes.mass / np.maximum(modes.mass.sum(axis=1, keepdims=True), 1e-300)
        few = rng.random((count, n)).argsort(axis=1)[:, : d + 1]
        which = (rng.random((count, d + 1, 1)) > share.cumsum(axis=1)[few]).sum(axis=2).clip(max=k - 1)
        poses = Pose.of(similarity(self.mean[few], modes.places[few, which], np.ones(few.shape)))
        some = slice(None, None, math.ceil(n / JUDGING))
        variance = self._variance + (error / math.exp(self.size)) ** 2
        apart = ((poses.laid(modes.places[some]) - self.mean[some, None]) ** 2).sum(axis=3) / variance[some, None]
        fitting = np.log((modes.mass[some] * np.exp(-0.5 * apart)).sum(axis=2) + NOWHERE).sum(axis=1)
        best = np.argsort(self._strangeness(poses) - fitting, kind="stable")[:REFINED]
        whole = similarity(self.mean, modes.places[None, :, 0], modes.mass[None, :, 0] + 1e-12)
        return [Pose.of(whole), *(Pose(*(part[[i]] for part in poses)) for i in best)]

    @property
    def _variance(self) -> Floats:
        """(N,) the variance of a coordinate of each landmark."""
        return (self.axes**2).sum(axis=(0, 2)) / self.mean.shape[1] + self.noise

    def _strangeness(self, poses: Pose) -> Floats:
        """(H,) what the sizes of poses take from their logarithmic probabilities: little, as a spacing may be wrong."""
        apart = (np.log(poses.scale) - self.size) / self.size_deviation
        return 0.5 * (FREEDOM + 1) * np.log1p(apart**2 / FREEDOM)

    def _refined(self, modes: Modes, pose: Pose, patch: float) -> tuple[float, Choice]:
        """A `pose` refined with the shape, its logarithmic probability, and what is chosen by it."""
        d, unit = self.mean.shape[1], patch / math.exp(self.size)
        error = (START * unit) ** 2
        expected, variance, strangeness = self.mean, self._variance, 0.0
        for _ in range(ROUNDS):
            taken, trust, _ = _matched(modes, pose, expected, variance + error)
            weights = trust / (self.noise + error)
            expected, variance, whole, strangeness = self._expected(taken, weights)
            pose = Pose.of(similarity(whole, pose.back(taken)[None], weights[None] + 1e-12))
            if (agreeing := trust >= TRUSTED).any():
                apart = ((taken - expected) ** 2).sum(axis=1) / MEDIAN[d] - variance
                error = float(np.median(apart[agreeing]))
            error = min(max(error, (LEAST * unit) ** 2), (MOST * unit) ** 2)
        taken, trust, fitting = _matched(modes, pose, expected, variance + error)
        own = trust * variance / (variance + error)
        probability = float(np.log(fitting + NOWHERE).sum() - strangeness - self._strangeness(pose)[0])
        return probability, Choice(pose.back(expected + own[:, None] * (taken - expected)), trust)

    def _expected(self, taken: Floats, weights: Floats) -> tuple[Floats, Floats, Floats, float]:
        """What points `taken` (N, d) in the frame of the shape, with `weights` (N,), say of it.

        Where all others let expect each landmark (N, d), with the variance of a coordinate (N,); the most probable
        shape (N, d), and how strange that is.
        """
        weighted = self.axes * weights[:, None]
        along = np.einsum("knd,nd->nk", weighted, taken - self.mean)
        moments = np.einsum("knd,lnd->nkl", weighted, self.axes)
        every = moments.sum(axis=0) + np.eye(len(self.axes))
        seen = np.concatenate([(along.sum(axis=0) - along)[..., None], self.axes.transpose(1, 0, 2)], axis=2)
        solved = np.linalg.solve(every - moments, seen)
        expected = self.mean + np.einsum("nk,knd->nd", solved[..., 0], self.axes)
        variance = np.einsum("knd,nkd->n", self.axes, solved[..., 1:]) / self.mean.shape[1] + self.noise
        shape = np.linalg.solve(every, along.sum(axis=0))
        return expected, variance, self.mean + np.einsum("k,knd->nd", shape, self.axes), 0.5 * float(shape @ shape)

    def numbers(self) -> dict[str, object]:
        """All of it and the numbers that `choose` goes by, for whoever has to do the same."""
        return {
            **{name: tensor.double().numpy().tolist() for name, tensor in self.tensors().items()},
            "modes": MODES,
            "taken": TAKEN,
            "poses": POSES,
            "refined": REFINED,
            "judging": JUDGING,
            "rounds": ROUNDS,
            "nowhere": NOWHERE,
            "error": {"start": START, "least": LEAST, "most": MOST, "median": MEDIAN[self.mean.shape[1]]},
            "trusted": TRUSTED,
            "agreeing": AGREEING,
            "freedom": FREEDOM,
        }

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by names that `of_tensors` knows."""
        size = np.array([self.size, self.size_deviation])
        arrays = {"mean": self.mean, "axes": self.axes, "noise": self.noise, "size": size}
        return {name: torch.from_numpy(np.ascontiguousarray(array)).float() for name, array in arrays.items()}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor], landmarks: int, ndim: int, source: str) -> ShapeModel | None:
        """What `tensors` had; None where there are none. ModelError, which names `source`, where they do not fit."""
        if not tensors:
            return None
        held = {name: tensor.double().numpy() for name, tensor in tensors.items()}
        components = len(held["axes"]) if held.get("axes") is not None and held["axes"].ndim else 0
        wanted = {
            "mean": (landmarks, ndim),
            "axes": (components, landmarks, ndim),
            "noise": (landmarks,),
            "size": (2,),
        }
        finite = all(np.isfinite(array).all() for array in held.values())
        if {name: array.shape for name, array in held.items()} != wanted or not finite:
            raise ModelError(f"{source}: a typical shape of other landmarks; not this model's weights, or damaged")
        size, size_deviation = held["size"].tolist()
        if (held["noise"] < 0).any() or size_deviation <= 0:
            raise ModelError(f"{source}: a typical shape without spread; not this model's weights, or damaged")
        return cls(held["mean"], held["axes"], held["noise"], size, size_deviation)


def _matched(modes: Modes, pose: Pose, expected: Floats, variance: Floats) -> tuple[Floats, Floats, Floats]:
    """For each landmark, the mode (N, d) in the frame of the shape that goes best with where it is `expected` (N, d),
    how far that is to be trusted (N,), and how well all its modes fit (N,)."""
    laid = pose.laid(modes.places)[0]
    apart = ((laid - expected[:, None]) ** 2).sum(axis=2) / variance[:, None]
    which = np.argmax(np.log(modes.mass + 1e-12) - 0.5 * apart, axis=1)
    fitting = (modes.mass * np.exp(-0.5 * apart)).sum(axis=1)
    return laid[np.arange(len(laid)), which], fitting / (fitting + NOWHERE), fitting


def modes_of(weights: Floats, places: Floats, *, patch: float) -> Modes:
    """The modes of votes for `places` (N, M, d) of the world, with `weights` (N, M) whose sum over all is 1 at most.

    `patch` is the length of a patch that votes, and the width of a mode.
    """
    apart = ((places[:, :, None] - places[:, None]) ** 2).sum(axis=3)
    kernel = np.exp(-0.5 * apart / patch**2)
    rows, left, found, mass = np.arange(len(weights)), weights, list[Floats](), list[Floats]()
    for _ in range(MODES):
        middle = np.einsum("nij,nj->ni", kernel, left).argmax(axis=1)
        near = kernel[rows, middle]
        own = left * near
        mass.append(own.sum(axis=1))
        found.append((own[..., None] * places).sum(axis=1) / np.maximum(mass[-1], 1e-300)[:, None])
        left = left * (1 - np.minimum(1.0, TAKEN * near))
    masses, whole = np.stack(mass, axis=1), np.minimum(weights.sum(axis=1), 1.0)
    share = masses / np.maximum(masses.sum(axis=1, keepdims=True), 1e-300)
    return Modes(np.stack(found, axis=1), share * whole[:, None])
