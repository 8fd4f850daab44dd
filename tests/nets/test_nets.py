import pytest
import torch

from anatomark.nets.grouped import GroupedNet
from anatomark.nets.residual import ResidualNet
from anatomark.nets.shared import SharedNet


@pytest.mark.parametrize(("ndim", "size"), [(2, (32, 48)), (3, (16, 24, 8))])
def test_the_global_network_answers_on_the_strided_grid(ndim: int, size: tuple[int, ...]) -> None:
    net = ResidualNet(ndim, 5, channels=(8, 8, 16, 16), blocks=(1, 1, 1, 1), head=8, prior=0.01).eval()
    assert net.stride == 8
    logits, displacement = net(torch.zeros(2, 1, *size))
    grid = tuple(n // 8 for n in size)
    assert logits.shape == (2, 5, *grid)
    assert displacement.shape == (2, 5, ndim, *grid)
    assert abs(logits.sigmoid().mean().item() - 0.01) < 0.005


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("norm", [True, False])
def test_grouped_networks_do_not_see_each_other(ndim: int, norm: bool) -> None:
    torch.manual_seed(0)
    net = GroupedNet(ndim, 4, channels=((4, 4), (6,)), head=5, norm=norm).eval()
    windows = torch.randn(2, 4, *(8,) * ndim)
    logits, displacement = net(windows)
    assert logits.shape == (2, 4, *(4,) * ndim)
    assert displacement.shape == (2, 4, ndim, *(4,) * ndim)
    changed = windows.clone()
    changed[:, 2] += 1
    again, moved = net(changed)
    same = [0, 1, 3]
    torch.testing.assert_close(again[:, same], logits[:, same])
    torch.testing.assert_close(moved[:, same], displacement[:, same])
    assert not torch.allclose(again[:, 2], logits[:, 2])


def test_a_part_of_the_grouped_networks_gives_what_all_give() -> None:
    torch.manual_seed(0)
    net = GroupedNet(2, 5, channels=((4, 4), (6,)), head=5).eval()
    windows = torch.randn(3, 5, 8, 8)
    logits, displacement = net(windows)
    part_logits, part_displacement = net(windows[:, 1:4], 1)
    torch.testing.assert_close(part_logits, logits[:, 1:4])
    torch.testing.assert_close(part_displacement, displacement[:, 1:4])


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_shared_network_answers_for_each_landmark_alone_and_for_any_part(ndim: int) -> None:
    torch.manual_seed(0)
    net = SharedNet(ndim, 5, channels=((4, 4), (6,)), head=7, prior=0.01).eval()
    windows = torch.randn(2, 5, *(8,) * ndim)
    logits, displacement = net(windows)
    assert logits.shape == (2, 5, *(4,) * ndim)
    assert displacement.shape == (2, 5, ndim, *(4,) * ndim)
    assert abs(logits.sigmoid().mean().item() - 0.01) < 0.005
    which = torch.tensor([4, 1])
    part_logits, part_displacement = net(windows[:, which], which)
    torch.testing.assert_close(part_logits, logits[:, which])
    torch.testing.assert_close(part_displacement, displacement[:, which])


def test_a_shared_network_tells_landmarks_apart_and_all_windows_teach_it() -> None:
    torch.manual_seed(0)
    net = SharedNet(2, 3, channels=((4,), (6,)), head=7)
    window = torch.randn(1, 1, 8, 8)
    first, second = (net(window, torch.tensor([k]))[1] for k in (0, 2))
    assert not torch.allclose(first, second)
    net(window, torch.tensor([1]))[0].sum().backward()
    weight = next(net.levels.parameters()).grad
    assert weight is not None
    assert weight.abs().sum() > 0
    assert net.last.grad is not None
    assert net.last.grad[[0, 2]].abs().sum() == 0
