"""The prepared cache: working images and landmarks of a data set, on disk once, read without an image library.

A cache is a folder with `index.json` (names, Grids, landmarks, offsets) and `images.bin` (raw uint8 or float16).
It is read from memory where it fits, else through a memory map.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, overload

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid
from anatomark.core.image import Image, require_usable
from anatomark.core.landmarks import State
from anatomark.data.alignment import Alignment, Placement, place
from anatomark.data.working import GreyValues, Sampling, WorkingImage
from anatomark.errors import AnatomarkError, ImageError, ModelError, SpacingError
from anatomark.formats.atomic import replacing, write_text
from anatomark.formats.reader_process import Load, ReaderProcesses

if TYPE_CHECKING:
    from anatomark.data.description import Case, Dataset

VERSION = 3


@dataclass(frozen=True, eq=False)
class CachedCase:
    """A working image with its reference: `points_world` (N, d) LPS, NaN unless present; `states` (N,).

    Where images are aligned, both are in the world of the template, unless `failure` says why they are not; `matrix`
    (d+1, d+1) is the map from the image's own world to there, None where that is the same.
    """

    id: str
    subject: str
    role: str
    image: WorkingImage
    points_world: Floats
    states: NDArray[np.uint8]
    failure: str | None = None
    matrix: Floats | None = None


@dataclass(frozen=True, eq=False)
class Cache:
    """All cases of one training; `role` of a case is "train" or "validation". `alignment` is what they were put to.

    `folder` is where they were read from; None for those made in memory.
    """

    names: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    cases: tuple[CachedCase, ...]
    in_memory: bool
    alignment: Alignment | None = None
    folder: Path | None = None

    @cached_property
    def training(self) -> tuple[CachedCase, ...]:
        return self.role("train")

    @cached_property
    def validation(self) -> tuple[CachedCase, ...]:
        return self.role("validation")

    def role(self, role: str) -> tuple[CachedCase, ...]:
        return tuple(case for case in self.cases if case.role == role)

    @property
    def mirrored(self) -> NDArray[np.int64]:
        """(N,) see `mirrored_order`."""
        return mirrored_order(self.names, self.pairs)


def mirrored_order(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> NDArray[np.int64]:
    """(N,) the landmark that stands at a landmark's place in a mirrored image: its partner, or itself."""
    at = {name: i for i, name in enumerate(names)}
    order = np.arange(len(names))
    for left, right in pairs:
        order[at[left]], order[at[right]] = at[right], at[left]
    return order


def prepare(
    dataset: Dataset,
    roles: Mapping[str, Sequence[Case]],
    folder: Path,
    *,
    sampling: Sampling,
    align: Literal["none", "rigid", "affine"] = "none",
    template: Case | None = None,
    memory_limit_bytes: int = 4 << 30,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Cache:
    """The cache of `roles` ({"train": cases, "validation": cases}), made in `folder` or found there.

    Images are working images by `sampling`. With `align`, images and landmarks are brought into the world of the case
    `template`. The cache appears whole or not at all; it is opened as by `open_cache`.
    """
    if align != "none" and template is None:
        raise ValueError("images are aligned to a template; name its case")
    cases = [(role, case) for role, members in roles.items() for case in members]
    wanted = fingerprint(dataset, roles, sampling, align, template)
    if _fingerprint_of(folder) == wanted:
        return open_cache(folder, memory_limit_bytes=memory_limit_bytes)
    (folder / "index.json").unlink(missing_ok=True)
    entries: list[dict[str, Any]] = []
    with (
        replacing(folder / "images.bin") as temporary,
        open(temporary, "wb") as file,
        ReaderProcesses() as readers,
    ):
        alignment = None
        if align != "none" and template is not None:
            alignment = Alignment.to(_usable_image(dataset, template, readers.load), kind=align, case=template.id)
        for done, (role, case) in enumerate(cases):
            placed = place(alignment, _usable_image(dataset, case, readers.load))
            made = prepared_case(case, placed, role=role, names=dataset.names, sampling=sampling)
            present = (made.states == State.PRESENT).tolist()
            entries.append(
                {
                    "id": made.id,
                    "subject": made.subject,
                    "role": made.role,
                    "fine": _write_level(file, made.image.fine, made.image.fine_grid),
                    "coarse": _write_level(file, made.image.coarse, made.image.coarse_grid),
                    "window": made.image.window,
                    "points": [p.tolist() if on else None for p, on in zip(made.points_world, present, strict=True)],
                    "states": made.states.tolist(),
                    "failure": made.failure,
                    "matrix": None if made.matrix is None else made.matrix.tolist(),
                }
            )
            progress(done + 1, len(cases))
        aligned = None if alignment is None else _write_alignment(file, alignment)
    index = {
        "version": VERSION,
        "fingerprint": wanted,
        "names": dataset.names,
        "pairs": dataset.pairs,
        "grey_values": sampling.grey_values,
        "cases": entries,
        "alignment": aligned,
    }
    write_text(folder / "index.json", json.dumps(index))
    return open_cache(folder, memory_limit_bytes=memory_limit_bytes)


def prepared_case(case: Case, placed: Placement, *, role: str, names: Sequence[str], sampling: Sampling) -> CachedCase:
    """A case whose image was `placed`, as it is in a cache."""
    reference = case.reference.select(names)
    return CachedCase(
        case.id,
        case.subject,
        role,
        placed.working_image(sampling, source=str(case.image_path)),
        np.where(reference.present[:, None], placed.to_template(reference.points), np.nan),
        reference.states,
        placed.failure,
        None if placed.axes is None else placed.matrix,
    )


@dataclass(frozen=True, eq=False)
class PreparedCases(Sequence[CachedCase]):
    """`cases` as they are in a cache, each prepared when it is asked for; arguments as for `prepared_case`."""

    cases: Sequence[Case]
    place: Callable[[Image], Placement]
    role: str
    names: Sequence[str]
    sampling: Sampling

    def __len__(self) -> int:
        return len(self.cases)

    @overload
    def __getitem__(self, index: int) -> CachedCase: ...
    @overload
    def __getitem__(self, index: slice) -> PreparedCases: ...
    def __getitem__(self, index: int | slice) -> CachedCase | PreparedCases:
        if isinstance(index, slice):
            return replace(self, cases=self.cases[index])
        case = self.cases[index]
        placed = self.place(case.read_image())
        return prepared_case(case, placed, role=self.role, names=self.names, sampling=self.sampling)


def _write_level(file: BinaryIO, array: NDArray[Any], grid: Grid) -> dict[str, Any]:
    """Add the array to `file`; the entry that tells where it is."""
    entry = {"offset": file.tell(), "dtype": str(array.dtype), "grid": grid.to_dict()}
    file.write(np.ascontiguousarray(array).tobytes())
    return entry


def _write_alignment(file: BinaryIO, alignment: Alignment) -> dict[str, Any]:
    level = _write_level(file, alignment.template.array, alignment.template.grid)
    return {"kind": alignment.kind, "case": alignment.case, **level}


def _fingerprint_of(folder: Path) -> str | None:
    """The fingerprint of the cache in `folder`; None where there is no whole one."""
    try:
        return json.loads((folder / "index.json").read_text())["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _usable_image(dataset: Dataset, case: Case, load: Load) -> Image:
    image = case.read_image(load)
    require_alike(image.grid, dataset, case.image_path)
    require_usable(image, case.image_path)
    return image


def require_alike(grid: Grid, dataset: Dataset, source: str | Path) -> None:
    """Raises ImageError or SpacingError where an image has another dimension or unit than its data set."""
    if grid.ndim != dataset.ndim:
        advice = "take it out of the set"
        if (dataset.ndim, grid.ndim) == (2, 3):
            advice = "write `stack: true` under `images` if it is a stack of pictures, else take it out of the set"
        raise ImageError(f"{source} is a {grid.ndim}D image, the data set is {dataset.ndim}D; {advice}")
    if grid.unit != dataset.unit:
        has = "no spacing" if grid.unit == "px" else "a spacing in mm"
        raise SpacingError(
            f"{source} has {has}, the data set is in {dataset.unit}; give the spacing of all images, or of none"
        )


def fingerprint(
    dataset: Dataset,
    roles: Mapping[str, Sequence[Case]],
    sampling: Sampling,
    align: str = "none",
    template: Case | None = None,
) -> str:
    """A hash of all that decides the contents of a cache.

    These are cases, landmarks, sizes and times of image files, spacing, pooling, grey values and alignment.
    """
    sampled = (tuple(sampling.spacing), tuple(sampling.pool), sampling.grey_values)
    digest = hashlib.sha256(repr((VERSION, dataset.names, dataset.pairs, sampled)).encode())
    members_of = dict(roles)
    if align != "none" and template is not None:
        members_of[f"template, {align}"] = (template,)
    for role, members in members_of.items():
        for case in members:
            reference = case.reference.select(dataset.names)
            digest.update(repr((role, case.id, case.subject, sorted(case.reading.items()))).encode())
            digest.update(reference.points.tobytes() + reference.states.tobytes())
            for file in _files(Path(case.image_path)):
                status = file.stat()
                digest.update(repr((str(file), status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


def _files(path: Path) -> Iterable[Path]:
    return sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else (path,)


def open_cache(folder: Path, *, memory_limit_bytes: int = 4 << 30) -> Cache:
    """The cache in `folder`: read into memory if it is no larger than the limit, else memory-mapped.

    Raises ModelError where the folder holds no whole cache.
    """
    try:
        index = json.loads((folder / "index.json").read_text())
        in_memory = (folder / "images.bin").stat().st_size <= memory_limit_bytes
        raw = (
            np.fromfile(folder / "images.bin", dtype=np.uint8)
            if in_memory
            else np.memmap(folder / "images.bin", dtype=np.uint8, mode="r")
        )
        if index["version"] != VERSION:
            raise ModelError(f"{folder}: a cache of version {index['version']}, expected {VERSION}; prepare it again")
        cases = tuple(_read_case(entry, raw, index["grey_values"]) for entry in index["cases"])
        alignment = _read_alignment(index["alignment"], raw) if index.get("alignment") else None
    except AnatomarkError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}: not a whole prepared cache ({error}); delete the folder and train again") from None
    pairs = tuple((left, right) for left, right in index["pairs"])
    return Cache(tuple(index["names"]), pairs, cases, in_memory, alignment, folder)


def _read_case(entry: dict[str, Any], raw: NDArray[np.uint8], grey_values: GreyValues) -> CachedCase:
    fine, fine_grid = _read_level(entry["fine"], raw)
    coarse, coarse_grid = _read_level(entry["coarse"], raw)
    image = WorkingImage(fine, fine_grid, coarse, coarse_grid, tuple(entry["window"]), grey_values)
    points = np.array([p or [np.nan] * image.fine_grid.ndim for p in entry["points"]], dtype=float)
    states = np.array(entry["states"], dtype=np.uint8)
    matrix = None if entry.get("matrix") is None else np.array(entry["matrix"], dtype=float)
    return CachedCase(entry["id"], entry["subject"], entry["role"], image, points, states, entry.get("failure"), matrix)


def _read_level(entry: dict[str, Any], raw: NDArray[np.uint8]) -> tuple[NDArray[Any], Grid]:
    grid, dtype, start = Grid.from_dict(entry["grid"]), np.dtype(entry["dtype"]), int(entry["offset"])
    array = raw[start : start + dtype.itemsize * int(np.prod(grid.shape))].view(dtype)
    return array.reshape(grid.shape), grid


def _read_alignment(entry: dict[str, Any], raw: NDArray[np.uint8]) -> Alignment:
    grid = Grid.from_dict(entry["grid"])
    array = np.array(raw[entry["offset"] :][: int(np.prod(grid.shape))]).reshape(grid.shape)
    return Alignment(entry["kind"], entry["case"], Image(array, grid))
