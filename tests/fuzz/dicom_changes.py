"""DICOM files that are valid as files, with values, groups and lengths that are not."""

from __future__ import annotations

import io
import warnings
from random import Random
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.fuzz.byte_changes import change_bytes, odd_number

ODD: tuple[Any, ...] = (
    "",
    "0",
    "-1",
    "1e400",
    "nan",
    "a",
    "1\\2",
    "1\\2\\3\\4\\5\\6",
    "0\\0\\0\\0\\0\\0",
    "99999999999",
    "1.2.3",
    "0\\0",
)
ODD += (
    "1e-320",
    "-5\\-5",
    "1e30\\1e30",
    "inf",
    "\u00fc",
    "MONOCHROME1",
    "PALETTE COLOR",
    "RGB",
    "YBR_FULL_422",
    "ARGB",
)
NUMBERS = (0, 1, 2, 3, 7, 8, 12, 15, 16, 17, 32, 64, 255, 4096, 32768, 65535)
TAGS = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PlanarConfiguration",
)
TAGS += (
    "NumberOfFrames",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "SliceThickness",
)
TAGS += (
    "SpacingBetweenSlices",
    "RescaleSlope",
    "RescaleIntercept",
    "PhotometricInterpretation",
    "PixelPaddingValue",
    "SOPClassUID",
)
TAGS += (
    "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence",
    "SeriesInstanceUID",
    "PixelData",
    "WindowCenter",
)
TAGS += (
    "RedPaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "ModalityLUTSequence",
    "VOILUTSequence",
)
TAGS += (
    "EstimatedRadiographicMagnificationFactor",
    "GridFrameOffsetVector",
    "SpecificCharacterSet",
    "StackID",
    "Modality",
)
SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",
)
SYNTAXES += (
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
)
SYNTAXES += ("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.100", "1.2", "")


def change_dicom(content: bytes, rng: Random) -> bytes:
    """A DICOM file with elements lost, doubled in other groups, of other values, lengths or representations."""
    kind = rng.randrange(5)
    if kind == 0:
        return _relied_length(content, rng)
    if kind == 1:  # another transfer syntax than the bytes are in
        at = content.find(b"1.2.840.10008.1.2", 132, 400)
        end = at + len(content[at : at + 24].split(b"\0")[0].split(b"\x02")[0])
        syntax = rng.choice(SYNTAXES).encode()
        return content[:at] + syntax.ljust(end - at, b"\0")[: end - at] + content[end:] if at > 0 else content
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            held = pydicom.dcmread(io.BytesIO(content))
            for _ in range(rng.choice((1, 1, 2, 4))):
                _change(held, rng)
            made = io.BytesIO()
            held.save_as(made)
        except Exception:  # the writer refuses some of these values
            return change_bytes(content, rng)
    return made.getvalue()


def _change(held: Any, rng: Random) -> None:
    inner = [held]
    for element in held.iterall():
        if element.VR == "SQ":
            inner += list(element.value)
    where = rng.choice(inner) if rng.random() < 0.6 else held
    present = [element.keyword for element in where if element.keyword]
    keyword = rng.choice(present) if present and rng.random() < 0.6 else rng.choice(TAGS)
    kind = rng.randrange(6)
    if kind == 0 and keyword in where:
        del where[keyword]
        return
    if keyword in where and where[keyword].VR == "SQ":
        items = list(where[keyword].value)
        rng.shuffle(items)
        where[keyword].value = Sequence(rng.choice((items[:1], [], items + items, [Dataset()], items[1:])))
        return
    element = where.get_item(keyword) and where[keyword]
    if keyword == "PixelData" and element is not None:
        data = element.value
        element.value = rng.choice((b"", data[:-2], data * 2, data[: len(data) // 2], bytes(8)))
        return
    vr = element.VR if element is not None else pydicom.datadict.dictionary_VR(keyword).split(" ")[0]
    if vr == "SQ":
        setattr(where, keyword, [Dataset()])
        return
    value: Any = (
        rng.choice(NUMBERS)
        if vr in ("US", "SS", "UL", "SL")
        else float(rng.choice(NUMBERS))
        if vr in ("FD", "FL")
        else rng.choice(ODD)
    )
    if vr in ("OB", "OW", "UN"):
        value = bytes(rng.choice((0, 2, 256)))
    where.add_new(pydicom.datadict.tag_for_keyword(keyword), vr, None)
    object.__setattr__(where[keyword], "_value", value)


def _relied_length(content: bytes, rng: Random) -> bytes:
    """An element's stated length, tag or representation overwritten, wherever one seems to be."""
    made = bytearray(content)
    found = [
        k
        for k in range(132, len(made) - 12)
        if bytes(made[k + 4 : k + 6]) in (b"US", b"UI", b"OW", b"OB", b"SQ", b"DS", b"IS", b"UN", b"UT")
    ]
    if not found:
        return change_bytes(content, rng)
    at = rng.choice(found)
    kind = rng.randrange(4)
    if kind == 0:
        made[at + 6 : at + 8] = odd_number(2, rng)
    elif kind == 1:
        made[at + 8 : at + 12] = odd_number(4, rng)
    elif kind == 2:
        made[at + 4 : at + 6] = rng.choice((b"UT", b"SQ", b"OB", b"UN", b"US", b"DS", b"XX", b"UC", b"OV", b"AT"))
    else:
        made[at : at + 4] = odd_number(4, rng)
    return bytes(made)
