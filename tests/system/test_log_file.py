"""The log of a full disk: a line on the terminal, once, and no traceback."""

import errno
import logging
from contextlib import suppress
from io import StringIO
from pathlib import Path

import yaml

from bgexp.system.log_file import LogFile


def test_a_full_disk_is_told_once(capsys):
    handler = LogFile("/dev/full")
    for _ in range(3):
        handler.handle(logging.makeLogRecord({"msg": "line"}))
    handler.close()
    assert capsys.readouterr().err == "/dev/full: No space left on device: lines are missing\n"


def test_what_a_disk_tells_at_the_end(tmp_path, capsys):
    class LateDisk(StringIO):
        def close(self):
            raise OSError(errno.EIO, "Input/output error")

    handler = LogFile(tmp_path / "log.txt")
    handler.setStream(LateDisk()).close()
    handler.close()
    assert capsys.readouterr().err == f"{tmp_path}/log.txt: Input/output error: lines are missing\n"


def test_a_terminal_that_is_full_too(monkeypatch):
    with open("/dev/full", "w", buffering=1) as full:  # noqa: PTH123
        monkeypatch.setattr("sys.stderr", full)
        handler = LogFile("/dev/full")
        handler.handle(logging.makeLogRecord({"msg": "line"}))
        handler.close()
        monkeypatch.undo()
        with suppress(OSError):
            full.close()


def test_runs_log_to_it():
    config = yaml.safe_load((Path(__file__).parents[2] / "conf/hydra_runs.yaml").read_text())
    place = config["hydra"]["job_logging"]["handlers"]["file"]
    assert place["class"] == f"{LogFile.__module__}.{LogFile.__name__}"


def test_a_mistake_in_a_line_is_not_hidden(tmp_path, capsys):
    handler = LogFile(tmp_path / "log.txt")
    handler.handle(logging.makeLogRecord({"msg": "%d", "args": ("text",)}))
    handler.handle(logging.makeLogRecord({"msg": "line"}))
    handler.close()
    assert "TypeError" in capsys.readouterr().err
    assert (tmp_path / "log.txt").read_text() == "line\n"
