"""evaluate: tables of any origin against a data set, and what it writes."""

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import anatomark
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks, State
from anatomark.data.cases import AnnotationConfig, Case
from anatomark.data.description import Dataset
from anatomark.errors import (
    FrameError,
    LandmarkFileError,
    OutputError,
    SettingsError,
    UnknownNameError,
)
from anatomark.evaluation.evaluate import evaluate
from anatomark.evaluation.sentences import summary
from anatomark.formats.images import write_image
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.landmarks import table_landmarks, write_landmarks
from anatomark.formats.table import write_table
from anatomark.methods.error_bound import ErrorBounds

NAMES = ("tip", "base", "rim")


@dataclass(frozen=True)
class Memory:
    """An annotation source that holds its landmarks."""

    observers: dict

    def read(self, case):
        return {o: by_case[case.id] for o, by_case in self.observers.items() if case.id in by_case}

    def file(self, case, observer):
        return None


def make_dataset(folder, *, ndim=3, unit="mm", cases=6, observers=("expert",), images=True, states=None):
    """A set whose first half is the split train; the landmarks of case k are shifted by k along x."""
    grid = Grid.from_geometry(
        (20, 24, 28)[:ndim],
        spacing=(1.5, 2.0, 2.5)[:ndim] if unit == "mm" else (1,) * ndim,
        origin=(-11, 7, 30)[:ndim] if unit == "mm" else None,
        direction=np.diag([-1.0, -1, 1][:ndim]) if unit == "mm" else None,
        unit=unit,
    )
    base = grid.index_to_world(np.array([[4, 5, 6], [10, 12, 14], [15, 18, 20]])[:, :ndim])
    rng = np.random.default_rng(0)
    references, listed = {o: {} for o in observers}, []
    ending = ".nii.gz" if unit == "mm" else ".png"
    for k in range(cases):
        case = f"case_{k}"
        path = folder / "images" / f"{case}{ending}"
        if images:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(Image(rng.integers(0, 255, grid.shape).astype(np.uint8), grid), path)
        for j, o in enumerate(observers):
            points = base + [k, *[0] * (ndim - 1)] + j * np.eye(ndim)[1]
            state = np.full(3, State.PRESENT) if states is None else np.array(states[k])
            references[o][case] = Landmarks(NAMES, points, state, unit)
        listed.append((case, path, case, "train" if k < cases // 2 else "test"))
    annotation = AnnotationConfig(names=NAMES, ndim=ndim, unit=unit, sources=(Memory(references),))
    made = tuple(Case(*row, None, annotation) for row in listed)
    return Dataset(folder / "dataset.yaml", "thing", folder, ndim, unit, NAMES, (), made)


def table_of(dataset, cases, *, shift=0.0, frame="LPS", unit=None, presence=None, name=lambda c: c.id, drop=()):
    """Predictions `shift` along the last axis from the reference."""
    images, names, points = [], [], []
    for case in cases:
        for n, p in zip(NAMES, case.reference.points, strict=True):
            if (case.id, n) not in drop:
                images.append(name(case))
                names.append(n)
                points.append(p + shift * np.eye(dataset.ndim)[-1])
    return make_table(images, names, points, frame=frame, unit=unit or dataset.unit, presence=presence)


def make_table(images, names, points, *, frame="LPS", unit="mm", presence=None, states=None, observer=None):
    rows = len(images)
    return LandmarkTable(
        image=np.array(images, dtype=object),
        landmark=np.array(names, dtype=object),
        coordinates=np.array(points, dtype=float),
        states=np.full(rows, State.PRESENT, dtype=np.uint8) if states is None else np.array(states, np.uint8),
        observer=np.array([""] * rows if observer is None else list(observer), dtype=object),
        frame=frame,
        unit=unit,
        presence=np.full(rows, np.nan) if presence is None else np.array(presence, dtype=float),
        spread=np.full(rows, np.nan),
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_known_shift_is_measured_and_beats_the_mean_shape(tmp_path, ndim):
    data = make_dataset(tmp_path, ndim=ndim)
    metrics = evaluate(data, table_of(data, data.split("test"), shift=1.25), split="test")
    assert metrics["unit"] == "mm"
    assert metrics["cases"] == ["case_3", "case_4", "case_5"]
    assert_allclose([metrics["overall"]["mre"], metrics["overall"]["median"]], 1.25)
    assert metrics["overall"]["n"] == 9
    assert set(metrics["landmarks"]) == set(NAMES)
    assert metrics["landmarks"]["rim"]["sdr"] == {"2": 100, "2.5": 100, "3": 100, "4": 100}
    # the training cases are shifted by 0, 1, 2, their mean by 1; the test cases by 3, 4, 5
    assert_allclose(metrics["mean_shape"]["overall"]["mre"], 3)
    assert metrics["mean_shape"]["landmarks"]["tip"]["sdr"]["2"] == pytest.approx(100 / 3)
    assert metrics["mean_shape"]["training_cases"] == 3


def test_without_a_split_the_cases_of_the_table_are_scored(tmp_path):
    data = make_dataset(tmp_path)
    metrics = evaluate(data, table_of(data, [data.cases[4], data.cases[1]]))
    assert metrics["cases"] == ["case_1", "case_4"]
    assert metrics["overall"]["mre"] == 0


def test_a_case_of_the_split_without_prediction_is_missing_all_its_landmarks(tmp_path):
    data = make_dataset(tmp_path)
    metrics = evaluate(data, table_of(data, [data.cases[4]]), split="test")
    assert (metrics["overall"]["n"], metrics["overall"]["n_missing"]) == (9, 6)
    assert metrics["overall"]["mre"] == 0
    assert metrics["overall"]["sdr"]["4"] == pytest.approx(100 / 3)
    assert {m["case"] for m in metrics["missing"]} == {"case_3", "case_5"}
    assert metrics["presence"]["confusion"]["present"] == {"present": 3, "absent": 0, "missing": 6}


@pytest.mark.parametrize("frame", ["LPS", "RAS", "pixel"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_same_points_in_any_frame_score_the_same(tmp_path, frame, ndim):
    data = make_dataset(tmp_path, ndim=ndim)
    table = table_of(data, data.split("test"))
    points = table.coordinates
    if frame == "RAS":
        points = points * np.array([-1, -1, 1])[:ndim]
    elif frame == "pixel":
        points = np.round(data.cases[0].read_grid().world_to_index(points)[:, ::-1], 9)
    moved = make_table(table.image, table.landmark, points, frame=frame, unit="px" if frame == "pixel" else "mm")
    assert_allclose(evaluate(data, moved)["overall"]["mre"], 0, atol=1e-6)
    if frame != "LPS":
        wrong = make_table(table.image, table.landmark, points)
        assert evaluate(data, wrong)["overall"]["mre"] > 5


@pytest.mark.parametrize(
    "name",
    [
        lambda c: c.image_path.name,
        lambda c: str(c.image_path),
        lambda c: f"images/{c.image_path.name}",
        lambda c: f"images\\{c.id}",
        lambda c: f"{c.id}.mha",
    ],
)
def test_images_are_matched_with_or_without_folder_and_ending(tmp_path, name):
    data = make_dataset(tmp_path, images=False)
    metrics = evaluate(data, table_of(data, data.split("test"), name=name))
    assert metrics["cases"] == ["case_3", "case_4", "case_5"]
    assert metrics["overall"]["n_missing"] == 0


def test_presence_below_the_threshold_says_absent(tmp_path):
    states = [[State.PRESENT, State.PRESENT, State.ABSENT]] * 6
    data = make_dataset(tmp_path, states=states)
    case = data.cases[5]
    points = np.nan_to_num(case.reference.points, nan=3.0)
    table = make_table([case.id] * 3, NAMES, points, presence=[0.9, 0.4, 0.1])
    metrics = evaluate(data, table)
    assert metrics["missing"] == [{"case": "case_5", "landmark": "base", "reason": "said absent"}]
    assert metrics["overall"]["n"] == 2
    assert metrics["presence"]["confusion"]["absent"] == {"present": 0, "absent": 1, "missing": 0}
    assert evaluate(data, table, presence_threshold=0.3)["missing"] == []
    with pytest.raises(SettingsError, match="0 to 1"):
        evaluate(data, table, presence_threshold=5)


def test_a_row_may_say_absent_or_hold_no_coordinates(tmp_path):
    data = make_dataset(tmp_path)
    case, nowhere = data.cases[5], [np.nan] * 3
    states = [State.PRESENT, State.ABSENT, State.NOT_ANNOTATED]
    table = make_table([case.id] * 3, NAMES, [case.reference.points[0], nowhere, nowhere], states=states)
    metrics = evaluate(data, table)
    assert metrics["presence"]["confusion"]["present"] == {"present": 1, "absent": 1, "missing": 1}


def test_a_set_without_training_split_has_no_mean_shape_and_says_why(tmp_path):
    data = make_dataset(tmp_path, cases=1)
    assert data.splits == ("test",)
    metrics = evaluate(data, table_of(data, data.cases), out=tmp_path / "out")
    assert metrics["mean_shape"] is None
    assert "train" in metrics["mean_shape_note"]
    assert "No mean shape: no annotated case" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_two_observers_are_compared_with_each_other(tmp_path):
    data = make_dataset(tmp_path, observers=("senior", "junior"))
    metrics = evaluate(data, table_of(data, data.split("test")))
    assert metrics["observers"]["names"] == ["senior", "junior"]
    assert_allclose(metrics["observers"]["inter"]["overall"]["mre"], 1)
    assert metrics["observers"]["inter"]["overall"]["n"] == 9
    assert evaluate(make_dataset(tmp_path), table_of(data, data.cases))["observers"] is None


def test_wrong_tables_are_refused_in_one_line(tmp_path):
    data = make_dataset(tmp_path, images=False)
    good = table_of(data, data.split("test"))
    one = good.coordinates[:1]
    refused = [
        (make_table(["case_3"], ["nose"], one), UnknownNameError, "nose"),
        (make_table(["other"], ["tip"], one), UnknownNameError, "none of the 1 images"),
        (make_table(["case_3"] * 2, ["tip"] * 2, good.coordinates[:2]), LandmarkFileError, "case_3 tip"),
        (make_table(["case_3", "case_3.mha"], ["tip"] * 2, one.repeat(2, 0)), LandmarkFileError, "duplicate"),
        (make_table(["case_3"], ["tip"], one[:, :2]), LandmarkFileError, "2D"),
        (make_table(["case_3"], ["tip"], one, unit="px"), FrameError, "px"),
        (make_table(["case_3"] * 2, ["tip"] * 2, one.repeat(2, 0), observer="ab"), LandmarkFileError, "a, b"),
        (make_table([], [], np.empty((0, 3))), LandmarkFileError, "no row"),
    ]  # fmt: skip
    for table, error, words in refused:
        with pytest.raises(error, match=words) as caught:
            evaluate(data, table)
        assert "\n" not in str(caught.value)
    with pytest.raises(UnknownNameError, match="validation"):
        evaluate(data, good, split="validation")
    with pytest.raises(FrameError, match="RAS"):
        evaluate(data, good, frame="RAS")


def test_images_that_are_no_case_are_listed(tmp_path):
    data = make_dataset(tmp_path, images=False)
    table = make_table(["case_3", "stranger"], ["tip", "tip"], data.cases[3].reference.points[[0, 0]])
    metrics = evaluate(data, table)
    assert metrics["unknown_images"] == ["stranger"]
    assert metrics["cases"] == ["case_3"]


def test_the_same_file_name_in_two_folders_is_told_apart_by_the_folder(tmp_path):
    data = make_dataset(tmp_path, images=False)
    annotation = data.cases[0].annotation
    cases = tuple(Case(c.id, Path(f"/data/{c.id}/ct.nii.gz"), c.subject, c.split, None, annotation) for c in data.cases)
    data = Dataset(data.path, "thing", data.root, 3, "mm", NAMES, (), cases)
    table = table_of(data, cases[3:], name=lambda c: f"{c.id}/ct.nii.gz")
    assert evaluate(data, table)["cases"] == ["case_3", "case_4", "case_5"]
    with pytest.raises(UnknownNameError, match="may be any of the cases"):
        evaluate(data, make_table(["ct"], ["tip"], table.coordinates[:1]))


def test_a_file_that_does_not_say_its_frame_is_refused_until_told(tmp_path):
    data = make_dataset(tmp_path)
    lines = ["image,landmark,x,y,z"]
    for n, (x, y, z) in zip(NAMES, data.cases[3].reference.points.tolist(), strict=True):
        lines.append(f"case_3,{n},{-x!r},{-y!r},{z!r}")
    path = tmp_path / "foreign.csv"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(FrameError, match="frame"):
        evaluate(data, path)
    assert_allclose(evaluate(data, path, frame="RAS")["overall"]["mre"], 0, atol=1e-9)
    assert evaluate(data, path, frame="LPS")["overall"]["mre"] > 5


def test_report_metrics_and_rows_are_written(tmp_path):
    data = make_dataset(tmp_path, observers=("senior", "junior"))
    table = table_of(data, data.split("test"), shift=1.0, drop={("case_4", "rim")})
    metrics = evaluate(data, table, split="test", out=tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "metrics.json", "observer_rows.csv", "report.html", "rows.csv", "table.md", "table.tex"
    ]  # fmt: skip
    assert json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8")) == metrics
    assert metrics["versions"]["anatomark"] == anatomark.__version__
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for words in (
        "1.00 mm",
        "case_4",
        "predicted absent",
        "data:image/jpeg;base64",
        "--split test",
        "Observers are",
    ):
        assert words in page
    outside = page.replace(page[page.index("<script>") : page.index("</script>")], "")
    assert 'src="http' not in outside
    assert "<link" not in outside
    assert len((tmp_path / "out" / "rows.csv").read_text(encoding="utf-8").splitlines()) == 1 + 9


def test_lengths_without_spacing_are_never_called_mm(tmp_path):
    data = make_dataset(tmp_path, ndim=2, unit="px")
    metrics = evaluate(data, table_of(data, data.split("test"), shift=1.0), out=tmp_path / "out")
    assert metrics["unit"] == "px"
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    head, _, rest = page.partition("<script>")
    body = head + rest.partition("</script>")[2]
    assert "1.00 px" in body
    assert " mm" not in body
    assert "(mm)" not in body


def test_names_with_markup_are_text_in_the_report(tmp_path):
    data = make_dataset(tmp_path)
    evil = Dataset(data.path, "<b>thing</b>", data.root, 3, "mm", NAMES, (), data.cases)
    evaluate(evil, table_of(data, data.split("test")), out=tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<b>thing</b>" not in page
    assert "&lt;b&gt;thing" in page


def test_missing_image_files_cost_the_pictures_not_the_scores(tmp_path):
    data = make_dataset(tmp_path, images=False)
    metrics = evaluate(data, table_of(data, data.split("test")), out=tmp_path / "out")
    assert metrics["overall"]["mre"] == 0
    assert metrics["mean_shape"] is None
    assert "could not be read" in metrics["mean_shape_note"]
    assert "no picture of case_3" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_nothing_is_left_where_results_cannot_be_written(tmp_path):
    data = make_dataset(tmp_path)
    table = table_of(data, data.split("test"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        evaluate(data, table, out=tmp_path / "file")
    (tmp_path / "out" / "metrics.json").mkdir(parents=True)
    with pytest.raises(OutputError):
        evaluate(data, table, out=tmp_path / "out")
    assert not [p for p in (tmp_path / "out").iterdir() if p.is_file() and p.name.startswith(".")]


def test_nothing_present_is_said_and_not_divided_by(tmp_path):
    data = make_dataset(tmp_path, states=[[State.NOT_ANNOTATED] * 3] * 6)
    points = np.ones((3, 3))
    metrics = evaluate(data, make_table(["case_3"] * 3, NAMES, points), out=tmp_path / "out")
    assert metrics["overall"]["n"] == 0
    assert metrics["overall"]["mre"] is None
    assert metrics["presence"]["confusion"]["not annotated"]["present"] == 3
    assert "Nothing to score" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_the_command_prints_where_the_report_is(tmp_path, monkeypatch):
    import typer
    from typer.testing import CliRunner

    from anatomark.cli import evaluate as verb
    from anatomark.evaluation import evaluate as scoring

    data = make_dataset(tmp_path)
    monkeypatch.setattr(scoring, "load_dataset", lambda path, root=None: data)
    path = tmp_path / "predictions.csv"
    lines = [f"case_3,{n},{x},{y},{z}" for n, (x, y, z) in zip(NAMES, data.cases[3].reference.points, strict=True)]
    path.write_text("\n".join(["image,landmark,x,y,z", *lines]) + "\n")
    app = typer.Typer()
    app.command()(verb.evaluate)
    words = [str(tmp_path), "--predictions", str(path), "--frame", "LPS", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "all landmarks" in result.output
    assert "report.html" in result.output
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_folder_without_a_table_is_sent_to_convert(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(LandmarkFileError, match=r"holds no predictions\.csv .* anatomark convert"):
        evaluate(make_dataset(tmp_path), tmp_path / "folder")


def test_a_run_without_folds_is_sent_to_predict(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.json").write_text("{}")
    with pytest.raises(LandmarkFileError, match=r"run without folds, .* anatomark predict \S+run DATASET\.yaml"):
        evaluate(make_dataset(tmp_path), tmp_path / "run")


def test_predictions_are_any_landmark_file_or_the_folder_that_predict_wrote(tmp_path):
    dataset = make_dataset(tmp_path)
    table = table_of(dataset, dataset.cases)
    folder = tmp_path / "predicted"
    folder.mkdir()
    write_table(table, folder / "predictions.csv")
    wanted = evaluate(dataset, table, samples=0)["overall"]
    assert evaluate(dataset, folder, samples=0)["overall"] == wanted
    case = dataset.cases[0].id
    one = table.rows(np.flatnonzero(table.image == case))
    held = table_landmarks(one)[case, ""]
    for name in (
        f"{case}.mrk.json",
        f"{case}.fcsv",
    ):  # these name no image: it is the one that the file is called after
        write_landmarks(held, tmp_path / name)
        metrics = evaluate(dataset, tmp_path / name, samples=0)
        assert metrics["cases"] == [case]
        assert metrics["overall"]["mre"] == pytest.approx(evaluate(dataset, one, samples=0)["overall"]["mre"], abs=1e-9)


def test_spaces_at_the_ends_of_a_case_name(tmp_path):
    """Tables lose them, so that they cannot tell cases apart."""
    dataset = make_dataset(tmp_path)
    cases = tuple(replace(case, id=f"{case.id} ") for case in dataset.cases)
    dataset.cases[0].annotation.sources[0].observers["expert"] |= {
        f"{k} ": v for k, v in dataset.cases[0].annotation.sources[0].observers["expert"].items()
    }
    table = table_of(dataset, dataset.cases)
    assert evaluate(replace(dataset, cases=cases), table)["n_cases"] == len(cases)


def test_training_cases_are_told(tmp_path):
    dataset = make_dataset(tmp_path)
    everything = evaluate(dataset, table_of(dataset, dataset.cases))
    assert everything["n_training_cases"] == 3
    assert "3 of the cases are in split train" in summary(everything)
    assert "split train," not in summary(evaluate(dataset, table_of(dataset, dataset.cases), split="test"))


def test_options_are_used_and_told(tmp_path):
    data = make_dataset(tmp_path, observers=("senior", "junior"), images=False)
    table = table_of(data, data.split("test"), shift=1.25)
    metrics = evaluate(data, table, split="test", radii=(1.5, 1), samples=0, margin=0.2, consensus="geometric-median")
    assert metrics["radii"] == [1.0, 1.5]
    assert metrics["overall"]["sdr"] == {"1": 0, "1.5": 100}
    assert metrics["overall"]["mre_interval"] is None
    assert "no intervals" in metrics["bootstrap_note"]
    assert metrics["observers"]["consensus"] == "geometric median"
    assert metrics["observers"]["model"][0]["equivalence"]["margin"] == 0.2
    for option in ("--radii 1,1.5", "--samples 0", "--margin 0.2", "--consensus geometric-median", "--split test"):
        assert option in metrics["command"]
    plain = evaluate(data, table, split="test")
    assert "--radii" not in plain["command"]
    assert plain["observers"]["model"][0]["equivalence"]["margin"] == 0.5  # a quarter of 2
    assert plain["overall"]["bias"] == pytest.approx({"x": 0, "y": 0, "z": 1.25})
    assert plain["overall"]["bias_interval"]["z"] == pytest.approx([1.25, 1.25])
    assert plain["n_subjects"] == 3
    assert plain["fingerprint"] == metrics["fingerprint"]
    for options in ({"radii": ()}, {"samples": 3}, {"margin": -1.0}, {"consensus": "mode"}):
        with pytest.raises(SettingsError):
            evaluate(data, table, **options)


def test_rows_against_each_observer_are_written(tmp_path):
    data = make_dataset(tmp_path, observers=("senior", "junior"), images=False)
    evaluate(data, table_of(data, data.split("test")), split="test", samples=0, out=tmp_path / "out")
    lines = (tmp_path / "out" / "observer_rows.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 9
    assert [line.split(",")[3] for line in lines[1::9]] == ["senior", "junior"]


def test_an_unsuitable_image_gets_no_bounds_back_from_the_model(tmp_path):
    """`predict` writes inf for it: nothing can be said of how far off its points are."""
    data = make_dataset(tmp_path, images=False)
    table = table_of(data, data.split("test"), shift=1.0)
    bound = np.where(table.image == "case_4", np.inf, np.nan)
    table = replace(table, spread=np.ones(len(table)), bound=bound)
    errors = np.repeat(np.arange(1.0, 100)[:, None], 3, axis=1)
    subjects = [str(k) for k in range(99)]
    bounds = ErrorBounds.fitted(errors, np.ones((99, 3)), subjects=subjects, names=NAMES)
    metrics = evaluate(data, table, split="test", model=bounds, samples=0, out=tmp_path / "out")
    assert metrics.coverage.n == 6
    lines = list(csv.DictReader((tmp_path / "out" / "rows.csv").read_text(encoding="utf-8").splitlines()))
    assert {line["error_bound"] for line in lines if line["case"] == "case_4"} == {""}
    assert {line["error_bound"] for line in lines if line["case"] != "case_4"} == {"90.0000"}
