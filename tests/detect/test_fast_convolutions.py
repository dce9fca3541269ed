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


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator)


def convolution_of(inputs, outputs, side, bias=True):
    """With weights of which every output has about the size of its inputs."""
    conv = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=bias)
    conv.weight.data = drawn(outputs, inputs, side, side) / (inputs * side**2) ** 0.5
    if bias:
        conv.bias.data = drawn(outputs, seed=1)
    return conv.eval().requires_grad_(False)


def exactly(conv, x):
    """The reference: what the definition says, in float64."""
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
    conv = convolution_of(*channels, 3, bias)
    x = drawn(pictures, channels[0], height, width)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    expected = exactly(conv, x)
    found = WinogradConv2d(conv)(x)
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    torch.testing.assert_close(found.double(), expected, atol=5e-5, rtol=0)


@pytest.mark.parametrize("size", [(3, 37, 41), (1, 130, 70)])
def test_winograd_in_many_strips(size, monkeypatch):
    pictures, height, width = size
    conv, x = convolution_of(4, 6, 3), drawn(pictures, 4, height, width)
    monkeypatch.setattr(convolution, "TILES", 20)  # several pictures a strip, strips a picture
    torch.testing.assert_close(
        WinogradConv2d(conv)(x).double(), exactly(conv, x), atol=5e-5, rtol=0
    )


def test_winograd_as_exact_as_the_widest_layers_need():
    conv, x = convolution_of(512, 512, 3), drawn(1, 512, 26, 34)
    found = WinogradConv2d(conv)(x)
    assert (found - exactly(conv, x)).abs().max() <= 1e-5 * found.abs().max()


def test_what_a_picture_gives_depends_neither_on_threads_nor_on_other_pictures():
    """So one process of two threads and two of one thread write the same bytes."""
    layers = [WinogradConv2d(convolution_of(256, 256, 3)), OneDnnConv2d(convolution_of(64, 256, 1))]
    before = torch.get_num_threads()
    try:
        for layer, channels in zip(layers, (256, 64), strict=True):
            x = drawn(2, channels, 50, 68).contiguous(memory_format=torch.channels_last)
            torch.set_num_threads(2)
            found = layer(x)
            torch.set_num_threads(1)
            assert torch.equal(layer(x), found)
            assert torch.equal(layer(x[1:]), found[1:])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("bias", [True, False])
def test_onednn_gives_what_the_definition_gives(bias):
    conv, x = convolution_of(12, 20, 1, bias), drawn(2, 12, 9, 17)
    torch.testing.assert_close(OneDnnConv2d(conv)(x).double(), exactly(conv, x), atol=1e-5, rtol=0)


def kinds(network):
    return [type(layer) for layer in network.children()]


def test_only_what_gains_is_replaced_and_nested_layers_too():
    wide, narrow = NARROWEST, NARROWEST // 2
    network = nn.Sequential(
        nn.Conv2d(wide, wide, 3, padding=1),
        nn.Conv2d(wide, narrow, 1),
        nn.Sequential(nn.Conv2d(narrow, wide, 1, bias=False)),
    )
    others = nn.Sequential(
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
    for one in (network, others):
        optimize_convolutions(one)
    assert kinds(network) == [WinogradConv2d, OneDnnConv2d, nn.Sequential]
    assert kinds(network[2]) == [OneDnnConv2d]
    assert set(kinds(others)) == {nn.Conv2d, nn.ConvTranspose2d}


def test_a_quickened_network_computes_what_it_did():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 256, 1), nn.ReLU(), nn.Conv2d(256, 256, 3, padding=1))
    x = drawn(2, 3, 30, 21)
    with torch.inference_mode():
        expected = network(x)
        optimize_convolutions(network)
        torch.testing.assert_close(network(x), expected, atol=2e-5, rtol=0)
