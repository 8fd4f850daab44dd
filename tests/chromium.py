"""The system's Chromium, for the tests that open pages; these are skipped without it."""

import shutil
from collections.abc import Sequence
from contextlib import contextmanager

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def launched(arguments: Sequence[str]):
    """A browser that ends with the block."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium, on Debian: apt install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'anatomark[dev]'")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(arguments))
        yield browser
        browser.close()
