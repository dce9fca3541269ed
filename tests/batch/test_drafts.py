import numpy as np
import pytest

from bgexp.batch import drafts as module
from bgexp.batch.drafts import Drafts, draft_files
from bgexp.batch.input_files import find_input
from bgexp.batch.planned_file import PlannedFile
from bgexp.config.load import load_settings
from bgexp.errors import HaltedError, Interruption
from bgexp.images.png import encode_png
from bgexp.system.folders import LocalFolder
from bgexp.system.signals import StopRequest
from bgexp.system.workers import TaskFailure

NAMES = [f"{letter}/{number}.png" for letter in "abc" for number in range(4)]


class Engine:
    """Does the tasks here, in another order; one that holds a bad file fails, as by a crash."""

    def __init__(self, *bad):
        self.bad = set(bad)

    def run(self, tasks, start, stop):
        read = start()
        for number, entries in reversed(list(tasks)):
            if stop.exit_code is None:
                is_bad = self.bad & {entry.path for entry in entries}
                outcome = TaskFailure("it died") if is_bad else read((number, entries))
                yield (number, entries), outcome


@pytest.fixture
def draft(tmp_path, monkeypatch):
    """Return the function from an engine to the drafts of twelve images and a text, by path."""
    monkeypatch.setattr(module, "_CHUNK", 5)
    for number, name in enumerate(NAMES):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(np.zeros((4, 5 + number, 3), np.uint8)))
    (tmp_path / "in/notes.txt").write_text("no image")
    settings = load_settings("batch", [f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}"])
    source = find_input(settings.input)

    def run(engine, stop=None):
        places = settings, source, LocalFolder(tmp_path / "out")
        with draft_files(*places, engine, stop or StopRequest()) as drafts:
            assert drafts.n_files == len(NAMES) + 1
            assert list(drafts) == list(drafts)  # it can be gone through again
            return {draft.path: draft for draft in drafts}

    return run


def test_they_come_in_the_order_of_their_paths_whatever_the_engine_does(draft):
    drafts = draft(Engine())
    assert list(drafts) == [*NAMES, "notes.txt"]
    assert [draft.width for draft in drafts.values()] == [*range(5, 17), 0]
    assert {draft.issues for draft in drafts.values()} == {("tiny",), ()}
    assert drafts["notes.txt"].reason == "not an image"
    assert all(draft.file.read_bytes() for draft in drafts.values())


def test_a_file_that_ends_its_worker_costs_no_other_one(draft):
    drafts = draft(Engine("b/1.png"))
    reasons = {path: draft.reason for path, draft in drafts.items() if draft.reason}
    assert reasons == {
        "b/1.png": "unreadable: its header: it died",
        "notes.txt": "not an image",
    }
    assert list(drafts) == [*NAMES, "notes.txt"]


def test_a_signal_ends_it(draft):
    with pytest.raises(Interruption):
        draft(Engine(), StopRequest(143))


def test_no_file_is_left_out_of_a_damaged_list():
    with Drafts() as drafts:
        drafts.add(0, [PlannedFile("a.jpg", "/in/a.jpg", (1, 2, 3))])
        drafts._file.seek(30)
        drafts._file.write(b"#")
        with pytest.raises(HaltedError, match="damaged"):
            list(drafts)
