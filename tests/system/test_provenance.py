import pytest

from bgexp.system import provenance
from bgexp.system.atomic import write_whole
from bgexp.system.hashing import sha256_bytes
from bgexp.system.provenance import source_hash


def test_source_hash_changes_with_content_and_names(tmp_path, monkeypatch):
    assert source_hash() == source_hash()
    assert len(source_hash()) == 64

    def of(sources, *parts):
        folder = tmp_path / sha256_bytes(repr(sources).encode())
        for name, text in sources.items():
            write_whole(folder / name, text)
        monkeypatch.setattr(provenance, "__file__", str(folder / "system" / "provenance.py"))
        return source_hash.__wrapped__(*parts)

    base = of({"a.py": b"1", "sub/b.py": b"2"})
    assert of({"sub/b.py": b"2", "a.py": b"1", "notes.txt": b"3", "a.pyc": b""}) == base
    assert of({"a.py": b"1", "sub/b.py": b"3"}) != base
    assert of({"a.py": b"1", "b.py": b"2"}) != base
    assert of({"a.py": b"1", "sub/b.py": b"2", "c.py": b""}) != base
    both = {"a.py": b"1", "sub/b.py": b"2", "subs.py": b"3"}
    assert of(both, "sub") == of(both | {"a.py": b"9", "subs.py": b"9"}, "sub/b.py")
    assert of(both, "sub") != of(both | {"sub/b.py": b"9"}, "sub")
    with pytest.raises(ValueError, match="no source of bgexp: gone"):
        of(both, "sub", "gone.py")
