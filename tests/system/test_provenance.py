import subprocess

import pytest

from bgexp.system import provenance
from bgexp.system.atomic import write_whole
from bgexp.system.hashing import hash_bytes
from bgexp.system.provenance import hash_sources


def test_source_hash_changes_with_content_and_names(tmp_path, monkeypatch):
    assert hash_sources() == hash_sources()
    assert len(hash_sources()) == 64

    def hash_parts(sources, *parts):
        folder = tmp_path / hash_bytes(repr(sources).encode())
        for name, text in sources.items():
            write_whole(folder / name, text)
        monkeypatch.setattr(provenance, "__file__", str(folder / "system" / "provenance.py"))
        return hash_sources.__wrapped__(*parts)

    base = hash_parts({"a.py": b"1", "sub/b.py": b"2"})
    assert hash_parts({"sub/b.py": b"2", "a.py": b"1", "notes.txt": b"3", "a.pyc": b""}) == base
    assert hash_parts({"a.py": b"1", "sub/b.py": b"3"}) != base
    assert hash_parts({"a.py": b"1", "b.py": b"2"}) != base
    assert hash_parts({"a.py": b"1", "sub/b.py": b"2", "c.py": b""}) != base
    both = {"a.py": b"1", "sub/b.py": b"2", "subs.py": b"3"}
    assert hash_parts(both, "sub") == hash_parts(both | {"a.py": b"9", "subs.py": b"9"}, "sub/b.py")
    assert hash_parts(both, "sub") != hash_parts(both | {"sub/b.py": b"9"}, "sub")
    with pytest.raises(ValueError, match="no source of bgexp: gone"):
        hash_parts(both, "sub", "gone.py")


@pytest.mark.parametrize("way", ["variables", "file", "hook"])
def test_no_config_of_gits_runs_a_command(tmp_path, monkeypatch, way):
    """Asked for its state, git would run a monitor that any of its configs names."""
    canary, script, root = tmp_path / "CANARY", tmp_path / "evil", tmp_path / "checkout"
    script.write_text(f"#!/bin/sh\ntouch {canary}\n")
    script.chmod(0o755)
    (root / "bgexp/system").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    monkeypatch.setattr(provenance, "__file__", str(root / "bgexp/system/provenance.py"))
    if way == "variables":
        variables = {"COUNT": "1", "KEY_0": "core.fsmonitor", "VALUE_0": str(script)}
        for name, value in variables.items():
            monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
        monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))  # whose hooks would be asked
    elif way == "file":
        (tmp_path / ".gitconfig").write_text(f"[core]\nfsmonitor = {script}\n")
        monkeypatch.setenv("HOME", str(tmp_path))
    else:
        config = ["config", "core.fsmonitor", str(script)]
        subprocess.run(["git", "-C", str(root), *config], check=True)
    assert provenance.describe_bgexp.__wrapped__()["git_dirty"] is False
    assert not canary.exists()
