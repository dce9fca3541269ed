import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from bgexp.detect import fast_convolutions as convolution
from bgexp.detect.fast_convolutions import (
    NARROWEST,
    OneDnnConv2d,
    WinogradConv2d,
    optimize_convolutions,
)


def draw_normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator)


def make_convolution(inputs, outputs, side, bias=True):
    """Make a convolution whose outputs are about as large as its inputs."""
    conv = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=bias)
    conv.weight.data = draw_normal(outputs, inputs, side, side) / (inputs * side**2) ** 0.5
    if bias:
        conv.bias.data = draw_normal(outputs, seed=1)
    return conv.eval().requires_grad_(False)


def convolve_exactly(conv, x):
    """Convolve by the definition, in float64: the reference."""
    bias = None if conv.bias is None else conv.bias.double()
    return functional.conv2d(x.double(), conv.weight.double(), bias, padding=conv.padding)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(0, 40), st.integers(1, 23), st.integers(1, 23)),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    bias=st.booleans(),
    last=st.booleans(),
)
def test_winograd_gives_what_the_definition_gives(shape, channels, bias, last):
    """For sides that no tile divides, no pictures at all, and either order in memory."""
    pictures, height, width = shape
    conv = make_convolution(*channels, 3, bias)
    x = draw_normal(pictures, channels[0], height, width)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    expected = convolve_exactly(conv, x)
    output = WinogradConv2d(conv)(x)
    assert output.dtype == torch.float32
    assert output.shape == expected.shape
    torch.testing.assert_close(output.double(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(3, 37, 41), (1, 130, 70)])
def test_winograd_in_many_strips(size, monkeypatch):
    pictures, height, width = size
    conv, x = make_convolution(4, 6, 3), draw_normal(pictures, 4, height, width)
    monkeypatch.setattr(convolution, "TILES", 20)  # several pictures a strip, strips a picture
    torch.testing.assert_close(
        WinogradConv2d(conv)(x).double(), convolve_exactly(conv, x), atol=5e-5, rtol=0
    )


def test_winograd_as_exact_as_the_widest_layers_need():
    conv, x = make_convolution(512, 512, 3), draw_normal(1, 512, 26, 34)
    output = WinogradConv2d(conv)(x)
    assert (output - convolve_exactly(conv, x)).abs().max() <= 1e-5 * output.abs().max()


def test_what_a_picture_gives_depends_neither_on_threads_nor_on_other_pictures():
    """So one process of two threads and two of one thread write the same bytes."""
    layers = [
        WinogradConv2d(make_convolution(256, 256, 3)),
        OneDnnConv2d(make_convolution(64, 256, 1)),
    ]
    threads = torch.get_num_threads()
    try:
        for layer, channels in zip(layers, (256, 64), strict=True):
            x = draw_normal(2, channels, 50, 68).contiguous(memory_format=torch.channels_last)
            torch.set_num_threads(2)
            output = layer(x)
            torch.set_num_threads(1)
            assert torch.equal(layer(x), output)
            assert torch.equal(layer(x[1:]), output[1:])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("bias", [True, False])
def test_onednn_gives_what_the_definition_gives(bias):
    conv, x = make_convolution(12, 20, 1, bias), draw_normal(2, 12, 9, 17)
    torch.testing.assert_close(
        OneDnnConv2d(conv)(x).double(), convolve_exactly(conv, x), atol=1e-5, rtol=0
    )


def layer_types(network):
    return [type(layer) for layer in network.children()]


def test_only_what_gains_is_replaced_and_nested_layers_too():
    wide, narrow = NARROWEST, NARROWEST // 2
    network = nn.Sequential(
        nn.Conv2d(wide, wide, 3, padding=1),
        nn.Conv2d(wide, narrow, 1),
        nn.Sequential(nn.Conv2d(narrow, wide, 1, bias=False)),
    )
    unsuitable = nn.Sequential(
        nn.Conv2d(wide, wide, 3, padding=1, stride=2),
        nn.Conv2d(wide, wide, 3, padding=1, dilation=2),
        nn.Conv2d(wide, wide, 3, padding=1, groups=2),
        nn.Conv2d(wide, wide, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(wide, wide, 3),
        nn.Conv2d(wide, wide, 3, padding="same"),
        nn.Conv2d(wide, wide, 5, padding=1),
        nn.Conv2d(wide, narrow, 3, padding=1),
        nn.Conv2d(wide, wide, 1, stride=2),
        nn.Conv2d(wide, wide, 1, padding=1),
        nn.ConvTranspose2d(wide, wide, 3, padding=1),
    )
    for layers in (network, unsuitable):
        optimize_convolutions(layers)
    assert layer_types(network) == [WinogradConv2d, OneDnnConv2d, nn.Sequential]
    assert layer_types(network[2]) == [OneDnnConv2d]
    assert set(layer_types(unsuitable)) == {nn.Conv2d, nn.ConvTranspose2d}


def test_a_quickened_network_computes_what_it_did():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 256, 1), nn.ReLU(), nn.Conv2d(256, 256, 3, padding=1))
    x = draw_normal(2, 3, 30, 21)
    with torch.inference_mode():
        expected = network(x)
        optimize_convolutions(network)
        torch.testing.assert_close(network(x), expected, atol=2e-5, rtol=0)
