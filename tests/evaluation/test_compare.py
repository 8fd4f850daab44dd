"""compare: paired differences by subject, against SciPy and by hand."""

import csv
import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import bootstrap, wilcoxon

from anatomark import compare
from anatomark.errors import FrameError, SettingsError, UnknownNameError
from anatomark.evaluation.compare import labels, signed_rank

DESCRIPTION = """\
name: thing
dimension: 2
landmarks: [tip, base]
images: {cases: annotations, pattern: "{case}.png", spacing: [1, 1]}
subjects: {pattern: '^(p[0-9]+)_'}
splits: {test: "p*"}
annotations: {table: points.csv, frame: LPS}
"""
CASES = [f"p{c % 20}_{c}" for c in range(40)]  # two images of each person


@pytest.fixture
def folder(tmp_path):
    """40 cases of 20 people with both landmarks at the origin; A is 1 off, B at the base 1 mm more and uneven."""
    random = np.random.default_rng(0)
    away = {"a": np.ones((40, 2)), "b": np.ones((40, 2)) + random.normal([0, 1], 0.3, (40, 2))}
    (tmp_path / "dataset.yaml").write_text(DESCRIPTION)
    rows = [f"{case},{name},0,0" for case in CASES for name in ("tip", "base")]
    (tmp_path / "points.csv").write_text("\n".join(["image,landmark,x,y", *rows]) + "\n")
    for name, distance in away.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name / "predictions.csv", distance)
    np.save(tmp_path / "away.npy", away["b"])
    return tmp_path


def write(path, distance, frame=",frame", word=",LPS", drop=()):
    rows = [
        f"{case},{name},{float(distance[c, k])!r},0{word}"
        for c, case in enumerate(CASES)
        for k, name in enumerate(("tip", "base"))
        if (case, name) not in drop
    ]
    path.write_text("\n".join([f"image,landmark,x,y{frame}", *rows]) + "\n")


def run(folder, *files, **options):
    files = files or ("a/predictions.csv", "b/predictions.csv")
    return compare(folder / "dataset.yaml", [folder / f for f in files], **options)


def test_differences_intervals_and_tests_are_those_of_scipy(folder):
    found = run(folder, samples=5000)
    (pair,) = found["pairs"]
    assert (pair["a"], pair["b"]) == ("a", "b")
    assert (found["n_cases"], found["n_subjects"]) == (40, 20)
    away = np.abs(np.load(folder / "away.npy"))
    difference = 1 - away
    people = (difference[:20] + difference[20:]) / 2  # both images of each person
    base = pair["landmarks"]["base"]
    assert base["difference"] == pytest.approx(difference[:, 1].mean())
    assert base["p"] == pytest.approx(wilcoxon(people[:, 1]).pvalue)
    assert pair["overall"]["p"] == pytest.approx(wilcoxon(people.mean(axis=1)).pvalue)
    assert pair["overall"]["difference"] == pytest.approx(difference.mean())
    oracle = bootstrap((people[:, 1],), np.mean, n_resamples=5000, method="percentile", rng=1).confidence_interval
    assert_allclose(base["interval"], list(oracle), atol=0.02)
    assert base["better"] == "a"
    assert pair["landmarks"]["tip"]["better"] is None
    p = sorted(line["p"] for line in pair["landmarks"].values())
    assert base["p_holm"] == pytest.approx(2 * p[0])
    assert found["methods"]["b"]["overall"]["mre"] == pytest.approx(away.mean())
    within = (away <= 2).mean(axis=0) * 100
    assert pair["landmarks"]["base"]["sdr_difference"]["2"] == pytest.approx(100 - within[1])


def test_the_sentence(folder):
    (said,) = run(folder)["sentences"]
    assert said.startswith("Over 20 subjects and 80 landmarks that both found, a was 0.")
    assert "nearer to the reference than b (95 % confidence interval 0." in said
    assert "Wilcoxon signed-rank test, p < 0.001" in said
    assert "over 2 landmarks, a was nearer at 1 and b at 0" in said
    (turned,) = run(folder, "b/predictions.csv", "a/predictions.csv")["sentences"]
    cut = turned.split(" (95")[0]
    assert cut == said.split(" (95")[0], "who comes first does not change who is nearer"
    numbers = [part.split("interval ")[1].split(" mm")[0] for part in (said, turned)]
    assert_allclose(*(list(map(float, n.split(" to "))) for n in numbers), atol=0.011)


def test_the_same_predictions_do_not_differ(folder):
    (pair,) = run(folder, "a/predictions.csv", "a/predictions.csv", names=["one", "two"])["pairs"]
    assert pair["overall"]["difference"] == 0
    assert pair["overall"]["interval"] == [0, 0]
    assert pair["overall"]["p"] == 1
    assert pair["overall"]["better"] is None


def test_what_one_did_not_find_is_left_out_of_differences_and_counts_in_rates(folder):
    away = np.ones((40, 2))
    write(folder / "less.csv", away, drop={("p0_0", "tip"), ("p1_1", "tip")})
    (pair,) = run(folder, "a/predictions.csv", "less.csv", split="test")["pairs"]
    tip = pair["landmarks"]["tip"]
    assert (tip["n"], tip["only_a"], tip["only_b"], tip["difference"]) == (38, 2, 0, 0)
    assert tip["sdr_difference"]["2"] == pytest.approx(5)
    assert tip["sdr_interval"]["2"][1] > 0


def test_three_are_compared_two_by_two_with_correction(folder):
    write(folder / "c.csv", np.full((40, 2), 1.5), frame="", word="")
    found = run(folder, "a/predictions.csv", "b/predictions.csv", "c.csv", frame="LPS", out=folder / "out")
    assert [(p["a"], p["b"]) for p in found["pairs"]] == [("a", "b"), ("a", "c"), ("b", "c")]
    overall = [p["overall"] for p in found["pairs"]]
    assert max(o["p_holm"] / o["p"] for o in overall) == pytest.approx(3)
    assert "Holm-corrected" in found["sentences"][0]
    assert json.loads((folder / "out" / "compare.json").read_text()) == found
    lines = list(csv.DictReader((folder / "out" / "compare.csv").read_text().splitlines()))
    assert len(lines) == 9
    assert lines[0]["landmark"] == "all"
    assert float(lines[0]["difference"]) == pytest.approx(overall[0]["difference"], rel=1e-4)
    text = (folder / "out" / "compare.md").read_text()
    assert found["sentences"][2] in text
    assert text.count("| base |") == 3


def test_cases_that_not_all_name_are_left_out_and_listed(folder):
    away = np.ones((40, 2))
    write(folder / "less.csv", away, drop={(CASES[0], "tip"), (CASES[0], "base")})
    found = run(folder, "a/predictions.csv", "less.csv")
    assert found["left_out"] == [CASES[0]]
    assert found["n_cases"] == 39


def test_wrong_calls_are_one_line(folder):
    write(folder / "c.csv", np.ones((40, 2)), frame="", word="")
    (folder / "one.csv").write_text("image,landmark,x,y,frame\np0_0,tip,0,0,LPS\n")
    (folder / "two.csv").write_text("image,landmark,x,y,frame\np1_1,tip,0,0,LPS\n")
    refused = [
        (("a/predictions.csv",), {}, SettingsError, "give two or more"),
        (("a/predictions.csv", "c.csv"), {}, FrameError, "frame"),
        (("one.csv", "two.csv"), {}, UnknownNameError, "no case in common"),
        (("one.csv", "two.csv"), {"names": ["x", "x"]}, SettingsError, "2 different"),
    ]  # fmt: skip
    for files, options, error, words in refused:
        with pytest.raises(error, match=words) as caught:
            run(folder, *files, **options)
        assert "\n" not in str(caught.value)


def test_labels_are_files_or_folders():
    assert labels(["x/ours.csv", "y/theirs.csv"]) == ["ours", "theirs"]
    assert labels(["x/predictions.csv", "y/predictions.csv"]) == ["x", "y"]


def test_signed_rank_of_nothing_and_of_zeros():
    assert signed_rank(np.array([])) is None
    assert signed_rank(np.zeros(5)) == 1
    assert signed_rank(np.array([1e-13, -1e-13])) == 1
    # by hand: three positive differences, the most extreme of 2^3 signs on both sides
    assert signed_rank(np.array([1.0, 2.0, 3.0])) == pytest.approx(0.25)


def test_the_verb(folder, capsys):
    from anatomark.cli.main import run as command

    files = [str(folder / name / "predictions.csv") for name in "ab"]
    assert command(["compare", str(folder / "dataset.yaml"), *files, "--out", str(folder / "out")]) == 0
    said = capsys.readouterr().out
    assert "nearer to the reference" in said
    assert (folder / "out" / "compare.md").is_file()
