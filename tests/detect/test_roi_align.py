import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from bgexp.detect.roi_align import RoIAlign

CHANNELS, SIDES = 5, (96, 160)


def make_pooler(cells, samples):
    """Make torchvision's pooler, the reference."""
    reference = MultiScaleRoIAlign(["0", "1", "2"], cells, samples)
    reference.scales, reference.map_levels = [1 / 8, 1 / 16, 1 / 32], initLevelMapper(3, 5)
    return reference


def make_features(pictures, seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        str(n): torch.randn(
            pictures, CHANNELS, *(side >> n + 3 for side in SIDES), generator=generator
        )
        for n in range(3)
    }


coordinate = st.floats(-40, 220, width=32)
box = st.tuples(coordinate, coordinate, st.floats(0, 250, width=32), st.floats(0, 250, width=32))


@settings(deadline=None, max_examples=60)
@given(
    boxes=st.lists(st.lists(box, max_size=6), min_size=1, max_size=3),
    cells=st.sampled_from([1, 7]),
    samples=st.sampled_from([1, 2, 3]),
)
def test_it_gives_what_torchvision_gives(boxes, cells, samples):
    """For boxes of no size, outside of the picture, and over several pictures."""
    box_tensors = [
        torch.tensor([[x, y, x + w, y + h] for x, y, w, h in picture_boxes]).reshape(-1, 4)
        for picture_boxes in boxes
    ]
    maps = make_features(len(boxes), seed=0)
    reference = make_pooler(cells, samples)
    expected = reference(maps, box_tensors, [SIDES] * len(boxes))
    ours = RoIAlign(reference, torch.float32)
    torch.testing.assert_close(ours(maps, box_tensors, []), expected, atol=1e-4, rtol=1e-4)


def test_nothing_to_pool():
    pooled = RoIAlign(make_pooler(7, 2), torch.float32)(
        make_features(1, 0), [torch.zeros(0, 4)], []
    )
    assert pooled.shape == (0, CHANNELS, 7, 7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_shorter_type(dtype):
    boxes = [torch.tensor([[3.0, 5, 90, 70], [20, 20, 150, 90]])]
    maps, reference = make_features(1, seed=1), make_pooler(7, 2)
    pooled = RoIAlign(reference, dtype)(maps, boxes, [])
    assert pooled.dtype == dtype
    torch.testing.assert_close(
        pooled.float(), reference(maps, boxes, [SIDES]), atol=0.05, rtol=0.05
    )
