"""Members of zip files that are bombs, lie or are damaged: one error, in little memory."""

import tracemalloc
import zipfile
from struct import pack

import pytest

from bgexp.system.zip_members import read_member

LIMIT = 50_000_000
BOMB = b"\0" * (4 * LIMIT)


def write_zip(path, data, packing=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", data, packing)
    return path


def read(path):
    with zipfile.ZipFile(path) as archive:
        return read_member(archive, "a.png", LIMIT)


def lie_about_size(path, old, new):
    """Write another unpacked size into both headers of a zip file."""
    data = path.read_bytes()
    assert data.count(pack("<I", old)) == 2
    path.write_bytes(data.replace(pack("<I", old), pack("<I", new)))


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_is_read(tmp_path, packing):
    path = write_zip(tmp_path / "a.zip", b"content", packing)
    assert read(path) == b"content"
    with zipfile.ZipFile(path) as archive, pytest.raises(KeyError):
        read_member(archive, "../a.png", LIMIT)


def test_a_bomb(tmp_path):
    path = write_zip(tmp_path / "a.zip", BOMB)
    assert path.stat().st_size < 300_000
    with pytest.raises(ValueError, match="larger than 50,000,000 bytes"):
        read(path)


def test_a_bomb_that_says_it_is_small(tmp_path):
    path = write_zip(tmp_path / "a.zip", BOMB)
    lie_about_size(path, len(BOMB), 1000)
    tracemalloc.start()
    with pytest.raises(ValueError, match="CRC"):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < LIMIT / 10


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_that_expand_at_once(tmp_path, packing):
    path = write_zip(tmp_path / "a.zip", b"content", packing)
    with pytest.raises(ValueError, match="packed in another way"):
        read(path)


def test_a_member_that_is_encrypted_or_damaged(tmp_path):
    path = write_zip(tmp_path / "a.zip", b"content", zipfile.ZIP_STORED)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"content", b"changed"))
    with pytest.raises(ValueError, match="CRC"):
        read(path)
    path.write_bytes(data.replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1"))
    with pytest.raises(ValueError, match="encrypted"):
        read(path)
    path.write_bytes(data.replace(b"a.png", b"b.png", 1))
    with pytest.raises(ValueError, match="differ"):
        read(path)


def test_of_two_members_of_one_name_the_last_counts(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"first")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.png", b"last")
    assert read(tmp_path / "a.zip") == b"last"
