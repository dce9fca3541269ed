"""One photograph by a promoted model, in this process: the bytes that a batch would write."""

from collections.abc import Callable

from bgexp.batch.process_file import load_remove
from bgexp.batch.size_rules import handle, shape_issues
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, plain
from bgexp.images.encode import decode_photo, encode_result
from bgexp.tracking.bundle import Bundle


def open_remover(bundle: Bundle) -> Callable[[bytes], bytes]:
    """Loads the model; what is returned takes an image file's bytes and gives a PNG's.

    All else is as conf/batch.yaml has it. The function raises ImageError for what is no image.
    """
    composed = plain(compose_config("batch", ["input=.", "output=."], None))
    settings = check_settings(BatchSettings, composed | dict(bundle.settings))
    remove = load_remove(settings)

    def removed(data: bytes) -> bytes:
        photo = decode_photo(data, settings.max_megapixels, settings.keep)
        issues = shape_issues(photo.pixels.shape[1], photo.pixels.shape[0], settings.quality)
        background = settings.cutout.background
        handled = handle(photo.pixels, issues, settings.quality, remove, background)
        return encode_result(handled.cutout, settings.format, photo)

    return removed
