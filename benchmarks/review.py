"""The review page: how long a switch to another case takes, with many cases in the list, in headless Chromium.

python -m benchmarks review --cases 200
"""

from __future__ import annotations

import argparse
import os
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import provenance, write

# From the call until the second frame after it: the new image, its marks and lists are then on the screen.
SWITCH = """async (number) => {
  const start = performance.now()
  await review.open(number)
  const ready = performance.now() - start
  await new Promise((seen) => requestAnimationFrame(() => requestAnimationFrame(seen)))
  return [ready, performance.now() - start]
}"""


def main(arguments: Sequence[str]) -> None:
    from playwright.sync_api import sync_playwright

    from tests.chromium import CHROMIUM
    from tests.review.browser import ARGUMENTS

    parser = argparse.ArgumentParser(prog="python -m benchmarks review")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--landmarks", type=int, default=20)
    parser.add_argument("--switches", type=int, default=30)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds that a person looks at a case, at least")
    options = parser.parse_args(arguments)
    rows = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for ndim in (2, 3):
            rows.append(_measured(browser, Path(folder) / str(ndim), ndim, options))
            print(rows[-1])
        browser.close()
    result = {
        "kind": "review",
        "cases": options.cases,
        "landmarks": options.landmarks,
        "load": os.getloadavg()[1],
        **provenance(f"python -m benchmarks review {shlex.join(arguments)}".strip()),
        "rows": rows,
    }
    print(write("review_switches", result))


def _measured(browser: Any, folder: Path, ndim: int, options: argparse.Namespace) -> dict[str, Any]:
    from tests.review.browser import Page
    from tests.review.made import Served, made_set

    shape = (512, 400) if ndim == 2 else (64, 96, 88)
    spacing = (0.45, 0.45) if ndim == 2 else (1.9, 1.9, 2.6)
    given: dict[str, Any] = {"landmarks": options.landmarks, "shape": shape, "spacing": spacing}
    described, predictions = made_set(folder, ndim, cases=options.cases, **given)
    served = Served(described, "--predictions", predictions)
    page = Page(browser, served)
    ready, seen = [], []
    try:
        for _ in range(options.switches):
            page.page.wait_for_timeout(1000 * options.pause)
            page.until("review.images.settled()")  # the next image came while this one was looked at
            times = page.page.evaluate(SWITCH, page.js("review.cases.beside(1)"))
            ready.append(times[0])
            seen.append(times[1])
    finally:
        page.close()
        served.end()

    def told(values: list[float]) -> dict[str, float]:
        return {"median": round(float(np.median(values))), "p95": round(float(np.percentile(values, 95)))}

    return {"ndim": ndim, "shape": shape[::-1], "ready_ms": told(ready), "on_screen_ms": told(seen)}
