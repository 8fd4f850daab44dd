import pytest
import torch

from anatomark import State, votes
from anatomark.methods.vote_loss import vote_loss

PRESENT, ABSENT, UNKNOWN = State.PRESENT, State.ABSENT, State.NOT_ANNOTATED


def perfect_answer(points: torch.Tensor, grid: tuple[int, ...], stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Network outputs that are right for `points` (B, N, d): sure logits and exact displacements."""
    d = points.shape[-1]
    centers = votes.patch_centers(grid, (stride,) * d)
    encoded = votes.encode(points.view(*points.shape, *(1,) * d) - centers)
    logits = torch.full((*points.shape[:2], *grid), -20.0)
    cell = votes.patch_index(points, (stride,) * d)
    for b in range(len(points)):
        for n in range(points.shape[1]):
            if all(0 <= c < g for c, g in zip(cell[b, n].tolist(), grid, strict=True)):
                logits[(b, n, *cell[b, n].tolist())] = 20.0
    return logits, encoded


def loss(logits: torch.Tensor, encoded: torch.Tensor, points: torch.Tensor, states: list[list[int]], stride: int):
    return vote_loss(
        logits,
        encoded,
        points,
        torch.tensor(states, dtype=torch.uint8),
        stride=(stride,) * points.shape[-1],
        class_weight=1.0,
        coordinate_weight=1.0,
    )


@pytest.mark.parametrize("grid", [(3, 7), (2, 5, 3)])
def test_a_perfect_answer_costs_nothing_on_grids_with_unequal_sides(grid: tuple[int, ...]) -> None:
    stride = 4
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(2, 5, len(grid), generator=generator) * (torch.tensor(grid) * stride - 1)
    logits, encoded = perfect_answer(points, grid, stride)
    terms = loss(logits, encoded, points, [[PRESENT] * 5] * 2, stride)
    assert all(float(term.detach()) < 1e-4 for term in terms.values()), terms


def test_transposed_targets_would_be_noticed() -> None:
    points = torch.tensor([[[1.0, 25.0]]])
    logits, encoded = perfect_answer(points.flip(-1), (3, 7), 4)  # (x, y) taken for (row, column)
    terms = loss(logits, encoded, points, [[PRESENT]], 4)
    assert float(terms["class"]) > 0.5
    assert float(terms["displacement"]) > 0.5


@pytest.mark.parametrize("point", [[-1.0, 5.0], [-0.51, 5.0], [5.0, 27.6], [12.0, 5.0]])
def test_a_landmark_outside_the_crop_is_in_no_border_cell(point: list[float]) -> None:
    points = torch.tensor([[point]])
    logits = torch.full((1, 1, 3, 7), -20.0)
    _, encoded = perfect_answer(points, (3, 7), 4)
    terms = loss(logits, encoded, points, [[PRESENT]], 4)
    assert float(terms["class"]) < 1e-4
    assert float(terms["displacement"]) < 1e-4  # its direction is still taught
    assert float(terms["coordinate"]) == 0.0


def test_border_cells_reach_to_the_border_of_their_elements() -> None:
    points = torch.tensor([[[-0.49, 27.49]]])
    logits, encoded = perfect_answer(points, (3, 7), 4)
    assert logits[0, 0, 0, 6] == 20.0
    assert float(loss(logits, encoded, points, [[PRESENT]], 4)["class"]) < 1e-4


def test_not_annotated_landmarks_change_nothing_and_absent_ones_teach_the_classifier_only() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 3, 3, 7, generator=generator, requires_grad=True)
    encoded = torch.randn(1, 3, 2, 3, 7, generator=generator, requires_grad=True)
    nowhere = float("nan")
    points = torch.tensor([[[4.0, 9.0], [nowhere, nowhere], [nowhere, nowhere]]])
    total = sum(loss(logits, encoded, points, [[PRESENT, UNKNOWN, ABSENT]], 4).values())
    assert torch.isfinite(total)
    total.backward()
    assert logits.grad is not None
    assert encoded.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert torch.isfinite(encoded.grad).all()
    assert (logits.grad[0, 1] == 0).all()
    assert (logits.grad[0, 2] > 0).all()  # pushed down everywhere
    assert (logits.grad[0, 0] != 0).all()
    assert (encoded.grad[0, 1:] == 0).all()
    assert (encoded.grad[0, 0] != 0).any()


def test_a_case_without_any_annotation_gives_a_loss_of_zero() -> None:
    logits, encoded = (
        torch.zeros(1, 2, 3, 7, requires_grad=True),
        torch.zeros(1, 2, 2, 3, 7, requires_grad=True),
    )
    terms = loss(logits, encoded, torch.full((1, 2, 2), float("nan")), [[UNKNOWN, UNKNOWN]], 4)
    total = sum(terms.values())
    assert float(total.detach()) == 0.0
    total.backward()
