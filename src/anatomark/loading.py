"""A model from its run folder: one member, or those of an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import ValidationError

from anatomark.card import NAME, Card, first_fault, not_a_model, read_card, require_own
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.data.alignment import Alignment
from anatomark.ensemble import Ensemble, read_ensemble
from anatomark.errors import AnatomarkError, ModelError, SettingsError, UnknownNameError
from anatomark.exports.description import graph_files
from anatomark.exports.sessions import sessions_of, with_sessions
from anatomark.methods import detector_class
from anatomark.methods.calls import Calls
from anatomark.methods.error_bound import NAME as BOUNDS
from anatomark.methods.error_bound import ErrorBounds
from anatomark.methods.error_scale import NAME as SCALE
from anatomark.methods.error_scale import ErrorScale
from anatomark.methods.in_view import InView
from anatomark.methods.interface import AnyDetector
from anatomark.methods.networks import NetworkDetector
from anatomark.methods.offsets import NAME as OFFSETS
from anatomark.methods.offsets import Offsets
from anatomark.methods.presence import PresenceModel
from anatomark.methods.suitability import NAME as SUITABILITY
from anatomark.methods.suitability import Suitability
from anatomark.model import TEMPLATE, Member, Model
from anatomark.nets.devices import choose_device
from anatomark.nets.weights import load_tensors
from anatomark.ready_made import run_folder

_NEAREST, _FARTHEST = 1e-6, 1e6  # mm or px between elements of working images
T = TypeVar("T")
Runtime = Literal["torch", "onnx"]


def load(run: str | Path, *, device: str = "auto", runtime: Runtime | None = None) -> Model:
    """The model of a run folder; of several members, all of these as one.

    Args:
        run: a run folder, the name of a ready-made model (see `ready_made`), or a folder that `export_model` wrote.
        device: "auto", "cpu" or "cuda".
        runtime: who computes the networks. "torch" is PyTorch; "onnx" is ONNX Runtime on the CPU, for which networks of
            a run folder are exported first, in memory; None is ONNX Runtime for an exported model, else PyTorch.

    Returns:
        The model, ready to predict.

    Raises:
        ModelError: the folder has no whole model: not a run, not finished, or weights that do not fit; or a method
            that ONNX Runtime cannot compute.
        MissingExtraError: ONNX Runtime is asked for, and a package of the extra `onnx` is missing.
        SettingsError: a device or runtime that is not there for this model.

    Examples:
        >>> model = anatomark.load("ceph19")
        >>> len(model.names), model.ndim, model.unit
        (19, 2, 'mm')
    """
    folder = run_folder(run)
    exported = graph_files(folder) is not None
    if runtime == "torch" and exported:
        raise SettingsError(f"{folder} is an exported model without PyTorch's weights; leave out --runtime")
    if runtime == "onnx":
        device = "cpu" if device == "auto" else device
    ensemble = read_ensemble(folder)
    model = load_model(folder, device=device) if ensemble is None else _load_ensemble(folder, ensemble, device)
    return with_sessions(model) if runtime == "onnx" and not exported else model


def load_model(run: str | Path, *, device: str = "auto") -> Model:
    """The model of a run folder with one member; raises as `load`."""
    folder = Path(run)
    graphs = graph_files(folder)
    if graphs is not None and device == "cuda":
        raise SettingsError(f"{folder} is an exported model, which ONNX Runtime computes on the CPU; use --device cpu")
    chosen = choose_device(device if graphs is None else "cpu")
    card = read_card(folder)
    for path in folder.glob("*.safetensors"):
        require_own(folder, path)
    try:
        kind = detector_class(card.method)
        network = kind.network_type.model_validate(card.network)
    except ValidationError as error:
        raise not_a_model(folder / NAME, f"network.{first_fault(error)}") from None
    except UnknownNameError as error:
        raise not_a_model(folder / NAME, str(error)) from None
    if not all(_NEAREST < step < _FARTHEST for step in network.spacing):
        raise not_a_model(folder / NAME, "network.spacing: no spacing of images")
    if (network.ndim, network.landmarks) != (card.ndim, len(card.landmarks)):
        raise not_a_model(folder / NAME, "a network of another dimension or number of landmarks")
    if network.align != (card.alignment.kind if card.alignment else "none"):
        raise not_a_model(folder / NAME, "network and alignment disagree")
    if len(card.presence.weights) != network.answers:
        raise not_a_model(folder / NAME, "presence of another number of stages")
    if card.in_view is not None and len(card.in_view.weights) != network.answers:
        raise not_a_model(folder / NAME, "in_view of another number of stages")
    presence = PresenceModel(**card.presence.model_dump())
    weights = folder / "model.safetensors"
    tensors, _ = load_tensors(weights) if graphs is None or weights.exists() else ({}, {})
    template = tensors.pop(TEMPLATE, None)
    if graphs is not None:
        detector = _exported(folder, kind, network, presence, sessions_of(graphs), tensors)
    else:
        detector = _part(
            weights, lambda: kind.load(network, tensors, presence, device=torch.device(chosen), source=str(weights))
        )
    alignment = _alignment(folder, card, template)
    names, count = card.landmarks, len(card.landmarks)
    suitability = _part(folder / SUITABILITY, lambda: Suitability.load(folder, count, card.ndim))
    scale = _part(folder / SCALE, lambda: ErrorScale.load(folder, count, network.answers))
    in_view = None if card.in_view is None else InView(**card.in_view.model_dump())
    return Model(
        card.landmarks,
        card.pairs,
        card.ndim,
        card.unit,
        card.dataset,
        (Member(detector, alignment, suitability, in_view, scale),),
        _part(folder / BOUNDS, lambda: ErrorBounds.load(folder, names, card.unit)),
        device=chosen,
        offsets=_part(folder / OFFSETS, lambda: Offsets.load(folder, count, card.ndim)),
    )


def _exported(
    folder: Path,
    kind: type[AnyDetector],
    network: Any,
    presence: PresenceModel,
    calls: Calls,
    tensors: Mapping[str, torch.Tensor],
) -> AnyDetector:
    """The detector whose `calls` are answered by graphs; ModelError for a method that makes none."""
    if not issubclass(kind, NetworkDetector):
        raise not_a_model(folder / NAME, f"the method {kind.name} has no graphs")
    return kind(network, {}, presence, calls).with_beside(tensors, str(folder / "model.safetensors"))


def _part(path: Path, load: Callable[[], T]) -> T:
    """What `load` gives; ModelError, which names `path`, for values that nothing can be made of, such as huge sizes."""
    try:
        return load()
    except AnatomarkError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, MemoryError):
        raise ModelError(f"{path} does not go with {NAME}, or is damaged; copy the whole folder again") from None


def _alignment(folder: Path, card: Card, array: torch.Tensor | None) -> Alignment | None:
    """What `card` says of the template, with its grey values `array`; ModelError where they do not go together."""
    if card.alignment is None:
        return None
    try:
        grid = Grid.from_dict(card.alignment.grid)
    except (KeyError, TypeError, ValueError):
        raise not_a_model(folder / NAME, "alignment.grid: not a Grid") from None
    if (grid.ndim, grid.unit) != (card.ndim, card.unit):
        raise not_a_model(folder / NAME, "alignment.grid: of another dimension or unit")
    if array is None or array.dtype != torch.uint8 or tuple(array.shape) != grid.shape:
        what = "no template" if array is None else "a template of another shape or type"
        raise ModelError(f"{folder / 'model.safetensors'}: {what}; not this model's weights, or damaged")
    return Alignment(card.alignment.kind, card.alignment.case, Image(array.numpy(), grid))


def load_members(folders: Sequence[Path], *, device: str = "auto") -> Model:
    """The models of several run folders as one, with the error bounds of the first.

    ModelError where they find different landmarks; raises as `load_model`.
    """
    models = [load_model(folder, device=device) for folder in folders]
    first = models[0]
    if len({(m.names, m.ndim, m.unit) for m in models}) > 1:
        raise ModelError(f"{folders[0].parent}: its members find different landmarks; they are not of one run")
    return replace(first, members=tuple(member for model in models for member in model.members))


def _load_ensemble(folder: Path, ensemble: Ensemble, device: str) -> Model:
    """The members of a finished run as one model, with what was learned of them together."""
    model = load_members(ensemble.members, device=device)
    bounds = _part(folder / BOUNDS, lambda: ErrorBounds.load(folder, model.names, model.unit))
    offsets = _part(folder / OFFSETS, lambda: Offsets.load(folder, len(model.names), model.ndim))
    return replace(model, bounds=bounds, presence=ensemble.presence, offsets=offsets)
