"""`python -O`, which leaves asserts out, answers as `python` does: in loading, in prediction and in training."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long]
FIXTURES = Path(__file__).parent / "fixtures" / "old_models"
# Two networks; one aligned to a template (a two-stage); one without any network.
MODELS = [FIXTURES / "6237412" / f"{name}-2d" for name in ("global-to-local", "aligned", "atlas")]

# What each program prints is compared, so it prints all that a user would see: points, messages, and tracebacks' types.
ANSWER = """
import json, sys
from anatomark.errors import AnatomarkError

def answer(action):
    try:
        return action()
    except AnatomarkError as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:
        return f"TRACEBACK {type(error).__name__}: {error}"
"""

LOAD = (
    ANSWER
    + """
from pathlib import Path
from anatomark import load

def damaged(folder):
    told = {}
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    card = json.loads(kept["model.json"])

    def loads(name):
        told[f"{folder.name} {name}"] = answer(lambda: load(folder, device="cpu") and "loads")

    part = "network" if "network" in card else "settings"
    for outer in ("", part, "presence", "alignment"):
        held = card[outer] if outer else card
        for key in held or {}:
            changed = {**held, key: None}
            (folder / "model.json").write_text(json.dumps({**card, outer: changed} if outer else changed))
            loads(f"{outer}.{key} null")
    for key in card:
        (folder / "model.json").write_text(json.dumps({k: v for k, v in card.items() if k != key}))
        loads(f"{key} gone")
    (folder / "model.json").write_bytes(kept["model.json"])
    for name, content in kept.items():
        (folder / name).write_bytes(content[: len(content) // 2])
        loads(f"{name} half")
        (folder / name).unlink()
        loads(f"{name} gone")
        (folder / name).write_bytes(content)
    return told

folders = sorted(Path(sys.argv[1]).iterdir())
print(json.dumps({k: v for folder in folders for k, v in damaged(folder).items()}))
"""
)

PREDICT = (
    ANSWER
    + """
import numpy as np
from pathlib import Path
from anatomark import load, read_image
from anatomark.core.image import Image
from anatomark.core.grid import Grid

image, other = (read_image(Path(path)) for path in sys.argv[2:])
images = {
    "image": image,
    "another dimension": other,
    "constant": Image(np.zeros_like(image.array), image.grid),
    "pixels": Image(image.array, Grid(image.grid.shape, image.grid.affine, "px")),
}

def predicted(model, image):
    found = model.predict(image)
    return [found.landmarks.points.tolist(), found.presence.tolist(), found.spread.tolist(), str(found.error_bound)]

names = ("global-to-local", "two-stage", "heatmap")
models = {name: load(Path(sys.argv[1]) / f"{name}-2d", device="cpu") for name in names}
answers = {f"{m} {i}": answer(lambda: predicted(models[m], images[i])) for m in models for i in images}
print(json.dumps(answers))
"""
)

TRAIN = (
    ANSWER
    + """
import hashlib
from pathlib import Path
from anatomark import make_phantoms, train

folder = Path(sys.argv[1])
data = make_phantoms(folder / "data", ndim=2, cases=8, landmarks=3, shape=(48, 56))
steps = {
    "global-to-local": {
        "global_steps": 2,
        "global_blocks": [1, 1, 1, 1],
        "global_channels": [4, 4, 4, 4],
        "global_batch": 1,
        "local_steps": 2,
        "local_channels": [[4], [4]],
        "local_batch": 1,
        "validations": 1,
    },
    "heatmap": {"steps": 2, "channels": [4, 4, 4], "batch": 1, "validations": 1},
    "atlas": {"atlases": 2, "registration": "affine"},
}

def weights(name, method, settings):
    run = train(data, out=folder / name, method=method, device="cpu", settings={**settings, "seed": 3})
    return [hashlib.sha256((run / file).read_bytes()).hexdigest() for file in ("model.safetensors", "model.json")]

told = {method: answer(lambda: weights(method, method, given)) for method, given in steps.items()}
wrong = [("heatmap", {"sigma": -1}), ("two-stage", {"spacing": [1.0]}), ("atlas", {"nearest": "x"}), ("none", {})]
for method, given in wrong:
    told[f"{method} {given}"] = answer(lambda: weights("wrong", method, given))
print(json.dumps(told))
"""
)


def told(program: str, *arguments: Path, optimized: bool) -> dict[str, Any]:
    """What a program prints, as JSON, with or without asserts; folders in messages are named alike."""
    command = [sys.executable, *(["-O"] if optimized else []), "-c", program, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.replace(str(arguments[0]), "FOLDER"))


def require_alike(program: str, folders: tuple[Path, Path], *others: Path) -> dict[str, Any]:
    """The same answers with and without asserts, each an answer or a message of one line."""
    usual, optimized = (
        told(program, folder, *others, optimized=flag) for folder, flag in zip(folders, (False, True), strict=True)
    )
    assert optimized == usual
    messages = [value for value in usual.values() if isinstance(value, str)]
    assert not [text for text in messages if text.startswith("TRACEBACK") or "\n" in text]
    return usual


def copied(model: Path, folder: Path) -> Path:
    """A copy that may be damaged."""
    folder.mkdir()
    for path in model.iterdir():
        if path.suffix == ".safetensors" or path.name == "model.json":
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_a_damaged_model_is_told_alike(tmp_path: Path) -> None:
    from anatomark import load

    sides = (tmp_path / "a", tmp_path / "b")
    for side in sides:
        side.mkdir()
        copied(MODELS[0], side / "format 1")
        for model in MODELS:
            (side / model.name).mkdir()
            load(model, device="cpu").save(side / model.name)
    answers = require_alike(LOAD, sides)
    assert "loads" in answers.values()
    for name in ("format 1", *(model.name for model in MODELS)):
        refused = [text for key, text in answers.items() if key.startswith(name) and text != "loads"]
        assert len(refused) > 10
        assert all(text.startswith("ModelError: ") for text in refused)


def test_predictions_and_what_cannot_be_predicted_are_told_alike() -> None:
    folder = FIXTURES / "6237412"
    answers = require_alike(PREDICT, (folder, folder), FIXTURES / "image_2d.mha", FIXTURES / "image_3d.mha")
    refused = {name.partition(" ")[2] for name, value in answers.items() if isinstance(value, str)}
    assert refused == {"another dimension", "constant", "pixels"}


def test_training_gives_the_same_models_and_messages(tmp_path: Path) -> None:
    answers = require_alike(TRAIN, (tmp_path / "a", tmp_path / "b"))
    assert sum(isinstance(value, list) for value in answers.values()) == 3
