"""Each defence is taken out, and the test of its attack has to fail; `make test-defences`."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("bgexp", "cluster", "conf", "docs", "tests", "pyproject.toml", "README.md")


@dataclass(frozen=True)
class Defence:
    """A defence in a module: its code, what stands there without it, and the test of its attack."""

    attack: str
    module: str
    code: str
    without: str
    test: str


DEFENCES = [
    Defence(
        "weights that run code",
        "bgexp/detect/weights.py",
        'map_location="cpu", weights_only=True',
        'map_location="cpu", weights_only=False',
        "tests/detect/test_weights.py::test_code_in_a_file_is_refused_and_does_not_run",
    ),
    Defence(
        "a checkpoint that runs code",
        "bgexp/train/loop.py",
        'map_location="cpu", weights_only=True',
        'map_location="cpu", weights_only=False',
        "tests/train/test_loop.py::test_a_checkpoint_that_would_run_code_is_refused",
    ),
    Defence(
        "cached detections that run code",
        "bgexp/detect/cache.py",
        "allow_pickle=False",
        "allow_pickle=True",
        "tests/detect/test_cache.py::test_no_code_is_loaded",
    ),
    Defence(
        "weights of a model that were changed",
        "bgexp/tracking/bundle.py",
        "    if digest != sha256:",
        "    if False:",
        "tests/tracking/test_bundle.py::test_changed_or_missing_weights_are_refused",
    ),
    Defence(
        "an interpolation in a model's settings",
        "bgexp/tracking/bundle.py",
        '    if "${" in data.decode(errors="replace"):',
        "    if False:",
        "tests/tracking/test_bundle.py",
    ),
    Defence(
        "a config that names code",
        "bgexp/config/trust.py",
        "if names_code or _MAKES_CONFIG.search(text):",
        "if _MAKES_CONFIG.search(text):",
        "tests/cli/test_main.py::test_a_config_names_no_code",
    ),
    Defence(
        "an interpolation that makes a config",
        "bgexp/config/trust.py",
        "if names_code or _MAKES_CONFIG.search(text):",
        "if names_code:",
        "tests/config/test_trust.py::test_no_text_becomes_a_config",
    ),
    Defence(
        "a config file that reads a variable",
        "bgexp/config/trust.py",
        "if not any(_is_typed(name, text, override) for override in typed):",
        "if False:",
        "tests/config/test_trust.py::test_a_config_file_reads_no_variable",
    ),
    Defence(
        "a path in COCO that leads out",
        "bgexp/datasets/coco.py",
        '"/" or name[1:2] == ":" or path == "." or ".." in path.split("/")',
        '"/" and False',
        "tests/datasets/test_coco_paths.py",
    ),
    Defence(
        "a link in COCO that leads out",
        "bgexp/datasets/coco.py",
        "    if os.path.islink(target):",
        "    if False:",
        "tests/datasets/test_coco_paths.py::test_links_that_lead_out_are_refused",
    ),
    Defence(
        "a path in a journal that leads out",
        "bgexp/batch/journal.py",
        "                refuse_strange_name(result",
        "                (lambda *_: None)(result",
        "tests/batch/test_journal.py::test_a_name_that_is_no_results_is_refused",
    ),
    Defence(
        "a path in a plan that leads out",
        "bgexp/system/folders.py",
        "        if not is_inside(name):",
        "        if False:",
        "tests/system/test_folders.py::test_a_name_that_leads_out_is_refused",
    ),
    Defence(
        "a file of votes that is too large",
        "bgexp/tracking/votes.py",
        "if file.stat().st_size > MAX_BYTES:",
        "if False:",
        "tests/tracking/test_votes.py",
    ),
    Defence(
        "a file of votes that says two things",
        "bgexp/tracking/votes.py",
        ", object_pairs_hook=_refuse_duplicates",
        "",
        "tests/tracking/test_votes.py",
    ),
    Defence(
        "a bomb of pixels",
        "bgexp/images/decode.py",
        "    if (area := width * height / 1e6) > limit:",
        "    if (area := width * height / 1e6) > 1e9:",
        "tests/images/test_decode_limits.py",
    ),
    Defence(
        "a place in the metadata",
        "bgexp/images/encode.py",
        "*([ExifTags.IFD.GPSInfo] if gps else [])",
        "ExifTags.IFD.GPSInfo",
        "tests/images/test_encode.py",
    ),
    Defence(
        "markup in names",
        "bgexp/report/render.py",
        "autoescape=True",
        "autoescape=False",
        "tests/quality/test_page.py::test_hostile_names_are_text",
    ),
    Defence(
        "a formula in a table",
        "bgexp/system/safe_csv.py",
        'if plain[:1] in ("=", "+", "-", "@") else plain',
        "if False else plain",
        "tests/system/test_safe_csv.py",
    ),
    Defence(
        "a terminal's escapes in a table",
        "bgexp/system/safe_csv.py",
        "plain = make_printable(text)",
        "plain = text",
        "tests/system/test_safe_csv.py",
    ),
    Defence(
        "a terminal's escapes in an error",
        "bgexp/cli/main.py",
        "shorten_line(line, LINE_LENGTH)",
        "line",
        "tests/faults/test_fuzz.py",
    ),
    Defence(
        "a foreign name of the UI's host",
        "bgexp/cli/ui.py",
        "lists = {ALLOWED_HOSTS: patterns, ",
        "lists = {",
        "tests/cli/test_ui.py::test_only_the_servers_own_names_are_answered",
    ),
    Defence(
        "a foreign page that asks the UI",
        "bgexp/cli/ui.py",
        ", ALLOWED_ORIGINS: origins}",
        ', ALLOWED_ORIGINS: ["*"]}',
        "tests/cli/test_ui.py::test_other_names_are_answered_when_told",
    ),
    Defence(
        "an address's password in a message",
        "bgexp/config/credentials.py",
        'return strip_credentials(word) if len(word) <= _LONGEST_ADDRESS else "***"',
        "return word",
        "tests/config/test_credentials.py",
    ),
]


def main() -> int:
    """Take out all defences or some, one after the other; return 1 where no test notices."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attacks", nargs="*", help="a part of their names", default=[""])
    options = parser.parse_args()
    chosen = [d for d in DEFENCES if any(part in d.attack for part in options.attacks)]
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_sources(Path(folder))
        unnoticed = [defence.attack for defence in chosen if not is_noticed(defence, copy)]
    print(f"{len(chosen)} defences taken out, {len(unnoticed)} unnoticed", *unnoticed, sep="\n")
    return 1 if unnoticed else 0


def copy_sources(folder: Path) -> Path:
    """Copy what tests need."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def is_noticed(defence: Defence, copy: Path) -> bool:
    """Return whether a test fails without a defence, and with it does not."""
    file = copy / defence.module
    whole = file.read_text()
    if whole.count(defence.code) != 1:
        sys.exit(
            f"{defence.attack}: {defence.module} has its code {whole.count(defence.code)} times"
        )
    file.write_text(whole.replace(defence.code, defence.without))
    codes = [run_test(defence.test, copy)]
    file.write_text(whole)
    codes.append(run_test(defence.test, copy))
    print(f"{defence.attack}: without {codes[0]}, with {codes[1]}", flush=True)
    return codes == [1, 0]


def run_test(test: str, copy: Path) -> int:
    """Run a test by the sources of a copy; return pytest's exit code, 1 where a test fails."""
    command = [sys.executable, "-m", "pytest", "-x", "-pno:cacheprovider", test]
    return subprocess.run(
        command, cwd=copy, env=os.environ | {"PYTHONPATH": str(copy)}, stdout=subprocess.DEVNULL
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
