"""Frames of coordinates in files: between what a file states and the world (LPS, mm or px).

Frames are LPS and RAS (world, ordered x, y[, z]; in 2D the same with z left out) and pixel: x = column, y =
row, z = slice, 0-based, centres at whole numbers. Coordinates in px are pixel coordinates.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid, Unit
from anatomark.core.landmarks import Landmarks, State
from anatomark.errors import FrameError, LandmarkFileError, SpacingError

Frame = Literal["LPS", "RAS", "pixel"]
FRAMES: tuple[str, ...] = get_args(Frame)


@dataclass(frozen=True)
class FilePoints:
    """Landmarks of one image as a file states them; `coordinates` (N, d) are NaN unless present."""

    names: tuple[str, ...]
    coordinates: Floats
    states: NDArray[np.uint8]
    frame: Frame
    unit: Unit

    def to_landmarks(self, grid: Grid | None, source: str | Path) -> Landmarks:
        """The landmarks in the world of `grid`; without one, in the world of the file."""
        counts = Counter(self.names)
        if twice := sorted(name for name, count in counts.items() if count > 1):
            raise LandmarkFileError(f"{source} has duplicate landmarks: {', '.join(twice)}; keep one of each")
        coordinates = self.coordinates
        if grid is not None:
            coordinates = to_dimension(coordinates, grid.ndim, source)
        points, unit = to_world(coordinates, self.frame, self.unit, grid, source)
        return Landmarks(self.names, points, self.states, unit)


def as_frame(value: str, source: str | Path) -> Frame:
    """The frame that `value` names: LPS, RAS or pixel, in any case. Raises `FrameError`."""
    for frame in FRAMES:
        if value.strip().lower() == frame.lower():
            return frame  # type: ignore[return-value]
    raise FrameError(f"{source}: the frame {value!r} is unknown; expected LPS, RAS or pixel")


def settle_frame(stated: Frame | None, given: str | None, source: str | Path) -> Frame:
    """The one frame of coordinates: what the file states, or what the caller gives where it states none."""
    requested = None if given is None else as_frame(given, "the frame given")
    if stated is None and requested is None:
        raise FrameError(f"{source} does not state its coordinate frame; state it: LPS, RAS or pixel")
    if stated is not None and requested is not None and stated != requested:
        raise FrameError(
            f"{source} states the frame {stated}, but {requested} was given; leave it out or correct the file"
        )
    return requested if stated is None else stated  # type: ignore[return-value]


def to_world(
    coordinates: Floats, frame: Frame, unit: Unit, grid: Grid | None, source: str | Path
) -> tuple[Floats, Unit]:
    """World LPS points (N, d) and their unit, of coordinates (N, d) in a file's frame and unit.

    Pixel coordinates need the Grid of their image to become mm; without one they stay px.
    """
    if frame == "RAS":
        coordinates = swap_ras(coordinates)
    if frame == "pixel" or unit == "px":
        if grid is None or (frame != "pixel" and grid.unit == "px"):
            return coordinates, "px"
        return grid.index_to_world(coordinates[:, ::-1]), grid.unit
    if grid is not None and grid.unit == "px":
        raise FrameError(f"{source} is in mm, but its image has no spacing; give the image's spacing")
    return coordinates, "mm"


def from_world(landmarks: Landmarks, frame: Frame, grid: Grid | None, target: str | Path) -> Floats:
    """Coordinates (N, d) of landmarks in `frame`; `grid` is that of their image, needed for pixel."""
    if frame == "LPS":
        return landmarks.points
    if frame == "RAS":
        return swap_ras(landmarks.points)
    if grid is None:
        if landmarks.unit == "px":
            return landmarks.points
        raise FrameError(f"{target}: pixel coordinates of landmarks in mm need their image; give it, or write LPS")
    if grid.unit != landmarks.unit or grid.ndim != landmarks.ndim:
        raise SpacingError(
            f"{target}: the landmarks are {landmarks.ndim}D in {landmarks.unit}, "
            f"the image {grid.ndim}D in {grid.unit}; give the image they belong to"
        )
    return grid.world_to_index(landmarks.points)[:, ::-1]


def swap_ras(coordinates: Floats) -> Floats:
    """LPS coordinates (N, d) of RAS ones, and the reverse; exact, and without negative zeros."""
    signs = np.array([-1.0, -1.0, 1.0][: coordinates.shape[1]])
    return coordinates * signs + 0.0


def to_dimension(coordinates: Floats, ndim: int, source: str | Path) -> Floats:
    """Coordinates (N, ndim): z is left out where the points lie in the one plane of a 2D image."""
    if coordinates.shape[1] == ndim:
        return coordinates
    if coordinates.shape[1] < ndim:
        raise LandmarkFileError(f"{source} holds 2D points, its image is {ndim}D; give the points of this image")
    z = coordinates[np.isfinite(coordinates[:, 2]), 2]
    if z.size and np.ptp(z) > 1.0:
        raise LandmarkFileError(
            f"{source} holds points between z = {z.min():g} and {z.max():g}, its image is 2D; "
            "give the points of this image"
        )
    return coordinates[:, :2]


def state_of(present: bool, absent: bool) -> State:
    """The state of a point that a file has coordinates for, or calls absent, or neither."""
    return State.PRESENT if present else State.ABSENT if absent else State.NOT_ANNOTATED
