"""The example that scores another program: from a CSV of Lightning Pose, and from a folder of Slicer's files."""

import json

import numpy as np
import pytest

from anatomark import Landmarks, load_dataset, make_phantoms, write_landmarks
from examples.score_another_tool import main


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set, and what two programs found: 2 mm to the right, and 1 mm downwards, of every landmark."""
    folder = tmp_path_factory.mktemp("tools")
    path = make_phantoms(folder, cases=4, landmarks=3, shape=(40, 48), spacing=(4, 5), absent=False)
    dataset = load_dataset(path)
    names = dataset.names
    (folder / "theirs").mkdir()
    lines = [["scorer", *["net"] * 9], ["bodyparts", *np.repeat(names, 3)], ["coords", *["x", "y", "likelihood"] * 3]]
    ours = ["image,landmark,x,y,frame"]
    for case in dataset.cases:
        points = case.reference.points + np.array([2, 0])
        index = case.read_image().grid.world_to_index(points)[:, ::-1]  # column, row
        lines.append([f"labeled-data/{case.id}.png", *np.column_stack([index, np.ones(3)]).ravel().tolist()])
        found = Landmarks.from_points(names, points)
        write_landmarks(found, folder / "theirs" / f"{case.id}_Pred.fcsv")
        ours += [f"{case.id},{name},{x},{y + 1},LPS" for name, (x, y) in zip(names, case.reference.points, strict=True)]
    (folder / "lightning.csv").write_text("\n".join(",".join(map(str, line)) for line in lines) + "\n")
    (folder / "ours.csv").write_text("\n".join(ours) + "\n")
    return folder


@pytest.mark.parametrize(("theirs", "more"), [("lightning.csv", []), ("theirs", ["--suffix", "_Pred"])])
def test_their_error_and_the_difference_to_ours(data, tmp_path, capsys, theirs, more):
    main(
        [
            str(data / "dataset.yaml"),
            str(data / theirs),
            "--ours",
            str(data / "ours.csv"),
            "--out",
            str(tmp_path),
            *more,
        ]
    )
    told = capsys.readouterr().out
    assert "theirs: mean radial error 2.00 mm, 0 missing" in told
    overall = json.loads((tmp_path / "comparison" / "compare.json").read_text())["pairs"][0]["overall"]
    assert overall["difference"] == pytest.approx(-1, abs=1e-3)
    assert (tmp_path / "theirs" / "report.html").is_file()
