"""The log of a full disk: a line on the terminal, once, and no traceback."""

import logging

from bgexp.system.log_file import LogFile


def test_a_full_disk_is_told_once(capsys):
    handler = LogFile("/dev/full")
    for _ in range(3):
        handler.handle(logging.makeLogRecord({"msg": "line"}))
    handler.close()
    assert capsys.readouterr().err == "/dev/full: No space left on device: lines are missing\n"


def test_a_mistake_in_a_line_is_not_hidden(tmp_path, capsys):
    handler = LogFile(tmp_path / "log.txt")
    handler.handle(logging.makeLogRecord({"msg": "%d", "args": ("text",)}))
    handler.handle(logging.makeLogRecord({"msg": "line"}))
    handler.close()
    assert "TypeError" in capsys.readouterr().err
    assert (tmp_path / "log.txt").read_text() == "line\n"
