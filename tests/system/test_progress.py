import io
import re

import pytest
from rich.console import Console

from bgexp.system import progress as module
from bgexp.system.progress import show_progress, tell


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock by seconds that a test sets; standard error is no terminal."""
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "_CONSOLE", Console(stderr=True, force_terminal=False, width=200))

    def wait(seconds):
        now[0] += seconds

    return wait


def test_lines_in_a_log(clock, capsys):
    with show_progress("images", 100) as step:
        for number in range(100):
            clock(2)
            step(number // 50)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [int(re.search(r"(\d+) of 100", line)[1]) for line in lines] == list(range(10, 101, 10))
    assert lines[0] == "images: 10 of 100, 0.5/s, 180 s left"
    assert lines[-1] == "images: 100 of 100, 0.5/s, 0 s left, 1 failed"


def test_quick_work_is_one_line(clock, capsys):
    with show_progress("images", 1000) as step:
        for _ in range(1000):
            clock(0.0005)
            step(0)
    assert capsys.readouterr().err == "images: 1000 of 1000, 2000.0/s, 0 s left\n"


def test_slow_work_tells_twice_a_minute(clock, capsys):
    with show_progress("images", 1000) as step:
        for _ in range(12):  # two minutes
            clock(10)
            step(0)
    assert len(capsys.readouterr().err.splitlines()) == 3  # after 40, 80 and 120 seconds


@pytest.mark.usefixtures("clock")
def test_work_that_took_no_time(capsys):
    with show_progress("images", 1) as step:
        step(1)
    assert capsys.readouterr().err.startswith("images: 1 of 1, ")


def test_a_bar_on_a_terminal(monkeypatch):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120, highlight=False, soft_wrap=True)
    monkeypatch.setattr(module, "_CONSOLE", console)
    with show_progress("images", 3) as step:
        for _ in range(3):
            step(2)
        tell("a \x1b[2Jword")
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())
    assert "images" in text
    assert "3/3" in text
    assert "2 failed" in text
    assert r"a \x1b[2Jword" in text


def test_what_is_told_steers_no_terminal(capsys):
    tell("a\n\x1b[31m[bold]x[/bold] \u202egpj.exe" + "y" * 300)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == r"a\n\x1b[31m[bold]x[/bold] \u202egpj.exe" + "y" * 300 + "\n"
