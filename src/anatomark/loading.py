"""A model from its run folder: one member, or the folds of a run; and the file that says which folds those are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import ValidationError

from anatomark.card import ENSEMBLE, NAME, Card, first_fault, not_a_model, read_card
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.data.alignment import Alignment
from anatomark.errors import AnatomarkError, ModelError, UnknownNameError
from anatomark.formats.atomic import write_json
from anatomark.formats.json_text import parsed
from anatomark.methods import detector_class
from anatomark.methods.error_bound import NAME as BOUNDS
from anatomark.methods.error_bound import ErrorBounds
from anatomark.methods.error_scale import NAME as SCALE
from anatomark.methods.error_scale import ErrorScale
from anatomark.methods.in_view import InView
from anatomark.methods.offsets import NAME as OFFSETS
from anatomark.methods.offsets import Offsets
from anatomark.methods.presence import PresenceModel
from anatomark.methods.suitability import NAME as SUITABILITY
from anatomark.methods.suitability import Suitability
from anatomark.model import TEMPLATE, Member, Model
from anatomark.nets.devices import choose_device
from anatomark.nets.weights import load_tensors
from anatomark.ready_made import run_folder
from anatomark.version import __version__

ENSEMBLE_FORMAT = 1
_NEAREST, _FARTHEST = 1e-6, 1e6  # mm or px between elements of working images
T = TypeVar("T")


def load(run: str | Path, *, device: str = "auto") -> Model:
    """The model of a run folder, on `device` ("auto", "cpu", "cuda"); of a run with folds, all of these as one.

    A ready-made model is found by its name (see `ready_made`).

    Raises ModelError where the folder has no whole model: not a run, not finished, or weights that do not fit.
    """
    folder = run_folder(run)
    return _load_folds(folder, device) if (folder / ENSEMBLE).exists() else load_model(folder, device=device)


def load_model(run: str | Path, *, device: str = "auto") -> Model:
    """The one model of a run folder without folds; raises as `load`."""
    folder, chosen = Path(run), choose_device(device)
    card = read_card(folder)
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
    weights = folder / "model.safetensors"
    tensors, _ = load_tensors(weights)
    template = tensors.pop(TEMPLATE, None)
    presence = PresenceModel(**card.presence.model_dump())
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


def save_ensemble(folder: Path, folds: Sequence[Path], bounds: ErrorBounds, presence: PresenceModel | None) -> None:
    """Write error_bounds.safetensors, then ensemble.json, for a run whose fold folders lie in `folder`."""
    bounds.save(folder)
    corrected = None if presence is None else asdict(presence)
    about = {"format": ENSEMBLE_FORMAT, "anatomark": __version__, "folds": [f.name for f in folds]}
    write_json(folder / ENSEMBLE, about | {"presence": corrected})


def _load_folds(folder: Path, device: str) -> Model:
    """The folds of a finished run as one model. ModelError for damage, or folds that do not go together."""
    path = folder / ENSEMBLE
    try:
        about = parsed(path.read_text(encoding="utf-8"))
        if about["format"] != ENSEMBLE_FORMAT:
            raise ModelError(
                f"{path} has format {about['format']!r}, this version reads {ENSEMBLE_FORMAT}; "
                "update anatomark, or use the one that wrote it"
            )
        folds = [folder / Path(name).name for name in about["folds"]]
        held = about["presence"]
        weights = () if held is None else tuple(float(w) for w in held["weights"])
        presence = None if held is None else PresenceModel(weights, float(held["bias"]), str(held["learned_from"]))
        if not folds or len(weights) > 1:
            raise ValueError("folds")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{path} does not describe an ensemble; copy it again or train again") from None
    models = [load_model(fold, device=device) for fold in folds]
    first = models[0]
    if len({(m.names, m.ndim, m.unit) for m in models}) > 1:
        raise ModelError(f"{folder}: the folds find different landmarks; they are not of one run")
    members = tuple(member for model in models for member in model.members)
    bounds = _part(folder / BOUNDS, lambda: ErrorBounds.load(folder, first.names, first.unit))
    offsets = _part(folder / OFFSETS, lambda: Offsets.load(folder, len(first.names), first.ndim))
    return replace(first, members=members, bounds=bounds, presence=presence, offsets=offsets)
