"""Images from label maps: grey values by tissue, geometry that landmarks keep, and the data sets made of them."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from anatomark import load_dataset, read_image, write_image
from anatomark.cli.main import run
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.data.check import check
from anatomark.data.synthesize import synthesize_dataset
from anatomark.data.synthetic_images import Synthesis, Tissue, draw_appearance, render, synthetic_image
from anatomark.data.tissue_table import read_tissues
from anatomark.errors import DescriptionError, ImageError, OutputError, SettingsError

OBLIQUE = [[0.96, -0.2, 0.194], [0.215, 0.975, -0.058], [-0.178, 0.097, 0.979]]
PLAIN = Synthesis(texture=(0, 0), blur=(0, 0), bias=0, noise=(0, 0), gamma=0)
T1 = (
    Tissue("air", (0,), (0, 0), (0, 0)),
    Tissue("white", (2, 5), (180, 200), (0, 2)),
    Tissue("grey", (3,), (90, 110), (0, 2)),
)


def label_map(ndim=3, dtype=np.uint8, unit="mm"):
    """A box of label 2 that holds boxes of 3 and of 5, on an oblique, anisotropic Grid."""
    shape, spacing = ((24, 30, 27), (1.0, 1.3, 0.8)) if ndim == 3 else ((60, 45), (1.0, 1.3))
    axes, _ = np.linalg.qr(np.array(OBLIQUE)[:ndim, :ndim])
    array = np.zeros(shape, dtype)
    for label, low, high in ((2, 0.1, 0.9), (3, 0.2, 0.45), (5, 0.6, 0.85)):
        array[tuple(slice(round(low * n), round(high * n)) for n in shape)] = label
    if unit == "px":
        return Image(array, Grid.without_spacing(shape))
    return Image(array, Grid.from_geometry(shape, spacing=spacing, origin=[-5.0] * ndim, direction=axes))


@pytest.mark.parametrize("ndim", [2, 3])
def test_tissues_have_their_grey_values(ndim):
    labels = label_map(ndim)
    image = synthetic_image(labels, replace(PLAIN, tissues=T1), seed=3)
    assert image.grid == labels.grid
    assert image.array.dtype == np.uint8
    means = {label: image.array[labels.array == label].mean() for label in (0, 2, 3, 5)}
    assert means[0] == 0
    assert means[2] == pytest.approx(means[5], abs=1), "labels of one tissue share its grey values"
    assert 90 / 200 * 0.97 < means[3] / means[2] < 110 / 180 * 1.03


def test_images_depend_on_the_seed_alone():
    labels = label_map()
    same = [synthetic_image(labels, seed=(1, 2)).array for _ in range(2)]
    assert np.array_equal(*same)
    assert not np.array_equal(same[0], synthetic_image(labels, seed=(1, 3)).array)
    for dtype in (np.int16, np.float32, np.uint32):
        assert np.array_equal(same[0], synthetic_image(label_map(dtype=dtype), seed=(1, 2)).array)


def test_borders_hold_partial_volume_where_they_lie():
    """Across a border the grey value crosses the middle of both tissues at the border, whatever the blur."""
    labels = Image(np.repeat([[2] * 20 + [3] * 20], 16, axis=0), Grid.from_geometry((16, 40), spacing=(0.7, 1.9)))
    for blur in (0.5, 2.0):
        row = synthetic_image(labels, replace(PLAIN, tissues=T1[1:], blur=(blur, blur)), seed=1).array[8].astype(float)
        middle = (row[2] + row[-3]) / 2
        assert (row[:20] > middle).all()
        assert (row[20:] < middle).all()
        assert row[19] - middle == pytest.approx(middle - row[20], abs=4)
    assert row[19] < row[2] - 10


def test_thick_slices_lie_where_the_map_lies():
    labels = label_map()
    asked = replace(PLAIN, tissues=T1, thick=4, thick_slices=1.0)
    for seed in range(4):
        image = synthetic_image(labels, asked, seed=seed)
        ratio = np.array(image.grid.spacing) / labels.grid.spacing
        assert np.sort(ratio)[:2] == pytest.approx([1, 1])
        assert 1 < ratio.max() <= 4
        inside = labels.grid.index_to_world(np.argwhere(labels.array == 2)).mean(axis=0)
        weights = image.array.astype(float).ravel()
        found = np.average(image.grid.centers().reshape(-1, 3), axis=0, weights=weights)
        assert np.linalg.norm(found - inside) < 1.5


def test_bias_noise_and_gamma_change_what_they_say():
    labels = label_map()
    mask = labels.array == 2

    def spread(**changes):
        image = synthetic_image(labels, replace(PLAIN, tissues=T1, **changes), seed=5)
        return image.array[mask].astype(float).std() / image.array[mask].mean()

    assert spread(bias=1.0) > 3 * spread()
    assert spread(noise=(0.1, 0.1)) > 3 * spread()
    drawn = draw_appearance(np.random.default_rng(0), replace(PLAIN, tissues=T1), labels=[0, 2, 3, 5], ndim=3)
    dark, light = (render(labels, replace(drawn, exponent=e)).array[labels.array == 3].mean() for e in (2.0, 0.5))
    assert light > 2 * dark


def test_what_is_no_label_map_is_refused():
    grid = Grid.from_geometry((40, 40), spacing=(1, 1))
    with pytest.raises(ImageError, match=r"no label map: its values, 0 to 0\.5,"):
        synthetic_image(Image(np.linspace(0, 0.5, 1600).reshape(40, 40), grid))
    with pytest.raises(ImageError, match="1600 different values"):
        synthetic_image(Image(np.arange(1600).reshape(40, 40), grid))
    with pytest.raises(ImageError, match="-1 to 3"):
        synthetic_image(Image(np.full((40, 40), 3) - 4 * np.eye(40, dtype=int), grid))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"noise": (0.2, 0.1)}, r"noise is \(0.2, 0.1\)"),
        ({"bias_points": 1}, "bias_points is 1"),
        ({"thick": 0.5}, "thick is 0.5"),
        ({"thick_slices": 2}, "0 to 1, got 2"),
        ({"tissues": (Tissue("a", (1, 2)), Tissue("b", (2,)))}, "label 2 is in two tissues"),
    ],
)
def test_settings_out_of_range_are_refused(changes, words):
    with pytest.raises(SettingsError, match=words):
        Synthesis(**changes)


def test_a_table_of_tissues(tmp_path):
    path = tmp_path / "tissues.csv"
    path.write_text(
        "label,name,tissue,mean_low,mean_high,sd_low,sd_high\n2,L,white,180,200,1,2\n5,R,white,,,,\n3,C,,,,,\n"
    )
    white, other = read_tissues(path)
    assert (white.labels, white.mean, white.sd) == ((2, 5), (180, 200), (1, 2))
    assert (other.name, other.labels, other.mean) == ("3", (3,), (0, 250))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id\n2\n", "no column 'label'"),
        ("label\n2.5\n", "row 2: the label '2.5'"),
        ("label,mean_low,mean_high\n2,7,\n", "row 2: mean_low and mean_high are '7' and ''"),
        ("label,mean_low,mean_high\n2,7,3\n", "the lower one first"),
        ("label,tissue,sd_low,sd_high\n2,a,1,2\n3,a,1,3\n", "row 3: tissue 'a' has two ranges for sd"),
    ],
)
def test_a_wrong_table_of_tissues(tmp_path, text, words):
    path = tmp_path / "tissues.csv"
    path.write_text(text)
    with pytest.raises(DescriptionError, match=words):
        read_tissues(path)


@pytest.fixture(params=["2D", "2D px", "3D"])
def described(request, tmp_path):
    """A data set of three subjects, whose images are label maps."""
    ndim, unit = int(request.param[0]), "px" if "px" in request.param else "mm"
    labels = label_map(ndim, unit=unit)
    ending = ".nii.gz" if ndim == 3 else ".png" if unit == "px" else ".nrrd"
    (tmp_path / "maps").mkdir()
    rows = ["image,landmark,x,y,z,frame,unit" if ndim == 3 else "image,landmark,x,y,frame,unit"]
    corner = labels.grid.index_to_world(np.argwhere(labels.array == 3)[0])
    for subject in "abc":
        write_image(labels, tmp_path / "maps" / f"{subject}{ending}")
        rows.append(",".join([subject, "corner", *(repr(float(v)) for v in corner), "LPS", unit]))
    (tmp_path / "points.csv").write_text("\n".join(rows) + "\n")
    description = {
        "name": "boxes",
        "dimension": ndim,
        "landmarks": ["corner", "unseen"],
        "images": {"folder": "maps"},
        "splits": {"test": ["c"], "train": "*"},
        "annotations": {"table": "points.csv"},
    }
    path = tmp_path / "dataset.yaml"
    path.write_text(yaml.safe_dump(description))
    return path


def test_a_data_set_of_label_maps(described, tmp_path):
    out = tmp_path / "made"
    path = synthesize_dataset(described, out=out, copies=2, synthesis=Synthesis(thick=2), seed=1)
    made, source = load_dataset(path), load_dataset(described)
    assert [c.id for c in made.split("test")] == ["c_synthetic1", "c_synthetic2"]
    assert (len(made.cases), len(made.split("train")), made.unit) == (6, 4, source.unit)
    for case in made.cases:
        assert case.subject == case.id[0]
        assert case.reference == source.case(case.subject).reference
        assert case.read_image().grid.center == pytest.approx(source.case(case.subject).read_grid().center, abs=1.1)
    errors = [finding for finding in check(made) if finding.level == "error"]
    assert {finding.code for finding in errors} <= {"too-few-cases"}, errors

    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in (out / "images").iterdir()}
    lost = next(iter(before))
    lost.unlink()
    synthesize_dataset(described, out=out, copies=3, synthesis=Synthesis(thick=2), seed=1)
    assert len(load_dataset(path).cases) == 9
    assert all(file.read_bytes() == content for file, (_, content) in before.items())
    assert all(file.stat().st_mtime_ns == made_at for file, (made_at, _) in before.items() if file != lost)
    with pytest.raises(OutputError, match="made with other settings"):
        synthesize_dataset(described, out=out, copies=3, seed=2)
    with pytest.raises(OutputError, match="other files"):
        synthesize_dataset(described, out=tmp_path / "maps")


def test_label_maps_beside_photographs_join_them(tmp_path, capsys):
    """The photographs stay, only training ones are multiplied, and the command says where the set is."""
    (tmp_path / "labels").mkdir()
    rng = np.random.default_rng(0)
    plain = Grid.without_spacing((40, 50))
    for case in "abc":
        write_image(Image(rng.integers(0, 255, (40, 50), dtype=np.uint8), plain), tmp_path / f"{case}.png")
        if case != "b":
            write_image(
                Image(np.kron(np.eye(2), np.ones((20, 25))).astype(np.uint8), plain),
                tmp_path / "labels" / f"{case}.png",
            )
    (tmp_path / "points.csv").write_text("image,landmark,x,y,frame\n" + "".join(f"{c},p,3,4,pixel\n" for c in "abc"))
    yaml_path = tmp_path / "dataset.yaml"
    yaml_path.write_text(
        "name: photos\ndimension: 2\nlandmarks: [p]\nimages: {pattern: '*.png', spacing: [0.5, 0.25]}\n"
        "splits: {test: [c], train: '*'}\nannotations: {table: points.csv, frame: pixel}\n"
    )
    call = ["synthesize", str(yaml_path), "--labels", "labels/{case}.png", "--copies", "2"]
    assert run([*call, "--out", str(tmp_path / "made")]) == 0
    assert "5 images: " in capsys.readouterr().out
    made = load_dataset(tmp_path / "made" / "dataset.yaml")
    assert [c.id for c in made.split("train")] == ["a", "b", "a_synthetic1", "a_synthetic2"]
    assert made.case("a").image_path == tmp_path / "a.png"
    for case in made.cases:
        assert case.read_grid().spacing == (0.25, 0.5)
        assert case.reference["p"] == pytest.approx([1.5, 1.0])
    assert read_image(made.case("a_synthetic1").image_path).grid == made.case("a").read_grid()

    assert run([*call[:3], "maps/{case}.png", "--out", str(tmp_path / "none")]) == 2
    assert "no label map found" in capsys.readouterr().err
    assert run([*call[:3], "labels/a.png", "--out", str(tmp_path / "none")]) == 2
    assert "needs {case}" in capsys.readouterr().err


def test_a_map_without_any_of_the_landmarks_is_of_another_image(described, tmp_path):
    table = tmp_path / "points.csv"
    header, *rows = table.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    table.write_text("\n".join([header, *(",".join([*c[:2], "5000", *c[3:]]) for c in cells)]))
    with pytest.raises(ImageError, match="holds none of the landmarks of case 'a'"):
        synthesize_dataset(described, out=tmp_path / "made")
