"""The formats of landmark files that are known, in the order in which a file is asked whether it is one."""

from __future__ import annotations

from anatomark.formats.cephalometric import CEPHALOMETRIC
from anatomark.formats.dicom_sr import DICOM_SR
from anatomark.formats.fcsv import FCSV
from anatomark.formats.landmark_format import LandmarkFormat
from anatomark.formats.long_table import LONG_TABLE, SLICER_CSV
from anatomark.formats.slicer_json import SLICER_JSON

FORMATS: tuple[LandmarkFormat, ...] = (
    SLICER_JSON,
    FCSV,
    DICOM_SR,
    CEPHALOMETRIC,
    SLICER_CSV,
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
