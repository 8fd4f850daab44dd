"""A description's `observers` and `images.cases`: how names of observers are read, and cases without images."""

import pytest
import yaml

from anatomark.data.description import load_dataset
from anatomark.data.parse import parse
from anatomark.errors import DescriptionError

GOOD = """\
name: raters
dimension: 2
landmarks: [tip]
images: {cases: annotations, pattern: "{case}.png", spacing: [0.5, 0.5]}
annotations: {table: points.csv, frame: pixel}
observers: {session: '^(r[0-9]+)s[0-9]+$', combined: [truth]}
"""


def with_(**changes):
    return yaml.safe_load(GOOD) | changes


def test_cases_are_the_images_of_the_table(tmp_path):
    (tmp_path / "points.csv").write_text(
        "image,landmark,x,y,observer\nscans/b.png,tip,1,2,r1\na.png,tip,4,2,r1\nb,tip,3,2,r2\n"
    )
    (tmp_path / "dataset.yaml").write_text(GOOD)
    dataset = load_dataset(tmp_path / "dataset.yaml")
    assert [case.id for case in dataset.cases] == ["b", "a"]
    assert dataset.unit == "mm"
    assert dataset.case("b").observers["r2"]["tip"].tolist() == [1.5, 1.0]
    assert dataset.combined == ("truth",)
    assert dataset.session_pattern is not None


def test_a_combined_answer_is_no_part_of_the_mean(tmp_path):
    (tmp_path / "points.csv").write_text("image,landmark,x,y,observer\na,tip,0,0,r1\na,tip,4,0,r2\na,tip,50,50,truth\n")
    (tmp_path / "dataset.yaml").write_text(GOOD)
    assert load_dataset(tmp_path / "dataset.yaml").case("a").reference["tip"].tolist() == [1, 0]
    (tmp_path / "dataset.yaml").write_text(GOOD + "reference: truth\n")
    assert load_dataset(tmp_path / "dataset.yaml").case("a").reference["tip"].tolist() == [25, 25]


def test_without_spacing_photographs_without_images_are_px(tmp_path):
    (tmp_path / "points.csv").write_text("image,landmark,x,y,observer\na,tip,4,2,r1\n")
    (tmp_path / "dataset.yaml").write_text(GOOD.replace(", spacing: [0.5, 0.5]", ""))
    assert load_dataset(tmp_path / "dataset.yaml").unit == "px"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"observers": {"session": "r[0-9"}}, "not a regular expression"),
        ({"observers": {"session": "r[0-9]"}}, "exactly one group"),
        ({"observers": {"sesion": "(r)"}}, "did you mean 'session'"),
        ({"images": {"cases": "annotations", "table": "cases.csv"}}, "exclude each other"),
        (
            {"images": {"cases": "annotations"}, "annotations": {"files": "{case}.fcsv", "observer": "a"}},
            "landmark `table`",
        ),
        ({"images": {"cases": "nothing"}}, "images.cases"),
    ],
)
def test_faults_are_one_line(changes, words):
    with pytest.raises(DescriptionError, match=words) as caught:
        parse(with_(**changes), "my.yaml")
    assert "\n" not in str(caught.value)
