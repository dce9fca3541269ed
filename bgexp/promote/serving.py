"""A promoted model in this process: one photograph in, the bytes that a batch would write out."""

from collections.abc import Callable

from bgexp.batch.process_file import load_remove
from bgexp.batch.size_rules import handle, shape_issues
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, plain
from bgexp.images.encode import decode_photo, encode_result
from bgexp.tracking.bundle import Bundle


def open_remover(bundle: Bundle) -> Callable[[bytes], bytes]:
    """Load the model; return a function that takes an image file's bytes and returns a PNG's.

    Other settings are those of conf/batch.yaml. The function raises ImageError for other files.
    """
    config = plain(compose_config("batch", ["input=.", "output=."], None))
    settings = check_settings(BatchSettings, config | dict(bundle.settings))
    remove = load_remove(settings)

    def remove_background(data: bytes) -> bytes:
        photo = decode_photo(data, settings.max_megapixels, settings.keep)
        issues = shape_issues(photo.pixels.shape[1], photo.pixels.shape[0], settings.quality)
        background = settings.cutout.background
        result = handle(photo.pixels, issues, settings.quality, remove, background)
        return encode_result(result.cutout, settings.format, photo)

    return remove_background
