"""The running services of tests/service, for the client part of the Slicer module."""

import sys
from pathlib import Path

import pytest

from tests.service.conftest import both, made, service, start

__all__ = ["both", "made", "service", "start"]
SLICER = Path(__file__).parents[2] / "slicer"


@pytest.fixture(scope="session")
def library():
    """The module's part without Slicer, as Slicer imports it."""
    sys.path.insert(0, str(SLICER / "AnatomarkLandmarks"))
    try:
        import AnatomarkLandmarksLib.client as client
    finally:
        sys.path.pop(0)
    return client
