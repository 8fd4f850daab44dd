"""Gradients of kernels that are longer than the volume, in bfloat16 on a CPU: right also where PyTorch's are not."""

import pytest
import torch
from torch import nn

from anatomark.nets.cpu import Conv3d, convolve, with_right_gradients
from anatomark.nets.layers import conv


def of_module(x, weight, padding):
    layer = conv(3)(16, 16, weight.shape[2], padding=padding, bias=False)
    layer.weight = weight
    return layer(x)


def of_function(x, weight, padding):
    return convolve(x, weight, None, padding=padding)


@pytest.mark.parametrize("convolution", [of_module, of_function])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("shape", [(1, 6, 6), (2, 6, 6), (6, 2, 6), (2, 2, 2), (4, 6, 6), (6, 6, 6)])
def test_kernels_have_the_gradient_of_float32(convolution, kernel, shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 16, *shape, generator=generator)
    weight = nn.Parameter(torch.randn(16, 16, *(kernel,) * 3, generator=generator))

    def gradient(bfloat16):
        weight.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            y = convolution(x, weight, kernel // 2)
        (y.float() ** 2).sum().backward()
        return weight.grad.clone()

    exact = gradient(False)
    assert (gradient(True) - exact).norm() < 0.02 * exact.norm()


def test_only_short_volumes_in_training_are_in_float32():
    layer = conv(3)(2, 2, 3, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.zeros(1, 2, 2, 6, 6)).dtype == torch.float32
        assert layer(torch.zeros(1, 2, 3, 6, 6)).dtype == torch.bfloat16
        with torch.no_grad():
            assert layer(torch.zeros(1, 2, 2, 6, 6)).dtype == torch.bfloat16


def test_networks_of_other_libraries_become_right():
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), nn.Conv3d(2, 2, 1))
    before = network.state_dict()
    assert with_right_gradients(network) is network
    assert [type(layer) for layer in network] == [Conv3d, nn.ReLU, Conv3d]
    assert network.state_dict().keys() == before.keys()


def test_the_heatmap_network_is_right_at_every_level():
    pytest.importorskip("monai")
    from anatomark.methods.heatmap.network import HeatmapNet

    strides = [(1, 1, 1), (2, 2, 2), (2, 2, 2)]
    network = HeatmapNet(3, 2, channels=[4, 8, 8], strides=strides, prior=-2.0, per_tile=2)
    found = [type(module) for module in network.modules() if isinstance(module, nn.Conv3d)]
    assert len(found) > 8
    assert set(found) == {Conv3d}
