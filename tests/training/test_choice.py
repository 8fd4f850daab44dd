"""Which weights a stage keeps: those that validate best, where enough cases validate to tell."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anatomark.core.grid import Floats, Grid
from anatomark.core.landmarks import State
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import WorkingImage
from anatomark.methods.global_to_local.method import GlobalToLocal
from anatomark.methods.global_to_local.settings import GlobalToLocalSettings
from anatomark.methods.global_to_local.stages import GlobalToLocalStages
from anatomark.methods.interface import DataFacts
from anatomark.training.log import RunLog
from anatomark.training.loop import MIN_VALIDATION_CASES, RunContext, StageLoop
from anatomark.training.processes import ALONE
from anatomark.training.run import progress_bar
from anatomark.training.run_folder import RunFolder


class Scripted:
    """Stages whose validations come out as scripted, and that remember the weights which were validated."""

    def __init__(self, staged: GlobalToLocalStages, scores: list[float]) -> None:
        self._staged, self._scores = staged, scores
        self.seen: list[torch.Tensor] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._staged, name)

    def errors(self, stage: str, networks: Any, cases: Any, device: Any) -> Floats:
        self.seen.append(next(networks[stage].parameters()).detach().clone())
        return np.full((len(cases), 2), self._scores[len(self.seen) - 1])


def case(grid: Grid, role: str, seed: int) -> CachedCase:
    rng = np.random.default_rng(seed)
    array = rng.random(grid.shape).astype(np.float16)
    points = grid.index_to_world(rng.uniform(0, 1, (2, grid.ndim)) * (np.array(grid.shape) - 1))
    image = WorkingImage(array, grid, array, grid, (0.0, 1.0))
    return CachedCase(f"{role} {seed}", f"{seed}", role, image, points, np.full(2, State.PRESENT, dtype=np.uint8))


@pytest.mark.parametrize(
    ("cases", "kept", "validated"), [(1, 3, 4), (MIN_VALIDATION_CASES - 1, 3, 4), (MIN_VALIDATION_CASES, 1, 3)]
)
def test_few_cases_do_not_choose(tiny: dict[str, Any], tmp_path: Path, cases: int, kept: int, validated: int) -> None:
    grid = Grid.from_geometry((24, 20), spacing=(2.0, 2.0))
    asked = {**tiny, "spacing": [2.0, 2.0], "global_steps": 4, "validations": 4, "patience": 1, "ema": 0.5}
    plan = GlobalToLocal.plan(GlobalToLocalSettings(**asked), DataFacts((grid,), 2, False, 1e9))
    roles = ["train", "train", *["validation"] * cases]
    cache = Cache(("a", "b"), (), tuple(case(grid, role, k) for k, role in enumerate(roles)), in_memory=True)
    staged: Any = Scripted(GlobalToLocalStages(plan), [3.0, 1.0, 2.0, 2.5])
    run = RunFolder(tmp_path)
    context = RunContext(ALONE.fabric("cpu", "32-true"), run, RunLog(run.log, lambda *_: None), progress_bar(False))
    network, error = StageLoop(context, staged, "global", {}, cache).run()
    assert len(staged.seen) == validated, "with enough cases, patience has ended it"
    assert error == [3.0, 1.0, 2.0, 2.5][kept]
    assert torch.equal(next(network.parameters()), staged.seen[kept])
