from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from anatomark.nets.cpu import avg_pool2, channels_last, convolve
from anatomark.nets.grouped import GroupedConv
from anatomark.nets.layers import Chain, batch_norm, conv
from anatomark.nets.residual import ResidualNet


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (4, 6, 8), (5, 6, 7), (1, 4, 4)])
def test_halving_is_average_pooling(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    expected = (F.avg_pool2d if len(size) == 2 else F.avg_pool3d)(x, 2) if min(size) > 1 else x.new_zeros(2, 3, 0, 2, 2)
    torch.testing.assert_close(avg_pool2(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(avg_pool2(channels_last(x)), expected)
    if min(size) > 1:
        weight = torch.randn_like(expected)
        slopes = [torch.autograd.grad((made * weight).sum(), x)[0] for made in (avg_pool2(x), expected)]
        torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("where", [{"padding": 1}, {"stride": 2, "padding": 1}, {"dilation": 2}, {"groups": 4}])
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_convolution_for_prediction_is_the_same(ndim: int, where: dict[str, int], autocast: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 8, *(9, 8, 7)[:ndim])
    weight, bias = torch.randn(12, 8 // where.get("groups", 1), *(3,) * ndim), torch.randn(12)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = convolve(x, weight, bias, **where)
        expected = (F.conv2d if ndim == 2 else F.conv3d)(x, weight, bias, **where)  # pyright: ignore[reportArgumentType]
    assert found.dtype == expected.dtype == (torch.bfloat16 if autocast else torch.float32)
    loose = {"rtol": 0.02, "atol": 0.2} if autocast else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(found, expected, **loose)


def learned_norms(network: nn.Module) -> None:
    """Give normalisations something to do."""
    for layer in network.modules():
        if isinstance(layer, (nn.BatchNorm2d, nn.BatchNorm3d)):
            for values in (layer.running_mean, layer.weight.data, layer.bias.data):
                assert values is not None
                nn.init.normal_(values)
            assert layer.running_var is not None
            nn.init.uniform_(layer.running_var, 0.5, 2.0)


@pytest.mark.parametrize("ndim", [2, 3])
def test_folded_normalisation_changes_nothing(ndim: int) -> None:
    torch.manual_seed(0)
    layers = (batch_norm(ndim)(1), conv(ndim)(1, 4, 3, padding=1), batch_norm(ndim)(4), nn.ReLU(), conv(ndim)(4, 2, 1))
    chain = Chain(*layers)
    learned_norms(chain)
    chain.eval()
    x = torch.randn(1, 1, *(6, 5, 4)[:ndim])
    with torch.inference_mode():
        torch.testing.assert_close(chain(x), nn.Sequential(*layers)(x), rtol=1e-4, atol=1e-5)


def test_folding_keeps_what_a_residual_network_says() -> None:
    torch.manual_seed(0)
    net = ResidualNet(3, 2, channels=(8, 8, 16, 16), blocks=(1, 2, 1, 1), head=8)
    learned_norms(net)
    net.eval()
    x = torch.randn(1, 1, 24, 16, 32)
    with torch.inference_mode():
        folded = net(x)
        for layer in net.modules():
            if isinstance(layer, Chain):
                layer.__class__ = nn.Sequential
        plain = net(x)
    for a, b in zip(folded, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))


@pytest.mark.parametrize("ndim", [2, 3])
def test_grouped_convolutions_fold_their_normalisation(ndim: int) -> None:
    torch.manual_seed(0)
    layer = GroupedConv(ndim, 3, 2, 4, 3, norm=True, relu=False)
    for values in (layer.scale.data, layer.bias.data, layer.mean):
        nn.init.normal_(values)
    nn.init.uniform_(layer.variance, 0.5, 2.0)
    layer.eval()
    x = torch.randn(1, 4, *(6, 5, 4)[:ndim])
    with torch.inference_mode():
        made = (F.conv2d if ndim == 2 else F.conv3d)(x, layer.weight[4:], padding=1, groups=2)
        expected = F.batch_norm(made, layer.mean[4:], layer.variance[4:], layer.scale[4:], layer.bias[4:])
        torch.testing.assert_close(layer(x, 1, 3), expected, rtol=1e-4, atol=1e-4)


def test_folding_follows_the_weights_at_each_change_to_evaluation_and_is_in_no_file() -> None:
    torch.manual_seed(0)
    layer = GroupedConv(2, 1, 1, 2, 3, norm=True, relu=False).eval()
    x = torch.randn(1, 1, 6, 5)
    with torch.inference_mode():
        before = layer(x, 0, 1)
    assert not [name for name in layer.state_dict() if "folded" in name]
    layer.load_state_dict({name: tensor + 0.5 for name, tensor in layer.state_dict().items()})
    layer.eval()
    with torch.inference_mode():
        made = F.conv2d(x, layer.weight, padding=1)
        expected = F.batch_norm(made, layer.mean, layer.variance, layer.scale, layer.bias)
        torch.testing.assert_close(layer(x, 0, 1), expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(before, expected)
