"""A MONAI bundle around an exported model: what its tools read of a model, and a workflow that predicts images.

By the specification of MONAI's bundles (docs.monai.io, "MONAI Bundle Specification"). A bundle is meant for one network
with one answer; a model here may have several, and what lies between them is this package's code, so that the workflow
calls it, and the bundle needs it installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from anatomark.formats.atomic import write_json
from anatomark.model import Model
from anatomark.ready_made import About
from anatomark.version import __version__

MODELS = "models"  # the folder of the exported model
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
LEAST_MONAI = "1.4.0"  # stated where MONAI is not installed, which writing a bundle does not need
NO_LICENCE = "No licence is stated for this model. Whoever distributes it puts theirs here."


def write_bundle(model: Model, about: About | None, folder: Path) -> None:
    """Write all of the bundle into `folder` but the exported model."""
    for name in ("configs", "docs"):
        (folder / name).mkdir()
    write_json(folder / "configs" / "metadata.json", metadata(model, about))
    write_json(folder / "configs" / "inference.json", inference())
    (folder / "docs" / "README.md").write_text(_readme(model, about), encoding="utf-8", newline="")
    (folder / "LICENSE").write_text((about.terms if about else NO_LICENCE) + "\n", encoding="utf-8", newline="")


def metadata(model: Model, about: About | None) -> dict[str, Any]:
    """The content of configs/metadata.json."""
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "n/a",
        "num_channels": 1,
        "spatial_shape": ["*"] * model.ndim,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {"0": "grey values, with their spacing and orientation"},
    }
    points = {
        "type": "tuples",
        "format": "points",
        "num_channels": len(model.names),
        "spatial_shape": [model.ndim],
        "dtype": "float64",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {str(k): name for k, name in enumerate(model.names)},
    }
    task = about.title if about else f"{len(model.names)} landmarks of the data set {model.dataset}"
    return {
        "schema": SCHEMA,
        "version": __version__,
        "changelog": {__version__: f"exported by anatomark {__version__}"},
        "monai_version": _version("monai") or LEAST_MONAI,
        "pytorch_version": _version("torch"),
        "numpy_version": _version("numpy"),
        "required_packages_version": {"anatomark": __version__, "onnxruntime": _version("onnxruntime")},
        "task": task,
        "description": f"Landmarks in {model.ndim}D images by the method {model.detector.name} of anatomark: points in "
        f"{model.unit}, world LPS, with presence, spread and error bounds.",
        "authors": "anatomark's authors" if about else "not stated",
        "copyright": about.terms if about else "not stated",
        "data_source": about.data if about else model.dataset,
        "intended_use": about.use if about else "not stated; not a medical device",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": points}},
    }


def inference() -> dict[str, Any]:
    """The content of configs/inference.json: a workflow of MONAI's parser with the names that it gives its parts."""
    ours = "anatomark.exports.monai_network"
    return {
        "bundle_root": ".",
        "device": "cpu",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/eval'",
        "spacing": None,
        "preprocessing": {"_target_": f"{ours}.ReadImage"},
        "dataset": {
            "_target_": "monai.data.Dataset",
            "data": {"_target_": f"{ours}.cases_in", "folder": "@dataset_dir", "spacing": "@spacing"},
            "transform": "@preprocessing",
        },
        "network_def": {
            "_target_": f"{ours}.Landmarker",
            "folder": f"$@bundle_root + '/{MODELS}'",
            "device": "@device",
        },
        "inferer": {"_target_": "monai.inferers.SimpleInferer"},
        "evaluator": {
            "_target_": f"{ours}.Evaluator",
            "dataset": "@dataset",
            "network": "@network_def",
            "inferer": "@inferer",
            "output_dir": "@output_dir",
        },
        "run": ["$@evaluator.run()"],
    }


def _version(package: str) -> str:
    """That of an installed package, without its build; empty where it is not installed."""
    try:
        return version(package).split("+")[0]
    except PackageNotFoundError:
        return ""


def _readme(model: Model, about: About | None) -> str:
    title = about.title if about else f"{len(model.names)} landmarks, trained on {model.dataset}"
    told: Sequence[str] = (
        [f"- Images: {about.images}", f"- Trained on: {about.data}", f"- Limits: {about.limits}", f"- {about.terms}"]
        if about
        else []
    )
    return "\n".join(
        [
            f"# {title}",
            "",
            f"A MONAI bundle made by anatomark {__version__}: {model.detector.name}, {model.ndim}D, {model.unit}.",
            *told,
            "",
            "```",
            "pip install 'anatomark[onnx]' monai fire",
            "python -m monai.bundle run --config_file configs/inference.json --workflow_type inference \\",
            "    --bundle_root . --dataset_dir FOLDER_OF_IMAGES --output_dir eval",
            "```",
            "",
            "writes eval/predictions.csv: points in LPS, with presence, spread and error bounds, as those that",
            "`anatomark predict models FOLDER_OF_IMAGES` writes. Images without a spacing need --spacing '[X,Y]' (mm).",
            "",
            "`models/` is the exported model: ONNX graphs with export.json, which says what is done before and after",
            "them. As there are several graphs, none is called model.onnx, and tools that expect one network with one",
            "answer (verify_net_in_out, ckpt_export) do not apply. MONAI Label and MONAI Deploy were not tried.",
            "",
        ]
    )
