"""A loss that is no number any more: back to the last checkpoint with half the learning rate, once, then a line."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from anatomark.core.grid import Grid
from anatomark.data.cache import Cache
from anatomark.errors import ModelError
from anatomark.methods.global_to_local.method import GlobalToLocal
from anatomark.methods.global_to_local.settings import GlobalToLocalSettings
from anatomark.methods.global_to_local.stages import GlobalToLocalStages
from anatomark.methods.interface import DataFacts
from anatomark.nets.weights import load_tensors
from anatomark.training.log import RunLog
from anatomark.training.loop import Progressed, RunContext, StageLoop
from anatomark.training.processes import ALONE
from anatomark.training.run import progress_bar
from anatomark.training.run_folder import RunFolder
from tests.training.test_choice import case


class Spoilt:
    """Stages whose loss is `factor(progress)` times what it would be."""

    def __init__(self, staged: GlobalToLocalStages, factor: Callable[[Progressed], float]) -> None:
        self._staged, self._factor = staged, factor
        self.loop: StageLoop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._staged, name)

    def loss(self, stage: str, network: Any, batch: Any) -> dict[str, torch.Tensor]:
        factor = self._factor(self.loop.state)
        return {name: factor * term for name, term in self._staged.loss(stage, network, batch).items()}


def plan_of(tiny: dict[str, Any], grid: Grid) -> Any:
    asked = {**tiny, "spacing": [2.0, 2.0], "global_steps": 40, "global_batch": 1, "ema": 0.5, "validations": 1}
    return GlobalToLocal.plan(GlobalToLocalSettings(**asked), DataFacts((grid,), 2, False, 1e9))


@pytest.fixture
def made(tiny: dict[str, Any], tmp_path: Path) -> Callable[..., StageLoop]:
    """What makes a loop of 40 steps with a checkpoint every 10, in the run folder of that name."""
    grid = Grid.from_geometry((24, 20), spacing=(2.0, 2.0))
    plan = plan_of(tiny, grid)
    cache = Cache(("a", "b"), (), tuple(case(grid, "train", k) for k in range(3)), in_memory=True)

    def loop(factor: Callable[[Progressed], float], name: str = "run") -> StageLoop:
        run = RunFolder(tmp_path / name)
        run.path.mkdir(exist_ok=True)
        staged: Any = Spoilt(GlobalToLocalStages(plan), factor)
        context = RunContext(ALONE.fabric("cpu", "32-true"), run, RunLog(run.log, lambda *_: None), progress_bar(False))
        staged.loop = StageLoop(context, staged, "global", {}, cache)
        return staged.loop

    return loop


def weights(network: torch.nn.Module) -> list[torch.Tensor]:
    return list(network.state_dict().values())


@pytest.mark.parametrize(
    ("spoilt", "at", "goes_on", "why"),
    [
        (float("nan"), 25, 20, "the loss is nan at step 30"),
        (float("nan"), 39, 30, "the loss is nan at step 40"),
        (float("inf"), 3, 0, "the loss is (nan|inf) at step 10"),
        (1e9, 12, 10, r"the loss is \S+e\+\d+ at step 20"),
    ],
)
def test_it_goes_back_and_on_with_half_the_rate(made, capsys, spoilt, at, goes_on, why) -> None:
    loop = made(lambda state: spoilt if state.step >= at and state.rate == 1 else 1.0)
    network, _ = loop.run()
    assert all(torch.isfinite(tensor).all() for tensor in weights(network))
    assert loop.state.rate == 0.5
    assert loop.learner.optimizer.param_groups[0]["lr"] <= 0.5 * loop.plan.learning_rate
    said = capsys.readouterr().out
    assert re.search(f"global: {why}; again from step {goes_on} with half the learning rate", said)
    lines = loop.run_folder.log.read_text().splitlines()
    assert [line for line in lines if "rate" in line.split('"patches')[0]] == [
        f'{{"stage": "global", "step": {goes_on}, "rate": 0.5}}'
    ]
    assert sum('"step": 40' in line for line in lines) == 1


def test_a_stage_that_diverges_again_ends_with_a_line_and_a_good_checkpoint(made) -> None:
    loop = made(lambda state: float("nan") if state.step >= 25 else 1.0)
    with pytest.raises(ModelError, match=r"global: the loss is nan at step 30, with half .* another --out .*precision"):
        loop.run()
    tensors, about = load_tensors(loop.run_folder.checkpoint)
    assert '"step": 20' in about["state"]
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    again = made(lambda state: float("nan") if state.step >= 25 else 1.0)
    with pytest.raises(ModelError, match="with half the learning rate, too"):
        again.run()


def test_weights_that_are_no_numbers_are_not_kept(made) -> None:
    """Though the losses are: those of the last step are never looked at by another one."""

    def infinite_at_the_end(state: Progressed) -> float:
        if state.step == 39 and state.rate == 1:
            with torch.no_grad():
                next(loop.learner.network.parameters()).fill_(float("inf"))
            return 0.0
        return 1.0

    loop = made(infinite_at_the_end)
    network, _ = loop.run()
    assert loop.state.rate == 0.5
    assert all(torch.isfinite(tensor).all() for tensor in weights(network))


@pytest.mark.parametrize("stopped_at", [15, 27, 33])
def test_stopped_and_resumed_it_is_the_same(made, stopped_at: int) -> None:
    """Before it diverges, on the way to it, and after it has gone back."""

    def factor(state: Progressed) -> float:
        return float("nan") if state.step >= 25 and state.rate == 1 else 1.0

    def stopping(state: Progressed) -> float:
        if state.step == stopped_at and (state.rate < 1 or stopped_at < 30):
            raise KeyboardInterrupt
        return factor(state)

    whole, _ = made(factor, "whole").run()
    with pytest.raises(KeyboardInterrupt):
        made(stopping, "stopped").run()
    resumed, _ = made(factor, "stopped").run()
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))


def test_there_is_no_model_of_weights_that_are_no_numbers(tiny, monkeypatch) -> None:
    plan = plan_of(tiny, Grid.from_geometry((24, 20), spacing=(2.0, 2.0)))
    spoilt = GlobalToLocalStages.untrained(plan.network)
    next(spoilt["global"].parameters()).data.fill_(float("nan"))
    monkeypatch.setattr("anatomark.methods.networks.fit_stages", lambda *_: (GlobalToLocalStages(plan), spoilt))
    trainer: Any = SimpleNamespace(device=torch.device("cpu"))
    cache = Cache(("a", "b"), (), (), in_memory=True)
    with pytest.raises(ModelError, match="global-to-local: the trained weights are not finite; train again"):
        GlobalToLocal.fit(plan, cache, trainer)
