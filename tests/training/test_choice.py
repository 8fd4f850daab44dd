"""Which weights a stage keeps: those that validate best, where enough cases validate to tell."""

from pathlib import Path
from typing import Any

import pytest
import torch

from anatomark.core.grid import Grid
from anatomark.methods.global_to_local.method import GlobalToLocal
from anatomark.methods.interface import DataFacts
from anatomark.training.loop import CHOOSERS, train_stage
from anatomark.training.made_up import made_up_cache, made_up_case
from anatomark.training.run_folder import RunFolder
from anatomark.training.train import fabric_of, progress_bar, resolve_settings


class Told:
    """A method that says of its validations what it is told to, and remembers the weights that it was asked about."""

    def __init__(self, method: Any, scores: list[float]) -> None:
        self._method, self._scores = method, scores
        self.seen: list[torch.Tensor] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method, name)

    def validate(self, stage: str, cases: Any, device: Any) -> float:
        self.seen.append(next(self._method.networks[stage].parameters()).detach().clone())
        return self._scores[len(self.seen) - 1]


@pytest.mark.parametrize(("cases", "kept", "validated"), [(1, 3, 4), (CHOOSERS - 1, 3, 4), (CHOOSERS, 1, 3)])
def test_few_cases_do_not_choose(tiny: dict[str, Any], tmp_path: Path, cases: int, kept: int, validated: int) -> None:
    grid = Grid.from_geometry((48, 40), spacing=(1.0, 1.0))
    asked = {**tiny, "spacing": [2.0, 2.0], "global_steps": 4, "validations": 4, "patience": 1, "ema": 0.5}
    chosen = resolve_settings(GlobalToLocal, 2, None, asked)
    planned = GlobalToLocal.plan(chosen, DataFacts((grid,), 2, False, 1e9), on_gpu=False)
    roles = ["train", "train", *["validation"] * cases]
    members = [made_up_case(grid, planned, landmarks=2, role=role, seed=k) for k, role in enumerate(roles)]
    cache = made_up_cache(*members)
    method = Told(GlobalToLocal(planned, ndim=2, landmarks=2), [3.0, 1.0, 2.0, 2.5])
    run = RunFolder(tmp_path)
    method.begin("global", cache, torch.device("cpu"))
    train_stage(fabric_of("cpu", "32-true"), method, "global", cache, run, progress_bar(False), lambda *_: None)  # type: ignore[arg-type]
    assert len(method.seen) == validated, "with enough cases, patience has ended it"
    assert torch.equal(next(method.networks["global"].parameters()), method.seen[kept])
