"""A batch, a promotion and a run: how each is begun, and what must never be lost of it."""

import fnmatch
import hashlib
import json
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from io import BytesIO
from itertools import chain
from pathlib import Path

import pandas as pd
import yaml

from bgexp.batch.journal import Record, _decode_line
from bgexp.batch.plan_folder import PLAN, STATE
from bgexp.config.check import check_settings
from bgexp.config.run import RunSettings
from bgexp.system.atomic import TEMPORARY
from bgexp.system.checked_lines import find_text
from bgexp.tracking.run_folder import CONFIG, MASKS, ROWS, SUMMARY
from tests.faults.disk import State, read_state
from tests.faults.forks import copy_photographs, import_modules, make_weights, run_command

TREES = ("regular/", "outliers/", "masks/")


class Command:
    """A command whose folder is watched; the folder lies in one that holds what it reads."""

    name = ""

    def __init__(self, folder: Path, n_images: int) -> None:
        """Make what the command reads."""
        self.folder, self.root = folder, folder / "root"
        self.log, self.n_images = folder / "output.log", n_images
        folder.mkdir(exist_ok=True)
        if not (folder / "in").exists():
            copy_photographs(folder / "in", n_images)
            make_weights(folder / "weights.safetensors")

    @property
    def quick(self) -> list[str]:
        """Settings of a network that is quick, of one worker."""
        weights = f"detector.weights={self.folder / 'weights.safetensors'}"
        network = [weights, "detector.score_threshold=0.5", "detector.image_size=64", "refine=none"]
        return [*network, "device=cpu", "workers=1", f"runs_dir={self.root / 'runs'}"]

    @property
    def arguments(self) -> list[str]:
        """The command line."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Leave the folder as it is before the command."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()

    def learn(self) -> None:
        """Note what the folder holds after the command, undisturbed, and import what it did."""
        self.expected = read_state(self.root)
        import_modules(self.log)

    def find_losses(self, state: State) -> Iterator[str]:
        """Yield what a disk records as done and does not hold."""
        raise NotImplementedError

    def resume(self) -> list[str]:
        """Run the command again on what is in the folder; return what is wrong then."""
        raise NotImplementedError

    def run_again(self, codes: tuple[int, ...] = (0,)) -> list[str]:
        """Run the command again; return that it failed, if so."""
        code = run_command(self.arguments, self.log)
        return [] if code in codes else [f"exit code {code}: {self.log.read_text()[-1500:]}"]


@cache
def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Batch(Command):
    """A batch with masks, its results in sub-folders that are new."""

    name = "batch"

    @property
    def arguments(self) -> list[str]:
        """The command line."""
        places = [f"input={self.folder / 'in'}", f"output={self.root / 'new/out'}", "masks=true"]
        return ["batch", *places, *self.quick]

    def find_losses(self, state: State) -> Iterator[str]:
        """Yield results that a journal or the manifest has and the disk has not."""
        output = {
            name.removeprefix("new/out/"): content
            for name, content in state.items()
            if name.startswith("new/out/") and content is not None
        }
        yield from self._find_half_written(output)
        yield from self._find_losses_of_journals(output)
        if SUMMARY in output:
            json.loads(output[SUMMARY])
            if "manifest.parquet" not in output or "report.html" not in output:
                yield "a summary without manifest or page"
        if "manifest.parquet" in output:
            try:
                rows = pd.read_parquet(BytesIO(output["manifest.parquet"]))
            except ValueError as error:
                yield f"the manifest is broken: {error}"
                return
            if set(rows["status"]) != {"done"}:
                yield "the manifest has rows that are not done"
            for row in rows.itertuples():
                files = {row.output: row.output_sha256, row.mask: row.mask_sha256}
                yield from _compare(output, files)

    def _find_losses_of_journals(self, output: dict[str, bytes]) -> Iterator[str]:
        plan = output.get(PLAN)
        text = find_text(plan) if plan else None
        if plan is not None and text is None:
            yield "the plan is damaged"
        if not text:
            return
        journals = f"{STATE}/{json.loads(text)['folder']}/*.journal.jsonl"
        lines = [
            output[name].splitlines(keepends=True) for name in fnmatch.filter(output, journals)
        ]
        for record in map(_decode_line, chain.from_iterable(lines)):
            if isinstance(record, Record) and record.status == "done":
                files = {record.output: record.output_sha256, record.mask: record.mask_sha256}
                yield from _compare(output, files)

    def _find_half_written(self, output: dict[str, bytes]) -> Iterator[str]:
        for name, content in output.items():
            is_result = name.startswith(TREES) and not fnmatch.fnmatch(Path(name).name, TEMPORARY)
            if is_result and content != self.expected[f"new/out/{name}"]:
                yield f"{name} is half there"

    def resume(self) -> list[str]:
        """Run the batch again; its results are those of one that was not cut."""
        return self.run_again() + self.find_differences(read_state(self.root))

    def find_differences(self, state: State) -> list[str]:
        """Return what is not as after a batch that came to its end undisturbed."""
        results = [name for name in self.expected if name.startswith("new/out/")]
        results = [name for name in results if name.removeprefix("new/out/").startswith(TREES)]
        problems = [f"{n} is another" for n in results if state.get(n) != self.expected[n]]
        left = [name for name in state if fnmatch.fnmatch(Path(name).name, TEMPORARY)]
        left = [name for name in left if name.startswith("new/out")]
        problems += [f"{name} is left" for name in left]
        return problems or list(self.find_losses(state))


def _compare(files: dict[str, bytes], hashes: dict[str, str]) -> Iterator[str]:
    for name, sha256 in hashes.items():
        if name and (name not in files or _hash(files[name]) != sha256):
            yield f"{name} is recorded and {'broken' if name in files else 'gone'}"


class Run(Command):
    """A run over sample images, in a store that it makes."""

    name = "run"

    @property
    def arguments(self) -> list[str]:
        """The command line."""
        data = ["dataset=sample", f"dataset.subset={min(self.n_images, 24)}"]
        return ["run", *data, f"hydra.run.dir={self.root / 'runs/here'}", *self.quick]

    def find_losses(self, state: State) -> Iterator[str]:
        """Yield what a run's summary, or its store, tells to be there and is not."""
        here = "runs/here/"
        summary = json.loads(state.get(f"{here}{SUMMARY}") or "{}")
        if summary.get("status") == "finished":
            yield from _find_broken(state, here)
        yield from find_store_losses(state)

    def resume(self) -> list[str]:
        """Run it again into another folder; the store has a finished run then."""
        shutil.rmtree(self.root / "runs/here", ignore_errors=True)
        problems = self.run_again()
        state = read_state(self.root)
        if not problems and not list_finished(state):
            problems.append("no run is finished after another one")
        return problems


class Promotion(Command):
    """A promotion of the only run of a store."""

    name = "promote"

    @property
    def arguments(self) -> list[str]:
        """The command line."""
        return ["promote", "runs=[last]", f"runs_dir={self.root / 'runs'}"]

    def prepare(self) -> None:
        """Leave a store with one finished run."""
        kept = self.folder / "kept"
        if not kept.exists():
            run = Run(self.folder, self.n_images)
            run.prepare()
            if problems := run.run_again():
                raise AssertionError(problems)
            shutil.copytree(self.root, kept)
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(kept, self.root)

    def find_losses(self, state: State) -> Iterator[str]:
        """Yield what the store tells to be there and is not, a champion's files above all."""
        yield from find_store_losses(state)

    def resume(self) -> list[str]:
        """Promote again; there is a champion then, whose files are whole."""
        # 1: it is the champion already, which is no failure of the machine's.
        problems = self.run_again((0, 1))
        state = read_state(self.root)
        if not problems and "champion" not in dict(query(state, "aliases")):
            problems.append(f"no champion after another promotion: {self.log.read_text()}")
        return problems


DATABASE = ("mlflow.db", "mlflow.db-journal", "mlflow.db-wal")
QUERIES = {
    "status": "select run_uuid, artifact_uri, status from runs",
    "aliases": "select alias, version from registered_model_aliases",
    "versions": "select v.version, v.source, t.value from model_versions v "
    "join model_version_tags t on t.name = v.name and t.version = v.version "
    "where t.key = 'bgexp.settings_sha256'",
    "commands": "select run_uuid, value from tags where key = 'bgexp.command'",
}


def query(state: State, name: str) -> list[tuple[str, ...]]:
    """Ask the store of a state; [] where it has none yet.

    Raises:
        sqlite3.DatabaseError: It is damaged.
    """
    files = [(file, state.get(f"runs/{file}")) for file in DATABASE]
    return _read_store(tuple(files))[name] if files[0][1] else []


@cache
def _read_store(files: tuple[tuple[str, bytes | None], ...]) -> dict[str, list[tuple[str, ...]]]:
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files:
            if content is not None:
                Path(folder, file).write_bytes(content)
        with closing(sqlite3.connect(Path(folder, DATABASE[0]))) as store:
            assert store.execute("pragma integrity_check").fetchall() == [("ok",)]
            return {name: store.execute(text).fetchall() for name, text in QUERIES.items()}


def list_finished(state: State) -> list[str]:
    """Return the ids of finished runs."""
    return [run_id for run_id, _, status in query(state, "status") if status == "FINISHED"]


def find_store_losses(state: State) -> Iterator[str]:
    """Yield what a store tells of finished runs and the champion and the disk does not hold."""
    try:
        finished, aliases = list_finished(state), dict(query(state, "aliases"))
        versions = {number: (source, sha) for number, source, sha in query(state, "versions")}
        commands = dict(query(state, "commands"))
    except (sqlite3.DatabaseError, AssertionError) as error:
        yield f"the store is damaged: {error}"
        return
    for run_id in finished:
        if commands[run_id] == "run":
            yield from _find_broken(state, f"runs/artifacts/{run_id}/artifacts/")
    if "champion" in aliases:
        source, sha256 = versions[aliases["champion"]]
        model = source.removeprefix("models:/")
        bundle = f"runs/artifacts/models/{model}/artifacts/artifacts/bundle/"
        settings = state.get(f"{bundle}settings.json") or b""
        yield from _compare({"settings.json": settings}, {"settings.json": sha256})
        hashes = json.loads(settings)["weights"] if _hash(settings) == sha256 else {}
        files = {name: state.get(f"{bundle}{name}") or b"" for name in hashes}
        yield from _compare(files, hashes)


def _find_broken(state: State, folder: str) -> Iterator[str]:
    """Yield the files of a run that are not there, whole."""
    for name, read in READERS.items():
        try:
            whole = read(BytesIO(state[f"{folder}{name}"] or b""))
        except Exception as error:
            yield f"{folder}{name} is recorded and broken or gone: {error!r}"
            continue
        if whole is False:
            yield f"{folder}{name} is recorded and not whole"


def _is_whole_zip(file: BytesIO) -> bool:
    with zipfile.ZipFile(file) as archive:
        return archive.testzip() is None


READERS = {
    SUMMARY: json.load,
    CONFIG: lambda file: check_settings(RunSettings, yaml.safe_load(file)),
    ROWS: pd.read_parquet,
    MASKS: _is_whole_zip,
}

COMMANDS: dict[str, type[Command]] = {"batch": Batch, "promote": Promotion, "run": Run}
