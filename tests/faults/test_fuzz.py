"""A part of `make fuzz`, by a fixed seed, and that it finds faults that are planted."""

import pytest

from bgexp.batch import journal
from bgexp.cli import main as cli
from bgexp.images import decode
from tests.faults import fuzz
from tests.faults.fuzz import TARGETS, find_problem

CASES = {"overrides": 30}  # each composes a config
FOUND = [  # cases of which each was a fault once
    ("bundle", 1288),  # JSON nested too deeply: a traceback
    ("csv", 20051832),  # 13 seconds for a line of 50,000 cells
    ("csv", 274),  # 18 seconds to look for credentials in one long word
]


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_a_file_holds_there_is_a_result_or_one_line(name, tmp_path):
    target = TARGETS[name](tmp_path)
    cases = [*range(CASES.get(name, 300)), *(case for found, case in FOUND if found == name)]
    assert list(filter(None, (find_problem(target, name, case) for case in cases))) == []


def test_a_record_that_nobody_wrote_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "find_text", lambda line: line[line.find(b"{") :].rstrip())
    assert "nobody wrote" in find_first_problem("journal", tmp_path)


def test_a_line_that_cannot_be_shown_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "shorten_line", lambda line, _length: line)
    assert "not a printable line" in find_first_problem("csv", tmp_path)


def test_an_unknown_error_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "translate_errors", lambda: fuzz.contextlib.nullcontext())
    assert find_first_problem("decode", tmp_path)


def find_first_problem(name, folder):
    target = TARGETS[name](folder)
    return next(filter(None, (find_problem(target, name, case) for case in range(300))), "")
