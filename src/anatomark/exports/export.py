"""Exports of trained models, each a folder that appears whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from anatomark.card import NAME as CARD
from anatomark.card import read_card
from anatomark.ensemble import read_ensemble
from anatomark.errors import ModelError, OutputError, UnknownNameError
from anatomark.exports.description import NAME, description, graph_files
from anatomark.exports.extra import require_onnx
from anatomark.exports.graphs import graphs_of, onnx_of
from anatomark.exports.monai_bundle import MODELS, write_bundle
from anatomark.formats.atomic import replacing_folder, write_json
from anatomark.loading import load_model
from anatomark.methods.calls import Graph
from anatomark.methods.error_bound import NAME as BOUNDS
from anatomark.methods.error_scale import NAME as SCALE
from anatomark.methods.networks import NetworkDetector
from anatomark.methods.offsets import NAME as OFFSETS
from anatomark.methods.suitability import NAME as SUITABILITY
from anatomark.model import TEMPLATE, Model
from anatomark.nets.weights import save_tensors
from anatomark.ready_made import ABOUT, about, run_folder

Target = Literal["onnx", "monai"]
TARGETS: tuple[Target, ...] = ("onnx", "monai")


def export_model(run: str | Path, *, out: str | Path, to: Target = "onnx") -> Path:
    """Write a trained model for other programs; the folder written.

    The folder is itself a model: `load` and all commands take it where they take a run folder, and ONNX Runtime then
    answers for the networks. docs/export.md explains its files.

    Args:
        run: a run folder with one member, or the name of a ready-made model.
        out: folder to write, new or empty.
        to: "onnx", graphs of the networks with export.json, which has all that is done before and after; or "monai", a
            MONAI bundle around these.

    Returns:
        The folder.

    Raises:
        ModelError: no whole model, an ensemble, or a method without networks.
        MissingExtraError: a package of the extra `onnx` is missing.
        OutputError: the folder has files already, or cannot be written.
        UnknownNameError: `to` is something else.

    Examples:
        >>> anatomark.export_model("ceph19", out="ceph19_onnx")
        PosixPath('ceph19_onnx')
    """
    if to not in TARGETS:
        raise UnknownNameError(f"no export to {to!r}; there are: {', '.join(TARGETS)}")
    folder, source = Path(out), run_folder(run)
    require_onnx("onnx", "onnxscript", "onnxruntime", what="an export to ONNX")
    _require_exportable(source)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "has files already" if folder.is_dir() else "is not a folder"
        raise OutputError(f"{folder} {what}; choose another --out")
    model = load_model(source, device="cpu")
    graphs = graphs_of(model.detector)
    with replacing_folder(folder) as partial:
        inner = partial
        if to == "monai":
            write_bundle(model, about(source), partial)
            inner = partial / MODELS
            inner.mkdir()
        _write_graphs(model, graphs, source, inner)
    return folder


def _require_exportable(source: Path) -> None:
    if (ensemble := read_ensemble(source)) is not None:
        members = ", ".join(str(member) for member in ensemble.members)
        raise ModelError(f"{source} is an ensemble of {len(ensemble.members)} members; export one of them: {members}")
    if graph_files(source) is not None:
        raise ModelError(f"{source} is exported already; give the run folder that it was exported from")


def _write_graphs(model: Model, graphs: Sequence[Graph], source: Path, folder: Path) -> None:
    """The graphs, export.json, and the other files of a model that prediction needs."""
    for graph in graphs:
        (folder / f"{graph.name}.onnx").write_bytes(onnx_of(graph))
    write_json(folder / NAME, description(model, graphs))
    write_json(folder / CARD, read_card(source).model_dump(mode="json"))
    for name in (BOUNDS, SCALE, OFFSETS, SUITABILITY, ABOUT):
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)
    member = model.members[0]
    assert isinstance(member.detector, NetworkDetector)
    beside = member.detector.beside()
    if (aligned := member.alignment) is not None:
        beside[TEMPLATE] = torch.from_numpy(aligned.template.array.copy())
    if beside:
        save_tensors(folder / "model.safetensors", beside)
