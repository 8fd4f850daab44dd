"""The review page in headless Chromium: opened, looked at, and worked with as a person would."""

import io
import time

import numpy as np
from PIL import Image as Picture

from tests.review.made import Served

ARGUMENTS = [  # WebGL without a graphics card, and a browser that calls nobody
    "--no-sandbox", "--disable-gpu", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-quic", "--disable-sync", "--no-first-run", "--disable-background-networking",
    "--disable-component-update",
]  # fmt: skip


class Page:
    """A page of a review, and what the browser said and asked for."""

    def __init__(self, browser, served: Served, size=(1280, 800), fineness=1.0):
        self.served, self.fineness, self.said, self.asked = served, fineness, [], []
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]}, device_scale_factor=fineness)
        self.page = self.context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.open()

    def _heard(self, message):
        # a remark of the software renderer on its own speed, and of the browser on an answer that the page handles
        if "GPU stall" not in message.text and "409 (Conflict)" not in message.text:
            self.said.append(f"{message.type}: {message.text}")

    def open(self):
        self.page.goto(self.served.address)
        self.until("!!(window.review && review.session.now)")

    def js(self, expression):
        return self.page.evaluate(expression)

    def until(self, expression, seconds=60):
        """Wait until an expression holds. The page's policy forbids playwright's own way, which evaluates text."""
        end = time.monotonic() + seconds
        while not self.js(expression):
            assert time.monotonic() < end, f"{expression} did not come true; the browser said {self.said}"
            time.sleep(0.02)

    def saved(self):
        """Wait until every change has reached the server."""
        self.until("review.session.waiting === 0")

    def go_to(self, case):
        """Open a case by its name in the list."""
        self.page.click(f"#case-list button[title='{case}']")
        self.until(f"document.querySelector('#case-name').textContent === '{case}'")
        self.until("review.viewer.tiles.length === (review.viewer.ndim === 2 ? 1 : 4)")  # the turning view comes last

    def choose(self, landmark):
        self.page.click(f"#landmark-list button[title='{landmark}']")

    def tiles(self):
        """[axis across, ...] of the tiles: 0 axial, 1 coronal, 2 sagittal, 4 the rendering."""
        return self.js("review.viewer.tiles.map(t => t.axCorSag)")

    def place(self, point, tile=0):
        """Where a world point lies in the window, and how deep off the slice: (x, y, depth)."""
        where = np.asarray(point, dtype=float).tolist()
        at = self.js(
            f"(() => {{ const v = review.viewer; const p = v.place(v.tiles[{tile}], v.fraction({where}));"
            " const b = document.querySelector('#stage').getBoundingClientRect();"
            " return [p.x + b.left, p.y + b.top, p.depth] })()"
        )
        return np.array(at[:2]), at[2]

    def drag(self, start, end):
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        for part in (0.3, 0.7, 1.0):
            mouse.move(*(start + part * (np.asarray(end) - start)))
        mouse.up()
        self.saved()

    def pixels(self, marks=False):
        """The window's device pixels as grey values (rows, columns), by default without the marks."""
        hide = "document.querySelector('#marks').style.visibility = "
        if not marks:
            self.js(f"{hide}'hidden'")
        picture = Picture.open(io.BytesIO(self.page.screenshot()))
        if not marks:
            self.js(f"{hide}''")
        return np.asarray(picture.convert("RGB") if marks else picture.convert("L"), dtype=float)

    def window(self):
        """(low, high) grey values that are shown black and white."""
        return self.js("[review.viewer.volume.cal_min, review.viewer.volume.cal_max]")

    def require_clean(self):
        """Nothing was complained about, and nothing was asked of anybody else."""
        assert self.said == []
        strange = [url for url in self.asked if not url.startswith((self.served.root, "data:", "blob:"))]
        assert strange == []

    def close(self):
        self.context.close()
