"""Whatever a file holds: a result, or one printable line; `make fuzz SECONDS=600`.

`python -m tests.faults.fuzz decode --first=1234 --cases=1` repeats a case.
"""

import argparse
import contextlib
import faulthandler
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic, process_time
from unittest import mock

import numpy as np
from PIL import Image

from bgexp.batch.journal import Closing, Journal, Record, is_closed, read_journal
from bgexp.cli import main as cli
from bgexp.config.load import load_settings
from bgexp.datasets.coco import read_coco
from bgexp.datasets.coco_masks import decode_instances, decode_truth
from bgexp.images.decode import ImageError, decode_image, decode_mask
from bgexp.promote.save_bundle import save_bundle
from bgexp.quality.table import read_metadata_table
from bgexp.system.folders import LocalFolder
from bgexp.tracking import votes
from bgexp.tracking.bundle import SETTINGS, load_bundle
from tests.datasets.coco_files import make_content
from tests.faults.mutate import mutate
from tests.images.pictures import NOISE, SMOOTH, encode, encode_gif, encode_mpo

CPU_SECONDS = 10.0  # of a case
MEGABYTES = 1500  # by which a target's process may grow
HANG_SECONDS = 300
MEGAPIXELS = 20.0


class FuzzError(Exception):
    """What no content of a file may cause."""


class Target:
    """What reads files of one kind: `seeds` are such files, `read` is given a changed one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seeds = self.make_seeds()

    def make_seeds(self) -> list[bytes]:
        raise NotImplementedError

    def read(self, data: bytes) -> None:
        raise NotImplementedError


class Decode(Target):
    """Image files."""

    def make_seeds(self) -> list[bytes]:
        grey, deep = NOISE[..., 0], NOISE[..., 0].astype(np.uint16) * 257
        alpha = np.dstack([SMOOTH, SMOOTH[..., 0]])
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = 6, "maker"
        return [
            encode(SMOOTH, "JPEG", exif=exif),
            encode(SMOOTH, "JPEG", progressive=True),
            encode(SMOOTH, "JPEG", mode="CMYK"),
            encode_mpo(),
            encode(NOISE, "PNG", exif=exif),
            encode(alpha, "PNG"),
            encode(NOISE, "PNG", mode="P"),
            encode(deep, "PNG"),
            encode(grey > 100, "PNG"),
            encode(SMOOTH, "WEBP"),
            encode(alpha, "WEBP", lossless=True, exif=exif),
            encode(NOISE, "TIFF"),
            encode(NOISE, "TIFF", compression="tiff_lzw"),
            encode(SMOOTH, "TIFF", compression="jpeg"),
            encode(deep, "TIFF", compression="tiff_adobe_deflate"),
            encode(grey.astype(np.float32) / 255, "TIFF"),
            encode(NOISE, "BMP"),
            encode_gif(),
            encode(SMOOTH, "AVIF"),
            encode(SMOOTH, "HEIF"),
        ]

    def read(self, data: bytes) -> None:
        for decode in (decode_image, decode_mask):
            try:
                decode(data, MEGAPIXELS)
            except ImageError as error:
                check_line(str(error))  # it stands in rows and pages


class FileTarget(Target):
    """What reads a file; its errors are printed as the command line prints them."""

    name = "file"

    def read(self, data: bytes) -> None:
        path = self.folder / self.name
        path.write_bytes(data)
        call_as_command(lambda: self.read_file(path))

    def read_file(self, path: Path) -> None:
        raise NotImplementedError


class Coco(FileTarget):
    """Annotation files."""

    name = "annotations.json"

    def make_seeds(self) -> list[bytes]:
        content = make_content()
        runs = {"size": [5, 6], "counts": "51020i0"}
        content["annotations"].append(content["annotations"][0] | {"id": 9, "segmentation": runs})
        return [json.dumps(content).encode(), json.dumps(content, indent=1).encode("utf-16")]

    def read_file(self, path: Path) -> None:
        images, _ = read_coco(path, self.folder, None)
        for image in images.values():
            try:
                decode_truth(image, (5, 6))
                decode_instances(image, (5, 6))
            except ImageError as error:
                check_line(str(error))


class Csv(FileTarget):
    """Tables of metadata."""

    name = "metadata.csv"

    def make_seeds(self) -> list[bytes]:
        table = 'path,camera,note\na.jpg,Canon,"one, two"\nb/c.jpg,,\n,,\nd.jpg,Nikon,x\n'
        return [
            table.encode(),
            table.replace(",", ";").encode("latin-1"),
            table.replace(",", "\t").encode("utf-16"),
            b"\xef\xbb\xbf" + table.replace("\n", "\r\n").encode(),
        ]

    def read_file(self, path: Path) -> None:
        read_metadata_table(path, ["a.jpg", "d.jpg"])


class Votes(FileTarget):
    """Files of votes, and of what they are votes on."""

    name = "votes.json"

    def make_seeds(self) -> list[bytes]:
        ids = "1" * 32, "2" * 32
        pair = {"image": "a.jpg", "left": ids[0], "right": ids[1], "repeat": False}
        pairs = [{"pair": str(number), **pair} for number in range(3)]
        review = {"review": "3" * 32, "runs": {ids[0]: "one", ids[1]: "two"}, "pairs": pairs}
        self._review = votes.Review.model_validate(review)
        judged = [{"pair": str(n), "choice": "left", "seconds": 1.5} for n in range(3)]
        file = {"format": "bgexp-votes", "version": 1, "review": "3" * 32, "judge": "a-1"}
        return [
            json.dumps({**file, "votes": judged}).encode(),
            json.dumps(review).encode(),
        ]

    def read_file(self, path: Path) -> None:
        content = votes._read_json(path)
        if isinstance(content, dict) and "pairs" in content:
            votes._check_content(votes.Review, content, path)
        exported = votes._check_content(votes.VoteFile, content, path)
        votes._build_votes(exported, self._review, path)


class JournalTarget(FileTarget):
    """A part's journal: whatever happened to it, it holds no record that nobody wrote."""

    name = "journal"

    def make_seeds(self) -> list[bytes]:
        record = Record("a\u2028b.jpg", ".", "done", output="regular/a.png", output_sha256="1" * 64)
        self._records = [
            record,
            replace(record, path="b.jpg", output="regular/b.png", mask="masks/b.png"),
            Record("c.jpg", ".", "failed", "broken"),
        ]
        journal = Journal(LocalFolder(self.folder), self.name, self._records[:1])
        for entry in (*self._records[1:], Closing(2, 0.5, 2.5)):
            journal.add(entry)
        data = (self.folder / self.name).read_bytes()
        return [data, data[: data.rindex(b"\n", 0, -1) + 1]]

    def read_file(self, path: Path) -> None:
        folder = LocalFolder(path.parent)
        content = read_journal(folder, path.name)
        is_closed(folder, path.name)
        if strange := [r for r in content.records.values() if r not in self._records]:
            raise FuzzError(f"a record that nobody wrote: {strange[0]}")


class BundleTarget(FileTarget):
    """A promoted model: it is whole, or refused."""

    name = SETTINGS

    def make_seeds(self) -> list[bytes]:
        bundle = save_bundle(load_settings("run", ["refine=grabcut"]), self.folder / "bundle", {})
        self.folder = bundle.folder
        return [(bundle.folder / SETTINGS).read_bytes()]

    def read_file(self, path: Path) -> None:
        load_bundle(path.parent)


class Overrides(Target):
    """Words of a command line."""

    def make_seeds(self) -> list[bytes]:
        return [
            b"detector.score_threshold=0.7\nrefine=grabcut\ndevice=cpu",
            b"cutout.background=#ff00ff\ndataset=pairs\ndataset.images=a b\ndataset.masks='c,d'",
            b"detector=maskrcnn_resnet50_fpn\ndetector.labels=[person,dog]\n++seed=3",
            b"runs_dir=${oc.env:HOME}/x\ntracking.uri=sqlite:///a.db\n~refine",
            b"input=a\noutput=b\ntimeout_s=1e3\nworkers=null\nsize_rules={a:1}",
        ]

    def read(self, data: bytes) -> None:
        words = data.decode(errors="surrogateescape").replace("\0", "").split("\n")
        command = ("run", "batch", "train")[len(data) % 3]
        call_as_command(lambda: load_settings(command, words))


TARGETS: dict[str, type[Target]] = {
    "decode": Decode,
    "coco": Coco,
    "csv": Csv,
    "votes": Votes,
    "journal": JournalTarget,
    "bundle": BundleTarget,
    "overrides": Overrides,
}


def call_as_command(function: Callable[[], object]) -> None:
    """Call a function as the command line would, and check what it prints of an error."""

    def run(_arguments: list[str]) -> int:
        function()
        return 0

    output = io.StringIO()
    with mock.patch.object(cli, "_run_command", run), contextlib.redirect_stderr(output):
        code = cli.main([])
    if code > 128:
        sys.exit(code)  # a signal, for this program itself
    if code:
        lines = output.getvalue().removesuffix("\n").split("\n")
        for line in lines:
            check_line(line)
        if code != 2:
            raise FuzzError(f"exit code {code}")


def check_line(line: str) -> None:
    """Raise FuzzError for a line that cannot be shown."""
    line = line.removeprefix("bgexp: ")
    if not 0 < len(line) <= 1000 or not line.replace("\u200d", "").isprintable():
        raise FuzzError(f"not a printable line of at most 1,000 characters: {line[:2000]!r}")


def find_problem(target: Target, name: str, case: int) -> str:
    """Give one changed file to a target; return what is wrong, or nothing."""
    rng = random.Random(f"{name} {case}")
    data = mutate(rng.choice(target.seeds), target.seeds, rng)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, process_time()
    try:
        target.read(data)
    except Exception as error:
        return f"{name}, case {case}: {type(error).__name__}: {str(error)[:500]}"
    seconds = process_time() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if seconds > CPU_SECONDS or grown > MEGABYTES:
        return f"{name}, case {case}: {seconds:.0f} s, {grown:.0f} MB more"
    return ""


def main() -> int:
    """Try cases of one target or, one after the other, of all; return 1 where one went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="?", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=600.0, help="of each target")
    parser.add_argument("--cases", type=int, default=10**9)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    if options.target is None:
        command = [sys.executable, *sys.orig_argv[1:]]
        return max(subprocess.run([*command, name]).returncode != 0 for name in TARGETS)
    faulthandler.enable()
    start, problems = monotonic(), []
    case = options.first
    with tempfile.TemporaryDirectory() as folder:
        target = TARGETS[options.target](Path(folder).resolve())
        end = options.first + options.cases
        while case < end and monotonic() - start < options.seconds:
            # Where it hangs or crashes, the last lines say at which case.
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            print(f"\r{options.target}: case {case}", end="", file=sys.stderr, flush=True)
            if problem := find_problem(target, options.target, case):
                problems.append(problem)
                print(f"\n{problem}", flush=True)
            case += 1
    seconds = monotonic() - start
    faulthandler.cancel_dump_traceback_later()
    tried = case - options.first
    print(
        f"\n{options.target}: {tried:,} cases in {seconds:.0f} s: {len(problems):,} bad", flush=True
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
