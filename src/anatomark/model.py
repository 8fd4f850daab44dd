"""A trained model: loaded from a run folder, it predicts the landmarks of an Image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anatomark.core.grid import Unit
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks
from anatomark.errors import ImageError, ModelError, SpacingError, UnknownNameError
from anatomark.methods.error_bound import COVERAGE, NONE_SAVED, ErrorBounds
from anatomark.methods.prediction import Prediction
from anatomark.methods.suitability import Suitability

TEMPLATE = "alignment.template"  # its tensor in model.safetensors

if TYPE_CHECKING:
    import torch

    from anatomark.card import Card
    from anatomark.data.alignment import Alignment, Placement
    from anatomark.ensemble import Ensemble
    from anatomark.methods.interface import Located, Method


class Model:
    """A method with its weights, and the names, pairs, dimension and unit of what it learned.

    `bounds` tell how far its landmarks may be off; without, these are withheld. `suitability` tells images that are not
    like those of the training; without, every image is taken as it comes.
    With `alignment`, images are brought into the world of its template, and what is found there back into theirs.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        pairs: tuple[tuple[str, str], ...],
        ndim: int,
        unit: Unit,
        dataset: str,
        method: Method,
        device: str = "cpu",
        alignment: Alignment | None = None,
        bounds: ErrorBounds | None = None,
        suitability: Suitability | None = None,
    ) -> None:
        self.names, self.pairs, self.ndim, self.dataset = names, pairs, ndim, dataset
        self.unit: Unit = unit
        self.method, self.device, self.alignment = method, device, alignment
        self.bounds = bounds or ErrorBounds.withheld(names, NONE_SAVED)
        self.suitability = suitability or Suitability()

    def predict(self, image: Image, *, source: str = "image", coverage: float = COVERAGE) -> Prediction:
        """All landmarks of `image`, in world LPS, with presence, spread and error bounds of the asked `coverage`.

        Pure: nothing is kept between calls.

        Raises ImageError for an image of another dimension, with one voxel, constant or not finite, and SpacingError
        where the model works in mm and the image's spacing is unknown, or the other way round. `source` names the
        image in messages. An image that cannot be aligned to the template is predicted as it lies, with a `warning`.
        """
        placed = self.place(image, source=source)
        warning = f"{placed.failure}; predicted as it lies" if placed.failure else None
        return self.prediction_of(self._located(placed, None, source), coverage=coverage, warning=warning)

    def prediction_of(
        self, located: Sequence[Located], *, coverage: float = COVERAGE, warning: str | None = None
    ) -> Prediction:
        """What the answers of all stages, in the world of an image, say together; the points are the last one's."""
        last, mass = located[-1], np.stack([stage.mass for stage in located], axis=-1)
        presence = self.method.presence.probability(mass)
        prediction = Prediction(
            Landmarks.from_points(self.names, last.points_world, self.unit),
            presence,
            last.spread,
            warning,
            self.bounds.bound(last.spread, coverage),
            coverage,
        )
        return prediction.judged(self.suitability.judge(last.points_world, presence))

    def locate(self, image: Image, *, upto: str | None = None, source: str = "image") -> list[Located]:
        """The answer of each stage, up to stage `upto`, in the world of `image`. Raises as `predict`.

        A spread is a length without direction; how it goes back is said in `Placement.length_from_template`.
        """
        return self._located(self.place(image, source=source), upto, source)

    def place(self, image: Image, *, source: str = "image") -> Placement:
        """Where the method is to see `image`: in the template's world if the model has one, else in its own.

        Raises as `predict`.
        """
        from anatomark.data.alignment import place
        from anatomark.formats.images import require_usable

        self._require_fitting(image, source)
        require_usable(image, source)
        return place(self.alignment, image)

    def _located(self, placed: Placement, upto: str | None, source: str) -> list[Located]:
        import torch

        settings = self.method.settings
        assert settings.spacing is not None
        assert settings.pool is not None
        working = placed.working_image(spacing=settings.spacing, pool=settings.pool, source=source)
        return [
            replace(
                stage,
                points_world=placed.from_template(stage.points_world),
                spread=placed.length_from_template(stage.spread),
            )
            for stage in self.method.locate(working, torch.device(self.device), upto=upto)
        ]

    def _require_fitting(self, image: Image, source: str) -> None:
        if image.grid.ndim != self.ndim:
            advice = f"use a model for {image.grid.ndim}D images"
            if self.ndim == 2:
                advice += ", or --stack (stack=True) where the file is a stack of pictures"
            raise ImageError(
                f"{source}: a {image.grid.ndim}D image of shape {image.grid.shape}, but the model was trained on "
                f"{self.ndim}D images; {advice}"
            )
        if image.grid.unit != self.unit:
            what = "has no spacing" if image.grid.unit == "px" else "has a spacing in mm"
            axes = "x,y" if self.ndim == 2 else "x,y,z"
            without = "leave out --spacing, or use a model trained in mm"
            todo = f"give --spacing {axes} in mm" if self.unit == "mm" else without
            raise SpacingError(f"{source}: {what}, but the model works in {self.unit}; {todo}")

    def save(self, folder: Path) -> None:
        """Write error_bounds, suitability and model.safetensors, then model.json, into `folder`."""
        from anatomark import __version__
        from anatomark.card import NAME, Card, Presence, Template
        from anatomark.formats.atomic import write_json
        from anatomark.nets.weights import save_tensors, with_prefix

        networks = self.method.networks
        tensors = {k: v for stage in networks for k, v in with_prefix(stage, networks[stage].state_dict()).items()}
        template = None
        if self.alignment is not None:
            import torch

            aligned = self.alignment
            tensors[TEMPLATE] = torch.from_numpy(aligned.template.array.copy())
            template = Template(kind=aligned.kind, case=aligned.case, grid=aligned.template.grid.to_dict())
        self.bounds.save(folder)
        self.suitability.save(folder)
        save_tensors(folder / "model.safetensors", tensors)
        card = Card(
            anatomark=__version__,
            method=self.method.name,
            dataset=self.dataset,
            ndim=2 if self.ndim == 2 else 3,
            unit=self.unit,
            landmarks=self.names,
            pairs=self.pairs,
            presence=Presence(**asdict(self.method.presence)),
            alignment=template,
            settings=self.method.settings.model_dump(),
        )
        write_json(folder / NAME, card.model_dump(mode="json"))


def load(run: str | Path, *, device: str = "auto") -> Model | Ensemble:
    """The model of a run folder, on `device` ("auto", "cpu", "cuda"); of a run with folds, their Ensemble.

    A ready-made model is found by its name (see `ready_made`).

    Raises ModelError where the folder has no whole model: not a run, not finished, or weights that do not fit.
    """
    from anatomark.ensemble import NAME, load_ensemble
    from anatomark.ready_made import run_folder

    folder = run_folder(run)
    return load_ensemble(folder, device=device) if (folder / NAME).exists() else load_model(folder, device=device)


def load_model(run: str | Path, *, device: str = "auto") -> Model:
    """The one model of a run folder without folds.

    Raises ModelError where the folder has no whole model: not a run, not finished, or weights that do not fit.
    """
    import torch
    from pydantic import ValidationError

    from anatomark import __version__
    from anatomark.card import NAME, first_fault, not_a_model, read_card
    from anatomark.methods import method_class
    from anatomark.methods.presence import PresenceModel
    from anatomark.nets.devices import choose_device
    from anatomark.nets.weights import load_network, load_tensors, under_prefix

    folder = Path(run)
    card = read_card(folder)
    try:
        kind = method_class(card.method)
        settings = kind.Settings(**card.settings)
        method = kind(settings, ndim=card.ndim, landmarks=len(card.landmarks))
        method.make_networks()
    except ValidationError as error:
        unknown = [str(fault["loc"][0]) for fault in error.errors() if fault["type"] == "extra_forbidden"]
        if unknown and card.anatomark != __version__:
            raise ModelError(
                f"{folder / NAME} has a setting {unknown[0]!r} that this anatomark ({__version__}) does not know; "
                f"use {card.anatomark}, which wrote it, or a newer one"
            ) from None
        raise not_a_model(folder / NAME, f"settings.{first_fault(error)}") from None
    except (UnknownNameError, TypeError, ValueError, AssertionError) as error:
        raise not_a_model(folder / NAME, str(error) or "a setting is missing") from None
    lengths = {len(v) if v else 0 for v in (settings.spacing, settings.pool)}
    if lengths != {card.ndim} or len(card.presence.weights) != len(method.presence.weights):
        raise not_a_model(folder / NAME, "settings or presence of another dimension or number of stages")
    method.presence = PresenceModel(**card.presence.model_dump())
    if settings.align != (card.alignment.kind if card.alignment else "none"):
        raise not_a_model(folder / NAME, "settings and alignment disagree")
    tensors, _ = load_tensors(folder / "model.safetensors")
    alignment = _alignment(folder, card, tensors.pop(TEMPLATE, None)) if card.alignment else None
    bounds = ErrorBounds.load(folder, card.landmarks, card.unit)
    suitability = Suitability.load(folder, len(card.landmarks), card.ndim)
    about = (card.landmarks, card.pairs, card.ndim, card.unit, card.dataset)
    model = Model(*about, method, choose_device(device), alignment, bounds, suitability)
    foreign = sorted({name.split(".", 1)[0] for name in tensors} - set(method.networks))
    if foreign:
        raise ModelError(
            f"{folder / 'model.safetensors'}: foreign tensors ({', '.join(foreign)}); not this model's weights"
        )
    for stage, network in method.networks.items():
        load_network(network, under_prefix(stage, tensors), str(folder / "model.safetensors"))
        network.to(torch.device(model.device)).eval()
    return model


def _alignment(folder: Path, card: Card, array: torch.Tensor | None) -> Alignment:
    """What `card` says of the template, with its grey values `array`; ModelError where they do not go together."""
    import torch

    from anatomark.card import NAME, not_a_model
    from anatomark.core.grid import Grid
    from anatomark.data.alignment import Alignment

    assert card.alignment is not None
    try:
        grid = Grid.from_dict(card.alignment.grid)
    except (KeyError, TypeError, ValueError):
        raise not_a_model(folder / NAME, "alignment.grid: no Grid") from None
    if (grid.ndim, grid.unit) != (card.ndim, card.unit):
        raise not_a_model(folder / NAME, "alignment.grid: of another dimension or unit")
    if array is None or array.dtype != torch.uint8 or tuple(array.shape) != grid.shape:
        what = "no template" if array is None else "a template of another shape or type"
        raise ModelError(f"{folder / 'model.safetensors'}: {what}; not this model's weights, or damaged")
    return Alignment(card.alignment.kind, card.alignment.case, Image(array.numpy(), grid))
