"""One image from standard input to standard output, with nothing written beside it."""

from collections.abc import Callable
from typing import BinaryIO

from bgexp.batch.process_file import load_remove
from bgexp.batch.shape_issues import find_shape_issues
from bgexp.batch.size_rules import handle_size
from bgexp.config.batch import BatchSettings
from bgexp.errors import HaltedError
from bgexp.images.decode import ImageError
from bgexp.images.encode import decode_photo, encode_result
from bgexp.tracking.registry import apply_model


def process_stream(settings: BatchSettings, source: BinaryIO, target: BinaryIO) -> None:
    """Read an image file, remove its background and write the result, as a batch would.

    Raises:
        UserError: A promoted model or weights are missing.
        HaltedError: What was read is no image that can be processed; nothing is written.
    """
    settings, _ = apply_model(settings)
    remove = make_bytes_remover(settings)
    try:
        result = remove(source.read())
    except (ImageError, ValueError) as error:  # or a side too long for the format
        raise HaltedError(f"input: {error}") from error
    target.write(result)
    target.flush()


def make_bytes_remover(settings: BatchSettings) -> Callable[[bytes], bytes]:
    """Load the networks; return a function from an image file's bytes to those of its result.

    The function raises ImageError for what is no image, ValueError for a side that is too long for
    the format.
    """
    remove = load_remove(settings)

    def remove_background(data: bytes) -> bytes:
        photo = decode_photo(data, settings.max_megapixels, settings.keep)
        height, width = photo.pixels.shape[:2]
        issues = find_shape_issues(width, height, settings.quality)
        result = handle_size(photo.pixels, issues, settings.quality, remove, settings.cutout)
        cutout, *_ = result.crop(settings.cutout.crop)
        return encode_result(cutout, settings.format, photo)

    return remove_background
