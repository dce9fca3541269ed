"""What is wrong with truths is told before they are used."""

from pathlib import Path

import numpy as np
import pytest

from bgexp.datasets.mask_rule import Truth
from bgexp.datasets.read import Dataset
from bgexp.detect.detections import SoftMask
from bgexp.experiment.check_truths import warn_of_truths


class BrightParts:
    """A detector whose soft mask is where a picture is bright."""

    selection = None

    def detect(self, image):
        return SoftMask(np.uint8(255) * (image[..., 0] > 127))


def draw(number):
    image = np.full((24, 32, 3), 20, np.uint8)
    image[4:9, 3 + number : 20] = 220
    return image


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (np.logical_not, "inverted"),
        (lambda mask: mask[::-1, ::-1], "turned by 180 degrees"),
        (np.zeros_like, "empty in all 3 images"),
        (np.array, None),
    ],
)
def test_a_few_pictures_tell(capfd, change, word):
    pictures = [(image, Truth(change(image[..., 0] > 127))) for image in map(draw, range(3))]
    warn_of_truths(Dataset("pairs", Path("/x"), (), 3), iter(pictures), BrightParts())
    err = " ".join(capfd.readouterr().err.split())
    assert err == "" if word is None else f"{word}. " in err
    assert ("The masks are read so: values over 127" in err) == (word is not None)


def test_without_truth_nothing_is_told(capfd):
    warn_of_truths(Dataset("coco", Path("/x"), (), 0), [], BrightParts())
    assert capfd.readouterr().err == ""
