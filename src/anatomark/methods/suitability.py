"""Suitability: whether the points found in an image lie as the landmarks of the training images do.

A network answers for any image, and is as sure of a mirrored film or of a wrong spacing as of its own kind. What gives
such an image away is the arrangement of the points, their size and their turn. They are laid onto the typical shape of
the training images by a similarity that outliers do not pull (`data.shapes.align_shape`); what is left is judged by
probabilistic principal components (Tipping and Bishop, J. R. Stat. Soc. B 61(3):611-622, 1999,
doi:10.1111/1467-9868.00196), which take partly annotated shapes and need few cases.

Eight deviations are judged: of shape (logarithm of the root mean squared Mahalanobis distance a coordinate), of size
(logarithm of the scale), of turn (angle from the typical orientation), of the number of landmarks that are there (its
logarithm; where too few are there for a shape, it is judged without), of votes (the mean log-odds of the posterior
mass of the landmarks that are there: patches of an image of another kind, or of one that is cut off, are sure of
little), of the deepest features of the network (`methods.deep_features`), and of grey values and sides
(`methods.appearance`). What is usual for them comes from the training shapes,
each judged without the tenth it belongs to, and from the predictions of the validation cases, for votes from these
alone. A new image's `share` is the part of suitable images that would deviate more, by Student's t of its worst
deviation (times their number, as the worst was taken), so that a model of few cases is careful. Below SHARE, and beyond
all that was seen so far, the image is called unsuitable.

What this cannot see is an image whose points lie naturally, in the wrong place: the mirror image of a face, say. A
person who truly looks different may be called unusual: the words say so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.data.shapes import align_shape, angles, mean_rotation, typical_shape
from anatomark.data.working import WorkingImage
from anatomark.errors import ModelError
from anatomark.methods import appearance, deep_features
from anatomark.methods.appearance import Appearance, Nodes
from anatomark.methods.components import Components
from anatomark.methods.deep_features import DeepFeatures, UsualFeatures
from anatomark.methods.presence import logit

NAME = "suitability.safetensors"
SHARE = 1e-4  # of suitable images deviate so far, at most, if an image is to be called unsuitable
TOO_FEW = 3.0  # standard deviations of the number of landmarks, where those left are too few for a shape
BEYOND = 1.1  # times the farthest deviation seen, which is never called unsuitable
FEWEST = 8  # shapes to learn what is usual from
MANY = 40  # images: with fewer, the limits are wide
PARTS = 10
KINDS = ("shape", "size", "turn", "number", "votes")
PRESENT_FROM = 0.5  # a presence below says that the landmark is not there
MEDIAN_OF_SQUARE = 0.4549  # of a standard normal number
LEAST = (0.1, 0.02, math.radians(1.0), 0.15, 0.3)  # standard deviations that are believed, at least
NONE_SAVED = "the model knows no training shapes; make them with anatomark calibrate RUN DATASET"


@dataclass(frozen=True)
class Judgement:
    """`share` of suitable images that deviate more (NaN where nothing can be judged), and the `reason` why the image is
    called unsuitable, one line; None where it is not. `size` is the logarithm of the points' size by the usual one."""

    share: float
    reason: str | None = None
    size: float = field(default=math.nan, compare=False)


@dataclass(frozen=True, eq=False)
class Usual:
    """What is usual for the landmarks in suitable images.

    `typical` (N, d) is the shape that others are laid onto, NaN for a landmark without a place in it, and `components`
    the shapes in its frame; `turn` (d, d) is the typical rotation of it. `center`, `deviation` and `farthest` (5,) are
    the mean, the standard deviation and the farthest distance from the mean of KINDS among `count` suitable images;
    those of votes, among `voted` ones, are NaN where there were too few. `appearance` and `features` judge the rest.
    """

    typical: Floats
    components: Components
    turn: Floats
    center: Floats
    deviation: Floats
    farthest: Floats
    count: int
    voted: int = 0
    appearance: Appearance | None = None
    features: UsualFeatures | None = None

    @property
    def extent(self) -> float:
        """The largest distance along the diagonal that the usual landmarks span, in units of the world."""
        spanned = np.nanmax(self.typical, axis=0) - np.nanmin(self.typical, axis=0)
        return float(np.linalg.norm(spanned) * math.exp(self.center[1]))

    def seen(
        self, points: Floats, present: NDArray[np.bool_], image: WorkingImage, matrix: Floats | None = None
    ) -> Floats | None:
        """(K,) what `image` shows at the nodes of the appearance, laid onto those `points` (N, d) that are `present`.

        `matrix` (d+1, d+1) maps the points to the world of `image`. None where grey values are not judged.
        """
        if self.appearance is None:
            return None
        return self.appearance.nodes.seen(self.typical, np.where(present[:, None], points, np.nan), image, matrix)

    def judge(
        self,
        points: Floats,
        present: NDArray[np.bool_],
        mass: Floats | None = None,
        *,
        cut_off: int = 0,
        seen: Floats | None = None,
        features: DeepFeatures | None = None,
    ) -> Judgement:
        """What to think of an image with `points` (N, d), of which those `present` (N,) are said to be there.

        `mass` (N, stages) is the posterior mass that they were found with. That landmarks are missing since the image
        ends before them, `cut_off` of all, is no reason to doubt the others, unless most are, or too few are left to
        tell where it ends. `seen` (K,) is what the
        image shows at the nodes of the appearance, `features` what the network makes of it.
        """
        aligned, scales, rotations = _aligned(self.typical, np.where(present[:, None], points, np.nan)[None])
        laid = bool(np.isfinite(scales[0]))  # else nobody knows where the image ends
        number = _log_number(np.asarray(present.sum() + (cut_off if laid and 2 * cut_off <= len(present) else 0)))
        values = np.array([np.nan, np.nan, np.nan, float(number), np.nan])
        if mass is not None and present.any():
            values[4] = votes_of(mass, present)
        if laid:
            distance = float(self.components.distances(aligned)[0])
            values[:3] = math.log(max(distance, 1e-6)), math.log(scales[0]), angles(self.turn, rotations)[0]
        apart = values - self.center
        apart[0] = max(apart[0], 0.0)  # a shape nearer to the mean than most is no fault
        apart[3:] = np.minimum(apart[3:], 0.0)  # nor are more landmarks, or surer votes
        counts = np.array([*[self.count] * 4, max(2, self.voted)])
        kinds: list[str] = [*KINDS]
        deviation, farthest = self.deviation, self.farthest
        if (learned := self.features) is not None and features is not None:
            kinds.append(deep_features.KIND)
            apart, counts = np.append(apart, learned.apart(features)), np.append(counts, learned.count)
            deviation, farthest = np.append(deviation, learned.deviation), np.append(farthest, learned.farthest)
        if (shown := self.appearance) is not None and seen is not None:
            kinds += appearance.KINDS
            apart, counts = np.append(apart, shown.apart(seen)), np.append(counts, [shown.count] * 2)
            deviation, farthest = np.append(deviation, shown.deviation), np.append(farthest, shown.farthest)
        shares = len(apart) * _tails(np.abs(apart) / deviation, counts)
        unsuitable = (shares < SHARE) & (np.abs(apart) > BEYOND * farthest)
        if not laid:  # what is there is too little to judge by
            unsuitable[3] |= apart[3] < -TOO_FEW * self.deviation[3]
        share = min(1.0, float(np.nanmin(shares)))
        if not laid and not unsuitable.any():
            return Judgement(math.nan)
        named = {kind for kind, wrong in zip(kinds, unsuitable.tolist(), strict=True) if wrong}
        reason = _reason(named, float(apart[1]), float(apart[2]), int(present.sum())) if named else None
        return Judgement(share, reason, float(apart[1]))


@dataclass(frozen=True, eq=False)
class Suitability:
    """What a model knows of suitable images: what is `usual`, or why it can judge none (`withheld`).

    `blind` are the kinds of wrong images that it does not tell, as far as that was tried (`training.blind_spots`).
    """

    usual: Usual | None = None
    withheld: str = NONE_SAVED
    blind: tuple[str, ...] = ()

    @property
    def limits(self) -> list[str]:
        """What the model cannot judge, a line each."""
        if self.usual is None:
            return [f"whether an image is suitable cannot be judged: {self.withheld}"]
        lines: list[str] = []
        if self.usual.count < MANY:
            lines.append(f"suitability was learned from only {self.usual.count} images: it tells gross faults alone")
        if self.blind:
            lines.append(f"images that are {' or '.join(self.blind)} look suitable to the model")
        return lines

    @classmethod
    def learned(
        cls, shapes: Floats, predicted: Floats, references: Floats, masses: Floats | None = None
    ) -> Suitability:
        """From the landmarks of training images (M, N, d) and from what was predicted in other suitable ones (V, N, d),
        with their `references`; world, one unit, NaN where a landmark is not known. `masses` (V, N, stages) are the
        posterior masses of these predictions."""
        fewest_points = shapes.shape[2] + 2
        numbers = _log_number(np.isfinite(np.concatenate([shapes, references])).all(axis=2).sum(axis=1))
        shapes = shapes[np.isfinite(shapes).all(axis=2).sum(axis=1) >= fewest_points]
        if len(shapes) < FEWEST:
            return cls(None, f"{len(shapes)} training images have {fewest_points} landmarks; {FEWEST} are needed")
        if not len(predicted):
            return cls(None, "there was no validation case to show how predictions deviate")
        typical = typical_shape(shapes)
        if np.isfinite(typical).all(axis=1).sum() < fewest_points:
            return cls(None, "the training images have too few landmarks in common")
        aligned, scales, rotations = _aligned(typical, shapes)
        error = (predicted - references)[np.isfinite(references)] / float(np.nanmedian(scales))
        variance = float(np.median(error**2)) / MEDIAN_OF_SQUARE if error.size else 0.0
        on = np.isfinite(scales)
        components = Components.fitted(aligned[on], variance)
        parts = np.arange(int(on.sum())) % PARTS
        unseen = np.empty(len(parts))
        for part in np.unique(parts):
            out = parts == part
            unseen[out] = Components.fitted(aligned[on][~out], variance).distances(aligned[on][out])
        turn = mean_rotation(rotations[on])
        there = np.where(np.isfinite(references), predicted, np.nan)  # what was found of absent landmarks lies anywhere
        seen, seen_scales, seen_rotations = _aligned(typical, there)
        values = np.stack(
            [
                np.log(np.maximum(np.concatenate([unseen, components.distances(seen)]), 1e-6)),
                np.log(np.concatenate([scales[on], seen_scales])),
                angles(turn, np.concatenate([rotations[on], seen_rotations])),
            ]
        )
        values = values[:, np.isfinite(values).all(axis=0)]
        center = np.array([*values.mean(axis=1), numbers.mean()])
        center[2] = 0.0  # an angle is a distance already
        apart = [np.abs(own - middle) for own, middle in zip([*values, numbers], center, strict=True)]
        deviation = np.maximum([math.sqrt(float((a**2).sum()) / max(1, len(a) - 1)) for a in apart], LEAST[:4])
        farthest = np.array([a.max() for a in apart])
        votes = _votes(masses, np.asarray(np.isfinite(references).all(axis=2)))
        of_votes = (np.nan,) * 3
        if len(votes) >= FEWEST:
            of_votes = (votes.mean(), max(votes.std(ddof=1), LEAST[4]), np.abs(votes - votes.mean()).max())
        usual = (np.append(own, more) for own, more in zip((center, deviation, farthest), of_votes, strict=True))
        return cls(Usual(typical, components, turn, *usual, count=values.shape[1], voted=len(votes)), "")

    def with_appearance(self, nodes: Nodes | None, taught: Floats, found: Floats) -> Suitability:
        """The same with what images show at the `nodes`: training images `taught` (M, K), and those `found` (V, K)."""
        if self.usual is None or nodes is None:
            return self
        return replace(self, usual=replace(self.usual, appearance=Appearance.learned(nodes, taught, found)))

    def with_features(self, taught: Floats, found: Floats) -> Suitability:
        """The same with the summaries of features of training images (M, F) and of validation images (V, F)."""
        if self.usual is None:
            return self
        return replace(self, usual=replace(self.usual, features=UsualFeatures.learned(taught, found)))

    def judge(
        self,
        points: Floats,
        presence: Floats,
        mass: Floats | None = None,
        *,
        cut_off: int = 0,
        seen: Floats | None = None,
        features: DeepFeatures | None = None,
    ) -> Judgement:
        """What is to be thought of an image with `points` (N, d) of which each is there with `presence` (N,).

        `mass` (N, stages) is the posterior mass of the votes for each; without it, these are not judged. `cut_off`
        landmarks are known to lie outside of the image. `seen` and `features` are as for `Usual.judge`.
        """
        if self.usual is None:
            return Judgement(math.nan)
        there = presence >= PRESENT_FROM
        return self.usual.judge(points, there, mass, cut_off=cut_off, seen=seen, features=features)

    def save(self, folder: Path) -> None:
        """Write suitability.safetensors into `folder`."""
        import torch

        from anatomark.nets.weights import save_tensors

        arrays: dict[str, Floats] = {}
        if (usual := self.usual) is not None:
            arrays = {
                "typical": usual.typical,
                "mean": usual.components.mean,
                "axes": usual.components.axes,
                "noise": np.array([usual.components.noise]),
                "turn": usual.turn,
                "spreads": np.stack([usual.center, usual.deviation, usual.farthest]),
                **(usual.appearance.tensors() if usual.appearance is not None else {}),
                **(usual.features.tensors() if usual.features is not None else {}),
            }
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)).float() for name, array in arrays.items()}
        about: dict[str, Any] = {"withheld": self.withheld, "blind": self.blind}
        if usual is not None:
            shown = 0 if usual.appearance is None else usual.appearance.count
            felt = 0 if usual.features is None else usual.features.count
            about |= {"count": usual.count, "voted": usual.voted, "shown": shown, "features": felt}
        save_tensors(folder / NAME, tensors, {"about": json.dumps(about)})

    @classmethod
    def load(cls, folder: Path, landmarks: int, ndim: int) -> Suitability:
        """What `save` wrote; nothing known where there is no file. ModelError for a damaged one, or another model's."""
        from anatomark.nets.weights import load_tensors

        path = folder / NAME
        if not path.exists():
            return cls()
        tensors, metadata = load_tensors(path)
        try:
            about = json.loads(metadata["about"])
            if not tensors:
                return cls(None, str(about["withheld"]))
            held = {name: tensor.double().numpy() for name, tensor in tensors.items()}
            shapes = {name: array.shape for name, array in held.items()}
            wanted = {
                "typical": (landmarks, ndim),
                "mean": (landmarks, ndim),
                "axes": (len(held["axes"]), landmarks * ndim),
                "noise": (1,),
                "turn": (ndim, ndim),
                "spreads": (3, len(KINDS)),
            }
            if (known := held["spreads"]).shape == (3, len(KINDS) - 1):  # before votes were judged
                shapes["spreads"] = wanted["spreads"]
                held["spreads"] = np.column_stack([known, np.full(3, np.nan)])
            finite = all(np.isfinite(held[name]).all() for name in ("axes", "noise", "turn"))
            finite = finite and bool(np.isfinite(held["spreads"][:, :-1]).all())
            if (
                {name: shapes[name] for name in wanted} != wanted
                or not finite
                or held["noise"][0] <= 0
                or int(about["count"]) < 2
            ):
                raise ValueError("of another model")
            components = Components(held["mean"], held["axes"], float(held["noise"][0]))
            center, deviation, farthest = held["spreads"]
            count = int(about["count"])
            voted = int(about.get("voted", 0))
            shown = Appearance.of_tensors(held, int(about.get("shown", 0)), ndim)
            features = UsualFeatures.of_tensors(held, int(about.get("features", 0)))
            spreads = (center, deviation, farthest)
            usual = Usual(held["typical"], components, held["turn"], *spreads, count, voted, shown, features)
            return cls(usual, "", tuple(str(kind) for kind in about.get("blind", ())))
        except (KeyError, TypeError, ValueError, IndexError):
            raise ModelError(f"{path} is damaged or of another model; copy the whole run folder again") from None


def _aligned(typical: Floats, shapes: Floats) -> tuple[Floats, Floats, Floats]:
    """`shapes` (M, N, d) in the frame of `typical`, and the scales (M,) and rotations (M, d, d) that were taken out."""
    fit = align_shape(typical, shapes)
    moved = (shapes - fit.offsets[:, None]) @ fit.rotations / fit.scales[:, None, None]
    known = np.asarray(np.isfinite(typical).all(axis=1))
    return np.where(known[:, None], moved, np.nan), fit.scales, fit.rotations


def votes_of(mass: Floats, present: NDArray[np.bool_]) -> float:
    """The mean log-odds of the posterior `mass` (N, stages) over the landmarks that are `present` (N,)."""
    return float(logit(mass)[present].mean())


def _tails(z: Floats, counts: NDArray[np.int64]) -> Floats:
    """Two-sided shares beyond `z` standard deviations, each learned from so many images."""
    from scipy import stats

    return np.asarray(2 * stats.t.sf(z / np.sqrt(1 + 1 / counts), counts - 1), dtype=np.float64)


def _reason(wrong: Set[str], size: float, turn: float, present: int) -> str:
    """What is `wrong`, in words; of a shape that fits nowhere, the turn says nothing."""
    look = "look if the image is mirrored, turned, inverted, cut off, or of another kind or spacing"
    if "number" in wrong:
        return f"only {present} landmarks are said to be there, far fewer than in the training images: {look}"
    times = f"{'only ' if size < 0 else ''}{math.exp(size):.2g} times" if "size" in wrong else ""
    if "shape" in wrong:
        also = f" and span {times} their size" if times else ""
        return f"the points do not lie as in the training images{also}: {look} (an unusual person may look so, too)"
    if "side" in wrong:
        return "left and right look exchanged, against the training images (or an unusual person)"
    if not wrong & {"turn", "size"}:
        what = "the grey values are strange"
        if "votes" in wrong:
            what = "the network is sure of little here"
        elif "grey" not in wrong:
            what = "the image looks strange to the network"
        return f"{what}, unlike in the training images: {look}"
    words = [f"turned by {math.degrees(turn):.0f} degrees against the training images"] if "turn" in wrong else []
    words += [f"{times} the size of the training images' (check the spacing)"] if times else []
    return f"the points are {' and '.join(words)}"


def _votes(masses: Floats | None, known: NDArray[np.bool_]) -> Floats:
    """(V',) the votes for the landmarks that are `known` (V, N), of the images that have one."""
    if masses is None:
        return np.empty(0)
    return np.array([votes_of(mass, present) for mass, present in zip(masses, known, strict=True) if present.any()])


def _log_number(count: NDArray[Any]) -> Floats:
    return np.log(count + 0.5)
