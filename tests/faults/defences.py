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
        "read_state(file, MAX_BYTES)",
        "read_state(file)",
        "tests/tracking/test_votes.py",
    ),
    Defence(
        "a state file that says two things",
        "bgexp/system/state_files.py",
        ", object_pairs_hook=_refuse_duplicates",
        "",
        "tests/system/test_state_files.py",
    ),
    Defence(
        "a state file with numbers that are none",
        "bgexp/system/state_files.py",
        "parse_constant=_refuse_constant, ",
        "",
        "tests/system/test_state_files.py",
    ),
    Defence(
        "a state file nested too deeply",
        "bgexp/system/state_files.py",
        "except RecursionError as error:",
        "except ZeroDivisionError as error:",
        "tests/system/test_state_files.py",
    ),
    Defence(
        "a pipe or a device in the place of a state file",
        "bgexp/system/state_files.py",
        "    if stat.S_ISREG(mode):",
        "    if not stat.S_ISDIR(mode):",
        "tests/system/test_state_files.py::test_what_is_no_file_is_not_waited_for",
    ),
    Defence(
        "a state file that would fill the memory",
        "bgexp/system/state_files.py",
        "    if os.fstat(file.fileno()).st_size > limit:",
        "    if False:",
        "tests/system/test_state_files.py::test_a_file_that_would_fill_the_memory",
    ),
    Defence(
        "a plan of other types, with its checksum",
        "bgexp/batch/planned_file.py",
        'ConfigDict(extra="forbid", strict=True)',
        'ConfigDict(extra="forbid")',
        "tests/batch/test_planned_file.py",
    ),
    Defence(
        "a plan that names a store with a password",
        "bgexp/batch/planned_file.py",
        "    read_place(address)\n    return",
        "    return",
        "tests/batch/test_planned_file.py",
    ),
    Defence(
        "a summary of other types",
        "bgexp/tracking/summary.py",
        "        document = _Document.model_validate(content)",
        "        document = _Document.model_construct(**dict(content))",
        "tests/tracking/test_summary.py",
    ),
    Defence(
        "settings that grow by aliases",
        "bgexp/tracking/run_folder.py",
        "        if self.check_event(yaml.AliasEvent):",
        "        if False:",
        "tests/tracking/test_run_folder.py::test_settings_that_grow_by_aliases",
    ),
    Defence(
        "a config file that grows by aliases",
        "bgexp/config/compose.py",
        "        refuse_aliases_in_masses(extra)",
        "        pass",
        "tests/config/test_trust.py::test_aliases_do_not_stand_for_masses",
    ),
    Defence(
        "masks of an earlier run that are other ones",
        "bgexp/tracking/past_runs.py",
        "if folder.has_whole_results():",
        "if folder.has(SUMMARY):",
        "tests/sweep/test_jobs.py::test_damaged_results_are_not_taken_over",
    ),
    Defence(
        "rows of other types",
        "bgexp/tracking/run_folder.py",
        "return _check_rows(pd.read_parquet(file))",
        "return pd.read_parquet(file)",
        "tests/tracking/test_run_folder.py::test_rows_of_other_columns",
    ),
    Defence(
        "a checkpoint that is another",
        "bgexp/train/loop.py",
        "        except Exception as error:  # on odd bytes the unpickler raises any type",
        "        except ZeroDivisionError as error:",
        "tests/train/test_loop.py::test_a_checkpoint_that_is_another_is_one_line",
    ),
    Defence(
        "cached detections that are a bomb",
        "bgexp/detect/cache.py",
        "        refuse_bomb(archive.infolist(), _MAX_BYTES)",
        "        pass",
        "tests/detect/test_cache.py::test_a_bomb_is_none",
    ),
    Defence(
        "a bomb in a zip file",
        "bgexp/system/zip_members.py",
        "    if sum(member.file_size for member in members) > limit:",
        "    if False:",
        "tests/system/test_zip_members.py",
    ),
    Defence(
        "a bomb in a zip file that says it is small",
        "bgexp/system/zip_members.py",
        "file.read(member.file_size)",
        "file.read()",
        "tests/system/test_zip_members.py",
    ),
    Defence(
        "a bomb in a zip file, packed in a rare way",
        "bgexp/system/zip_members.py",
        "    if any(member.compress_type not in _PACKED for member in members):",
        "    if False:",
        "tests/system/test_zip_members.py",
    ),
    Defence(
        "a model of someone else",
        "bgexp/tracking/registry.py",
        "    if not version.settings_sha256:",
        "    if False:",
        "tests/promote/test_command.py::test_a_pickle_of_someone_else_is_never_read",
    ),
    Defence(
        "settings of a model that were changed",
        "bgexp/tracking/registry.py",
        "            if bundle.sha256 != version.settings_sha256:",
        "            if False:",
        "tests/promote/test_command.py::test_a_stored_model_that_was_changed_is_not_loaded",
    ),
    Defence(
        "a URL in the place of a served image",
        "bgexp/promote/serving.py",
        "base64.b64decode(text, validate=True)",
        "base64.b64decode(text)",
        "tests/promote/test_serving.py",
    ),
    Defence(
        "a record that sends files of others",
        "bgexp/tracking/outbox.py",
        "            if path.is_file() and not path.is_symlink():",
        "            if path.is_file():",
        "tests/batch/test_outbox.py::test_a_record_sends_no_file_but_reports_in_its_folder",
    ),
    Defence(
        "a bomb of pixels",
        "bgexp/images/decode.py",
        "    if (area := width * height / 1e6) > limit:",
        "    if (area := width * height / 1e6) > 1e9:",
        "tests/images/test_decode_limits.py",
    ),
    Defence(
        "a text in a PNG that is a bomb",
        "bgexp/images/png_chunks.py",
        "    return n_expanded <= _MAX_TEXT",
        "    return True",
        "tests/images/test_decode_whole.py::test_a_png_is_whole_whatever_stands_beside_its_pixels",
    ),
    Defence(
        "a profile in a PNG that is a bomb",
        "bgexp/images/png_chunks.py",
        ", MAX_PROFILE + 1))) <= MAX_PROFILE",
        ", 1))) <= MAX_PROFILE",
        "tests/images/test_decode_whole.py::test_a_png_is_whole_whatever_stands_beside_its_pixels",
    ),
    Defence(
        "many texts in a PNG that expand",
        "bgexp/images/png_chunks.py",
        "    if what in expanded or ",
        "    if ",
        "tests/images/test_decode_whole.py::test_a_png_is_whole_with_many_texts_that_expand",
    ),
    Defence(
        "EXIF in many segments",
        "bgexp/images/decode.py",
        '.get("exif", b"")) > _MAX_EXIF',
        '.get("exif", b"")) > 1e12',
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
        "a terminal's escapes in a log",
        "bgexp/system/terminal.py",
        "return make_printable(super().getMessage())",
        "return super().getMessage()",
        "tests/experiment/test_run.py::test_no_name_steers_the_terminal",
    ),
    Defence(
        "the UI for other machines, unasked",
        "conf/ui.yaml",
        "host: 127.0.0.1 ",
        "host: 0.0.0.0 ",
        "tests/cli/test_ui.py::test_the_shipped_settings",
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
