"""What the documents say is true: examples run, commands compose, links lead somewhere."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from bgexp.batch.findings import FLAGS
from bgexp.cli import main as cli
from bgexp.config.analyze import AnalyzeSettings
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_settings
from bgexp.config.compare import CompareSettings
from bgexp.config.compose import compose_config, list_combinations, resolve_config
from bgexp.config.doctor import DoctorSettings, UiSettings
from bgexp.config.export import ExportSettings
from bgexp.config.promote import PromoteSettings
from bgexp.config.review import ReviewSettings, SelectSettings
from bgexp.config.run import RunSettings
from bgexp.config.train import TrainSettings
from bgexp.config.verify import VerifySettings
from bgexp.sweep.optuna_space import read_space
from tests.test_structure import ORDER, PACKAGE

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SETTINGS = {
    "analyze": AnalyzeSettings,
    "batch": BatchSettings,
    "compare": CompareSettings,
    "promote": PromoteSettings,
    "review": ReviewSettings,
    "run": RunSettings,
    "select": SelectSettings,
    "train": TrainSettings,
    "verify": VerifySettings,
    "export": ExportSettings,
    "doctor": DoctorSettings,
    "ui": UiSettings,
}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def commands():
    for page in PAGES:
        text = "\n".join(blocks(page, ""))
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            words = words[next((n for n, w in enumerate(words) if "=" not in w), 0) :]
            known = words[:1] == ["bgexp"] and words[1:2] and words[1] in SETTINGS
            if known and "--help" not in words and "KEY=VALUE" not in words:
                yield pytest.param(words[1:], id=f"{page.name}: {' '.join(words)}")


# Those of the API page are signatures; the examples in docstrings run as doctests.
PYTHON = [
    (page.name, text) for page in PAGES if page.name != "api.md" for text in blocks(page, "python")
]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "text"), PYTHON, ids=[page for page, _ in PYTHON])
def test_an_example_in_python_runs(page, text, photographs, monkeypatch):
    monkeypatch.chdir(next(photographs.rglob("cat.jpg")).parent)
    # It reads cat.jpg here, and writes beside it.
    exec(compile(text, page, "exec"), {"__name__": "__main__"})
    written = [path for path in Path.cwd().rglob("*.png") if path.stat().st_size > 1000]
    assert written


def test_there_is_an_example():
    assert PYTHON


@pytest.mark.parametrize("words", list(commands()))
def test_a_command_composes(words):
    command, *rest = words
    sweep = "-m" in rest
    extra = rest.index("--config-dir") if "--config-dir" in rest else None
    if extra is not None:
        pytest.skip("it needs a folder of the reader's own")
    named = [word for word in rest if word[0] != "-"] if command in cli.WORDS else []
    words = [word for word in rest if "=" in word or word in named]
    overrides = cli._rewrite_overrides(command, words, sweep)
    if not sweep and "experiment=" not in " ".join(overrides):
        check_settings(SETTINGS[command], resolve_config(compose_config(command, overrides, None)))
        return
    if "sweep=optuna" in overrides:
        own = [o for o in overrides if o.startswith("sweep")]
        for corner in read_space(compose_config(command, own, None), overrides).list_corners():
            check_settings(RunSettings, resolve_config(compose_config(command, corner, None)))
        return
    overrides = [o for o in overrides if not o.startswith("sweep")]
    base = [o for o in overrides if o.startswith("experiment=")]
    jobs = list(list_combinations(compose_config(command, base, None), overrides))
    assert jobs
    for job in jobs:
        check_settings(SETTINGS[command], resolve_config(compose_config(command, job, None)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_api_page_is_current():
    build = runpy.run_path(str(ROOT / "docs" / "api" / "build.py"))
    assert (ROOT / "docs" / "api.md").read_text() == build["build_page"](), "run `make docs`"


def test_the_table_of_flags_is_current():
    build = runpy.run_path(str(ROOT / "docs" / "api" / "flags.py"))
    assert (ROOT / "docs" / "batch.md").read_text() == build["build_page"](), "run `make docs`"


def test_every_setting_to_try_for_a_flag_composes():
    for _, setting in FLAGS.values():
        given = ["input=.", "output=out", *filter(None, [setting])]
        check_settings(BatchSettings, resolve_config(compose_config("batch", given, None)))


def test_the_architecture_names_every_package_in_its_order():
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text[text.index("## Packages") : text.index("## A command package")]
    listed = re.findall(r"^\| (`[^|]*`) \|", section, re.MULTILINE)
    names = [name.removesuffix(".py") for cell in listed for name in re.findall(r"`(.*?)`", cell)]
    assert names == ORDER


def test_files_named_in_the_architecture_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    paths = re.findall(r"`([\w/]+/[\w.]+\.\w+)`", text)
    assert len(paths) > 30
    missing = [
        path
        for path in paths
        if not path.startswith("runs/") and not any((r / path).exists() for r in (PACKAGE, ROOT))
    ]
    assert missing == ["conf/COMMAND.yaml"]
