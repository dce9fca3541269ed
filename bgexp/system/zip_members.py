"""Members of zip files that anyone may have made: none takes more memory than it says it needs."""

import zlib
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

# Other ways of packing are expanded at once by zipfile, whatever comes out.
_PACKED = (ZIP_STORED, ZIP_DEFLATED)


def read_member(archive: ZipFile, name: str, limit: int) -> bytes:
    """Return the bytes of a member, which has the checksum that the archive says.

    Raises:
        KeyError: There is none.
        ValueError: It is damaged, encrypted, packed in a rare way, or over the limit of bytes.
    """
    member = archive.getinfo(name)
    refuse_bomb([member], limit)
    try:
        with archive.open(member) as file:
            return file.read(member.file_size)  # without a number it would expand what is there
    except (OSError, EOFError, RuntimeError, BadZipFile, zlib.error) as error:
        # RuntimeError: it is encrypted.
        raise ValueError(str(error) or type(error).__name__) from error


def refuse_bomb(members: list[ZipInfo], limit: int) -> None:
    """Raise ValueError where members have more bytes than the limit, or may have without saying."""
    if any(member.compress_type not in _PACKED for member in members):
        raise ValueError("packed in another way than stored or deflated")
    if sum(member.file_size for member in members) > limit:
        raise ValueError(f"larger than {limit:,} bytes")
