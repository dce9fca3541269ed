"""The output folder: nothing but what a batch left there is deleted or written to."""

import pytest

from bgexp.batch.journal import Journal, Record
from bgexp.batch.output_folder import remove_temporary
from bgexp.system.folders import LocalFolder


def test_half_written_files_are_deleted_in_the_batchs_own_folders_alone(tmp_path):
    own = [tmp_path / folder / ".bgexp-1.part" for folder in (".bgexp", "regular/a", "masks")]
    others = tmp_path / "photos/.bgexp-1.part", tmp_path / "regular/a/b.png"
    for file in (*own, *others):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    remove_temporary(LocalFolder(tmp_path))
    assert not any(file.exists() for file in own)
    assert all(file.exists() for file in others)


def test_a_journal_is_not_opened_through_a_link(tmp_path, monkeypatch):
    (victim := tmp_path / "mine.txt").write_text("mine")

    def write_and_replace(root, name, _data):
        (root / name).symlink_to(victim)  # somebody does it meanwhile

    monkeypatch.setattr("bgexp.system.folders.write_inside", write_and_replace)
    with pytest.raises(OSError, match="symbolic links"):
        Journal(LocalFolder(tmp_path), "journal.jsonl").add(Record("a", ".", "failed"))
    assert victim.read_text() == "mine"
