"""A coarse mask to one that follows the image's edges: one file a way to do it."""

from bgexp.config import GrabCut, NoRefinement
from bgexp.refine.grabcut import refine_mask_grabcut
from bgexp.refine.refined import BoolArray, ByteArray, Refined

__all__ = ["Refined", "refine_mask", "refine_mask_grabcut"]


def refine_mask(
    image: ByteArray, mask: BoolArray, settings: NoRefinement | GrabCut, *, seed: int = 0
) -> Refined:
    """Refines a mask as the settings say.

    Args:
        image: HxWx3 uint8 RGB.
        mask: HxW bool, True = foreground.
        settings: Which refinement, and how.
        seed: Of what is random in it.

    Raises:
        ValueError: Where image or mask are not as above.
    """
    if isinstance(settings, NoRefinement):
        return Refined(mask, "off")
    return refine_mask_grabcut(image, mask, settings, seed=seed)
