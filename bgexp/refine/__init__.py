"""A coarse mask to one that follows the image's edges: one file a way to do it."""

from bgexp.config import GrabCut, GuidedFilter, NoRefinement
from bgexp.refine.grabcut import refine_mask_grabcut
from bgexp.refine.guided import refine_mask_guided
from bgexp.refine.refined import BoolArray, ByteArray, Refined

__all__ = ["Refined", "refine_mask", "refine_mask_grabcut", "refine_mask_guided"]


def refine_mask(
    image: ByteArray,
    mask: BoolArray,
    settings: NoRefinement | GrabCut | GuidedFilter,
    *,
    seed: int = 0,
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
    if isinstance(settings, GuidedFilter):
        return refine_mask_guided(image, mask, settings)
    return refine_mask_grabcut(image, mask, settings, seed=seed)
