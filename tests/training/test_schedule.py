"""The learning rate over a stage."""

import numpy as np
import pytest

from anatomark.training.schedule import WARM_UP_STEPS, rate_factor


def test_constant() -> None:
    assert {rate_factor("constant", step, 1000) for step in (0, 1, 500, 999)} == {1.0}


def test_cosine_warms_up_and_falls_to_nothing() -> None:
    steps = 2000
    rates = np.array([rate_factor("cosine", step, steps) for step in range(steps)])
    assert rates[0] == pytest.approx(1 / WARM_UP_STEPS, rel=1e-3)
    assert (np.diff(rates[:WARM_UP_STEPS]) > 0).all()
    assert (np.diff(rates[WARM_UP_STEPS:]) < 0).all()
    assert rates.max() == pytest.approx(1, abs=5e-3)
    assert rates[steps // 2] == pytest.approx(0.5)
    assert 0 < rates[-1] < 1e-5


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 20])
def test_cosine_of_a_few_steps(steps: int) -> None:
    rates = [rate_factor("cosine", step, steps) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    assert max(rates) > 0.5


def test_warm_restarts_at_10k_30k_and_70k() -> None:
    def rate(step: int) -> float:
        return rate_factor("warm-restarts", step, 310_000)

    for start, length in ((0, 10_000), (10_000, 20_000), (30_000, 40_000), (70_000, 80_000), (150_000, 160_000)):
        assert rate(start) == 1.0
        assert rate(start + length // 4) == pytest.approx(0.5 + 0.5 * np.cos(np.pi / 4))
        assert rate(start + length // 2) == pytest.approx(0.5)
        assert 0 < rate(start + length - 1) < 1e-7
    falling = [rate(step) for step in range(30_000, 70_000, 500)]
    assert falling == sorted(falling, reverse=True)
