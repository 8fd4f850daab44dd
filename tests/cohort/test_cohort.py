"""A cohort as a whole: what is written, what is refused, what goes on, and that it is what predict gives."""

import csv
import errno
import json
import shutil
import socket
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from anatomark.cohort import run
from anatomark.cohort.collect import collect_cohort
from anatomark.cohort.status import cohort_status, ranges
from anatomark.errors import AnatomarkError, DescriptionError, OutputError, SettingsError
from anatomark.formats import atomic
from anatomark.formats.table import read_table
from anatomark.predict import predict_to_folder
from tests.cohort.conftest import SPACING, parts, predict


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_it_is_what_predict_gives_in_every_digit(model, pictures, tmp_path):
    (pictures / "sub" / "bad.png").write_text("no picture")
    try:
        options = {"spacing": SPACING, "device": "cpu", "coverage": 0.8}
        run.predict_cohort(model, pictures / "sub", out=tmp_path / "cohort", workers=1, chunk=3, **options)
        collect_cohort(tmp_path / "cohort")
        predict_to_folder(model, [pictures / "sub"], out=tmp_path / "predict", overlays=False, **options)
    finally:
        (pictures / "sub" / "bad.png").unlink()
    for name in ("predictions.csv", "images.csv"):
        header, *ours = rows(tmp_path / "cohort" / name)
        expected_header, *expected = rows(tmp_path / "predict" / name)
        assert header == expected_header
        assert sorted([row[0].removesuffix(".png"), *row[1:]] for row in ours) == sorted(expected)
        assert len(ours) == {"predictions.csv": 40, "images.csv": 11}[name]


def test_images_of_one_name_in_two_folders(model, pictures, tmp_path):
    status = predict(model, pictures, tmp_path / "out")
    assert (status.images, status.predicted, status.failed, status.parts, status.missing) == (20, 20, 0, 5, ())
    collect_cohort(tmp_path / "out")
    images = [row[0] for row in rows(tmp_path / "out" / "images.csv")[1:]]
    assert images == [f"x{k}.png" for k in range(10)] + [f"sub/x{k}.png" for k in range(10)]
    assert read_table(tmp_path / "out" / "predictions.csv").image.tolist() == np.repeat(images, 4).tolist()


def test_nothing_is_predicted_twice(model, pictures, tmp_path):
    predict(model, pictures, tmp_path / "out")
    first = parts(tmp_path / "out")
    (tmp_path / "out" / "parts" / "000002.parquet").unlink()
    assert cohort_status(tmp_path / "out").missing == (2,)
    with pytest.raises(OutputError, match="1 of 5 parts are missing: 2; predict"):
        collect_cohort(tmp_path / "out")
    seen = []
    predict(model, pictures, tmp_path / "out", progress=lambda progress: seen.append(progress.done))
    assert (seen[0], seen[-1], len(seen)) == (17, 20, 4)
    assert parts(tmp_path / "out") == first
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["claims", "cohort.json", "parts"]
    assert not any((tmp_path / "out" / "claims").iterdir())


def test_a_claim_that_a_kill_left_to_a_part_that_is_there_is_removed(model, pictures, tmp_path):
    predict(model, pictures, tmp_path / "out")
    about = {"owner": "x", "host": socket.gethostname(), "process": 2**22 + 1, "time": time.time()}
    claims = tmp_path / "out" / "claims"
    (claims / "000002.json").write_text(json.dumps(about))
    (claims / "000003.json").write_text(json.dumps(about | {"host": "another machine"}))
    predict(model, pictures, tmp_path / "out")
    assert [path.name for path in claims.iterdir()] == ["000003.json"], "that one may be at work there"


def test_two_parts_are_the_whole(model, pictures, tmp_path):
    predict(model, pictures, tmp_path / "whole")
    status = predict(model, pictures, tmp_path / "out", part=(2, 2))
    assert (status.predicted, status.missing) == (8, (1, 3, 5))
    assert predict(model, pictures, tmp_path / "out", part=(1, 2)).complete
    assert parts(tmp_path / "out") == parts(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"coverage": 0.5}, r"coverage was 0\.9, now 0\.5"),
        ({"orient": "auto"}, "orient was keep, now auto"),
        ({"spacing": (1, 1)}, r"spacing was \(2\.5, 3\.0\), now \(1\.0, 1\.0\)"),
        ({"chunk": 5}, "images of a part were 4, now 5"),
        ({"recursive": False}, r"manifest was .* with 20 images, now .* with 10 images"),
    ],
)
def test_something_else_is_refused(model, pictures, tmp_path, options, line):
    predict(model, pictures, tmp_path / "out", part=(1, 5))
    with pytest.raises(SettingsError, match=f"holds predictions of something else: .*{line}; choose another --out"):
        predict(model, pictures, tmp_path / "out", **options)


def test_another_model_is_refused(own_model, pictures, tmp_path):
    predict(own_model, pictures, tmp_path / "out", part=(1, 5))
    with open(own_model / "error_bounds.safetensors", "ab") as file:
        file.write(b"\0")
    with pytest.raises(SettingsError, match=r"the model was .*model, now .*\(other content of error_bounds\.safet"):
        predict(own_model, pictures, tmp_path / "out")


def test_a_manifest_of_as_many_other_images_is_refused(model, pictures, tmp_path):
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    predict(model, folder, tmp_path / "out")
    (folder / "x3.png").rename(folder / "y3.png")
    with pytest.raises(SettingsError, match=r"with 20 images, now .* with as many, but not the same"):
        predict(model, folder, tmp_path / "out")


def test_the_model_and_the_images_may_have_moved(own_model, pictures, tmp_path):
    predict(own_model, pictures, tmp_path / "out", part=(1, 5))
    own_model.rename(tmp_path / "elsewhere")
    shutil.copytree(pictures, tmp_path / "pictures")
    assert predict(tmp_path / "elsewhere", tmp_path / "pictures", tmp_path / "out", chunk=None).complete


def test_failed_images_are_predicted_again_where_that_is_asked_for(model, pictures, tmp_path):
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    (folder / "x3.png").write_bytes((pictures / "x3.png").read_bytes()[:200])
    (folder / "bug.png").write_bytes((pictures / "x3.png").read_bytes())
    status = predict(model, folder, tmp_path / "out")
    assert (status.predicted, status.failed) == (19, 2)
    (bug, reason), (cut, _) = status.reasons
    assert (bug, cut) == ("bug.png", "x3.png")
    assert "bug.png: an error in anatomark, KeyError: 'bug'; please report it" in reason
    before = parts(tmp_path / "out")
    (folder / "x3.png").write_bytes((pictures / "x3.png").read_bytes())
    assert predict(model, folder, tmp_path / "out").failed == 2
    assert parts(tmp_path / "out") == before
    status = predict(model, folder, tmp_path / "out", retry_failed=True)
    assert (status.predicted, status.failed) == (20, 1)
    assert [name for name, content in parts(tmp_path / "out").items() if content != before[name]] == ["000002.parquet"]


def test_what_goes_wrong_at_an_image_is_its_row(model, pictures, tmp_path):
    for name in ("eio.png", "oom.png"):
        shutil.copy(pictures / "x1.png", tmp_path / name)
    assert dict(predict(model, tmp_path, tmp_path / "out").reasons) == {
        "eio.png": f"{tmp_path}/eio.png cannot be read: Input/output error; check the disk, and try again",
        "oom.png": f"{tmp_path}/oom.png: there is not enough memory for it; crop or resample it, or use fewer workers",
    }


def test_a_full_disk_stops_it_and_the_same_command_goes_on(model, pictures, tmp_path, monkeypatch):
    replace = atomic.os.replace

    def full(source, target):
        if "000003" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(atomic.os, "replace", full)
    with pytest.raises(OutputError, match=r"000003\S+ cannot be written: No space left on device"):
        predict(model, pictures, tmp_path / "out")
    assert list(parts(tmp_path / "out")) == ["000001.parquet", "000002.parquet"]
    monkeypatch.undo()
    assert predict(model, pictures, tmp_path / "out").complete


def test_the_table_in_parquet_has_the_columns_of_the_csv(model, pictures, tmp_path):
    predict(model, pictures, tmp_path / "out")
    collect_cohort(tmp_path / "out")
    assert collect_cohort(tmp_path / "out", table="parquet").endswith("predictions.parquet")
    header, *lines = rows(tmp_path / "out" / "predictions.csv")
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert table.schema.names == header
    cells = [
        ["" if v != v else v if isinstance(v, str) else repr(v) for v in row.values()] for row in table.to_pylist()
    ]
    assert cells == lines


def test_a_cohort_of_which_no_image_can_be_read(model, tmp_path):
    (tmp_path / "a.png").write_text("a")
    (tmp_path / "list.csv").write_text("path\na.png\nb.png\n")
    assert predict(model, tmp_path / "list.csv", tmp_path / "out").failed == 2
    collect_cohort(tmp_path / "out")
    assert rows(tmp_path / "out" / "predictions.csv")[1:] == []
    assert [(row[0], "not exist" in row[5]) for row in rows(tmp_path / "out" / "images.csv")[1:]] == [
        ("a.png", False),
        ("b.png", True),
    ]


def test_pictures_where_they_are_asked_for(model, pictures, tmp_path):
    predict(model, pictures, tmp_path / "out", overlays=True)
    found = {path.relative_to(tmp_path / "out" / "overlays").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    assert found == {f"{folder}x{k}.png.png" for folder in ("", "sub/") for k in range(10)}


def test_damaged_parts_and_records_are_told(model, pictures, tmp_path):
    predict(model, pictures, tmp_path / "out")
    (tmp_path / "out" / "parts" / "000002.parquet").write_bytes(b"PAR1")
    with pytest.raises(OutputError, match=r"000002\.parquet is damaged .*; delete it and run the command again"):
        cohort_status(tmp_path / "out")
    record = tmp_path / "out" / "cohort.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"format": 9}))
    with pytest.raises(OutputError, match="format 9, this version reads 1"):
        cohort_status(tmp_path / "out")
    record.write_text("{")
    with pytest.raises(OutputError, match="damaged"):
        cohort_status(tmp_path / "out")
    with pytest.raises(OutputError, match=r"holds no cohort: there is no cohort\.json"):
        cohort_status(tmp_path)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"workers": -1}, "workers is -1"),
        ({"part": (3, 2)}, "part is 3/2"),
        ({"part": (0, 2)}, "part is 0/2"),
        ({"chunk": 0}, "chunk is 0"),
        ({"coverage": 1}, "coverage is 1"),
        ({"memory_bytes": 0}, "memory"),
        ({"seconds": 0}, "seconds"),
        ({"split": "test"}, "--split test needs a dataset.yaml"),
    ],
)
def test_bad_requests(model, pictures, tmp_path, options, line):
    with pytest.raises(AnatomarkError, match=line):
        predict(model, pictures, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_grows_meanwhile(model, pictures, tmp_path):
    folder = shutil.copytree(pictures, tmp_path / "pictures")

    def grow(progress):
        (folder / "a.png").write_bytes((pictures / "x3.png").read_bytes())

    predict(model, folder, tmp_path / "out", progress=grow)  # the listing of a folder is taken as a whole
    with pytest.raises(SettingsError, match=r"now .* with 21 images"):
        predict(model, folder, tmp_path / "out")


def test_a_manifest_that_shrinks_meanwhile(model, pictures, tmp_path, monkeypatch):
    manifest = tmp_path / "list.csv"
    manifest.write_text("path\n" + "".join(f"{pictures}/x{k}.png\n" for k in range(8)))
    read = run.read_contents

    def shrunk(images):
        found = read(images)
        manifest.write_text(f"path\n{pictures}/x0.png\n")
        return found

    monkeypatch.setattr(run, "read_contents", shrunk)
    with pytest.raises(DescriptionError, match="has changed since the command began"):
        predict(model, manifest, tmp_path / "out")


def test_ranges():
    assert ranges((1, 2, 3, 7, 9, 10)) == "1-3, 7, 9-10"
    assert ranges(tuple(range(1, 99, 2))).endswith(", 39 ...")
