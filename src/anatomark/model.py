"""A trained model: it predicts the landmarks of an Image, by one member or by several together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from anatomark.card import NAME, Card, Presence, Template, View
from anatomark.combined import Answer, combined
from anatomark.core.grid import Floats, Grid, Unit
from anatomark.core.image import Image, require_usable
from anatomark.core.landmarks import Landmarks
from anatomark.data.alignment import Alignment, Placement, place
from anatomark.data.working import WorkingImage
from anatomark.errors import ImageError, SpacingError
from anatomark.formats.atomic import write_json
from anatomark.methods.error_bound import COVERAGE, ErrorBounds
from anatomark.methods.error_scale import ErrorScale, evidence_of
from anatomark.methods.in_view import CutOff, InView, depths_of, expected_places
from anatomark.methods.interface import AnyDetector, Located, features_of, masses_of
from anatomark.methods.networks import NetworkDetector
from anatomark.methods.offsets import Offsets
from anatomark.methods.prediction import Orient, Prediction, predicted_absent
from anatomark.methods.presence import PresenceModel
from anatomark.methods.suitability import PRESENT_FROM, Judgement, Suitability
from anatomark.nets.weights import save_tensors
from anatomark.version import __version__
from anatomark.views import usual_view

TEMPLATE = "alignment.template"  # its tensor in model.safetensors


@dataclass(frozen=True, eq=False)
class Member:
    """A detector with what was learned around it: the template its images are aligned to, and what is suitable.

    Without `alignment`, images are taken in their own world; without `suitability`, every image is taken as it comes;
    without `in_view`, every image is taken to be as large as those of the training; without `error_scale`, a spread is
    that of the votes.
    """

    detector: AnyDetector
    alignment: Alignment | None = None
    suitability: Suitability = field(default_factory=Suitability)
    in_view: InView | None = None
    error_scale: ErrorScale | None = None

    def place(self, image: Image) -> Placement:
        """Where the detector is to see `image`: in the template's world, if there is one, else in its own."""
        return place(self.alignment, image)

    def working_image(self, placed: Placement, *, source: str = "image") -> WorkingImage:
        """What the detector sees of the image that was `placed`."""
        return placed.working_image(self.detector.network.sampling, source=source)

    def locate(
        self, placed: Placement, device: torch.device, *, upto: str | None = None, source: str = "image"
    ) -> list[Located]:
        """The answer of each stage, up to stage `upto`, in the world of the image that was `placed`."""
        return _given_back(placed, self.detector.locate(self.working_image(placed, source=source), device, upto=upto))

    def found(
        self, images: Sequence[Image], device: torch.device, *, sources: Sequence[str]
    ) -> list[tuple[Answer, list[Located]]]:
        """What it finds in each of `images`, and the answers of its stages that this is made of.

        Networks see images together where they can. One that cannot be aligned is looked at unaligned, with a warning.
        """
        placed = [self.place(image) for image in images]
        working = [self.working_image(one, source=source) for one, source in zip(placed, sources, strict=True)]
        found: list[tuple[Answer, list[Located]]] = []
        for one, seen, stages in zip(placed, working, self._located(working, device), strict=True):
            located = _given_back(one, stages)
            answer = self.answer_of(located, one.image.grid, seen, one.matrix)
            if one.failure:
                answer = replace(answer, warning=f"{one.failure}; predicted unaligned")
            found.append((answer, located))
        return found

    def _located(self, images: Sequence[WorkingImage], device: torch.device) -> list[list[Located]]:
        if isinstance(self.detector, NetworkDetector):
            return self.detector.locate_together(images, device)
        return [self.detector.locate(image, device) for image in images]

    def answer_of(
        self, located: Sequence[Located], grid: Grid, working: WorkingImage, matrix: Floats | None = None
    ) -> Answer:
        """What the answers of all stages come to for an image on `grid`.

        `matrix` (d+1, d+1) maps the world of this image, in which they are `located`, to that of its `working` image.
        """
        points, masses = located[-1].points_world, masses_of(located)
        usual = self.suitability.usual
        places = None if usual is None else expected_places(usual, grid, points, masses)
        presence, cut_off = self.presence_in(grid, masses, places)
        seen = None if usual is None else usual.seen(points, presence >= PRESENT_FROM, working, matrix)
        outside = cut_off.count if cut_off else 0
        features = features_of(located)
        judgement = self.suitability.judge(points, presence, masses, cut_off=outside, seen=seen, features=features)
        spread = located[-1].spread
        if self.error_scale is not None and usual is not None and places is not None:
            spread = self.error_scale.of(evidence_of(located, places, usual.extent))
        return Answer(points, presence, spread, judgement, cut_off=cut_off)

    def presence_in(self, grid: Grid, masses: Floats, places: Floats | None) -> tuple[Floats, CutOff | None]:
        """The presence (N,) of points that were found with `masses` (N, stages) in the image on `grid`, and what the
        image ends before, if anything. `places` (N, d) are those where the landmarks are expected."""
        presence = self.detector.presence.probability(masses)
        if self.in_view is None or places is None or (usual := self.suitability.usual) is None:
            return presence, None
        in_view = self.in_view.probability(masses, depths_of(usual, grid, places))
        outside = predicted_absent(in_view)
        cut_off = CutOff.beyond(grid, places[outside]) if outside.any() else None
        return np.minimum(presence, in_view), cut_off  # what is present is in view: no product, both know the votes


def _given_back(placed: Placement, stages: Sequence[Located]) -> list[Located]:
    """The answers of stages in the world of the image that was `placed`.

    A spread is a length without direction; how it goes back is told at `Placement.length_from_template`.
    """
    return [
        replace(
            stage,
            points_world=placed.from_template(stage.points_world),
            spread=placed.length_from_template(stage.spread),
        )
        for stage in stages
    ]


@dataclass(frozen=True, eq=False)
class Model:
    """What finds the landmarks `names` in images of one dimension and unit: one member, or the folds of a run.

    `load` makes one. The bounds of several members were calibrated by what each case's one unseen fold said of it. For
    their mean that is no exact guarantee: by the triangle inequality a mean is at most as wrong as its members are on
    average, and where these disagree the spread, and so the bound, grows; so at least the asked coverage is to be
    expected, and often more. `anatomark calibrate --split` with cases that no fold has seen calibrates the mean itself.

    Attributes:
        names: of the landmarks, in their order.
        pairs: of names that are left and right of each other.
        ndim: dimension of the images, 2 or 3.
        unit: "mm" or "px"; images need the same.
        dataset: name of the data set that it was trained on.
        members: trained networks with what was learned around them.
        bounds: how far its points may be off.
        presence: corrects the probability of each of several members, if there is one.
        device: where it computes.
        offsets: move the points to where another place puts them (`training.adapt`).

    Examples:
        >>> model = anatomark.load("runs/first")
        >>> prediction = model.predict(anatomark.read_image("new.nii.gz"))
    """

    names: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    ndim: int
    unit: Unit
    dataset: str
    members: tuple[Member, ...]
    bounds: ErrorBounds
    presence: PresenceModel | None = None
    device: str = "cpu"
    offsets: Offsets | None = None

    @property
    def detector(self) -> AnyDetector:
        """The detector of a model with one member; of several, the first."""
        return self.members[0].detector

    @property
    def limits(self) -> list[str]:
        """What it cannot judge of an image, a line each."""
        return [limit for member in self.members[:1] for limit in member.suitability.limits]

    def predict(
        self, image: Image, *, source: str = "image", coverage: float = COVERAGE, orient: Orient = "keep"
    ) -> Prediction:
        """All landmarks of `image`, in world LPS, with presence, spread and error bounds of the asked `coverage`.

        Pure: nothing is kept between calls. An image that is unsuitable is looked at in other ways, too (mirrored,
        turned, inverted, of another spacing, see `views`); where one makes it usual, `unsuitable` says so. With
        `orient="auto"` it is then predicted that way: the points are those of the image as it was given.

        Raises ImageError for an image of another dimension, with one voxel, constant or not finite, and SpacingError
        where the model works in mm and the image's spacing is unknown, or the other way round. `source` names the
        image in messages. An image that cannot be aligned to the template is predicted unaligned, with a `warning`.
        """
        return self.predict_together([image], sources=[source], coverage=coverage, orient=orient)[0]

    def predict_together(
        self, images: Sequence[Image], *, sources: Sequence[str], coverage: float = COVERAGE, orient: Orient = "keep"
    ) -> list[Prediction]:
        """`predict` for several images, which networks see as one batch where they have the same size.

        Raises as `predict`, for the first image that cannot be predicted. Points are those of `predict` but for the
        rounding of sums (less than 0.0001 mm on a CPU).
        """
        for image, source in zip(images, sources, strict=True):
            self.require_fitting(image, source)
        answers = self._answers(images, sources)
        return [
            self._predicted(image, answer, source, coverage, orient)
            for image, answer, source in zip(images, answers, sources, strict=True)
        ]

    def _predicted(self, image: Image, answer: Answer, source: str, coverage: float, orient: Orient) -> Prediction:
        """The prediction of an image to which the members gave this answer; an unsuitable one is looked at again."""
        if answer.judgement.reason is None or (usual := self.members[0].suitability.usual) is None:
            return self.prediction_of(answer, coverage=coverage)

        quick = self._first_look if self.detector.first_look or len(self.members) > 1 else None
        found = usual_view(image, usual.extent, quick=quick, answer=lambda view: self._answers([view], [source])[0])
        if found is None:
            return self.prediction_of(answer, coverage=coverage)
        view, taken = found
        taken = replace(taken, cut_off=view.back_side(taken.cut_off))
        if orient == "auto":
            prediction = self.prediction_of(taken, coverage=coverage)
            points = view.back(prediction.landmarks.points, image)
            return replace(
                prediction,
                landmarks=Landmarks.from_points(self.names, points, self.unit),
                spread=prediction.spread / view.scale,
                error_bound=prediction.error_bound / view.scale,
                taken_for=view.words,
            )
        reason = f"the image looks {view.words}; corrected, its points lie as usual (--orient auto does that)"
        judgement = replace(answer.judgement, reason=reason)
        explained = replace(answer, warning=taken.warning, cut_off=taken.cut_off, judgement=judgement)
        return self.prediction_of(explained, coverage=coverage)

    def found(self, image: Image, *, source: str = "image") -> tuple[Answer, list[Located] | None]:
        """What is found in `image`, before it is named; and, where there is one member, the answers of its stages.

        Raises as `predict`.
        """
        self.require_fitting(image, source)
        if len(self.members) > 1:
            return self._answers([image], [source])[0], None
        return next(iter(self.members)).found([image], torch.device(self.device), sources=[source])[0]

    def _answers(self, images: Sequence[Image], sources: Sequence[str]) -> list[Answer]:
        """What all members find together in each of `images`."""
        device = torch.device(self.device)
        members = [[answer for answer, _ in member.found(images, device, sources=sources)] for member in self.members]
        return [combined([self._corrected(answer) for answer in answers]) for answers in zip(*members, strict=True)]

    def _corrected(self, answer: Answer) -> Answer:
        """A member's answer with the presence that several members have together."""
        if self.presence is None:
            return answer
        return replace(answer, presence=self.presence.probability(answer.presence[:, None]))

    def _first_look(self, image: Image) -> Judgement:
        """What to think of the points that the first member finds in `image` at a first look."""
        member = self.members[0]
        located = member.locate(member.place(image), torch.device(self.device), upto=member.detector.first_look)
        points = located[-1].points_world
        return member.suitability.judge(points, np.ones(len(points)))

    def prediction_of(self, answer: Answer, *, coverage: float = COVERAGE) -> Prediction:
        """An answer with names and error bounds; an unsuitable image has no bounds."""
        points = answer.points if self.offsets is None else self.offsets.apply(answer.points, answer.presence)
        prediction = Prediction(
            Landmarks.from_points(self.names, points, self.unit),
            answer.presence,
            answer.spread,
            answer.remark,
            self.bounds.bound(answer.spread, coverage),
            coverage,
        )
        return prediction.judged(answer.judgement)

    def locate(self, image: Image, *, upto: str | None = None, source: str = "image") -> list[Located]:
        """The answers of each stage of the first member, up to stage `upto`, in the world of `image`.

        Raises as `predict`.
        """
        self.require_fitting(image, source)
        member = self.members[0]
        return member.locate(member.place(image), torch.device(self.device), upto=upto, source=source)

    def require_fitting(self, image: Image, source: str = "image") -> None:
        """Raises ImageError or SpacingError as `predict`."""
        if image.grid.ndim != self.ndim:
            advice = f"use a model for {image.grid.ndim}D images"
            if self.ndim == 2:
                advice += ", or --stack (stack=True) where the file is a stack of pictures"
            raise ImageError(
                f"{source}: a {image.grid.ndim}D image of shape {image.grid.shape}, but the model was trained on "
                f"{self.ndim}D images; {advice}"
            )
        if image.grid.unit != self.unit:
            what = "has no spacing" if image.grid.unit == "px" else "has a spacing in mm"
            axes = "x,y" if self.ndim == 2 else "x,y,z"
            without = "leave out --spacing, or use a model trained in mm"
            todo = f"give --spacing {axes} in mm" if self.unit == "mm" else without
            raise SpacingError(f"{source}: {what}, but the model works in {self.unit}; {todo}")
        require_usable(image, source)

    def save(self, folder: Path) -> None:
        """Write model.json of a model with one member, after the files of weights and of what else was learned."""
        if len(self.members) != 1:
            raise ValueError("a model with several members is saved member by member, see `loading.save_ensemble`")
        (member,) = self.members
        tensors = member.detector.tensors()
        template = None
        if (aligned := member.alignment) is not None:
            tensors[TEMPLATE] = torch.from_numpy(aligned.template.array.copy())
            template = Template(kind=aligned.kind, case=aligned.case, grid=aligned.template.grid.to_dict())
        self.bounds.save(folder)
        member.suitability.save(folder)
        if member.error_scale is not None:
            member.error_scale.save(folder)
        save_tensors(folder / "model.safetensors", tensors)
        card = Card(
            anatomark=__version__,
            method=member.detector.name,
            dataset=self.dataset,
            ndim=2 if self.ndim == 2 else 3,
            unit=self.unit,
            landmarks=self.names,
            pairs=self.pairs,
            presence=Presence(**asdict(member.detector.presence)),
            in_view=None if member.in_view is None else View(**asdict(member.in_view)),
            alignment=template,
            network=member.detector.network.model_dump(),
        )
        write_json(folder / NAME, card.model_dump(mode="json"))
