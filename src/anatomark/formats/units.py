"""Units of length as headers name them, in mm."""

from __future__ import annotations

_MM = {
    1.0: ("mm", "millimeter", "millimeters", "millimetre", "millimetres"),
    1e-3: ("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"),
    1e-6: ("nm", "nanometer", "nanometers", "nanometre", "nanometres"),
    10.0: ("cm", "centimeter", "centimeters", "centimetre", "centimetres"),
    1000.0: ("m", "meter", "meters", "metre", "metres"),
    25.4: ("in", "inch", "inches"),
}
_FACTORS = {word: factor for factor, words in _MM.items() for word in words}
NOT_STATED = ("", "?", "???", "unknown", "none")
PIXELS = ("pixel", "pixels", "px", "voxel", "voxels")


def mm_of(word: str) -> float | None:
    """How many mm the unit of that name is; None where the name is not known. What states none is taken as mm."""
    word = word.strip().lower()
    return 1.0 if word in NOT_STATED else _FACTORS.get(word)
