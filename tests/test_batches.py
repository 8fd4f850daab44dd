"""Images predicted together: as many as asked or as fit, and what an image among them that fails costs the others."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from anatomark import load
from anatomark.batches import MOST, Batches, fitting, require_batch
from anatomark.cli.options import parse_batch
from anatomark.core.image import Image
from anatomark.errors import ImageError, SettingsError
from anatomark.formats.table import read_table
from anatomark.methods.prediction import Prediction
from anatomark.model import Model
from anatomark.predict import predict_to_folder
from tests.cohort.small_model import SmallModel
from tests.exports.untrained import image_of, save_untrained

ASKED: Any = {"coverage": 0.9, "orient": "keep"}
CLOSE = 1e-4  # mm


class Counted:
    """A model that knows how many images it was given at a time, and has room for so many."""

    device = "cpu"

    def __init__(self, model: Model, room: int = 100) -> None:
        self.model, self.room, self.given = model, room, list[int]()

    def predict(self, image: Image, **asked: Any) -> Prediction:
        self.given.append(1)
        return self.model.predict(image, **asked)

    def predict_together(self, images: Any, **asked: Any) -> list[Prediction]:
        self.given.append(len(images))
        if len(images) > self.room:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return self.model.predict_together(images, **asked)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(save_untrained(tmp_path_factory.mktemp("model") / "m", "unet-votes", 2), device="cpu")


@pytest.fixture(scope="module")
def images() -> list[Image]:
    return [image_of(2, shape, seed) for seed, shape in enumerate([(34, 28), (34, 28), (40, 21), (34, 28), (33, 30)])]


def names(images: list[Image]) -> list[str]:
    return [f"image {number}" for number in range(len(images))]


def require_close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found.landmarks.points, expected.landmarks.points, rtol=0, atol=CLOSE)
    np.testing.assert_allclose(found.presence, expected.presence, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.spread, expected.spread, rtol=0, atol=CLOSE)


def test_predictions_together_are_those_of_one_at_a_time(model, images):
    for found, image in zip(model.predict_together(images, sources=names(images)), images, strict=True):
        require_close(found, model.predict(image))


def test_several_members_together(model, images, tmp_path):
    other = load(save_untrained(tmp_path / "m", "heatmap", 2), device="cpu")
    both = Model(model.names, (), 2, "mm", "both", (*model.members, *other.members), model.bounds)
    for found, image in zip(both.predict_together(images, sources=names(images)), images, strict=True):
        require_close(found, both.predict(image))


def test_an_image_that_cannot_be_predicted_costs_only_itself(model, images):
    constant = Image(np.zeros_like(images[0].array), images[0].grid)
    given = [images[0], constant, images[1]]
    found = Batches(model, 3).predict(given, names(given), **ASKED)
    assert isinstance(found[1], ImageError)
    assert "image 1" in str(found[1])
    for one, image in zip(found[::2], given[::2], strict=True):
        require_close(one, model.predict(image))


def test_a_bug_at_one_image_costs_only_itself(images):
    small = SmallModel(("a",), "mm")
    found = Batches(small, 4).predict(images[:3], ["x", "bug", "y"], **ASKED)
    assert [type(each) for each in found] == [Prediction, KeyError, Prediction]


def test_a_batch_without_room_is_halved_and_so_are_later_ones(model, images):
    counted = Counted(model, room=2)
    batches = Batches(counted, 5)
    found = batches.predict(images, names(images), **ASKED)
    assert counted.given == [5, 2, 2, 1]
    assert batches.size == 2
    for one, image in zip(found, images, strict=True):
        require_close(one, model.predict(image))


def test_an_image_without_room_is_told(images):
    found = Batches(SmallModel(("a",), "mm"), 2).predict(images[:2], ["x", "oom"], **ASKED)
    assert [type(each) for each in found] == [Prediction, RuntimeError]


def test_as_many_as_fit():
    assert fitting(100, 1000, 1) == 7
    assert fitting(1000, 100, 1) == 1
    assert fitting(1, 1e9, 1) == MOST
    assert fitting(1, 1e9, 2**28) == 4  # the machine has to hold them, too


def test_auto_is_one_on_a_cpu_and_measured_on_a_gpu(model, images, monkeypatch):
    assert Batches(model, "auto").size == 1
    cuda = SimpleNamespace(
        reset_peak_memory_stats=lambda: None,
        memory_allocated=lambda: 10,
        max_memory_allocated=lambda: 110,
        mem_get_info=lambda: (1500, 9999),
        memory_reserved=lambda: 20,
        empty_cache=lambda: None,
    )
    monkeypatch.setattr("torch.cuda", cuda)
    counted = Counted(model)
    counted.device = "cuda"
    for processes, size in ((1, 10), (2, 5), (20, 1)):
        batches = Batches(counted, "auto", processes=processes)
        assert batches.size == 1
        batches.predict(images[:1], ["image"], **ASKED)
        assert batches.size == size


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "many", ""])
def test_a_wrong_batch_is_told_in_a_line(text):
    with pytest.raises(SettingsError, match=r"--batch is '.*'; give a number of images, such as 8, or auto"):
        parse_batch(text)
    assert parse_batch("8") == 8
    assert parse_batch("auto") == "auto"
    with pytest.raises(SettingsError, match="give a number of images, 1 or more, or auto"):
        require_batch(0)


@pytest.mark.parametrize("batch", [2, 3, 8])
def test_predict_to_folder_in_batches(model, images, tmp_path, batch):
    from anatomark.formats.images import write_image

    (tmp_path / "images").mkdir()
    for number, image in enumerate(images):
        write_image(image, tmp_path / "images" / f"i{number}.mha")
    (tmp_path / "images" / "i2.mha").write_bytes(b"no image")

    def table(folder: Path, batch: int) -> Any:
        summary = predict_to_folder(model, [tmp_path / "images"], out=folder, overlays=False, batch=batch)
        assert list(summary.failed) == ["i2"]
        return read_table(summary.table)

    one, several = table(tmp_path / "one", 1), table(tmp_path / "several", batch)
    assert one.image.tolist() == several.image.tolist()
    np.testing.assert_allclose(several.coordinates, one.coordinates, rtol=0, atol=2 * CLOSE)
