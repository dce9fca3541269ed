"""The difference between a mask and the truth, as a picture."""

from bgexp.report.pictures import BoolArray, ByteArray

# True foreground that is missing; background kept. Red and blue are told apart by the colour-blind
# too, and the legend of a page has the same two.
LOST, LEAKED = (214, 48, 49), (43, 108, 230)


def draw_difference(
    image: ByteArray, mask: BoolArray, truth: BoolArray, void: BoolArray | None = None
) -> ByteArray:
    """Draw lost foreground in red and leaked background in blue over the dimmed image.

    Args:
        image: HxWx3 uint8 RGB.
        mask: HxW bool, True = foreground.
        truth: As the mask.
        void: HxW bool, True = neither right nor wrong, without a colour; None: none.
    """
    difference = image // 3
    difference[truth & ~mask] = LOST
    difference[mask & ~(truth if void is None else truth | void)] = LEAKED
    return difference
