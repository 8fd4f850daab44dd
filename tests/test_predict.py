"""What the inputs of predict stand for: images of like names, data sets, spacing."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks
from anatomark.errors import DescriptionError, ImageError, SettingsError
from anatomark.formats.images import write_image
from anatomark.formats.table import read_table
from anatomark.methods.error_bound import ErrorBounds
from anatomark.methods.prediction import Prediction
from anatomark.model import Model
from anatomark.predict import predict_to_folder


class Middle(Model):
    """A model that finds its one landmark in the middle of every image, in the image's unit."""

    def __init__(self, ndim=2):
        bounds = ErrorBounds.withheld(("tip",), "never calibrated")
        super().__init__(("tip",), (), ndim, "px", "middle", (), bounds)

    def predict(self, image, *, source="image", coverage=0.9, orient="keep"):
        points = image.grid.center[None]
        return Prediction(Landmarks.from_points(("tip",), points, image.grid.unit), np.ones(1), np.ones(1))


def picture(path: Path, size: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.arange(size * size, dtype=np.uint8).reshape(size, size)
    write_image(Image(array, Grid.from_geometry(array.shape, spacing=(1, 1), unit="px")), path)
    return path


def predicted(inputs, out: Path, **options) -> dict[str, list[float]]:
    table = read_table(predict_to_folder(Middle(), inputs, out=out, overlays=False, **options).table)
    return dict(zip(table.image.tolist(), table.coordinates.tolist(), strict=True))


def test_images_of_one_name_are_told_apart_by_their_folders(tmp_path):
    files = [picture(tmp_path / f"s{k}" / "anat" / "t1.png", size=8 + k) for k in range(3)]
    found = predicted(files, tmp_path / "out", spacing=(1, 1))
    assert found == {f"s{k}_anat_t1": [3.5 + k / 2] * 2 for k in range(3)}


def test_an_image_given_twice(tmp_path):
    file = picture(tmp_path / "a.png")
    with pytest.raises(DescriptionError, match=r"duplicate image .*a\.png"):
        predicted([file, tmp_path], tmp_path / "out")


def test_images_that_differ_in_their_ending_only(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "a.tif")
    with pytest.raises(DescriptionError, match="differ only in their ending"):
        predicted([tmp_path], tmp_path / "out")


def test_a_case_and_an_image_of_one_name(tmp_path):
    picture(tmp_path / "set" / "a.png")
    path = described(tmp_path / "set")
    with pytest.raises(DescriptionError, match="two inputs have the case name 'a'"):
        predicted([path, picture(tmp_path / "other" / "a.png")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def described(folder: Path, **images) -> Path:
    path = folder / "dataset.yaml"
    description = {"name": "s", "dimension": 2, "landmarks": ["tip"], "images": {"pattern": "*.png", **images}}
    path.write_text(yaml.safe_dump(description))
    return path


def test_a_spacing_for_a_data_set_that_has_none(tmp_path):
    picture(tmp_path / "set" / "a.png")
    found = predicted([described(tmp_path / "set")], tmp_path / "out", spacing=(2, 4))
    assert found == {"a": [7.0, 14.0]}


def test_the_spacing_of_a_description_goes_first(tmp_path):
    picture(tmp_path / "set" / "a.png")
    found = predicted([described(tmp_path / "set", spacing=[1, 1])], tmp_path / "out", spacing=(2, 4))
    assert found == {"a": [3.5, 3.5]}


def test_subfolders_are_not_searched(tmp_path):
    picture(tmp_path / "deep" / "er" / "a.png")
    with pytest.raises(ImageError, match="subfolders are not searched"):
        predicted([tmp_path / "deep"], tmp_path / "out")


@pytest.mark.parametrize("spacing", [None, (0.5, 0.25)])
def test_pages_of_a_stack_are_images_where_that_is_asked_for(tmp_path, spacing):
    import SimpleITK as sitk

    pages = np.random.default_rng(0).integers(0, 256, (12, 6, 8)).astype(np.uint8)
    path = tmp_path / "rays.mha"
    sitk.WriteImage(sitk.GetImageFromArray(pages), str(path))
    single = picture(tmp_path / "single.png")
    found = predicted([path, single], tmp_path / "out", stack=True, spacing=spacing)
    x, y = spacing or (1, 1)
    assert found == {f"rays_{k}": [3.5 * x, 2.5 * y] for k in range(1, 13)} | {"single": [3.5 * x, 3.5 * y]}


def test_a_stack_for_a_model_of_volumes(tmp_path):
    model = Middle(ndim=3)
    with pytest.raises(SettingsError, match="pages of a stack are 2D"):
        predict_to_folder(model, [picture(tmp_path / "a.png")], out=tmp_path / "out", stack=True)
    assert not (tmp_path / "out").exists()
