"""The report in headless Chromium: it loads without a complaint and without a network, draws, fits, and sorts."""

from dataclasses import replace

import numpy as np
import pytest

from anatomark.evaluation.report import report_html
from tests.chromium import launched
from tests.evaluation.made import made_metrics, made_rows

SIZES = {"2D": (2, 12, 6), "3D": (3, 4, 24), "many": (3, 3, 1200), "one": (2, 1, 3)}


@pytest.fixture(scope="module")
def chromium():
    with launched(["--no-sandbox"]) as browser:
        yield browser


class Opened:
    """A page of the report, and what the browser said and asked for while it opened."""

    def __init__(self, browser, path, metrics, rows, cases):
        path.write_text(report_html(metrics, rows, cases, baseline=rows), encoding="utf-8")
        self.said, self.asked = [], []
        self.page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_function(
            "[...document.querySelectorAll('.plotly-graph-div')].every(c => c.querySelector('.main-svg'))",
            timeout=60_000,
        )
        self.page.wait_for_timeout(300)

    def column(self, section, k):
        rows = f"[...document.querySelector('#{section} table').tBodies[0].rows]"
        return self.page.evaluate(f"{rows}.map(r => r.cells[{k}].firstChild.textContent.trim())")


@pytest.mark.parametrize("size", [pytest.param(s, marks=[pytest.mark.long] * (s == "many")) for s in SIZES])
def test_it_opens_clean_draws_every_chart_and_fits(chromium, tmp_path, size):
    ndim, cases, names = SIZES[size]
    rows, listed = made_rows(ndim, cases=cases, names=names)
    metrics = made_metrics(rows)
    opened = Opened(chromium, tmp_path / "report.html", metrics, rows, listed)
    assert opened.said == []
    strange = [
        url for url in opened.asked if not url.startswith(("data:", "blob:", (tmp_path / "report.html").as_uri()))
    ]
    assert strange == []
    width = opened.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width[0] == width[1]  # nothing sticks out sideways
    charts = opened.page.evaluate(
        """[...document.querySelectorAll('.plotly-graph-div')].map(c => {
            const inner = c.querySelector('.main-svg').getBoundingClientRect();
            const outer = c.closest('section').getBoundingClientRect();
            return [c.id, inner.left >= outer.left && inner.right <= outer.right && inner.top >= outer.top
                          && inner.bottom <= outer.bottom, inner.width > 200 && inner.height > 100];
        })"""
    )  # fmt: skip
    wanted = {"cumulative", "boxes", "bias", "measurement-0", "reliability", "presence", "coverage"}
    assert {name for name, _, _ in charts} == {f"chart-{w}" for w in wanted}
    assert [c for c in charts if not (c[1] and c[2])] == []
    images = opened.page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)")
    assert images
    assert all(images)
    picture = opened.page.screenshot(path=tmp_path / "report.png", full_page=True)
    assert len(picture) > 20_000
    opened.page.close()


def test_headings_sort_numbers_and_words_both_ways(chromium, tmp_path):
    rows, cases = made_rows(cases=9, names=[f"n{k}" for k in (10, 9, 2, 1, 30)])
    metrics = made_metrics(rows)
    nothing = replace(metrics.landmarks["n2"], mre=None, mre_interval=None, median=None, sd=None)
    metrics = replace(metrics, landmarks={**metrics.landmarks, "n2": nothing})
    opened = Opened(chromium, tmp_path / "report.html", metrics, rows, cases)
    head = opened.page.locator("#errors th button")
    head.nth(0).click()
    assert opened.column("errors", 0) == ["n1", "n2", "n9", "n10", "n30"]
    head.nth(0).click()
    assert opened.column("errors", 0) == ["n30", "n10", "n9", "n2", "n1"]
    head.nth(3).click()
    mre = opened.column("errors", 3)
    assert mre[-1] == "–"
    assert list(map(float, mre[:-1])) == sorted(map(float, mre[:-1]), reverse=True)
    head.nth(3).press("Enter")
    mre = opened.column("errors", 3)
    assert mre[-1] == "–"
    assert list(map(float, mre[:-1])) == sorted(map(float, mre[:-1]))
    assert opened.page.locator("#errors th[aria-sort]").count() == 1
    opened.page.close()


def test_the_policy_stops_a_request(chromium, tmp_path):
    """What the first test relies on: a page that asks for something is noticed, and is refused."""
    rows, cases = made_rows(cases=2, names=2)
    opened = Opened(chromium, tmp_path / "report.html", made_metrics(rows), rows, cases)
    opened.page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))")
    opened.page.wait_for_timeout(300)
    assert any("Content Security Policy" in line for line in opened.said)
    opened.page.close()


def test_arrows_point_where_the_bias_goes(chromium, tmp_path):
    """Landmarks in 2D that all lie to the right of and below the reference: arrows go right and down the page."""
    rows, cases = made_rows(cases=6, names=4, absent=False, misses=False)
    rows.predicted[:] = rows.reference + np.array([1.0, 2.0])
    opened = Opened(chromium, tmp_path / "report.html", made_metrics(rows), rows, cases)
    lines = opened.page.evaluate(
        "[...document.querySelectorAll('#chart-bias .scatterlayer .js-line')].map(l => l.getAttribute('d'))"
    )
    arrows = [part.split("L") for path in lines for part in path.split("M")[1:]]
    assert len(arrows) == 4
    for arrow in arrows:
        (x0, y0), (x1, y1) = (map(float, end.split(",")) for end in (arrow[0], arrow[-1]))
        assert x1 > x0
        assert y1 > y0
        assert (y1 - y0) / (x1 - x0) == pytest.approx(2, rel=0.05)
    opened.page.close()
