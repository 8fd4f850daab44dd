"""The commands that are killed: where each starts from, and what is to be the same when it has been run again.

Inputs are made once; a command runs in a copy of its starting folder, always at the same place, and writes there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

OLD_MODEL = Path(__file__).parents[1] / "fixtures" / "old_models" / "6237412" / "global-to-local-2d"
FEW = ["validations=2", "checkpoint_every=10", "precision=32-true", "mirror=false"]
TINY = {
    "global-to-local": [
        "global_stem=4", "global_blocks=[1,1,1,1]", "global_channels=[4,4,4,8]", "global_head=8", "global_steps=20",
        "global_batch=1", "local_channels=[[4],[4]]", "local_head=4", "local_steps=20", "local_batch=1",
    ],
    "two-stage": [
        "channels=[[4],[6],[8]]", "head_channels=[8]", "joint_rank=2", "stage1_batch=1", "stage1_steps=20",
        "frozen_steps=10", "stage2_steps=20", "stage2_batch=1",
    ],
    "unet-votes": ["channels=[4,6,8]", "global_head=8", "local_head=8", "batch=1", "steps=30"],
    "heatmap": ["channels=[4,6,8]", "batch=1", "steps=30"],
    "atlas": ["max_voxels=1000", "atlases=2", "nearest=1", "registration=affine"],
}  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """A command with its `arguments`, in which {data} and {at} stand for the inputs and for the folder it starts in.

    `start` makes that folder, besides what is in `inputs`. Of the folder afterwards, `ignored` are the names of files
    that tell times; the others are to be equal byte for byte.
    """

    name: str
    arguments: tuple[str, ...]
    start: Callable[[Path, Path], None] = lambda inputs, at: None
    ignored: tuple[str, ...] = ()
    call: Callable[[list[str]], int] = lambda arguments: _command(arguments)
    once: str = ""  # what the command says when it finds that it has ended already

    @property
    def needs_model(self) -> bool:
        """Whether it takes what `make_model` makes."""
        made = ("{data}/run", "{data}/found")
        return self.start is _start_calibrate or any(text in made for text in self.arguments)

    def ended_before(self, said: str) -> bool:
        """Whether it says that what it makes is there."""
        return bool(self.once) and self.once in said

    def command(self, inputs: Path, at: Path) -> list[str]:
        return [text.replace("{data}", str(inputs)).replace("{at}", str(at)) for text in self.arguments]


def make_inputs(inputs: Path) -> None:
    """A phantom set, a model, predictions of it, and images for a cohort, in the new folder `inputs`."""
    from anatomark.data.description import load_dataset
    from anatomark.data.phantoms import make_phantoms
    from anatomark.formats.images import read_image, write_image
    from anatomark.formats.landmarks import write_landmarks

    described = make_phantoms(inputs / "set", ndim=2, cases=10, landmarks=3, seed=4, shape=(32, 40), absent=False)
    for case in load_dataset(described).cases[:4]:
        write_image(case.read_image(), inputs / "bodies" / f"{case.id}.mha")
        write_landmarks(case.reference, inputs / "points" / f"{case.id}.mrk.json")
    shutil.copytree(OLD_MODEL, inputs / "model")
    image = read_image(OLD_MODEL.parents[1] / "image_2d.mha")
    for number in range(4):
        write_image(image, inputs / "pictures" / f"x{number}.mha")


def make_model(inputs: Path, run: Callable[[list[str]], int]) -> None:
    """Add to `inputs` a model trained on the set, and its predictions."""
    at = str(inputs)
    train = ["train", f"{at}/set/dataset.yaml", "--out", f"{at}/run", *_settings("global-to-local")]
    predict = ["predict", f"{at}/run", f"{at}/set/dataset.yaml", "--out", f"{at}/found", "--device", "cpu"]
    for command in (train, predict):
        if run(command):
            raise RuntimeError(f"{command[0]} did not succeed")


def _settings(method: str) -> list[str]:
    learned = ("augmentation=none", *FEW) if method != "atlas" else ()
    values = [word for setting in (*learned, *TINY[method]) for word in ("--set", setting)]
    return ["--method", method, "--device", "cpu", *values]


def _train(method: str, *more: str) -> tuple[str, ...]:
    return ("train", "{data}/set/dataset.yaml", "--out", "{at}/run", *_settings(method), *more)


def _start_init(inputs: Path, at: Path) -> None:
    shutil.copytree(inputs / "set", at / "set")
    (at / "set" / "dataset.yaml").unlink()


def _start_calibrate(inputs: Path, at: Path) -> None:
    shutil.copytree(inputs / "run", at / "run")


def _cohort(arguments: list[str]) -> int:
    """The command in one process: its workers, which write nothing but pictures, would load PyTorch anew each time."""
    from anatomark.cli.interrupts import GOES_ON, exit_code
    from anatomark.cohort.collect import collect_cohort
    from anatomark.cohort.run import predict_cohort
    from anatomark.errors import AnatomarkError

    model, images, out = arguments
    try:
        predict_cohort(model, images, out=out, workers=0, chunk=1, overlays=True, device="cpu")
        collect_cohort(out, table="csv")
    except AnatomarkError as error:
        print(f"error: {error}")
        return 2
    except KeyboardInterrupt as stop:  # as the command says it
        print(f"interrupted; {GOES_ON['cohort']}")
        return exit_code(stop)
    return 0


def _command(arguments: list[str]) -> int:
    from anatomark.cli.interrupts import listen
    from anatomark.cli.main import run

    listen()
    return run(arguments)


TRAINED = ("log.jsonl", "events.out.tfevents.*")
SCENARIOS = {
    known.name: known
    for known in (
        Scenario("init", ("init", "{at}/set"), _start_init, once="exists already"),
        *(Scenario(f"train {method}", _train(method), ignored=TRAINED) for method in TINY),
        Scenario("train --folds", _train("unet-votes", "--folds", "2"), ignored=TRAINED),
        Scenario(
            "predict",
            ("predict", "{data}/model", "{data}/pictures", "--out", "{at}/found", "--format", "mrk.json", "--format",
             "fcsv", "--device", "cpu"),
        ),
        Scenario(
            "cohort",
            ("{data}/model", "{data}/pictures", "{at}/found"),
            call=_cohort,
        ),
        Scenario("calibrate", ("calibrate", "{at}/run", "{data}/set/dataset.yaml"), _start_calibrate),
        Scenario(
            "calibrate --out",
            ("calibrate", "{data}/run", "{data}/set/dataset.yaml", "--split", "test", "--out", "{at}/own", "--device",
             "cpu"),
            once="exists and is not an empty folder",
        ),
        Scenario(
            "evaluate",
            ("evaluate", "{data}/set/dataset.yaml", "--predictions", "{data}/found", "--out", "{at}/scores",
             "--samples", "0"),
        ),
        Scenario(
            "transfer",
            ("transfer", "{data}/bodies/case_000.mha", "{data}/points/case_000.mrk.json", "{data}/bodies/case_001.mha",
             "{data}/bodies/case_002.mha", "--out", "{at}/moved", "--format", "mrk.json", "--backend", "simpleitk"),
        ),
        Scenario(
            "convert",
            ("convert", "{data}/points", "{at}/points/", "--format", "fcsv", "--image", "{data}/bodies"),
        ),
        Scenario("synthesize", ("synthesize", "{data}/set/dataset.yaml", "--out", "{at}/made", "--copies", "1")),
    )
}  # fmt: skip


def contents(at: Path, ignored: tuple[str, ...]) -> dict[str, bytes]:
    """{name: content} of all files below `at`, with folders; of those ignored, only that they are there.

    A picture of validation cases may be missing, for a full disk ends no training.
    """
    found: dict[str, bytes] = {}
    for path in sorted(path for path in at.rglob("*") if not path.match("validation_*.jpg")):
        name = path.relative_to(at).as_posix()
        if any(path.match(pattern) for pattern in ignored):
            found[f"{path.parent.relative_to(at).as_posix()}/{_kind(path)}"] = _log(path)
        else:
            found[name] = b"a folder" if path.is_dir() else path.read_bytes()
    return found


def _kind(path: Path) -> str:
    return "curves" if "tfevents" in path.name else path.name


def _log(path: Path) -> bytes:
    """The lines of a log without their times; of other files, nothing."""
    if path.suffix != ".jsonl":
        return b""
    timed = ("seconds", "core_seconds", "patches_per_second", "validation_seconds", "picture_seconds")
    text = path.read_text()
    if text and not text.endswith("\n"):
        return b"cut " + text.encode()  # a disk that failed, before the command is run again
    lines = [json.loads(line) for line in text.splitlines()]
    return json.dumps([{name: each for name, each in line.items() if name not in timed} for line in lines]).encode()
