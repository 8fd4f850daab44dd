"""A trained model: loaded from a run folder, it predicts the landmarks of an Image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anatomark.core.grid import Unit
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks
from anatomark.errors import ImageError, ModelError, SpacingError
from anatomark.methods.prediction import Prediction

if TYPE_CHECKING:
    from anatomark.methods.interface import Method

FORMAT = 1


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
            todo = "give --spacing x,y in mm" if self.unit == "mm" else "train on images with spacing"
            raise SpacingError(f"{source}: {what}, but the model works in {self.unit}; {todo}")

    def save(self, folder: Path) -> None:
        """Write model.safetensors, then model.json, into `folder`."""
        from anatomark import __version__
        from anatomark.formats.atomic import write_json
        from anatomark.nets.weights import save_tensors, with_prefix

        networks = self.method.networks
        tensors = {k: v for stage in networks for k, v in with_prefix(stage, networks[stage].state_dict()).items()}
        save_tensors(folder / "model.safetensors", tensors)
        write_json(
            folder / "model.json",
            {
                "format": FORMAT,
                "anatomark": __version__,
                "method": self.method.name,
                "dataset": self.dataset,
                "ndim": self.ndim,
                "unit": self.unit,
                "landmarks": list(self.names),
                "pairs": [list(pair) for pair in self.pairs],
                "presence": {"weights": self.method.presence.weights, "bias": self.method.presence.bias},
                "settings": self.method.settings.model_dump(),
            },
        )


def load(run: str | Path, *, device: str = "auto") -> Model:
    """The model of a run folder, on `device` ("auto", "cpu", "cuda").

    Raises ModelError where the folder has no whole model: not a run, not finished, or weights that do not fit.
    """
    import torch
    from pydantic import ValidationError

    from anatomark.methods import method_class
    from anatomark.methods.presence import PresenceModel
    from anatomark.nets.devices import choose_device
    from anatomark.nets.weights import load_network, load_tensors, under_prefix

    folder = Path(run)
    try:
        card: dict[str, Any] = json.loads((folder / "model.json").read_text())
    except FileNotFoundError:
        state = "its training has not ended" if (folder / "request.json").exists() else "it is not a run folder"
        raise ModelError(f"{folder} has no model.json: {state}; give the --out folder of anatomark train") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / 'model.json'} cannot be read ({error}); copy it again or train again") from None
    if card.get("format") != FORMAT:
        raise ModelError(f"{folder / 'model.json'} has format {card.get('format')!r}, this version reads {FORMAT}")
    try:
        kind = method_class(card["method"])
        names = tuple(card["landmarks"])
        method = kind(kind.Settings(**card["settings"]), ndim=card["ndim"], landmarks=len(names))
        method.presence = PresenceModel(tuple(card["presence"]["weights"]), float(card["presence"]["bias"]))
        pairs = tuple((left, right) for left, right in card["pairs"])
        model = Model(names, pairs, card["ndim"], card["unit"], card["dataset"], method, choose_device(device))
        method.make_networks()
    except (KeyError, TypeError, ValueError, AssertionError, ValidationError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{folder / 'model.json'} does not describe a model ({reason}); train again") from None
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
