"""A promoted model in this process: photographs in, the bytes that a batch would write out.

`open_service` is the one entry of what MLflow serves: models that were promoted earlier call it.
"""

import base64
from collections.abc import Callable, Sequence
from pathlib import Path

from bgexp.batch.stream import make_bytes_remover
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.images.decode import ImageError
from bgexp.tracking.bundle import Bundle, load_bundle


def open_service(folder: Path) -> Callable[[Sequence[str]], list[str]]:
    """Load a bundle's model; return a function from image files to PNGs, all of them base64.

    The function raises ValueError, with the image's number, for what is no image.

    Args:
        folder: The folder of the bundle.

    Raises:
        UserError: The bundle is not whole, or not the one that was promoted.
    """
    remove = open_remover(load_bundle(folder))

    def remove_backgrounds(files: Sequence[str]) -> list[str]:
        pngs = []
        for number, text in enumerate(files):
            try:
                data = base64.b64decode(text, validate=True)
            except (TypeError, ValueError) as error:  # not text, or not ASCII
                raise ValueError(f"image {number}: no base64: {error}") from error
            try:
                pngs.append(base64.b64encode(remove(data)).decode())
            except (ImageError, ValueError) as error:  # or a side too long for the format
                raise ValueError(f"image {number}: {error}") from error
        return pngs

    return remove_backgrounds


def open_remover(bundle: Bundle) -> Callable[[bytes], bytes]:
    """Load the model; return a function that takes an image file's bytes and returns a PNG's.

    Other settings are those of conf/batch.yaml. The function raises ImageError for other files.
    """
    config = resolve_config(compose_config("batch", ["input=.", "output=."], None))
    settings = check_settings(BatchSettings, config | dict(bundle.settings))
    return make_bytes_remover(settings)
