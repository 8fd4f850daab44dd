"""Shapes in signatures are checked while tests run: a wrong one is caught at the call, not somewhere after it."""

import pytest
import torch
from jaxtyping import TypeCheckError

from anatomark import votes


def test_a_wrong_shape_is_caught_at_the_call() -> None:
    votes.weighted_mean(torch.zeros(1, 2, 3, 5), torch.ones(1, 2, 5))
    with pytest.raises(TypeCheckError):
        votes.weighted_mean(torch.zeros(1, 2, 3, 5), torch.ones(1, 2, 4))
