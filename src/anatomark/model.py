"""A trained model: loaded from a run folder, it predicts the landmarks of an Image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anatomark.core.grid import Unit
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks
from anatomark.errors import ImageError, ModelError, SpacingError, UnknownNameError
from anatomark.methods.prediction import Prediction

if TYPE_CHECKING:
    from anatomark.methods.interface import Method


class Model:
    """A method with its weights, and the names, pairs, dimension and unit of what it learned."""

    def __init__(
        self,
        names: tuple[str, ...],
        pairs: tuple[tuple[str, str], ...],
        ndim: int,
        unit: Unit,
        dataset: str,
        method: Method,
        device: str = "cpu",
    ) -> None:
        self.names, self.pairs, self.ndim, self.dataset = names, pairs, ndim, dataset
        self.unit: Unit = unit
        self.method, self.device = method, device

    def predict(self, image: Image, *, source: str = "image") -> Prediction:
        """All landmarks of `image`, in world LPS, with presence and spread. Pure: nothing is kept between calls.

        Raises ImageError for an image of another dimension, with one voxel, constant or not finite, and SpacingError
        where the model works in mm and the image's spacing is unknown, or the other way round. `source` names the
        image in messages.
        """
        import torch

        from anatomark.data.working import working_image
        from anatomark.formats.images import require_usable

        self._require_fitting(image, source)
        require_usable(image, source)
        settings = self.method.settings
        assert settings.spacing is not None
        assert settings.pool is not None
        working = working_image(image, spacing=settings.spacing, pool=settings.pool, source=source)
        located = self.method.locate(working, torch.device(self.device))
        mass = np.stack([stage.mass for stage in located], axis=-1)
        return Prediction(
            Landmarks.from_points(self.names, located[-1].points_world, self.unit),
            self.method.presence.probability(mass),
            located[-1].spread,
        )

    def _require_fitting(self, image: Image, source: str) -> None:
        if image.grid.ndim != self.ndim:
            raise ImageError(
                f"{source}: a {image.grid.ndim}D image of shape {image.grid.shape}, but the model was trained on "
                f"{self.ndim}D images; use a model for {image.grid.ndim}D images"
            )
        if image.grid.unit != self.unit:
            what = "has no spacing" if image.grid.unit == "px" else "has a spacing in mm"
            axes = "x,y" if self.ndim == 2 else "x,y,z"
            without = "leave out --spacing, or use a model trained in mm"
            todo = f"give --spacing {axes} in mm" if self.unit == "mm" else without
            raise SpacingError(f"{source}: {what}, but the model works in {self.unit}; {todo}")

    def save(self, folder: Path) -> None:
        """Write model.safetensors, then model.json, into `folder`."""
        from anatomark import __version__
        from anatomark.card import NAME, Card, Presence
        from anatomark.formats.atomic import write_json
        from anatomark.nets.weights import save_tensors, with_prefix

        networks = self.method.networks
        tensors = {k: v for stage in networks for k, v in with_prefix(stage, networks[stage].state_dict()).items()}
        save_tensors(folder / "model.safetensors", tensors)
        card = Card(
            anatomark=__version__,
            method=self.method.name,
            dataset=self.dataset,
            ndim=2 if self.ndim == 2 else 3,
            unit=self.unit,
            landmarks=self.names,
            pairs=self.pairs,
            presence=Presence(weights=self.method.presence.weights, bias=self.method.presence.bias),
            settings=self.method.settings.model_dump(),
        )
        write_json(folder / NAME, card.model_dump(mode="json"))


def load(run: str | Path, *, device: str = "auto") -> Model:
    """The model of a run folder, on `device` ("auto", "cpu", "cuda").

    Raises ModelError where the folder has no whole model: not a run, not finished, or weights that do not fit.
    """
    import torch
    from pydantic import ValidationError

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
        raise not_a_model(folder / NAME, f"settings.{first_fault(error)}") from None
    except (UnknownNameError, TypeError, ValueError, AssertionError) as error:
        raise not_a_model(folder / NAME, str(error) or "a setting is missing") from None
    lengths = {len(v) if v else 0 for v in (settings.spacing, settings.pool)}
    if lengths != {card.ndim} or len(card.presence.weights) != len(method.stages):
        raise not_a_model(folder / NAME, "settings or presence of another dimension or number of stages")
    method.presence = PresenceModel(card.presence.weights, card.presence.bias)
    model = Model(card.landmarks, card.pairs, card.ndim, card.unit, card.dataset, method, choose_device(device))
    tensors, _ = load_tensors(folder / "model.safetensors")
    foreign = sorted({name.split(".", 1)[0] for name in tensors} - set(method.stages))
    if foreign:
        raise ModelError(
            f"{folder / 'model.safetensors'}: foreign tensors ({', '.join(foreign)}); not this model's weights"
        )
    for stage, network in method.networks.items():
        load_network(network, under_prefix(stage, tensors), str(folder / "model.safetensors"))
        network.to(torch.device(model.device)).eval()
    return model
