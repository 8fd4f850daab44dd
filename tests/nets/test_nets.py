import pytest
import torch

from anatomark.nets.grouped import GroupedNet
from anatomark.nets.residual import ResidualNet


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
