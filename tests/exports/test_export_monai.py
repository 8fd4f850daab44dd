"""A MONAI bundle is loaded and run by MONAI's own workflow, and gives the points of the model that it was made of."""

import csv
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from untrained import image_of

from anatomark import load
from anatomark.formats.images import write_image

for package in ("onnx", "onnxscript", "onnxruntime", "monai"):
    pytest.importorskip(package)
MANDATORY = {  # by the schema, under the names that MONAI 1.6 has for them
    "schema",
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
}
OF_TENSOR = {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data", "channel_def"}
Exported = Callable[[str, int], tuple[Path, Path]]


@pytest.fixture
def bundle(exported: Exported) -> tuple[Path, Path]:
    return exported("global-to-local", 2)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """MONAI's loggers stay as they were."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


def test_the_files_are_those_of_the_specification(bundle: tuple[Path, Path]) -> None:
    folder = bundle[1]
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there >= {"LICENSE", "configs/metadata.json", "configs/inference.json", "docs/README.md"}
    assert there >= {"models/global.onnx", "models/local_1.onnx", "models/export.json"}
    told = json.loads((folder / "configs" / "metadata.json").read_text())
    assert told.keys() >= MANDATORY
    (image,), (points,) = (told["network_data_format"][way].values() for way in ("inputs", "outputs"))
    assert image.keys() >= OF_TENSOR
    assert points.keys() >= OF_TENSOR
    assert list(points["channel_def"].values()) == list("abcdef")
    assert "MONAI Label and MONAI Deploy were not tried" in (folder / "docs" / "README.md").read_text()


def test_monais_workflow_finds_the_same_points(bundle: tuple[Path, Path], tmp_path: Path) -> None:
    from monai.bundle import ConfigWorkflow

    run, folder = bundle
    images = tmp_path / "images"
    images.mkdir()
    given = {f"case{k}": image_of(2, shape, seed=k) for k, shape in enumerate([(34, 28), (51, 70)])}
    for name, image in given.items():
        write_image(image, images / f"{name}.mha")

    (images / "broken.mha").write_bytes((images / "case0.mha").read_bytes()[:200])

    workflow = ConfigWorkflow(
        str(folder / "configs" / "inference.json"),
        logging_file=False,
        workflow_type="inference",
        bundle_root=str(folder),
        dataset_dir=str(images),
        output_dir=str(tmp_path / "eval"),
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    (table,) = workflow.run()

    found: dict[str, list[list[float]]] = {}
    with open(table, newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["image"], []).append([float(row["x"]), float(row["y"])])
    assert set(found) == set(given)
    with open(tmp_path / "eval" / "images.csv", newline="") as file:
        assert {row["image"] for row in csv.DictReader(file) if row["error"]} == {"broken"}
    model = load(run, device="cpu")
    for name, image in given.items():
        np.testing.assert_allclose(found[name], model.predict(image).landmarks.points, rtol=0, atol=1e-3)
