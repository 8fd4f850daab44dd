"""The door of landmark files: any format that is known, read into a table or the landmarks of one image, and written.

`read_placements` reads whatever a file holds; `read_landmarks` and `write_landmarks` are for one image. The formats are
in `formats.known`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from anatomark.core.grid import Grid
from anatomark.core.landmarks import Landmarks, State
from anatomark.errors import FrameError, LandmarkFileError, UnknownNameError
from anatomark.formats.frames import Frame, as_frame, settle_frame
from anatomark.formats.known import FORMATS
from anatomark.formats.landmark_files.cephalometric import CEPHALOMETRIC, NAMES, read_cephalometric
from anatomark.formats.landmark_files.fcsv import FCSV, write_fcsv
from anatomark.formats.landmark_files.long_table import LONG_TABLE, SLICER_CSV
from anatomark.formats.landmark_files.slicer_json import SLICER_JSON, write_slicer_json
from anatomark.formats.landmark_format import GridOf, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.missing import NOTHING, MissingValues
from anatomark.formats.placements import Key as Key
from anatomark.formats.placements import landmarks_table as landmarks_table
from anatomark.formats.placements import one_image, points_table
from anatomark.formats.placements import table_landmarks as table_landmarks
from anatomark.formats.recognise import format_of
from anatomark.formats.table import read_table, without

SUFFIXES = tuple(sorted({ending for known in FORMATS for ending in known.endings}, key=lambda e: (-len(e), e)))
WRITTEN = tuple(known.name for known in FORMATS if known.write)
_OWN = (SLICER_JSON, FCSV, LONG_TABLE)  # what an ending of theirs stands for where nobody names a format
_OTHER_NAMES = {"tsv": (LONG_TABLE, ".tsv"), "json": (SLICER_JSON, ".mrk.json")}


def no_grid(name: str) -> Grid | None:
    """The `GridOf` of those who have no images at hand."""
    return None


def read_placements(
    path: str | Path,
    *,
    frame: str | None = None,
    grid_of: GridOf = no_grid,
    columns: Mapping[str, str] | None = None,
    names: Sequence[str] | None = None,
    missing: MissingValues = NOTHING,
) -> LandmarkTable:
    """Everything that a landmark file of any known format holds; `image` is "" where the file does not name it.

    `frame` (LPS, RAS, pixel) is for files that state none, `grid_of` gives the Grid of an image by its name, for
    formats whose y counts from below. `columns` and `missing` are as in `read_table`. `names` are the landmarks that
    are wanted: a format that has only an order of points takes them in their order, if there are as many.

    Raises `LandmarkFileError` and `FrameError`.
    """
    path = Path(path)
    known = format_of(path)
    if columns or known in (LONG_TABLE, SLICER_CSV):
        return _sound(read_table(path, frame=frame, columns=columns, missing=missing), path)
    if known is CEPHALOMETRIC and names is not None and not set(names) <= set(NAMES):
        settle_frame("pixel", frame, path)
        table = points_table(read_cephalometric(path, tuple(names)))
    else:
        table = known.read(path, frame=frame, grid_of=grid_of)
    table = _sound(table, path)
    if known.unnamed and names is not None:
        table = _named(table, names, path)
    return without(missing, table)


def read_landmarks(
    path: str | Path,
    *,
    frame: str | None = None,
    grid: Grid | None = None,
    names: Sequence[str] | None = None,
) -> Landmarks:
    """The landmarks of one image in world LPS, in the unit of their image where its `grid` is given.

    Args:
        path: a landmark file of one image, of any format in docs/formats.md.
        frame: LPS, RAS or pixel, for a file that states none. A Slicer file may also be given as pixel: its points were
            then placed on a picture that was opened without its spacing, where Slicer's mm are pixels.
        grid: the Grid of the image. Pixel coordinates without it stay in px; with a 2D one, points of Slicer lose their
            z.
        names: the wanted names in their order; one that the file does not have is NOT_ANNOTATED. A format without names
            takes them in the order of its points, if there are as many; the cephalometric challenge's files have 19
            standard ones of their own.

    Returns:
        N named landmarks with points (N, d) in LPS, mm or px.

    Raises:
        LandmarkFileError: the file cannot be read, or holds landmarks of several images.
        FrameError: it states no frame and none is given, or another one is.
        UnknownNameError: it has a name that is not among `names`.

    Examples:
        >>> landmarks = anatomark.read_landmarks("p01.mrk.json")
        >>> landmarks["sella"]
        array([ 1.2, 34.5, 60.1])
    """
    path = Path(path)
    table = read_placements(path, frame=frame, grid_of=lambda _: grid, names=names)
    landmarks = one_image(table, path).to_landmarks(grid, path)
    if names is None:
        return landmarks
    unknown = [name for name in landmarks.names if name not in set(names)]
    if unknown:
        raise UnknownNameError(
            f"{path} holds undeclared landmarks: {', '.join(unknown)}; correct their names or declare them"
        )
    return landmarks.select(names)


def write_landmarks(
    landmarks: Landmarks,
    path: str | Path,
    *,
    frame: str | None = None,
    grid: Grid | None = None,
    notes: Sequence[str] = (),
    format: str | None = None,
) -> None:
    """Writes the landmarks of one image, whole or not at all; reading gives back equal landmarks.

    Args:
        landmarks: what to write. In a table, the image is called as the file is.
        path: the file; its ending says which format, where `format` does not.
        frame: LPS (the default), RAS, or pixel where the format has it.
        grid: the Grid of the image, which pixel coordinates of landmarks in mm need.
        notes: (N,) texts that become the descriptions of Slicer's points.
        format: the format by name, such as "coco", where several share an ending.

    Raises:
        LandmarkFileError: the format cannot hold these landmarks.
        FrameError: the format has no such frame.
        OutputError: the system refuses.

    Examples:
        >>> found = anatomark.Landmarks.from_points(["sella", "nasion"], [[1.2, 34.5], [70.3, 30.0]])
        >>> anatomark.write_landmarks(found, "p01.csv")
    """
    path = Path(path)
    known, ending = written_format(path, format)
    target_frame = frame_to_write(known, frame, path)
    name = path.name[: -len(ending)]
    if known is SLICER_JSON:
        write_slicer_json(landmarks, path, target_frame, notes=notes)
    elif known is FCSV:
        write_fcsv(landmarks, path, target_frame, notes=notes)
    else:
        grids = None if grid is None else {name: grid}
        write_placements(
            landmarks_table({(name, ""): landmarks}, frame=target_frame, grids=grids),
            path,
            known,
            grid_of=lambda _: grid,
        )


def write_placements(table: LandmarkTable, path: Path, known: LandmarkFormat, *, grid_of: GridOf = no_grid) -> None:
    """Writes a table that is in the frame of the format; `LandmarkFileError` where it does not fit."""
    if known.write is None:
        raise LandmarkFileError(f"{path}: {known.title} is not written; expected one of {', '.join(WRITTEN)}")
    if not known.many_images:
        one_image(table, path)
    known.write(table, path, grid_of=grid_of)


def written_format(path: str | Path, format: str | None = None) -> tuple[LandmarkFormat, str]:
    """The format to write a file in, and the ending of its name that belongs to it. Raises `LandmarkFileError`."""
    name = Path(path).name.lower()
    if format is not None:
        known, _ = named_format(format)
        ending = next((e for e in sorted(known.endings, key=len, reverse=True) if name.endswith(e)), None)
        if ending is None:
            endings = " or ".join(known.endings)
            raise LandmarkFileError(f"{path}: {known.name} is written to a name that ends in {endings}; rename it")
        return known, ending
    ending = landmark_suffix(path)
    own = next((known for known in _OWN if ending in known.endings and ending != ".json"), None)
    if own is not None:
        return own, ending
    sharing = [known for known in FORMATS if ending in known.endings]
    writing = [known for known in sharing if known.write is not None]
    if len(sharing) == 1 and writing:
        return writing[0], ending
    if writing:
        raise LandmarkFileError(
            f"{path}: landmarks are not written as {ending} unless the format is named, "
            f"as --format {' or '.join(known.name for known in writing)}; several formats share the ending"
        )
    raise LandmarkFileError(f"{path}: landmarks are not written as {ending}; expected one of {', '.join(WRITTEN)}")


def named_format(name: str) -> tuple[LandmarkFormat, str]:
    """The written format of a name and its usual ending. Raises `LandmarkFileError`, which lists them."""
    word = name.strip().lower().lstrip(".")
    if word in _OTHER_NAMES:
        return _OTHER_NAMES[word]
    for known in FORMATS:
        if known.name == word and known.write is not None:
            return known, known.endings[0]
    raise LandmarkFileError(f"no format that is written is called {name!r}; expected one of {', '.join(WRITTEN)}")


def frame_to_write(known: LandmarkFormat, frame: str | None, path: str | Path) -> Frame:
    """The frame that the format is written in; `FrameError` where another is asked for."""
    requested = None if frame is None else as_frame(frame, "the frame given")
    required = None if known.written_frame is None else as_frame(known.written_frame, known.title)
    if required is not None and requested not in (None, required):
        raise FrameError(f"{path}: {known.title} is in the frame {required}, not {requested}; leave the frame out")
    return required or requested or "LPS"


def landmark_suffix(path: str | Path) -> str:
    """The ending that tells the format of a landmark file. Raises `LandmarkFileError` where there is none."""
    name = Path(path).name.lower()
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return suffix
    raise LandmarkFileError(f"{path} is not a landmark file by its name; expected one of {', '.join(SUFFIXES)}")


def landmark_name(path: str | Path) -> str:
    """The name of a landmark file without its ending, if it has one of theirs."""
    name = Path(path).name
    ending = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), Path(path).suffix)
    return name[: len(name) - len(ending)]


def _named(table: LandmarkTable, names: Sequence[str], path: Path) -> LandmarkTable:
    """The points called 1, 2, ... with the wanted names in their order, where those are no numbers themselves."""
    called = dict.fromkeys(table.landmark.tolist())
    if set(called) <= set(names) or not all(name.isdigit() for name in called):
        return table
    highest = max(map(int, called))
    if highest != len(names):
        raise LandmarkFileError(
            f"{path} has no names but {highest} points in order, expected {len(names)} landmarks; list as many, in the "
            "order of the file"
        )
    at = {name: names[int(name) - 1] for name in called if int(name) > 0}
    return replace(table, landmark=np.array([at.get(name, name) for name in table.landmark.tolist()], dtype=str))


def _sound(table: LandmarkTable, path: Path) -> LandmarkTable:
    """`table`; `LandmarkFileError` for names that no text file can hold (JSON may have halves of characters in them),
    and for points that are nowhere.
    """
    nowhere = (table.states == State.PRESENT) & ~np.isfinite(table.coordinates).all(axis=1)
    if nowhere.any():
        name = str(table.landmark[nowhere][0])
        raise LandmarkFileError(f"{path}: the landmark {name!r} has coordinates that are no finite numbers; correct it")
    for what in ("image", "landmark", "observer"):
        for name in dict.fromkeys(getattr(table, what).tolist()):
            try:
                name.encode()
            except UnicodeEncodeError:
                raise LandmarkFileError(f"{path}: the {what} {name!r} is not text; correct it") from None
    return table
