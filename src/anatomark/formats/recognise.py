"""Which format a landmark file is of, by its content and its name; what is no format of ours is named in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from anatomark.errors import LandmarkFileError
from anatomark.formats.known import FORMATS
from anatomark.formats.landmark_files.long_table import LONG_TABLE
from anatomark.formats.landmark_format import Head, LandmarkFormat
from anatomark.formats.text import read_head

_IMAGES = (
    "\ufffdPNG",
    "\ufffd\ufffd\ufffd\ufffd\0\x10JFIF",
    "GIF8",
    "BM\x00",
    "NRRD000",
    "II*\0",
    "MM\0*",
    "ObjectType = Image",
)
Foreign = tuple[Callable[[Head], bool], str]
FOREIGN: tuple[Foreign, ...] = (
    (
        lambda head: head.text.startswith("# Fiducial List file"),
        "has no header of Slicer 4 or 5, because it is a fiducial list of Slicer 3; open it in Slicer 4 or 5 and save "
        "it as .mrk.json, or write a .csv with label,r,a,s",
    ),
    (
        lambda head: "<MRML" in head.text[:4096],
        "is a scene of Slicer, which only names its files; give the .mrk.json of its point list",
    ),
    (
        lambda head: (
            bool({"_via_img_metadata", "_via_settings"} & head.json)
            or any(path.endswith(".shape_attributes") for path in head.json)
            or "region_shape_attributes" in head.text[:1000]
        ),
        "is of the VGG Image Annotator (VIA), which is not read; export it as COCO, or as a table image,landmark,x,y",
    ),
    (
        lambda head: head.text.lstrip().startswith("<shapes") or "<landmarks.pixel" in head.text[:4096],
        "is a shapes file of StereoMorph, which is not read; write its landmarks as TPS (R: geomorph::writeland.tps)",
    ),
    (
        lambda head: head.text.startswith("Iout"),
        "is a region of ImageJ (.roi), which is not read; in ImageJ, Analyze > Measure and save the results as CSV "
        "with image,landmark,x,y",
    ),
    (
        lambda head: head.text.startswith(("# Avizo BINARY", "# AmiraMesh BINARY", "# Amira BINARY")),
        "is a binary landmark set of Avizo or Amira; save it as LandmarkSet ASCII (.landmarkAscii)",
    ),
    (
        lambda head: any(line.startswith(("(Transform ", "(Registration ", "(FixedImage")) for line in head.lines[:60]),
        "is a parameter file of elastix, no points; give the points file, such as outputpoints.txt",
    ),
    (
        lambda head: head.text.lstrip().startswith("<dataset") or "image metadata created by dlib" in head.text[:4096],
        "is a training file of dlib, which is not read; write it as COCO, TPS or a table image,landmark,x,y",
    ),
    (
        lambda head: "<annotation>" in head.text[:400] and "<object>" in head.text,
        "is Pascal VOC XML, which has boxes and no landmarks; give the points, for instance as COCO keypoints",
    ),
    (
        lambda head: head.lines[:1] == ["index,axis-0,axis-1"] or head.text.startswith("index,axis-0,axis-1"),
        "is a points layer of napari, which names no landmark; add a column landmark and call the axes y and x",
    ),
    (
        lambda head: head.text.startswith('"Pt-0"'),
        "is a landmark table of BigWarp, which is not read; write a table image,landmark,x,y[,z]",
    ),
    (
        lambda head: head.text[1:4] == "HDF",
        "is an HDF5 file, as DeepLabCut and SLEAP write; give the .csv that DeepLabCut writes beside it",
    ),
    (
        lambda head: head.text.startswith("PK\x03\x04"),
        "is not text but an archive, as Excel's .xlsx is; in Excel, save the table as 'CSV UTF-8'",
    ),
    (lambda head: head.text.startswith(_IMAGES) or head.text[128:132] == "DICM", "is an image, no landmark file"),
)


def format_of(path: str | Path) -> LandmarkFormat:
    """The format of a landmark file. Raises `LandmarkFileError` for one that cannot be read, or is of no known format.

    Formats with the file's ending are asked first, so that a file may also have another ending than the usual.
    """
    head = head_of(path)
    by_ending = [known for known in FORMATS if head.name.endswith(known.endings)]
    for known in (*by_ending, *(other for other in FORMATS if other not in by_ending)):
        if known is not LONG_TABLE and known.recognises(head):
            return known
    for recognises, advice in FOREIGN:
        if recognises(head):
            raise LandmarkFileError(f"{path} {advice}")
    if LONG_TABLE.recognises(head):  # takes every .csv and .tsv, to say what columns it lacks
        return LONG_TABLE
    if not head.text.strip():
        raise LandmarkFileError(f"{path} is empty; give a landmark file: {known_formats()}")
    raise LandmarkFileError(f"{path} is a landmark file of no known format; known are {known_formats()}")


def known_formats() -> str:
    """The formats that are read, as they may stand in a line."""
    return ", ".join(known.title for known in FORMATS)


def head_of(path: str | Path) -> Head:
    """The beginning of a file. Raises `LandmarkFileError` where it cannot be read."""
    path = Path(path)
    try:
        return Head(path, read_head(path))
    except OSError as error:
        raise LandmarkFileError(f"{path} cannot be read: {error.strerror}; give a landmark file") from error
