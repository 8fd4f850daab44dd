"""Phantoms: synthetic images of one deformed anatomy whose landmarks are known exactly.

An image shows the template through a smooth map from its own world to the template's; a landmark lies where
that map meets the template's landmark, solved to far below a voxel. Each case depends on the seed and its own
index alone, so that any case can be made at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks, State
from anatomark.data.phantom_anatomy import Anatomy, draw_anatomy, pair_count
from anatomark.data.phantom_spine import PARTS, draw_spine, own_texture, vertebra_names
from anatomark.errors import OutputError, SettingsError
from anatomark.formats.images import write_image
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.table import write_table

Modality = Literal["radiograph", "ct", "mr"]
SPLITS: Mapping[str, float] = MappingProxyType({"train": 0.6, "val": 0.2, "test": 0.2})


@dataclass(frozen=True)
class PhantomSpec:
    """What the phantoms of a set have in common.

    `shape` is in array order, `spacing` in mm, order x, y[, z]; left empty they become 160 x 208 pixels or
    48 x 64 x 56 voxels of a head's size. `absent` is the part of the images that are cut off on one side, the
    landmarks beyond the cut being absent; `not_annotated` the part of the landmarks that nobody looked at.
    `oblique` turns about half of the 3D images, exchanges and flips their axes.

    `pose_degrees`, up to 180, turns what is in each image by a random angle up to that, in 3D about a random axis.
    With `vertebrae` it is no head, but a spine of so many that look alike, each with an equal part of the landmarks.
    """

    ndim: int = 2
    landmarks: int = 12
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    absent: float = 0.0
    not_annotated: float = 0.0
    oblique: bool = True
    modality: Modality | None = None
    pose_degrees: float = 0.0
    vertebrae: int = 0

    def __post_init__(self) -> None:
        if self.ndim not in (2, 3):
            raise SettingsError(f"a phantom has ndim 2 or 3, got {self.ndim}")
        if not 3 <= self.landmarks <= 2000:
            raise SettingsError(f"a phantom has 3 to 2000 landmarks, got {self.landmarks}")
        for name in ("absent", "not_annotated"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(f"{name} is a part of the whole, 0 to 1, got {getattr(self, name)}")
        if not 0 <= self.pose_degrees <= 180:
            raise SettingsError(f"pose_degrees is an angle of 0 to 180, got {self.pose_degrees}")
        most = len(PARTS[self.ndim])
        if self.vertebrae and self.landmarks not in [k * self.vertebrae for k in range(1, most + 1)]:
            wanted = f"1 to {most} landmarks on each vertebra, as many on all"
            raise SettingsError(f"a spine has {wanted}, got {self.landmarks} on {self.vertebrae}")
        two = self.ndim == 2
        object.__setattr__(self, "shape", tuple(self.shape) or ((160, 208) if two else (48, 64, 56)))
        object.__setattr__(self, "spacing", tuple(self.spacing) or ((1.0, 1.2) if two else (2.5, 2.4, 3.5)))
        object.__setattr__(self, "modality", self.modality or ("radiograph" if two else "ct"))
        came = f"got shape {self.shape} and spacing {self.spacing}"
        if len(self.shape) != self.ndim or len(self.spacing) != self.ndim:
            raise SettingsError(f"a {self.ndim}D phantom needs {self.ndim} sizes and spacings, {came}")
        if min(self.shape) < 16 or min(self.spacing) <= 0:
            raise SettingsError(f"a phantom needs 16 elements a side and positive spacings, {came}")

    @property
    def names(self) -> tuple[str, ...]:
        """The landmark names (N,): 2D p01 ...; 3D m01 ... on the midline, then p01_left, p01_right ...

        Of a spine v01_front_upper ..., vertebra by vertebra.
        """
        if self.vertebrae:
            return vertebra_names(self.vertebrae, self.landmarks, self.ndim)
        pairs = pair_count(self.landmarks, self.ndim)
        alone = self.landmarks - 2 * pairs
        width = max(2, len(str(self.landmarks)))
        first = [f"{'p' if self.ndim == 2 else 'm'}{k:0{width}d}" for k in range(1, alone + 1)]
        return (
            *first,
            *(f"p{k:0{width}d}_{side}" for k in range(1, pairs + 1) for side in ("left", "right")),
        )

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The left and right names that belong together."""
        names = self.names
        both = ((name, name.removesuffix("left") + "right") for name in names if name.endswith("_left"))
        return tuple((left, right) for left, right in both if right in names)


@dataclass(frozen=True, eq=False)
class Deformation:
    """A smooth map from an image's world to the template, mm to mm: an affine map plus K plane waves.

    `matrix` (d, d), `shift` (d,) mm; `waves` (K, d) rad/mm, `phases` (K,), `amplitudes` (K, d) mm. Random
    waves of like length make nearly a Gaussian random field, which unlike a sampled one is known everywhere.
    """

    matrix: Floats
    shift: Floats
    waves: Floats
    phases: Floats
    amplitudes: Floats

    def to_template(self, points: Floats) -> Floats:
        """Template points (..., d) of world points (..., d)."""
        return points @ self.matrix.T + self.shift + self._waved(points)

    def from_template(self, points: Floats) -> Floats:
        """World points (N, d) of template points (N, d), to a millionth of a mm."""
        inverse = np.linalg.inv(self.matrix)
        found = (points - self.shift) @ inverse.T
        for _ in range(500):  # a contraction, since the waves are far longer than high
            nearer = (points - self.shift - self._waved(found)) @ inverse.T
            moved, found = np.abs(nearer - found).max(), nearer
            if moved < 1e-7:
                return found
        raise ArithmeticError("the deformation folds, so that it cannot be inverted")

    def _waved(self, points: Floats) -> Floats:
        return np.sin(points @ self.waves.T + self.phases) @ self.amplitudes


def draw_deformation(rng: np.random.Generator, box: Sequence[float], pose_degrees: float = 0.0) -> Deformation:
    """A random Deformation about the middle of a field of view of `box` (d,) mm, turned by up to `pose_degrees`."""
    half = np.asarray(box) / 2
    d = len(half)
    skew = rng.uniform(-0.2, 0.2, size=(d, d))  # up to 11 degrees about each axis
    turn = np.linalg.qr(np.eye(d) + np.triu(skew, 1) - np.triu(skew, 1).T)[0]
    turn *= np.sign(np.diag(turn))
    matrix = turn * rng.uniform(0.92, 1.1, size=d)
    count = 6
    waves = rng.normal(size=(count, d))
    waves *= np.pi / half * rng.uniform(0.6, 1.1, size=(count, 1)) / np.linalg.norm(waves, axis=1, keepdims=True)
    amplitudes = 0.03 * np.sqrt(2 / count) * rng.uniform(-1.5, 1.5, size=(count, d)) * half
    shift = rng.uniform(-0.12, 0.12, size=d) * half
    phases = rng.uniform(0, 2 * np.pi, size=count)
    if pose_degrees:
        matrix = matrix @ _draw_turn(rng, d, np.deg2rad(pose_degrees))
    return Deformation(matrix, shift, waves, phases, amplitudes)


def _draw_turn(rng: np.random.Generator, d: int, most: float) -> Floats:
    """The rotation (d, d) by a random angle of at most `most` radians, in 3D about a random axis."""
    angle, axis = rng.uniform(-most, most), rng.normal(size=3)
    if d == 2:
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()


def render(anatomy: Anatomy, deformation: Deformation, grid: Grid) -> NDArray[np.float32]:
    """The template's grey values seen through `deformation` on `grid`, (*grid.shape)."""
    slab = max(1, 250_000 // int(np.prod(grid.shape[1:])))  # bounds the memory that coordinates take
    parts: list[NDArray[np.float32]] = []
    for start in range(0, grid.shape[0], slab):
        rows = min(slab, grid.shape[0] - start)
        part = grid.crop((start, *[0] * (grid.ndim - 1)), (rows, *grid.shape[1:]))
        parts.append(anatomy.sample(deformation.to_template(part.centers())))
    return np.concatenate(parts)


def phantom(seed: int, index: int, spec: PhantomSpec) -> tuple[Image, Landmarks]:
    """Case `index` of the set of `seed` and `spec`: an image (uint8 in 2D, int16 in 3D) and its landmarks.

    The same arguments give the same bytes, whatever other cases are made. Landmarks are world LPS mm; those
    outside of the image are ABSENT. A 2D image has origin zero, as a PNG file can say nothing else.
    """
    rng = np.random.default_rng((seed, 1, index))
    box = tuple(n * s for n, s in zip(reversed(spec.shape), spec.spacing, strict=True))
    samples = _template_samples(spec)
    if spec.vertebrae:
        anatomy = draw_spine(seed, box, spec.vertebrae, spec.landmarks, samples)
    else:
        anatomy = draw_anatomy(seed, box, spec.landmarks, samples)
    deformation = draw_deformation(rng, box, spec.pose_degrees)
    points = deformation.from_template(anatomy.points)
    grid = _cut(rng, _draw_grid(rng, spec, box), points, spec.absent)
    seen = render(anatomy, deformation, grid)
    if spec.vertebrae:
        seen += own_texture(rng, grid)
    values = _expose(rng, seen, grid, spec)

    states = np.where(grid.contains(points), State.PRESENT, State.ABSENT).astype(np.uint8)
    states[rng.random(spec.landmarks) < spec.not_annotated] = State.NOT_ANNOTATED
    move = -grid.origin if spec.ndim == 2 else np.round(rng.uniform(-60, 60, size=3), 3)
    affine = grid.affine.copy()
    affine[:-1, -1] += move
    return Image(values, Grid(grid.shape, affine)), Landmarks(spec.names, points + move, states)


def make_phantoms(
    folder: str | Path,
    *,
    ndim: int = 2,
    cases: int = 40,
    landmarks: int = 12,
    seed: int = 0,
    absent: bool | float = True,
    not_annotated: float = 0.0,
    shape: Sequence[int] = (),
    spacing: Sequence[float] = (),
    oblique: bool = True,
    modality: Modality | None = None,
    splits: Mapping[str, float] = SPLITS,
    ending: str = "",
    pose_degrees: float = 0.0,
    vertebrae: int = 0,
) -> Path:
    """Writes a set of synthetic images whose landmarks are known exactly; the path of its `dataset.yaml`.

    `folder` gets images/case_000 ..., landmarks.csv (LPS mm, with states) and, last, dataset.yaml.

    Args:
        folder: where to write.
        ndim: 2 for radiographs, 3 for volumes.
        cases: number of images, each of another subject.
        landmarks: number of landmarks, 3 to 2000.
        seed: of the anatomy and its variation.
        absent: part of the images that are cut, the landmarks beyond being absent; True is four in ten.
        not_annotated: part of the landmarks that are not annotated.
        shape: of the arrays; by default 160 x 208 pixels or 48 x 64 x 56 voxels of a head's size.
        spacing: in mm along x, y[, z].
        oblique: turns about half of the 3D images, exchanges and flips their axes.
        modality: "radiograph", "ct" or "mr".
        splits: {name: part of the cases}.
        ending: of the images, by default .png in 2D, .nii.gz in 3D.
        pose_degrees: what is in each image is turned by up to that.
        vertebrae: instead of a head, a spine of so many that look alike.

    Returns:
        The path of the description.

    Raises:
        OutputError: the folder holds images of another set.
        SettingsError: an argument is out of range.

    Examples:
        >>> anatomark.make_phantoms("phantoms", cases=60)
        PosixPath('phantoms/dataset.yaml')
    """
    spec = PhantomSpec(
        ndim=ndim,
        landmarks=landmarks,
        shape=tuple(shape),
        spacing=tuple(spacing),
        absent=0.4 if absent is True else float(absent),
        not_annotated=not_annotated,
        oblique=oblique,
        modality=modality,
        pose_degrees=pose_degrees,
        vertebrae=vertebrae,
    )
    if cases < 1:
        raise SettingsError(f"a phantom set has at least one case, got {cases}")
    folder = Path(folder)
    ids = [f"case_{k:0{max(3, len(str(cases - 1)))}d}" for k in range(cases)]
    files = [folder / "images" / f"{case}{ending or ('.png' if ndim == 2 else '.nii.gz')}" for case in ids]
    foreign = sorted({p.name for p in (folder / "images").glob("*")} - {p.name for p in files})
    if foreign:
        raise OutputError(f"{folder} already holds other images, such as {foreign[0]}; name an empty folder")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    truths: list[Landmarks] = []
    for index, path in enumerate(files):
        image, truth = phantom(seed, index, spec)
        write_image(image, path)
        truths.append(truth)
    _write_truth(folder / "landmarks.csv", ids, truths)
    description: dict[str, Any] = {
        "name": f"phantoms_{ndim}d",
        "dimension": ndim,
        "landmarks": list(spec.names),
        "pairs": [list(pair) for pair in spec.pairs],
        "images": {"folder": "images"},
        "splits": _dealt(ids, splits),
        "annotations": {"table": "landmarks.csv"},
    }
    if ndim == 2:
        description["images"]["spacing"] = list(spec.spacing)
    return _write_description(folder / "dataset.yaml", description)


def _write_truth(path: Path, ids: list[str], truths: list[Landmarks]) -> None:
    count = sum(len(truth) for truth in truths)
    table = LandmarkTable(
        image=np.array([case for case, truth in zip(ids, truths, strict=True) for _ in truth.names]),
        landmark=np.array([name for truth in truths for name in truth.names]),
        coordinates=np.concatenate([truth.points for truth in truths]),
        states=np.concatenate([truth.states for truth in truths]),
        observer=np.full(count, ""),
        frame="LPS",
        unit="mm",
        presence=np.full(count, np.nan),
        spread=np.full(count, np.nan),
    )
    write_table(table, path)


def _write_description(path: Path, description: dict[str, Any]) -> Path:
    import yaml

    text = yaml.safe_dump(description, sort_keys=False, default_flow_style=None, width=100)
    path.write_text("# Made by anatomark: synthetic images whose landmarks are known exactly.\n" + text, "utf-8")
    return path


def _dealt(ids: list[str], splits: Mapping[str, float]) -> dict[str, list[str]]:
    """The cases of each split, in order: cases are independent, so that no shuffle is needed."""
    borders = np.round(np.cumsum([0.0, *splits.values()]) * len(ids)).astype(int)
    return {name: ids[a:b] for name, a, b in zip(splits, borders[:-1], borders[1:], strict=True)}


def _template_samples(spec: PhantomSpec) -> int:
    """Template elements along the longest side: finer than the image, within what is quick to draw."""
    low, high = (256, 1024) if spec.ndim == 2 else (96, 192)
    return int(np.clip(1.5 * max(spec.shape), low, high))


def _draw_grid(rng: np.random.Generator, spec: PhantomSpec, box: tuple[float, ...]) -> Grid:
    """The uncut Grid of a case about world zero."""
    direction, order = np.eye(spec.ndim), list(range(spec.ndim))
    if spec.ndim == 3 and spec.oblique and rng.random() < 0.5:
        from scipy.spatial.transform import Rotation

        order = [int(k) for k in rng.permutation(3)]
        tilt = Rotation.from_rotvec(rng.uniform(-0.15, 0.15, size=3)).as_matrix()
        direction = tilt @ (np.eye(3)[:, order] * rng.choice([-1.0, 1.0], size=3))
    sizes = [spec.shape[::-1][k] for k in order]
    spacing = [spec.spacing[k] for k in order]
    origin = -direction @ ((np.array(sizes) - 1) / 2 * np.array(spacing))
    return Grid.from_geometry(sizes[::-1], spacing=spacing, origin=origin.tolist(), direction=direction)


def _cut(rng: np.random.Generator, grid: Grid, points: Floats, chance: float) -> Grid:
    """`grid`, or with `chance` a part of it: cut on one side, with at least half of the landmarks in view."""
    happens, axis, low = rng.random() < chance, int(rng.integers(grid.ndim)), bool(rng.random() < 0.5)
    part = rng.uniform(0.2, 0.45)
    while happens and part > 0.02:
        drop = int(part * grid.shape[axis])
        start, shape = [0] * grid.ndim, list(grid.shape)
        start[axis], shape[axis] = (drop if low else 0), shape[axis] - drop
        smaller = grid.crop(start, shape)
        if smaller.contains(points).mean() >= 0.5:
            return smaller
        part *= 0.8
    return grid


def _expose(
    rng: np.random.Generator, values: NDArray[np.float32], grid: Grid, spec: PhantomSpec
) -> NDArray[np.uint8] | NDArray[np.int16]:
    """Grey values as a machine would store them: another contrast curve, a bias field and noise a case."""
    strength = {"radiograph": 0.12, "ct": 0.03, "mr": 0.3}[spec.modality or "ct"]
    gamma = np.exp(rng.uniform(-1, 1) * (0.1 if spec.modality == "ct" else 0.35))
    gain, noise = rng.uniform(0.85, 1.1), rng.uniform(0.01, 0.035)
    slope = rng.uniform(-1, 1, size=(2, grid.ndim))
    ramps = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in grid.shape), indexing="ij", sparse=True)
    bias = sum(slope[0, k] * ramps[k] + slope[1, k] * (ramps[k] ** 2 - 0.4) for k in range(grid.ndim))
    grey: Floats = gain * np.clip(values, 0, None) ** gamma * np.exp(strength * bias)
    grey += noise * rng.standard_normal(grid.shape, dtype=np.float32)
    if spec.modality == "radiograph":
        return np.clip(np.round(grey * 255), 0, 255).astype(np.uint8)
    if spec.modality == "mr":
        return np.clip(np.round(grey * rng.uniform(400, 1600)), 0, 32767).astype(np.int16)
    return np.clip(np.round(grey * 2500 - 1024), -1024, 3071).astype(np.int16)
