"""Other ways to take an image that does not suit a model: mirrored, turned, inverted, or of another spacing.

Files of hospitals are stored mirrored, lying on their side, with black and white exchanged, or with a wrong spacing. A
view undoes one such fault; where the model then finds its landmarks to lie as usual, this is the likely reason. In a
volume a rotation is preferred to a mirrored view: mirror images of a symmetrical anatomy look usual, too, with the
sides exchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from anatomark.combined import Answer
from anatomark.core.grid import Floats, Grid, Unit
from anatomark.core.image import Image
from anatomark.methods.in_view import CutOff
from anatomark.methods.suitability import Judgement

USUAL_FROM = 0.01  # share of suitable images that deviate more, for a view to explain what is unusual
TRIED = 2  # views that are looked at in full though the first look says no
SPACINGS = (0.04, 0.1, 0.2, 0.28, 0.4, 0.57, 0.75, 1.33, 1.75, 2.5, 3.5, 5.0, 10.0, 25.4)  # factors
EXTENTS = (0.8, 6.0)  # of an image, times the extent of the usual landmarks, for a spacing to be tried
NEARLY = 0.02  # logarithm of a factor that needs no correction
AXES = (("left and right", "left-right"), ("front and back", "front-back"), ("head and feet", "head-feet"))


@dataclass(frozen=True, eq=False)
class View:
    """An image whose world is mapped by `matrix` (d, d) about the image's middle; grey values may be inverted, too.

    `words` say what is the matter with an image that this view makes usual.
    """

    matrix: Floats
    words: str
    inverted: bool = False

    @property
    def scale(self) -> float:
        """The factor of lengths."""
        return float(abs(np.linalg.det(self.matrix)) ** (1 / len(self.matrix)))

    @property
    def proper(self) -> bool:
        """Whether nothing is mirrored."""
        return bool(np.linalg.det(self.matrix) > 0)

    def of(self, image: Image) -> Image:
        """The image in this view; its array has the same shape."""
        array, affine = image.array, image.grid.affine.copy()
        if self.inverted:
            array = array.max() - (array - array.min())
        affine[:-1] = self.matrix @ affine[:-1]
        affine[:-1, -1] += image.grid.center - self.matrix @ image.grid.center
        return Image(array, Grid(image.grid.shape, affine, image.grid.unit))

    def back(self, points: Floats, image: Image) -> Floats:
        """Points (N, d) of the world of this view in the world of `image` itself."""
        center = image.grid.center
        return (points - center) @ np.linalg.inv(self.matrix).T + center

    def back_side(self, cut_off: CutOff | None) -> CutOff | None:
        """What the image ends before in this view, at the side of the image itself."""
        if cut_off is None:
            return None
        return replace(cut_off, towards=np.linalg.inv(self.matrix) @ cut_off.towards)


def orientations(ndim: int) -> list[View]:
    """The views of other orientations, in the order of trial, likely ones first: in 2D all, also inverted; in 3D the
    inverted one, turns about an axis, and mirrored ones."""
    unchanged = View(np.eye(ndim), "inverted (black and white exchanged)", inverted=True)
    if ndim == 3:
        return [unchanged, *_turns(), *_mirrored()]
    turned = _orientations_2d()
    both = [replace(view, words=f"{view.words} and inverted", inverted=True) for view in turned]
    return [turned[0], unchanged, *turned[1:], *both]


def spacings(grid: Grid, extent: float) -> list[View]:
    """Views of other sizes, in which landmarks of that `extent` fit into an image on `grid`."""
    return [scaled(grid.ndim, factor, grid.unit) for factor in SPACINGS if _fits(grid, extent, factor)]


def _fits(grid: Grid, extent: float, factor: float) -> bool:
    """Whether an image on `grid` whose lengths are `factor` times as long shows what has this `extent`."""
    return EXTENTS[0] <= factor * math.hypot(*grid.extent) / extent <= EXTENTS[1]


def scaled(ndim: int, factor: float, unit: Unit) -> View:
    """The view of an image whose lengths are `factor` times as long."""
    times = f"{'only ' if factor > 1 else ''}{1 / factor:.2g} times"
    words = f"as if its spacing were {times} the true one (check the spacing)"
    if unit == "px":
        words = f"{times} as large as the training images"
    return View(factor * np.eye(ndim), words)


def usual_view(
    image: Image, extent: float, *, quick: Callable[[Image], Judgement] | None, answer: Callable[[Image], Answer]
) -> tuple[View, Answer] | None:
    """The view in which an unsuitable `image` is usual, and the answer to it, in the view's world; None if none is.

    `extent` is that of the usual landmarks. `answer` is what the model finds in an image, `quick` what a first look
    makes of it, where that takes less time. The first view that is usual is taken, turns before mirrored ones.
    """
    ndim = image.grid.ndim
    for view, found in _answers(image, orientations(ndim), quick, answer):
        if _is_usual(found.judgement):
            return view, found
    for view, found in _answers(image, spacings(image.grid, extent), quick, answer):
        size = found.judgement.size
        if math.isfinite(size) and abs(size) > NEARLY:
            factor = view.scale * math.exp(-size)
            if not _fits(image.grid, extent, factor):
                continue
            view = scaled(ndim, factor, image.grid.unit)
            found = answer(view.of(image))
        if _is_usual(found.judgement):
            return view, found
    return None


def _answers(
    image: Image,
    views: Sequence[View],
    quick: Callable[[Image], Judgement] | None,
    answer: Callable[[Image], Answer],
) -> Iterator[tuple[View, Answer]]:
    """The answers to `views` that look usual at first, then to the TRIED most promising ones of the others."""
    shares: list[float] = []
    for view in views:
        judgement = None if quick is None else quick(view.of(image))
        usual = judgement is None or _is_usual(judgement)
        if usual:
            yield view, answer(view.of(image))
        shares.append(-1.0 if usual or judgement is None or math.isnan(judgement.share) else judgement.share)
    for k in np.argsort([-share for share in shares], kind="stable")[:TRIED]:
        if shares[k] >= 0:
            yield views[k], answer(views[k].of(image))


def _is_usual(judgement: Judgement) -> bool:
    return judgement.reason is None and judgement.share >= USUAL_FROM


def _orientations_2d() -> list[View]:
    """All but the given one. A picture's x goes to the right, its y down: [[0, -1], [1, 0]] turns it clockwise."""
    clockwise = np.array([[0.0, -1.0], [1.0, 0.0]])
    mirror = np.diag([-1.0, 1.0])
    return [
        View(mirror, "mirrored"),
        View(np.diag([-1.0, -1.0]), "upside down"),
        View(clockwise, "turned by 90 degrees counterclockwise"),
        View(clockwise.T, "turned by 90 degrees clockwise"),
        View(np.diag([1.0, -1.0]), "mirrored top to bottom"),
        View(mirror @ clockwise, "mirrored and turned by 90 degrees"),
        View(mirror @ clockwise.T, "mirrored and turned by 90 degrees"),
    ]


def _turns() -> list[View]:
    """Quarter and half turns about each axis of the world."""
    views: list[View] = []
    for axis, degrees in product(range(3), (180, 90, -90)):
        a, b = [k for k in range(3) if k != axis]
        matrix = np.eye(3)
        cos, sin = round(math.cos(math.radians(degrees))), round(math.sin(math.radians(degrees)))
        matrix[[a, a, b, b], [a, b, a, b]] = cos, -sin, sin, cos
        views.append(View(matrix, f"turned by {abs(degrees)} degrees about its {AXES[axis][1]} axis"))
    return views


def _mirrored() -> list[View]:
    """One axis of the world exchanged."""
    return [
        View(np.diag(np.where(np.arange(3) == k, -1.0, 1.0)), f"mirrored, {AXES[k][0]} exchanged") for k in range(3)
    ]
