"""The formats of landmark files that are known, in the order in which a file is asked whether it is one."""

from __future__ import annotations

from anatomark.formats.amira import AMIRA
from anatomark.formats.cephalometric import CEPHALOMETRIC
from anatomark.formats.cl_detection import CL_DETECTION
from anatomark.formats.coco import COCO
from anatomark.formats.cvat import CVAT
from anatomark.formats.deeplabcut import DEEPLABCUT
from anatomark.formats.dicom_sr import DICOM_SR
from anatomark.formats.elastix_points import ELASTIX
from anatomark.formats.fcsv import FCSV
from anatomark.formats.label_studio import LABEL_STUDIO
from anatomark.formats.labelme import LABELME
from anatomark.formats.landmark_editor import LANDMARK_EDITOR
from anatomark.formats.landmark_format import LandmarkFormat
from anatomark.formats.long_table import LONG_TABLE, SLICER_CSV
from anatomark.formats.mitk import MITK
from anatomark.formats.slicer_json import SLICER_JSON
from anatomark.formats.tps import TPS
from anatomark.formats.wide_table import WIDE_TABLE

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
