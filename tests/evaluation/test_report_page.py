"""The report's page: every part of the metrics has its section, or a reason; everything foreign is text."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from anatomark.core.landmarks import State
from anatomark.evaluation.metrics import MissedLandmark
from anatomark.evaluation.observers import PairScores
from anatomark.evaluation.report import report_html
from anatomark.evaluation.sentences import sentences, summary
from tests.evaluation.made import made_metrics, made_rows

OPTIONAL = ("observers", "measurements", "coverage")
HEADINGS = {
    "observers": "Observers",
    "measurements": "Measurements",
    "coverage": "Error bounds and calibration",
    "presence": "Present or absent",
}


class Page(HTMLParser):
    """Tags, ids, attributes and the visible text of a page; scripts and styles are no text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.ids, self.attributes, self.text, self._inside = Counter(), [], [], [], ""
        self.feed(page.replace(get_plotlyjs(), ""))
        self.text = " ".join("".join(self.text).split())

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.text += [" "] if tag != "wbr" else []
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        self._inside = self._inside if tag == "wbr" else tag

    def handle_endtag(self, tag):
        self._inside = ""
        self.text.append(" ")

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.text.append(data)


@pytest.fixture(scope="module")
def full():
    rows, cases = made_rows()
    return rows, cases, made_metrics(rows)


@pytest.fixture(scope="module")
def full_page(full):
    return page_of(*full)


def page_of(rows, cases, metrics, **more):
    return Page(report_html(metrics, rows, cases, **more))


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_full_page_has_all_sections_and_numbers(ndim):
    rows, cases = made_rows(ndim)
    metrics = made_metrics(rows)
    page = page_of(rows, cases, metrics, baseline=rows)
    for words in (
        *HEADINGS.values(),
        f"predictions lie {metrics.overall.mre:.2f} mm (95 % interval",
        "prediction to junior",
        "To every observer the prediction is ",
        "predicted II",
        "No intra-observer error: no observer has several sessions in a case.",
        "Each landmark, to every observer",
        "predicted absent",
        "area under the ROC curve of the presence is",
        "Error bounds of 90 % cover 91.2 % (95 % interval 88.0 to 94.0) of 60 errors; the mean bound is 2.00 mm.",
        "Systematic error",
        "observers in the same class (%)",
        " 87.5 ",
        metrics.measurements[0].unit,
        "Worst case: ",
        ", bound 2.00 mm",
        metrics.fingerprint,
        "anatomark evaluate dataset.yaml",
        "200 samples, seed 0",
    ):
        assert words in page.text, words
    assert page.tags["img"] == (3 if ndim == 2 else 6) + 6 + 3 + 3
    assert {"chart-cumulative", "chart-boxes", "chart-bias", "chart-reliability", "chart-measurement-0"} <= set(
        page.ids
    )
    twice = [name for name, n in Counter(page.ids).items() if n > 1]
    assert not twice  # Plotly draws into the first element of that name


def test_intervals_stand_below_their_numbers(full, full_page):
    page, overall = full_page, full[2].overall
    for key in ("mre", "median"):
        low, high = getattr(overall, f"{key}_interval")
        assert f"[{low:.2f}, {high:.2f}]" in page.text
    low, high = overall.sdr_interval["2"]
    assert f"[{low:.1f}, {high:.1f}]" in page.text


@pytest.mark.parametrize("key", OPTIONAL)
def test_a_part_that_is_none_says_why_or_is_gone(full, key):
    rows, cases, metrics = full
    told = page_of(rows, cases, replace(metrics, **{key: None, f"{key}_note": "the moon was full"}))
    assert HEADINGS[key] in told.text
    assert "the moon was full." in told.text
    gone = page_of(rows, cases, replace(metrics, **{key: None}))
    assert f" {HEADINGS[key]} " not in gone.text
    assert key not in {"observers", "measurements"} & set(gone.ids)


def test_without_any_optional_part_the_errors_remain(full):
    rows, cases, metrics = full
    nothing = dict.fromkeys((*OPTIONAL, "mean_shape")) | {"worst": [], "missing": [], "fingerprint": ""}
    page = page_of(rows, cases, replace(metrics, **nothing, mean_shape_note="no split called train"))
    assert "Error of each landmark" in page.text
    assert "No mean shape: no split called train." in page.text
    assert "fingerprint" not in page.text


def test_charts_without_anything_to_draw_are_left_out(full):
    rows, cases, metrics = full
    bare = replace(metrics.coverage, curve=None, presence_curve=None, landmarks=dict.fromkeys(rows.names))
    landmarks = {name: replace(scores, bias=dict.fromkeys("xy")) for name, scores in metrics.landmarks.items()}
    page = page_of(rows, cases, replace(metrics, coverage=bare, landmarks=landmarks))
    drawn = {name for name in page.ids if name.startswith("chart-")}
    assert drawn == {"chart-cumulative", "chart-boxes", "chart-measurement-0"}
    assert "Error bounds of 90 % cover" in page.text


def test_foreign_text_stays_text(full):
    evil = "</script><img src=x onerror=alert(1)><b>%{x}{{7*7}}"
    rows, cases = made_rows(names=[evil, "b&b", 'quote"d', "plain"])
    metrics = made_metrics(rows, dataset=evil, split=evil, command=evil)
    (measured,), observers = metrics.measurements, metrics.observers
    measured = replace(
        measured,
        name=evil,
        unit=evil,
        rows=[replace(measured.rows[0], case=evil), *measured.rows[1:]],
        classes=replace(measured.classes, confusion={evil: {evil: 1}}),
    )
    metrics = replace(
        metrics,
        worst=[replace(metrics.worst[0], case=evil), *metrics.worst[1:]],
        observers=replace(
            observers, names=[evil, "junior"], model=[replace(observers.model[0], against=evil), *observers.model[1:]]
        ),
        measurements=[measured],
        missing=[MissedLandmark(evil, evil, evil)],
        versions={**metrics.versions, evil: evil},
        unknown_images=[evil],
    )
    text = report_html(metrics, rows, cases)
    page = Page(text)
    rows, cases = made_rows(names=4)
    tame = Page(report_html(made_metrics(rows), rows, cases))
    assert page.tags["img"] == tame.tags["img"]
    assert page.tags["script"] == tame.tags["script"]
    assert page.tags["b"] == tame.tags["b"]
    assert "onerror" not in dict(page.attributes)
    assert evil in page.text
    # in the charts, Plotly reads &lt; as < and < as markup
    charts = "".join(re.findall(r"Plotly\.newPlot\(.*?</script>", text, flags=re.S))
    assert "img src" in charts
    assert "<img" not in charts.replace("\\u003c", "<")


def test_nothing_is_fetched_and_the_policy_says_so(full_page):
    page = full_page
    policies = [value for name, value in page.attributes if name == "content" and "default-src" in value]
    assert policies[0].startswith("default-src 'none'")
    assert "http" not in policies[0]
    assert not page.tags["link"]
    assert not page.tags["iframe"]
    assert all(value.startswith(("data:image/jpeg", "#")) for name, value in page.attributes if name in ("src", "href"))


def test_one_case_and_one_landmark():
    rows, cases = made_rows(cases=1, names=1)
    metrics = made_metrics(rows)
    assert metrics.overall.mre_interval is None
    page = page_of(rows, cases, metrics)
    assert "On 1 case of split test" in page.text
    assert "of 1 landmark." in page.text
    assert "Best and median and worst case: case_000" in page.text
    assert "No intervals: fewer than two subjects" in page.text
    assert "Too few subjects to judge" in page.text
    assert "None" not in page.text.replace("None was missed", "")


def test_the_pairs_of_many_observers_are_left_to_the_metrics(full):
    rows, cases, metrics = full
    inter = metrics.observers.inter

    def with_pairs(n):
        pairs = [PairScores((f"anna{k}", "ben"), 1, inter.overall, inter.landmarks) for k in range(n)]
        return replace(metrics, observers=replace(metrics.observers, pairs=pairs))

    few, many = page_of(rows, cases, with_pairs(3)), page_of(rows, cases, with_pairs(66))
    assert "anna2 to ben" in few.text
    assert "anna2 to ben" not in many.text
    assert "The 66 pairs of observers are in metrics.json." in many.text


def test_images_that_are_gone_are_told_three_times_at_most(full):
    rows, cases, metrics = full

    class Gone:
        def read_image(self):
            raise OSError("no such file")

    page = page_of(rows, [Gone()] * len(cases), metrics)
    assert page.text.count("no picture of case_") == 3
    assert "more cases." in page.text


def test_many_landmarks_are_all_in_the_table_and_some_in_the_charts():
    rows, cases = made_rows(3, cases=3, names=1200)
    page = page_of(rows, cases, made_metrics(rows))
    assert "landmark_1199" in page.text
    assert "Shown: 40 of 1200 landmarks" in page.text
    assert "No bound for landmark_8, " in page.text
    assert "and 1172 more: too few cases." in page.text


def test_nothing_found_and_nothing_present(full):
    rows, cases, _ = full
    rows = replace(rows, answers=np.zeros_like(rows.answers), predicted=np.full_like(rows.predicted, np.nan))
    none = made_metrics(rows)
    assert sentences(none)[0] == "On 12 cases of split test, none of 70 landmarks was found."
    page = page_of(rows, cases, none)
    assert "70 of 70" in page.text
    assert "Spread of the error" not in page.text
    rows = replace(rows, states=np.full_like(rows.states, State.NOT_ANNOTATED))
    assert summary(made_metrics(rows)).startswith("Nothing to score")
    assert "Nothing to score" in page_of(rows, cases, made_metrics(rows)).text


def test_the_summary_is_one_sentence_and_remarks():
    rows, _ = made_rows()
    metrics = made_metrics(rows, n_training_cases=3, split=None)
    first, *rest = sentences(metrics)
    assert first.count(". ") == 0
    assert first.endswith("of 70 landmarks.")
    assert any("3 of the cases are in split train" in s for s in rest)
    assert any(s.startswith("1 was not found") for s in rest)
    scores = metrics.observers.model[2]
    overall = replace(
        scores.equivalence.overall, difference=0.7, interval=(0.6, 0.8), equivalent=False, verdict="farther"
    )
    scores = replace(scores, equivalence=replace(scores.equivalence, overall=overall))
    metrics = replace(metrics, observers=replace(metrics.observers, model=[scores]))
    assert "the prediction is farther than they are from each other: +0.70 mm (90 % interval 0.60 to 0.80)" in summary(
        metrics
    )
