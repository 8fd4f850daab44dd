"""The formats of landmark files that are known, in the order in which a file is asked whether it is one."""

from __future__ import annotations

from anatomark.formats.landmark_format import LandmarkFormat

FORMATS: tuple[LandmarkFormat, ...] = ()
