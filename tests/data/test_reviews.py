"""Reviews in the place of the reference: landmark by landmark, the newest first, told and never silent."""

import csv
from pathlib import Path

import numpy as np
import pytest

from anatomark.cli.main import run
from anatomark.core.landmarks import State
from anatomark.data.check import check
from anatomark.data.description import load_dataset
from anatomark.data.init import propose
from anatomark.data.phantoms import make_phantoms
from anatomark.data.reviews import describe_reviews, review_folder
from anatomark.errors import DescriptionError, UnknownNameError

HEADER = ["image", "landmark", "x", "y", "z", "frame", "unit", "state", "changed"]


@pytest.fixture
def described(tmp_path) -> Path:
    return make_phantoms(tmp_path / "set", ndim=3, cases=3, landmarks=4, shape=(17, 24, 20), spacing=(4, 5, 8))


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])


def row(case, landmark, point, changed, state="present"):
    return [case, landmark, *(point or ["", "", ""]), "LPS", "mm", state, changed]


def test_the_newest_review_takes_the_place_of_the_reference(described):
    plain = load_dataset(described)
    a, b, c, d = plain.names
    folder = review_folder(described)
    assert folder == described.parent / "annotations"
    write(
        folder / "anna.csv",
        [
            row("case_000", a, [1, 2, 3], "2026-01-02T10:00:00.000Z"),
            row("case_000", b, [4, 5, 6], "2026-01-02T10:00:00.000Z"),
            row("case_000", c, None, "2026-01-02T10:00:00.000Z", "not annotated"),
            row("case_001", d, None, "2026-01-02T10:00:00.000Z", "absent"),
        ],
    )
    write(
        folder / "ben.csv",
        [
            row("case_000", a, [9, 9, 9], "2026-01-01T10:00:00.000Z"),
            row("case_000", b, [7, 8, 9], "2026-01-03T10:00:00.000Z"),
        ],
    )
    dataset = load_dataset(described)
    first, second, third = dataset.cases
    np.testing.assert_array_equal(first.reference[a], [1, 2, 3])  # anna's is newer
    np.testing.assert_array_equal(first.reference[b], [7, 8, 9])  # ben's is
    assert first.reference.states[2] == State.NOT_ANNOTATED
    assert second.reference.states[3] == State.ABSENT
    # what nobody reviewed stays as it was, and no reviewer is an observer
    assert first.reference.states[3] == plain.cases[0].reference.states[3]
    assert third.reference == plain.cases[2].reference
    assert [list(case.observers) for case in dataset.cases] == [list(case.observers) for case in plain.cases]
    assert describe_reviews(dataset.cases) == [
        f"review of anna: 4 landmarks in 2 cases replace the reference ({folder / 'anna.csv'})",
        f"review of ben: 2 landmarks in 1 case replace the reference ({folder / 'ben.csv'})",
    ]
    assert {f.message.split(":")[0] for f in check(described) if f.level == "note"} == {
        "review of anna",
        "review of ben",
    }


def test_a_description_says_which_reviews_count(described):
    a = load_dataset(described).names[0]
    write(review_folder(described) / "anna.csv", [row("case_000", a, [1, 2, 3], "2026-01-02")])
    text = described.read_text()
    described.write_text(text + "reviews: none\n")
    assert describe_reviews(load_dataset(described).cases) == []
    write(described.parent / "elsewhere" / "ben.csv", [row("case_000", a, [3, 2, 1], "2026-01-01")])
    described.write_text(text + "reviews: elsewhere/*.csv\n")
    np.testing.assert_array_equal(load_dataset(described).cases[0].reference[a], [3, 2, 1])
    described.write_text(text + "reviews: landmarks.csv\n")
    with pytest.raises(DescriptionError, match="without a column `changed`"):
        load_dataset(described)


def test_tables_that_are_no_reviews_are_passed_over_and_other_descriptions_keep_their_own(described):
    plain = load_dataset(described).cases[0].reference
    a = load_dataset(described).names[0]
    folder = review_folder(described)
    folder.mkdir()
    (folder / "junior.csv").write_text("image,landmark,x,y,z,frame\ncase_000," + a + ",1,2,3,LPS\n")
    write(folder / "second" / "anna.csv", [row("case_000", a, [1, 2, 3], "2026-01-02")])
    assert load_dataset(described).cases[0].reference == plain
    second = described.with_name("second.yaml")
    second.write_text(described.read_text())
    assert review_folder(second) == folder / "second"
    np.testing.assert_array_equal(load_dataset(second).cases[0].reference[a], [1, 2, 3])
    # listed as annotations it is an observer's table, and no review
    second.write_text(described.read_text().replace("table: landmarks.csv", "table: annotations/second/anna.csv"))
    assert describe_reviews(load_dataset(second).cases) == []
    assert list(load_dataset(second).cases[0].observers) == [""]


def test_an_unknown_landmark_in_a_review_is_one_line_and_a_finding(described, capsys):
    write(review_folder(described) / "anna.csv", [row("case_000", "nobody", [1, 2, 3], "2026-01-02")])
    with pytest.raises(UnknownNameError, match=r"anna\.csv: unknown landmark 'nobody'"):
        load_dataset(described)
    assert "unknown-landmark" in {f.code for f in check(described)}


def test_train_and_evaluate_say_which_reviews_count(described, tmp_path, capsys, tiny):
    from anatomark import train

    names = load_dataset(described).names
    cases = [f"case_00{k}" for k in range(3)]
    rows = [row(case, name, [1, 2, 3], "2026-01-02") for case in cases for name in names]
    write(review_folder(described) / "anna.csv", rows)
    table = tmp_path / "predictions.csv"
    write(table, [row(case, name, [1, 2, 5], "") for case in cases for name in names])
    assert run(["evaluate", str(described), "--predictions", str(table), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "review of anna: 12 landmarks in 3 cases replace the reference" in said
    assert "2.00" in said  # the error is that to the review
    assert "review of anna" in (tmp_path / "out" / "report.html").read_text()
    lines = []
    with pytest.raises(Exception, match="split"):
        train(described, out=tmp_path / "run", settings=tiny, train_split="nowhere", show=lines.append)
    assert lines == [
        f"review of anna: 12 landmarks in 3 cases replace the reference ({review_folder(described) / 'anna.csv'})"
    ]


def test_a_folder_of_images_with_a_review_becomes_a_set(described):
    names = load_dataset(described).names
    write(
        review_folder(described) / "anna.csv",
        [row("case_000", name, [1, 2, 3], "2026-01-02") for name in names],
    )
    for given in (described, described.with_name("landmarks.csv")):
        given.unlink()
    described.write_text(propose(described.parent))
    dataset = load_dataset(described)
    assert dataset.names == names
    assert dataset.cases[0].observers == {}
    np.testing.assert_array_equal(dataset.cases[0].reference[names[0]], [1, 2, 3])
    assert len(describe_reviews(dataset.cases)) == 1
