"""One small prediction of each benchmark of prediction, measured in this process."""

import pytest

from benchmarks.measure import one_prediction
from benchmarks.prediction import FULL, spec_of


@pytest.mark.parametrize("contender", ["two-stage", "global-to-local", "heatmap", FULL])
def test_a_prediction_is_measured_in_its_parts(contender: str) -> None:
    told = one_prediction(spec_of(contender, (64, 48), 1.0, 3, "32-true") | {"device": "cpu", "repeats": 2})
    assert len(told["all_seconds"]) == 2
    assert told["seconds"] > 0
    assert told["operations"] > 1e6
    assert list(told["whole"]) == ["read", "prepare", "network", "write"]
    assert all(seconds > 0 for seconds in told["whole"].values())


def test_full_resolution_is_more_work() -> None:
    half, full = (
        one_prediction(spec_of(name, (64, 48), 1.0, 3, "32-true") | {"device": "cpu", "repeats": 1})["operations"]
        for name in ("heatmap", FULL)
    )
    assert full > 2 * half
