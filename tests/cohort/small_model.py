"""A model without PyTorch, whose process starts at once; at some names of images, it does what no model should."""

import errno
import os
import signal
import time
from pathlib import Path

import numpy as np

from anatomark.card import read_card
from anatomark.core.landmarks import Landmarks
from anatomark.methods.prediction import Prediction


class SmallModel:
    device = "cpu"

    def __init__(self, names, unit):
        self.names, self.unit = names, unit

    def require_fitting(self, image, source):
        pass

    def predict_together(self, images, *, sources, coverage, orient):
        """As `Model.predict_together`; writes down how many images it was given, and may have room for few."""
        if told := os.environ.get("SMALL_MODEL_TOLD"):
            with open(told, "a") as file:
                file.write(f"{len(images)}\n")
        if len(images) > int(os.environ.get("SMALL_MODEL_ROOM", "1000")):
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        asked = {"coverage": coverage, "orient": orient}
        return [self.predict(image, source=source, **asked) for image, source in zip(images, sources, strict=True)]

    def predict(self, image, *, source, coverage, orient):
        name = Path(source).name
        time.sleep(float(os.environ.get("SMALL_MODEL_SECONDS", "0")))
        if "kill" in name:
            os.kill(os.getpid(), signal.SIGSEGV if "segv" in name else signal.SIGKILL)
        if "once" in name and not (Path(source).parent / "died").exists():
            (Path(source).parent / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if "bloat" in name:
            self.kept = np.ones(1 << 26)  # 512 MiB
            time.sleep(10)
        if "hang" in name:
            time.sleep(60)
        if "oom" in name:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if "eio" in name:
            raise OSError(errno.EIO, "Input/output error")
        if "bug" in name:
            raise KeyError("bug")
        values = np.resize(image.array.astype(float), (len(self.names), 2)) + image.grid.center
        ones = np.ones(len(self.names))
        return Prediction(Landmarks.from_points(self.names, values, self.unit), ones / 3, ones * image.array.mean())


def load(run, *, device):
    if (Path(run) / "dies").exists():
        os._exit(3)
    card = read_card(Path(run))
    return SmallModel(card.landmarks, card.unit)
