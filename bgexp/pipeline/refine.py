"""A coarse mask to one that follows the image's edges: one file a way to do it."""

from functools import lru_cache

from bgexp.config.stages import GuidedFilter, NoRefinement, Refine, UNet
from bgexp.detect.device import CPU
from bgexp.detect.weights import Weights, load_weights, locate_weights
from bgexp.pipeline.grabcut import refine_mask_grabcut
from bgexp.pipeline.guided import refine_mask_guided
from bgexp.pipeline.refinement import BoolArray, ByteArray, Refinement
from bgexp.pipeline.unet import WEIGHTS, WEIGHTS_SHA256, UNetModel, UNetPredictor
from bgexp.pipeline.unet_refiner import refine_mask_unet


def refine_mask(
    image: ByteArray,
    mask: BoolArray,
    settings: Refine,
    *,
    seed: int = 0,
) -> Refinement:
    """Refine a mask as the settings say.

    Args:
        image: HxWx3 uint8 RGB.
        mask: HxW bool, True = foreground.
        settings: Which refinement, and how.
        seed: Of what is random in it.

    Raises:
        ValueError: Where image or mask are not as above.
    """
    if isinstance(settings, NoRefinement):
        return Refinement(mask, "off")
    if isinstance(settings, GuidedFilter):
        return refine_mask_guided(image, mask, settings)
    if isinstance(settings, UNet):
        predictor = load_network(settings)
        return refine_mask_unet(image, mask, predictor, settings)
    return refine_mask_grabcut(image, mask, settings, seed=seed)


def find_network(settings: UNet) -> Weights:
    """Find the file of the U-Net's weights, verified by its SHA-256 where one is known.

    Raises:
        UserError: There is none, or it is not the one expected.
    """
    if settings.weights is None:
        return locate_weights(WEIGHTS, "U-Net", WEIGHTS_SHA256, key="refine.weights")
    return locate_weights(settings.weights, key="refine.weights")


@lru_cache(maxsize=4)
def load_network(settings: UNet) -> UNetPredictor:
    """Load the network with its verified weights.

    On the CPU, also beside a GPU: refining is the work of many processes, one for each core, and
    the mask must not depend on how many there are.

    Raises:
        UserError: The weights are missing, damaged or of another network.
    """
    network = UNetModel()
    load_weights(network, find_network(settings))
    return UNetPredictor(network, CPU)
