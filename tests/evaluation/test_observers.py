"""Observers: distances, sessions, consensus, the model among them, equivalence; from a description and from files."""

import csv
import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from anatomark import compare_observers
from anatomark.data.description import load_dataset
from anatomark.errors import FrameError, LandmarkFileError, SettingsError
from anatomark.evaluation.bootstrap import bootstrap_for
from anatomark.evaluation.consensus import checked_consensus, consensus_of
from anatomark.evaluation.equivalence import checked_margin, equivalence
from anatomark.evaluation.evaluate import evaluate
from anatomark.evaluation.holm_correction import holm_correction
from anatomark.evaluation.observers import model_among_observers, observer_statistics, pairs_between, pairs_within
from anatomark.evaluation.placements import Placements
from anatomark.evaluation.rows import Answer, Rows

NAN = np.nan


def make_placements(points, observers, columns=None):
    """One landmark in 2D: points (C, O, 2)."""
    points = np.array(points, dtype=float)[:, :, None]
    cases = tuple(f"c{i}" for i in range(len(points)))
    return Placements(cases, cases, ("tip",), tuple(columns or observers), tuple(observers), points)


def statistics(placements, **options):
    return observer_statistics(placements, bootstrap=bootstrap_for(placements.subjects, 200), **options)


def test_every_pair_of_observers_counts_once_in_each_case():
    told = statistics(make_placements([[[0, 0], [3, 4], [0, 4]], [[0, 0], [1, 0], [NAN, NAN]]], "abc"))
    assert told.names == ["a", "b", "c"]
    assert told.inter.overall.n == 4  # 5, 4, 3 in the first case, 1 in the second
    assert told.inter.overall.mre == pytest.approx(13 / 4)
    assert told.intra is None
    assert "several sessions" in told.intra_note
    of = {tuple(pair.between): pair.overall for pair in told.pairs}
    assert of["a", "b"].mre == 3
    assert of["a", "b"].bias == {"x": 2, "y": 2}
    assert of["b", "c"].n == 1


def test_sessions_are_of_one_person_and_only_the_first_is_compared_with_others():
    points = [[[0, 0], [0, 2], [10, 0], [10, 4], [10, 1]]]
    told = statistics(make_placements(points, ("a", "a", "b", "b", "b"), ("as1", "as2", "bs1", "bs2", "bs3")))
    assert told.sessions == {"a": 2, "b": 3}
    assert told.inter.overall.n == 1
    assert told.inter.overall.mre == 10
    assert told.intra.overall.n == 4  # 2; 4, 1, 3
    assert told.intra.overall.mre == pytest.approx(10 / 4)
    # a, by its first session, against the mean of b's sessions (10, 5/3)
    assert told.each[0].overall.mre == pytest.approx(np.hypot(10, 5 / 3))


def test_a_first_session_that_lacks_a_case_gives_way_to_the_next():
    placements = make_placements([[[NAN, NAN], [0, 2], [3, 2]]], ("a", "a", "b"), ("as1", "as2", "b"))
    assert_allclose(placements.single[0, :, 0], [[0, 2], [3, 2]])
    assert pairs_between(placements).distance[0, 0] == 3
    assert pairs_within(placements).cases == ()


def test_the_consensus_of_the_others_leaves_the_observer_out():
    told = statistics(make_placements([[[0, 0], [2, 0], [4, 6]]], "abc"))
    each = {line.observer: line.overall for line in told.each}
    assert each["a"].mre == pytest.approx(np.hypot(3, 3))
    assert each["a"].bias == {"x": -3, "y": -3}
    assert each["c"].mre == pytest.approx(np.hypot(3, 6))


def test_nobody_to_compare_is_none():
    assert statistics(make_placements([[[0, 0]], [[1, 1]]], "a")) is None


def test_nobody_at_all_is_none():
    points = np.empty((2, 0, 1, 2))
    assert statistics(Placements(("a", "b"), ("a", "b"), ("tip",), (), (), points)) is None


def test_the_geometric_median_is_not_moved_by_one_who_is_far_off():
    points = np.array([[[[0.0, 0]], [[1, 0]], [[0, 1]], [[1, 1]], [[100, 100]]]])
    assert_allclose(consensus_of(points, "mean")[0, 0], [20.4, 20.4])
    found = consensus_of(points, "geometric median")[0, 0]

    def cost(p):
        return np.sqrt(((points[0, :, 0] - p) ** 2).sum(-1)).sum()

    grid = np.stack(np.meshgrid(np.linspace(0, 2, 201), np.linspace(0, 2, 201)), -1).reshape(-1, 2)
    assert cost(found) <= min(cost(p) for p in grid) + 1e-6
    assert (found <= 1.01).all()


def test_the_geometric_median_may_stand_on_a_point_and_passes_over_the_missing():
    points = np.array([[[[0.0, 0]], [[0, 0]], [[0, 0]], [[9, 9]], [[NAN, NAN]]]])
    assert_allclose(consensus_of(points, "geometric median")[0, 0], [0, 0], atol=1e-3)
    assert np.isnan(consensus_of(np.full((1, 3, 1, 2), NAN), "geometric median")).all()
    two = np.array([[[[0.0, 0]], [[2, 2]]]])
    assert_allclose(consensus_of(two, "geometric median")[0, 0], [1, 1])
    with pytest.raises(SettingsError, match="geometric-median"):
        checked_consensus("mode")


def make_rows(placements, predicted, answers=None):
    predicted = np.array(predicted, dtype=float)[:, None]
    shape = predicted.shape[:2]
    states = np.full(shape, 2, dtype=np.uint8)
    said = np.full(shape, Answer.PRESENT, np.uint8) if answers is None else np.array(answers, np.uint8)[:, None]
    reference = consensus_of(placements.average)
    return Rows(placements.cases, ("tip",), reference, states, predicted, said, np.full(shape, NAN))


def among(placements, rows, margin=0.5, **options):
    bootstrap = bootstrap_for(placements.subjects, 400)
    entries = model_among_observers(rows, placements, bootstrap=bootstrap, margin=margin, **options)
    return {entry.against: entry for entry in entries}


def test_the_model_among_two_observers_by_hand():
    placements = make_placements([[[0, 0], [4, 0]], [[0, 0], [2, 0]]], "sj")
    told = among(placements, make_rows(placements, [[1, 0], [1, 0]]))
    assert list(told) == ["s", "j", "every observer", "consensus (mean)"]
    assert told["s"].overall.mre == 1
    assert told["j"].overall.mre == 2  # 3 and 1
    assert told["every observer"].overall.n == 4
    assert told["consensus (mean)"].overall.mre == 0.5
    assert told["consensus (mean)"].equivalence is None
    # model to s minus j to s: 1 - 4, 1 - 2; model to j minus s to j: 3 - 4, 1 - 2
    assert told["s"].equivalence.overall.difference == -2
    assert told["j"].equivalence.overall.difference == -1
    assert told["every observer"].equivalence.overall.difference == -1.5
    assert told["every observer"].equivalence.overall.n == 2


def test_the_model_against_the_consensus_without_one_by_hand():
    placements = make_placements([[[0, 0], [2, 0], [4, 6]], [[0, 0], [2, 0], [4, 6]]], "abc")
    told = among(placements, make_rows(placements, [[0, 0], [0, 0]]))["consensus without one (mean)"]
    without = [(3, 3), (2, 3), (1, 0)]
    model = [np.hypot(*p) for p in without]
    theirs = [np.hypot(3, 3), np.hypot(0, 3), np.hypot(3, 6)]
    assert told.overall.mre == pytest.approx(np.mean(model))
    assert told.equivalence.overall.difference == pytest.approx(np.mean(model) - np.mean(theirs))


def test_an_observer_more_is_as_far_as_an_observer():
    """The statistic is fair: a model that is drawn as the observers are has no difference."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(4000, 4, 2))
    placements = make_placements(drawn[:, :3], "abc")
    told = among(placements, make_rows(placements, drawn[:, 3]), margin=0.2)
    for against in ("a", "every observer", "consensus without one (mean)"):
        test = told[against].equivalence.overall
        assert abs(test.difference) < 0.04, against
        assert test.equivalent
        assert test.two_sided


def test_a_worse_model_is_farther_and_a_better_one_nearer():
    rng = np.random.default_rng(0)
    truth, drawn = np.zeros((200, 2)), rng.normal(size=(200, 2, 2))
    placements = make_placements(drawn, "ab")
    away = make_rows(placements, truth + np.array([3, 0]))
    worse = among(placements, away)["every observer"].equivalence.overall
    assert (worse.equivalent, worse.verdict) == (False, "farther")
    assert worse.p > 0.99
    better = among(placements, make_rows(placements, truth), margin=0.3)["every observer"].equivalence.overall
    assert (better.equivalent, better.two_sided, better.verdict) == (True, False, "nearer")
    assert better.p < 0.01


def test_a_missing_prediction_is_a_failure_and_leaves_the_test():
    placements = make_placements([[[0, 0], [1, 0]]] * 3, "ab")
    rows = make_rows(placements, [[0, 0], [0, 0], [NAN, NAN]], [2, 2, 0])
    told = among(placements, rows)["a"]
    assert (told.overall.n, told.overall.n_missing) == (3, 1)
    assert told.overall.sdr["4"] == pytest.approx(200 / 3)
    assert told.equivalence.overall.n == 2


def test_equivalence_of_each_landmark_and_the_margin():
    difference = np.array([[0.1, 2.0], [0.2, 2.2], [0.1, 1.8], [0.2, 2.0]])
    subjects = list("wxyz")
    told = equivalence(difference, ("near", "far"), subjects, bootstrap_for(subjects, 500), 0.5)
    assert told.landmarks["near"].equivalent
    assert told.landmarks["far"].verdict == "farther"
    assert told.landmarks["far"].difference == 2
    assert told.landmarks["near"].p_holm == pytest.approx(2 * told.landmarks["near"].p)
    one = equivalence(difference[:1], ("near", "far"), ["w"], bootstrap_for(["w"], 500), 0.5)
    assert one.overall.difference == pytest.approx(1.05)
    assert one.overall.equivalent is None
    assert checked_margin(None, (2.0, 4.0)) == 0.5
    with pytest.raises(SettingsError, match="margin"):
        checked_margin(0.0, (2.0,))


def test_holm_by_hand():
    # 4 p-values: .01 * 4, .02 * 3, .03 * 2 -> not below the one before, .8
    assert_allclose(holm_correction([0.02, 0.8, 0.01, 0.03]), [0.06, 0.8, 0.04, 0.06])
    assert holm_correction([None, 0.5]) == [None, 0.5]
    assert holm_correction([0.9, 0.8]) == [1.0, 1.0]


DESCRIPTION = """\
name: raters
dimension: 3
landmarks: [tip, base]
images: {cases: annotations, folder: images, pattern: "{case}.nii.gz"}
subjects: {pattern: '^(p[0-9]+)'}
annotations: {table: points.csv, frame: RAS, columns: {observer: rater}}
observers: {session: '^(r[0-9]+)s[0-9]+$', combined: [truth]}
reference: truth
"""


@pytest.fixture
def raters(tmp_path):
    """Two people, two images of the first; r1 in two sessions, r2 once, and the truth, which is no rater."""
    lines = ["image,landmark,x,y,z,rater"]
    for image in ("p1_a", "p1_b", "p2"):
        for rater, x in (("truth", 0), ("r1s1", 1), ("r1s2", 2), ("r2", 4)):
            lines += [f"{image},tip,{x},0,0,{rater}", f"{image},base,0,{x},5,{rater}"]
    (tmp_path / "points.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "dataset.yaml").write_text(DESCRIPTION)
    return tmp_path


def test_a_description_without_images(raters):
    dataset = load_dataset(raters / "dataset.yaml")
    assert [case.id for case in dataset.cases] == ["p1_a", "p1_b", "p2"]
    assert dataset.unit == "mm"
    assert dataset.cases[0].image_path == raters / "images" / "p1_a.nii.gz"
    found = compare_observers(raters / "dataset.yaml", out=raters / "out")
    assert found["names"] == ["r1", "r2"]
    assert found["sessions"] == {"r1": 2, "r2": 1}
    assert (found["n_cases"], found["n_subjects"]) == (3, 2)
    assert found["inter"]["landmarks"]["tip"]["mre"] == 3
    assert found["intra"]["overall"]["mre"] == 1
    assert found["pairs"][0]["landmarks"]["tip"]["bias"] == {"x": -3, "y": 0, "z": 0}  # RAS +x is LPS -x
    assert json.loads((raters / "out" / "observers.json").read_text()) == found
    lines = list(csv.DictReader((raters / "out" / "observer_pairs.csv").read_text().splitlines()))
    assert len(lines) == 3 * 2 * 2
    assert {line["kind"] for line in lines} == {"inter", "intra"}
    assert lines[0]["distance"] == "3.0000"


def test_predictions_of_a_set_without_images_are_scored(raters):
    (raters / "p.csv").write_text("image,landmark,x,y,z\np1_a,tip,0,0,1\np1_a,base,0,0,5\n")
    metrics = evaluate(raters / "dataset.yaml", raters / "p.csv", frame="RAS")
    assert metrics["overall"]["mre"] == 0.5
    assert metrics["observers"]["names"] == ["r1", "r2"]
    assert [entry["against"] for entry in metrics["observers"]["model"]] == [
        "r1",
        "r2",
        "every observer",
        "consensus (mean)",
    ]
    assert metrics["mean_shape"] is None


def test_tables_of_raters_need_no_description(raters):
    found = compare_observers([raters / "points.csv"], frame="RAS", session="^(r[0-9]+)s[0-9]+$")
    assert found["names"] == ["r1", "r2", "truth"]
    assert found["intra"]["overall"]["mre"] == 1
    assert "--frame RAS" in found["command"]
    for rater in ("eve", "bob"):
        (raters / f"{rater}.csv").write_text(f"image,landmark,x,y\nscan.png,tip,{len(rater)},{ord(rater[0])}\n")
    found = compare_observers([raters / "eve.csv", raters / "bob.csv"], frame="pixel", spacing=(1, 0.5))
    assert found["names"] == ["eve", "bob"]
    assert found["unit"] == "mm"
    assert found["inter"]["overall"]["mre"] == pytest.approx((ord("e") - ord("b")) / 2)
    assert compare_observers([raters / "eve.csv", raters / "bob.csv"], frame="pixel")["unit"] == "px"


def test_wrong_calls_are_one_line(raters):
    (raters / "flat.csv").write_text("image,landmark,x,y,frame\na,tip,1,2,LPS\n")
    (raters / "alone.csv").write_text("image,landmark,x,y,z,frame\na,tip,1,2,3,LPS\n")
    table = raters / "points.csv"
    refused = [
        (([table],), {}, FrameError, "frame"),
        (([],), {}, SettingsError, "nothing to compare"),
        (([table],), {"frame": "RAS", "session": "("}, SettingsError, "not a regular expression"),
        (([table],), {"frame": "RAS", "session": "r"}, SettingsError, "needs a group"),
        (([table],), {"frame": "RAS", "split": "test"}, SettingsError, "no split"),
        (([table, raters / "flat.csv"],), {"frame": "RAS"}, FrameError, "2D in mm and 3D in mm"),
        (([raters / "alone.csv"],), {}, LandmarkFileError, "by two observers"),
        (([raters / "dataset.yaml"],), {"frame": "RAS"}, SettingsError, "belong in"),
        (([raters / "alone.csv", raters / "alone.csv"],), {}, LandmarkFileError, "duplicate"),
    ]  # fmt: skip
    for arguments, options, error, words in refused:
        with pytest.raises(error, match=words) as caught:
            compare_observers(*arguments, **options)
        assert "\n" not in str(caught.value)


def test_the_verb(raters, capsys):
    from anatomark.cli.main import run

    assert run(["observers", str(raters / "dataset.yaml"), "--out", str(raters / "out")]) == 0
    said = capsys.readouterr().out
    assert "3.00 (3.00–3.00)" in said
    assert "observer_pairs.csv" in said
    assert run(["observers", str(raters / "points.csv")]) == 2
    assert "frame" in capsys.readouterr().err
