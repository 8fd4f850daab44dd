"""The formats of landmark files that are known, in the order in which a file is asked whether it is one."""

from __future__ import annotations

from anatomark.formats.landmark_files.amira import AMIRA
from anatomark.formats.landmark_files.cephalometric import CEPHALOMETRIC
from anatomark.formats.landmark_files.cl_detection import CL_DETECTION
from anatomark.formats.landmark_files.coco import COCO
from anatomark.formats.landmark_files.cvat import CVAT
from anatomark.formats.landmark_files.deeplabcut import DEEPLABCUT
from anatomark.formats.landmark_files.dicom_sr import DICOM_SR
from anatomark.formats.landmark_files.elastix_points import ELASTIX
from anatomark.formats.landmark_files.fcsv import FCSV
from anatomark.formats.landmark_files.label_studio import LABEL_STUDIO
from anatomark.formats.landmark_files.labelme import LABELME
from anatomark.formats.landmark_files.landmark_editor import LANDMARK_EDITOR
from anatomark.formats.landmark_files.long_table import LONG_TABLE, SLICER_CSV
from anatomark.formats.landmark_files.mitk import MITK
from anatomark.formats.landmark_files.slicer_json import SLICER_JSON
from anatomark.formats.landmark_files.tps import TPS
from anatomark.formats.landmark_files.wide_table import WIDE_TABLE
from anatomark.formats.landmark_format import LandmarkFormat

FORMATS: tuple[LandmarkFormat, ...] = (
    SLICER_JSON,
    FCSV,
    DICOM_SR,
    COCO,
    LABELME,
    LABEL_STUDIO,
    CVAT,
    CL_DETECTION,
    CEPHALOMETRIC,
    TPS,
    LANDMARK_EDITOR,
    ELASTIX,
    MITK,
    AMIRA,
    SLICER_CSV,
    DEEPLABCUT,
    WIDE_TABLE,
    LONG_TABLE,  # takes every .csv and .tsv, so it comes last
)


def formats_table() -> str:
    """The formats as a Markdown table, for `docs/formats.md`."""
    lines = ["| format | `--format` | endings | read | written | images a file | frame | what is missing |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for known in FORMATS:
        endings = ", ".join(f"`{ending}`" for ending in known.endings)
        cells = [
            known.title,
            f"`{known.name}`" if known.write else "",
            endings,
            "yes",
            "yes" if known.write else "no",
            "many" if known.many_images else "one",
            known.frame,
            known.missing,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
