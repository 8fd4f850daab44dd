"""anatomark: anatomical landmarks in 2D and 3D medical images, in world millimetres.

The public names are loaded when they are first used, so that ``import anatomark`` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from anatomark.core.grid import Grid as Grid
    from anatomark.core.image import Image as Image
    from anatomark.core.landmarks import Landmarks as Landmarks
    from anatomark.core.landmarks import State as State
    from anatomark.data.check import check as check
    from anatomark.data.description import Dataset as Dataset
    from anatomark.data.description import load_dataset as load_dataset
    from anatomark.data.init import init_dataset as init_dataset
    from anatomark.data.phantoms import make_phantoms as make_phantoms
    from anatomark.errors import AnatomarkError as AnatomarkError
    from anatomark.evaluation.compare import compare as compare
    from anatomark.evaluation.evaluate import evaluate as evaluate
    from anatomark.evaluation.observer_study import compare_observers as compare_observers
    from anatomark.formats.convert import convert as convert
    from anatomark.formats.images import read_image as read_image
    from anatomark.formats.images import write_image as write_image
    from anatomark.formats.landmarks import read_landmarks as read_landmarks
    from anatomark.formats.landmarks import write_landmarks as write_landmarks
    from anatomark.loading import load as load
    from anatomark.methods.prediction import Prediction as Prediction
    from anatomark.model import Model as Model
    from anatomark.predict import predict_to_folder as predict_to_folder
    from anatomark.registration.interest import propose_landmarks as propose_landmarks
    from anatomark.registration.transfer import transfer_landmarks as transfer_landmarks
    from anatomark.registration.transfer_to_folder import transfer_to_folder as transfer_to_folder
    from anatomark.training.calibrate import calibrate as calibrate
    from anatomark.training.train import train as train

_HOME = {
    "Grid": "anatomark.core.grid",
    "Image": "anatomark.core.image",
    "Landmarks": "anatomark.core.landmarks",
    "State": "anatomark.core.landmarks",
    "Dataset": "anatomark.data.description",
    "load_dataset": "anatomark.data.description",
    "AnatomarkError": "anatomark.errors",
    "compare": "anatomark.evaluation.compare",
    "compare_observers": "anatomark.evaluation.observer_study",
    "evaluate": "anatomark.evaluation.evaluate",
    "read_image": "anatomark.formats.images",
    "write_image": "anatomark.formats.images",
    "read_landmarks": "anatomark.formats.landmarks",
    "write_landmarks": "anatomark.formats.landmarks",
    "Model": "anatomark.model",
    "load": "anatomark.loading",
    "train": "anatomark.training.train",
    "Prediction": "anatomark.methods.prediction",
    "calibrate": "anatomark.training.calibrate",
    "check": "anatomark.data.check",
    "convert": "anatomark.formats.convert",
    "init_dataset": "anatomark.data.init",
    "make_phantoms": "anatomark.data.phantoms",
    "predict_to_folder": "anatomark.predict",
    "propose_landmarks": "anatomark.registration.interest",
    "transfer_landmarks": "anatomark.registration.transfer",
    "transfer_to_folder": "anatomark.registration.transfer_to_folder",
}
__all__ = ["__version__", *sorted(_HOME)]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'anatomark' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
