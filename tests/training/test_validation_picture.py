"""Pictures of validation cases: what is on them, where they go, and that none of them ends or changes a training."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

from anatomark.core.grid import Grid
from anatomark.data.cache import Cache
from anatomark.methods.global_to_local.method import GlobalToLocal
from anatomark.methods.global_to_local.settings import GlobalToLocalSettings
from anatomark.methods.global_to_local.stages import GlobalToLocalStages
from anatomark.methods.interface import DataFacts
from anatomark.picture_sheets import PREDICTED_COLOUR, REFERENCE_COLOUR
from anatomark.training.log import RunLog
from anatomark.training.loop import RunContext, StageLoop
from anatomark.training.processes import ALONE
from anatomark.training.run import progress_bar
from anatomark.training.run_folder import RunFolder
from anatomark.training.validation_picture import case_picture, shown_cases
from tests.test_pictures import centre_of
from tests.training.test_choice import case


def shown_in(folder: Path) -> list[tuple[str, int, bytes]]:
    """(name, step, JPEG) of the pictures in TensorBoard's event files: records of a length, data, and two checksums."""
    found = []
    for file in folder.iterdir():
        data, at = file.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            found += [(v.tag, event.step, v.image.encoded_image_string) for v in event.summary.value if v.image.width]
            at += length + 16
    return found


@pytest.mark.slow
def test_each_validation_has_a_picture_and_the_last_one_is_in_the_run_folder(run: Path) -> None:
    shown = shown_in(run / "tensorboard")
    stages = {name.split("/")[0] for name, _, _ in shown}
    assert stages == {"global", "local"}
    for stage in stages:
        own = [(step, picture) for name, step, picture in shown if name == f"{stage}/validation"]
        assert len(own) == 2, "as many as validations"
        file = run / f"validation_{stage}.jpg"
        assert file.read_bytes() == max(own)[1]
        with Pillow.open(file) as picture:
            assert min(picture.size) > 240


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_reference_and_what_was_found_are_where_they_belong(ndim: int) -> None:
    grid = Grid.from_geometry((30, 40, 36)[:ndim], spacing=(2.0, 1.5, 1.0)[:ndim], origin=(5.0,) * ndim)
    example = case(grid, "validation", 1)
    middle = grid.index_to_world((np.array(grid.shape) - 1) / 2)
    example = type(example)("x", "x", "validation", example.image, np.array([middle, middle]), example.states)
    found = np.array([middle + 0.1 * grid.extent[-1] * np.eye(ndim)[0], np.full(ndim, np.nan)])
    picture = case_picture(example, found, ["a", "b"])
    first = picture.crop((0, 22 * (ndim - 1), 240 if ndim == 3 else picture.width, picture.height))
    x, y = np.subtract(centre_of(first, PREDICTED_COLOUR), centre_of(first, REFERENCE_COLOUR))
    scale = 240 / (0.5 * max(grid.extent)) if ndim == 3 else 640 / max(grid.extent)
    assert (x, y) == pytest.approx((0.1 * grid.extent[-1] * scale, 0), abs=2.5)


def test_a_median_and_the_worst_case_are_shown() -> None:
    errors = np.array([[1.0, np.nan], [9.0, 9.0], [np.nan, np.nan], [2.0, 4.0]])
    assert shown_cases(errors) == [3, 1]
    assert shown_cases(errors[:1]) == [0]
    assert shown_cases(errors[2:3]) == []


class Undrawable:
    """Stages that locate nothing."""

    def __init__(self, staged: GlobalToLocalStages) -> None:
        self._staged = staged

    def __getattr__(self, name: str) -> Any:
        return getattr(self._staged, name)

    def located(self, *given: Any) -> Any:
        raise RuntimeError("this cannot be drawn")


def test_no_picture_ends_or_changes_a_training(tiny: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    grid = Grid.from_geometry((24, 20), spacing=(2.0, 2.0))
    roles = ["train", "train", "validation", "validation"]
    cache = Cache(("a", "b"), (), tuple(case(grid, role, k) for k, role in enumerate(roles)), in_memory=True)

    def weights(name: str, *, wrapped: bool = False, **more: Any) -> dict[str, torch.Tensor]:
        asked = {**tiny, "spacing": [2.0, 2.0], "global_steps": 4, "validations": 4, **more}
        plan = GlobalToLocal.plan(GlobalToLocalSettings(**asked), DataFacts((grid,), 2, False, 1e9))
        staged: Any = Undrawable(GlobalToLocalStages(plan)) if wrapped else GlobalToLocalStages(plan)
        run = RunFolder(tmp_path / name)
        run.path.mkdir()
        log = RunLog(run.log, lambda *_: None)
        context = RunContext(ALONE.fabric("cpu", "32-true"), run, log, progress_bar(False))
        return StageLoop(context, staged, "global", {}, cache).run()[0].state_dict()

    drawn = weights("drawn")
    assert (tmp_path / "drawn" / "validation_global.jpg").is_file()
    for other in (weights("failed", wrapped=True), weights("off", validation_pictures=False)):
        assert all(torch.equal(tensor, other[name]) for name, tensor in drawn.items())
    assert not list(tmp_path.glob("failed/*.jpg")) + list(tmp_path.glob("off/*.jpg"))
    told = capsys.readouterr().out
    assert told.count("this cannot be drawn") == 1, "once a stage"
