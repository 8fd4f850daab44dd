"""Manifests: tables, folders, data sets, by path and by URI; their ids, and the memory that listing takes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from anatomark.cohort.collect import collect_cohort
from anatomark.cohort.manifest import open_manifest, read_contents
from anatomark.cohort.places import as_file_name, join, parent, plain
from anatomark.cohort.store import Store
from anatomark.errors import AnatomarkError, DescriptionError, ImageError, MissingExtraError, OutputError, SettingsError
from tests.cohort.conftest import predict


def entries(path, **options):
    return list(open_manifest(path, **options).entries())


def listed(tmp_path, text, name="list.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "id,path,spacing\none,a/x.png,0.1 0.2\n,b/x.png,\n",
        "\ufeffid;path;spacing\r\none;a/x.png;0.1,0.2\r\n;b\\x.png;\r\n;;\r\n",
        'uri\tid\tspacing\tother\na/x.png\tone\t"0.1x0.2"\tq\nb/./x.png\t\t\t\n',
        "path,id,spacing_x,spacing_y\na/x.png,one,0.1,0.2\nb/x.png,,,\n",
    ],
)
def test_tables(tmp_path, text):
    first, second = entries(listed(tmp_path, text))
    assert (first.id, first.place, first.spacing) == ("one", str(tmp_path / "a" / "x.png"), (0.1, 0.2))
    assert (second.id, second.spacing, second.page) == ("b/x.png", None, None)
    assert Path(second.place) == tmp_path / "b" / "x.png"


def test_a_table_in_parquet(tmp_path):
    table = pa.table(
        {"path": ["a.png", "/b.png", "a.png"], "spacing": [[1.0, 2.0], None, None], "page": [None, None, 2]}
    )
    pq.write_table(table, tmp_path / "list.parquet")
    found = entries(tmp_path / "list.parquet")
    assert [entry.id for entry in found] == ["a.png", "/b.png", "a.png_2"]
    assert [entry.place for entry in found] == [str(tmp_path / "a.png"), "/b.png", str(tmp_path / "a.png")]
    assert [entry.spacing for entry in found] == [(1.0, 2.0), None, None]
    assert [entry.page for entry in found] == [None, None, 2]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "has no column path"),
        ("name\na.png\n", "no column path .* only name"),
        ("path,path\na,b\n", "duplicate column 'path'"),
        ("path,id\na.png\n", "line 2: 1 fields, expected 2"),
        ("path\na.png\n\n\na.png,b\n", "line 5: 2 fields, expected 1"),
        ("path,id\n,b\n", "line 2: the path is empty"),
        ("path,spacing\na.png,\nb.png,0.1\n", "line 3: the spacing '0.1' is not two or three"),
        ("path,spacing\na.png,0 1\n", "not two or three positive lengths"),
        ("path,page\na.png,0\n", "page '0' is not a whole number"),
        ("path\n", "lists no image"),
        ("path\na.png\na.png\n", r"two images have the id 'a\.png': a\.png and a\.png"),
        ("path,id\na.png,x\nb.png,x\n", r"two images have the id 'x': a\.png and b\.png"),
        (b"path\n\xff\xfe.png\n", "not UTF-8"),
    ],
)
def test_bad_tables(tmp_path, text, line):
    path = listed(tmp_path, text)
    with pytest.raises(DescriptionError, match=line):
        read_contents(open_manifest(path))


def test_what_is_no_manifest(tmp_path):
    listed(tmp_path, "x", "list.parquet")
    with pytest.raises(DescriptionError, match="is not a Parquet table"):
        entries(tmp_path / "list.parquet")
    with pytest.raises(DescriptionError, match="is no manifest; give a"):
        open_manifest(listed(tmp_path, "x", "a.png"))
    with pytest.raises(ImageError, match="no such file or folder"):
        open_manifest(tmp_path / "missing")
    with pytest.raises(DescriptionError, match="cannot be read: No such file"):
        entries(tmp_path / "missing.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="directly in it; --recursive"):
        entries(tmp_path / "empty")
    with pytest.raises(ImageError, match="without images; give another"):
        entries(tmp_path / "empty", recursive=True)


def test_folders(pictures):
    assert [entry.id for entry in entries(pictures)] == [f"x{k}.png" for k in range(10)]
    found = entries(pictures, recursive=True)
    assert [entry.id for entry in found][9:12] == ["x9.png", "sub/x0.png", "sub/x1.png"]
    assert found[10].place == str(pictures / "sub" / "x0.png")


def test_a_result_among_the_images_is_none_of_them(model, pictures, tmp_path):
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    for _ in range(2):
        assert predict(model, folder, folder / "out", overlays=True).complete


def test_label_maps_are_left_out(pictures, tmp_path, caplog):
    import numpy as np
    import SimpleITK as sitk

    random = np.random.default_rng(0)
    for k in range(3):
        sitk.WriteImage(sitk.GetImageFromArray(random.normal(size=(9, 8, 7))), str(tmp_path / f"c{k}.nii.gz"))
        mask = (random.random((9, 8, 7)) > 0.5).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(mask), str(tmp_path / f"c{k}_seg.nii.gz"))
    assert [entry.id for entry in entries(tmp_path)] == [f"c{k}.nii.gz" for k in range(3)]
    assert "label maps or masks" in caplog.text


def test_a_data_set(pictures, tmp_path):
    description = {"name": "s", "dimension": 2, "landmarks": ["tip"], "images": {"pattern": "*.png", "spacing": [1, 2]}}
    description["splits"] = {"test": ["x3", "x4"]}
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(description))
    found = entries(tmp_path, root=pictures, split="test")
    assert [(entry.id, entry.spacing, entry.stated) for entry in found] == [
        ("x3", (1, 2), "x3.png"),
        ("x4", (1, 2), "x4.png"),
    ]


def test_pages_of_a_stack(tmp_path):
    import numpy as np
    import SimpleITK as sitk

    pages = np.random.default_rng(0).integers(0, 256, (3, 6, 8)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(pages), str(tmp_path / "rays.mha"))
    found = entries(tmp_path, stack=True)
    assert [(entry.id, entry.page) for entry in found] == [(f"rays.mha_{k}", k) for k in (1, 2, 3)]
    path = listed(tmp_path, "path\nmemory://rays.mha\n")
    with pytest.raises(SettingsError, match="--stack cannot count the pages of a URI"):
        entries(path, stack=True)


def test_images_and_results_in_another_file_system(model, pictures, tmp_path):
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.put(str(pictures), "/bucket/images", recursive=True)
    fs.pipe(
        "/bucket/list.csv", b"path\nimages/x1.png\nimages/sub/x1.png\nimages/none.png\nmemory://bucket/images/x2.png\n"
    )
    fs.pipe("/bucket/images/cut.png", (pictures / "x1.png").read_bytes()[:300])
    try:
        status = predict(model, "memory://bucket/list.csv", "memory://bucket/listed", overlays=True)
        assert (status.predicted, status.failed) == (3, 1)
        assert status.reasons[0] == (
            "images/none.png",
            "memory://bucket/images/none.png does not exist; correct the manifest",
        )
        assert fs.exists("/bucket/listed/overlays/images/sub/x1.png.png")
        out = "memory://bucket/out"
        status = predict(model, "memory://bucket/images", out)
        assert (status.predicted, status.failed) == (20, 1)
        assert "memory://bucket/images/cut.png" in status.reasons[0][1]
        assert "anatomark-" not in status.reasons[0][1]
        with pytest.raises(SettingsError, match="something else"):
            predict(model, "memory://bucket/images", out, recursive=False)
        assert collect_cohort(out) == "memory://bucket/out/predictions.csv"
        predict(model, pictures, tmp_path / "out")
        collect_cohort(tmp_path / "out")
        ours = fs.cat("/bucket/out/predictions.csv").decode().splitlines()
        assert ours == (tmp_path / "out" / "predictions.csv").read_text().splitlines()
        assert not fs.find("/bucket/out/claims")
        with pytest.raises(ImageError, match="no such folder"):
            open_manifest("memory://bucket/nowhere")
        with pytest.raises(ImageError, match="without images"):
            entries("memory://bucket/out")
    finally:
        fs.rm("/bucket", recursive=True)


def test_a_file_system_where_a_put_is_not_known_to_be_whole(tmp_path):
    """Files are written beside their places there, and moved."""
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    class Plain(LocalFileSystem):
        protocol = ("plain",)
        local_file = False

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(str(path).removeprefix("plain://"))

    fsspec.register_implementation("plain", Plain, clobber=True)
    store = Store(f"plain://{tmp_path}/out")
    for content in (b"first", b"second"):
        store.put("parts/000001.parquet", content)
    assert store.get("parts/000001.parquet") == b"second"
    assert store.names("parts") == {"000001.parquet"}
    assert store.has("parts/000001.parquet")
    store.remove("parts/000001.parquet")
    store.remove("parts/000001.parquet")
    assert store.get("parts/000001.parquet") is None
    assert store.names("parts") == set()


def test_uris_of_nowhere():
    with pytest.raises((MissingExtraError, OutputError), match="nowhere://bucket"):
        open_manifest("nowhere://bucket/images")
    with pytest.raises(AnatomarkError, match="s3://bucket/list"):
        entries("s3://bucket/list.csv")


def test_places():
    assert join("s3://b/c", "d/e.png") == "s3://b/c/d/e.png"
    assert join("s3://b/c", "gs://d/e.png") == "gs://d/e.png"
    assert join("folder", "/e.png") == "/e.png"
    assert parent("s3://b/c/list.csv") == "s3://b/c"
    assert plain("./a\\b/../c.png") == "a/c.png"
    assert as_file_name("../sub-01/T1*.nii.gz") == "%2E%2E/sub-01/T1%2A.nii.gz"
    assert as_file_name("s3://b/c.png") == "s3%3A/b/c.png"


LISTING = """
import resource, sys
from anatomark.cohort.manifest import open_manifest, read_contents
for path in sys.argv[1:]:
    manifest = open_manifest(path)
    next(manifest.entries())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    contents = read_contents(manifest)
    print(contents.images, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_hundred_thousand_lines_take_little_memory(tmp_path):
    paths = [f"sub-{k:06d}/anat/T1.nii.gz" for k in range(100_000)]
    (tmp_path / "list.csv").write_text("path\n" + "\n".join(paths) + "\n")
    pq.write_table(pa.table({"path": paths}), tmp_path / "list.parquet")
    command = [sys.executable, "-c", LISTING, tmp_path / "list.csv", tmp_path / "list.parquet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        images, kilobytes = map(int, line.split())
        assert images == 100_000
        assert kilobytes < 12_000  # 8 bytes for each id, and what Parquet decodes; as objects, they take 40 MB
