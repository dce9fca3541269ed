import pytest
import torch
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from bgexp.detect import fast_convolutions as convolution
from bgexp.detect.backbone import fold_norms
from bgexp.detect.demo import build_demo_model
from bgexp.detect.dense import DenseNetwork, Pyramid, build_eager_dense
from bgexp.detect.fast_convolutions import WinogradConv2d, optimize_convolutions

CHANNELS = 3, 5, 7, 9


@pytest.mark.parametrize("extra", [None, LastLevelMaxPool()])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_pyramid_gives_what_torchvisions_gives(extra, memory):
    torch.manual_seed(0)
    fpn = FeaturePyramidNetwork(list(CHANNELS), 8, extra_blocks=extra)
    maps = {
        str(n): torch.randn(2, channels, 24 >> n, 40 >> n).contiguous(memory_format=memory)
        for n, channels in enumerate(CHANNELS)
    }
    copies = {name: level.clone() for name, level in maps.items()}
    with torch.inference_mode():
        expected, levels = fpn(dict(maps)), Pyramid(fpn)(maps)
    assert list(levels) == list(expected)
    for name in levels:
        torch.testing.assert_close(levels[name], expected[name])
    assert all(torch.equal(maps[name], copies[name]) for name in maps)


@pytest.mark.parametrize("narrowest", [convolution.NARROWEST, 128])
def test_the_dense_part_is_what_the_model_computes(narrowest, monkeypatch, demo_state):
    """With the shipped weights; with Winograd too, whose convolutions there are narrower."""
    monkeypatch.setattr(convolution, "NARROWEST", narrowest)
    models = build_demo_model(), build_demo_model()
    for model in models:
        model.load_state_dict(demo_state)
        fold_norms(model.eval())
    optimize_convolutions(models[1])
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, outputs = (
            DenseNetwork(models[0])(x),
            build_eager_dense(models[1], torch.float32)(x),
        )
    is_winograd = isinstance(models[1].backbone.fpn._layers[0][0], WinogradConv2d)
    assert is_winograd == (narrowest == 128)
    for levels, expected_levels in zip(outputs, expected, strict=True):
        for level, expected_level in zip(levels, expected_levels, strict=True):
            assert (level - expected_level).abs().max() <= 3e-5 * expected_level.abs().max()
