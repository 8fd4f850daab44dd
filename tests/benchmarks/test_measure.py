"""One small prediction of each benchmark of prediction, measured in this process."""

import pytest
import torch

from benchmarks.measure import one_prediction, operations
from benchmarks.prediction import FULL, spec_of, too_much


@pytest.mark.parametrize("contender", ["two-stage", "global-to-local", "heatmap"])
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


def test_who_failed_with_few_landmarks_is_not_tried_with_many() -> None:
    rows = [
        {"input": "brain", "method": FULL, "landmarks": 32, "seconds": 1.0},
        {"input": "brain", "method": FULL, "landmarks": 255, "failed": "more than 16 GiB"},
    ]
    told = too_much("brain", 1200, FULL, rows)
    assert told is not None
    assert "255" in told["failed"]
    assert "16 GiB" in told["failed"]
    assert too_much("brain", 32, FULL, rows) is None
    assert too_much("brain", 1200, "two-stage", rows) is None
    assert too_much("X-ray", 1200, FULL, rows) is None


@pytest.mark.parametrize("groups", [1, 2])
def test_operations_of_either_convolution_count(groups: int) -> None:
    x, weight = torch.rand(1, 4, 6, 7, 8), torch.rand(6, 4 // groups, 3, 3, 3)
    expected = 2 * weight.numel() * 4 * 5 * 6
    with torch.inference_mode():
        named = operations(lambda: torch.mkldnn_convolution(x, weight, None, [0] * 3, [1] * 3, [1] * 3, groups))
        general = operations(lambda: torch.nn.functional.conv3d(x, weight, groups=groups))
    assert named == general == expected
