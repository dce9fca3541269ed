"""The front door: an image in any form to its cut-out, by the settings of the command line."""

from dataclasses import replace
from typing import Any

from bgexp.config.color import is_picture
from bgexp.config.detectors import Masks
from bgexp.config.load import load_settings, write_overrides
from bgexp.config.pipeline import PipelineSettings
from bgexp.detect.build import build_detector
from bgexp.detect.device import pick_device
from bgexp.detect.inference_server import ServerAddress
from bgexp.errors import UserError
from bgexp.images.decode import ImageSource, read_pixels
from bgexp.pipeline.cutout import find_crop, read_background
from bgexp.pipeline.remove import RemovalResult
from bgexp.pipeline.remove import remove_background as run_stages


class Remover:
    """A background remover that loads its networks once.

    Args:
        settings: As `load_settings("run")` or `load_settings("batch")` gives; None: the defaults.
        server: The detector's network in another process, asked in place of one of its own.

    Raises:
        UserError: The weights are missing, damaged or of another model; the device or the
            background's picture is not there.
    """

    def __init__(
        self,
        settings: PipelineSettings | None = None,
        server: ServerAddress | None = None,
    ) -> None:
        self.settings = settings or load_settings("run")
        if isinstance(self.settings.detector, Masks):
            raise UserError("detector=masks has masks for a dataset's images: `bgexp run` takes it")
        if is_picture(self.settings.cutout.background):
            read_background(self.settings.cutout.background)
        self._detector = build_detector(
            self.settings.detector, pick_device(self.settings.device), server
        )

    def __call__(self, image: ImageSource) -> RemovalResult:
        """Remove the background of one image; with `cutout.crop` the cut-out alone is cropped.

        Args:
            image: A file's path, an HxWx3 uint8 RGB array, or a Pillow image.

        Raises:
            ImageError: The file is no image, broken or too large.
            ValueError: An array of another layout.
        """
        settings = self.settings
        stages = settings.combine, settings.refine, settings.cutout
        result = run_stages(read_pixels(image), self._detector, *stages, settings.seed)
        if settings.cutout.crop is None:
            return result
        kept = result.mask if result.alpha is None else result.alpha
        return replace(result, cutout=result.cutout[find_crop(kept, settings.cutout.crop)])


def remove_background(
    image: ImageSource,
    **settings: Any,  # noqa: ANN401
) -> RemovalResult:
    """Remove the background of one image; the networks are loaded for it alone.

    For several images a `Remover` keeps them loaded.

    Args:
        image: A file's path, an HxWx3 uint8 RGB array, or a Pillow image.
        **settings: As of `bgexp run`: refine="grabcut", device="cpu"; those of a section as a
            mapping: detector={"score_threshold": 0.7}.

    Raises:
        UserError: A setting that is wrong.
        ImageError: The file is no image, broken or too large.
        ValueError: An array of another layout.
    """
    return Remover(load_settings("run", write_overrides(settings)))(image)
