"""Each kind of damage is found, with its row, and nothing else is."""

import json
import os
import shutil
import zipfile
from io import BytesIO

import pandas as pd
import pytest
from PIL import Image

from bgexp.batch.manifest import read_manifest
from bgexp.config.load import load_settings
from bgexp.errors import UserError
from bgexp.system.stores import delete_object, write_object
from bgexp.tracking.run_folder import RunFolder
from bgexp.verify.command import verify_output
from tests.conftest import SAMPLE

CAT, DUCK, OWL = "regular/animals/cat.png", "regular/birds/duck.png", "regular/birds/owl.png"
ROW = {CAT: "animals/cat.jpg", DUCK: "birds/duck.jpg", OWL: "birds/owl.jpg"}


@pytest.fixture(scope="module")
def _whole(run_cli, weights, tmp_path_factory):
    """Make a batch with masks of three photographs, a cut one and a text; its folder."""
    folder = tmp_path_factory.mktemp("whole")
    for name in ROW.values():
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLE / "images" / name, folder / "in" / name)
    data = (folder / "in/birds/owl.jpg").read_bytes()
    (folder / "in/birds/cut.jpg").write_bytes(data[:9000])
    (folder / "in/notes.txt").write_text("no image")
    settings = [
        f"detector.weights={weights}",
        "detector.image_size=64",
        "refine=none",
        "masks=true",
    ]
    places = [f"input={folder / 'in'}", f"output={folder / 'out'}", f"runs_dir={folder / 'runs'}"]
    assert run_cli("batch", *settings, *places, "device=cpu", "detector.score_threshold=0.5") == 0
    return folder


@pytest.fixture
def whole(_whole, tmp_path):
    """Leave the batch as it was after the test: whatever is damaged is put back."""
    shutil.copytree(_whole, tmp_path / "kept")
    yield _whole
    shutil.rmtree(_whole)
    shutil.copytree(tmp_path / "kept", _whole)


def verify(place, *overrides):
    settings = load_settings("verify", [f"output={place}", *overrides])
    return verify_output(settings)


def find(place, *overrides):
    """Return file, problem and row of each damage."""
    return [(d.file, d.problem, d.row) for d in verify(place, *overrides).damage]


def test_a_whole_output_is_whole(whole):
    verification = verify(whole / "out")
    assert verification.is_whole
    assert verification.notes == []
    assert (verification.n_rows, verification.n_results, verification.n_inputs) == (5, 6, 4)


def edit_rows(out, change):
    rows = change(read_manifest(out).copy())
    rows.to_parquet(out / "manifest.parquet", index=False)


def set_cell(rows, column, value):
    rows.loc[rows["path"] == ROW[OWL], column] = value
    return rows


def double(rows):
    return pd.concat([rows, rows[rows["path"] == ROW[OWL]]])


def add_row(rows):
    return pd.concat([rows, rows[:1].assign(path="new.jpg")])


def flip_bit(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def swap(a, b):
    content = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(content)


def encode_other_image():
    file = BytesIO()
    Image.new("RGB", (40, 30)).save(file, "PNG")
    return file.getvalue()


def link_away(file):
    file.rename(file.parents[3] / "elsewhere.png")
    file.symlink_to(file.parents[3] / "elsewhere.png")


def replace_text(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def put(file, content=b"x"):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def empty_folder_in_place(file):
    file.unlink()
    file.mkdir()


PARQUET, CSV = "manifest.parquet", "manifest.csv"
MASK = "masks/birds/owl.png"
# What is done to the folder of the batch, and what is found then.
DAMAGE = {
    "missing": (lambda f: (f / "out" / OWL).unlink(), [(OWL, "is missing")]),
    "truncated": (lambda f: os.truncate(f / "out" / OWL, 500), [(OWL, "was changed")]),
    "a bit flipped": (lambda f: flip_bit(f / "out" / OWL), [(OWL, "was changed")]),
    "another image": (
        lambda f: (f / "out" / OWL).write_bytes(encode_other_image()),
        [(OWL, "was changed")],
    ),
    "empty": (lambda f: os.truncate(f / "out" / OWL, 0), [(OWL, "is empty")]),
    "a folder in its place": (
        lambda f: empty_folder_in_place(f / "out" / OWL),
        [(OWL, "cannot be read: Is a directory")],
    ),
    "extra file": (
        lambda f: put(f / "out/regular/birds/more.png"),
        [("regular/birds/more.png", "no row names it", "")],
    ),
    "extra folder": (
        lambda f: put(f / "out/other/a/b.txt"),
        [("other/a/b.txt", "no row names it", "")],
    ),
    "hidden file": (
        lambda f: put(f / "out/masks/.hidden"),
        [("masks/.hidden", "no row names it", "")],
    ),
    "renamed": (
        lambda f: (f / "out" / OWL).rename(f / "out/regular/birds/OWL 1.png"),
        [(OWL, "was renamed to regular/birds/OWL 1.png")],
    ),
    "wrong extension": (
        lambda f: (f / "out" / OWL).rename(f / "out/regular/birds/owl.jpg"),
        [(OWL, "was renamed to regular/birds/owl.jpg")],
    ),
    "swapped": (
        lambda f: swap(f / "out" / OWL, f / "out" / DUCK),
        [(DUCK, f"holds {OWL}"), (OWL, f"holds {DUCK}")],
    ),
    "link": (
        lambda f: link_away(f / "out" / OWL),
        [(OWL, "a link stands in its place")],
    ),
    "pipe": (
        lambda f: ((f / "out" / OWL).unlink(), os.mkfifo(f / "out" / OWL)),
        [(OWL, "is no regular file")],
    ),
    "mask missing": (lambda f: (f / "out" / MASK).unlink(), [(MASK, "is missing", ROW[OWL])]),
    "mask changed": (
        lambda f: (f / "out" / MASK).write_bytes(encode_other_image()),
        [(MASK, "was changed", ROW[OWL])],
    ),
    "row deleted": (
        lambda f: edit_rows(f / "out", lambda rows: rows[rows["path"] != ROW[OWL]]),
        [(PARQUET, "lacks this row", ROW[OWL])],
    ),
    "row of a skipped file deleted": (
        lambda f: edit_rows(f / "out", lambda rows: rows[rows["path"] != "notes.txt"]),
        [(PARQUET, "lacks this row", "notes.txt")],
    ),
    "row added": (
        lambda f: edit_rows(f / "out", add_row),
        [(PARQUET, "has a row of no file of the batch: new.jpg", "")],
    ),
    "row doubled": (
        lambda f: edit_rows(f / "out", double),
        [(PARQUET, "has this row twice", ROW[OWL])],
    ),
    "row edited": (
        lambda f: edit_rows(f / "out", lambda rows: set_cell(rows, "coverage", 0.5)),
        [(PARQUET, "its row was changed: coverage", ROW[OWL])],
    ),
    "hash edited": (
        lambda f: edit_rows(f / "out", lambda rows: set_cell(rows, "output_sha256", "0" * 64)),
        [(PARQUET, "its row was changed: output_sha256", ROW[OWL])],
    ),
    "rows in another order": (
        lambda f: edit_rows(f / "out", lambda rows: rows[::-1]),
        [(PARQUET, "its rows are in another order", "")],
    ),
    "manifest missing": (lambda f: (f / "out" / PARQUET).unlink(), [(PARQUET, "is missing", "")]),
    "manifest.csv edited": (
        lambda f: replace_text(f / "out" / CSV, "birds/duck.jpg,", "birds/duck.JPG,"),
        [
            (CSV, "has a row of no file of the batch: birds/duck.JPG", ""),
            (CSV, "lacks this row", ROW[DUCK]),
        ],
    ),
    "manifest.csv with other line ends": (
        lambda f: (f / "out" / CSV).write_bytes(
            (f / "out" / CSV).read_bytes().replace(b"\n", b"\r\n")
        ),
        [(CSV, "was changed", "")],
    ),
    "manifest.csv missing": (lambda f: (f / "out" / CSV).unlink(), [(CSV, "is missing", "")]),
    "summary edited": (
        lambda f: replace_text(f / "out/summary.json", '"failed": 0', '"failed": 2'),
        [("summary.json", "its counts are not those of the rows: failed", "")],
    ),
    "summary missing": (
        lambda f: (f / "out/summary.json").unlink(),
        [("summary.json", "is missing", "")],
    ),
    "summary damaged": (
        lambda f: os.truncate(f / "out/summary.json", 90),
        [("summary.json", "cannot be read", "")],
    ),
    "page missing": (
        lambda f: (f / "out/report.html").unlink(),
        [("report.html", "is missing", "")],
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_no_other(whole, kind):
    plant, expected = DAMAGE[kind]
    plant(whole)
    found = [place if len(place) == 3 else (*place, ROW[place[0]]) for place in expected]
    assert find(whole / "out") == found


def test_a_truncated_manifest(whole):
    os.truncate(whole / "out" / PARQUET, 3000)
    [(file, problem, _)] = find(whole / "out")
    assert file == PARQUET
    assert problem.startswith("cannot be read: Parquet magic bytes not found")


@pytest.mark.parametrize(
    ("plant", "problem"),
    [
        (lambda file: flip_bit(file), "the input was changed"),
        (lambda file: file.unlink(), "the input is gone"),
        (lambda file: empty_folder_in_place(file), "the input is gone"),
    ],
)
def test_inputs(whole, plant, problem):
    file = whole / "in" / ROW[OWL]
    plant(file)
    assert find(whole / "out") == [(str(file), problem, ROW[OWL])]


def test_inputs_that_are_out_of_reach_are_no_damage(whole):
    (whole / "in").rename(whole / "away")
    verification = verify(whole / "out")
    assert verification.is_whole
    assert verification.n_inputs == 0
    assert verification.notes == [
        f"the inputs were not looked at: {whole / 'in'}: No such file or directory"
    ]


def test_a_damaged_journal(whole):
    [journal] = (whole / "out/.bgexp").glob("*/*.journal.jsonl")
    flip_bit(journal)
    (whole / "out" / OWL).unlink()
    name = journal.relative_to(whole / "out").as_posix()
    expected = [(name, "1 of its lines are damaged", ""), (OWL, "is missing", ROW[OWL])]
    assert find(whole / "out") == expected


def test_without_its_plan_the_manifest_counts(whole):
    shutil.rmtree(whole / "out/.bgexp")
    (whole / "out" / OWL).unlink()
    put(whole / "out/regular/more.png")
    verification = verify(whole / "out")
    assert [(d.file, d.row) for d in verification.damage] == [
        (OWL, ROW[OWL]),
        ("regular/more.png", ""),
    ]
    assert "no input is known" in verification.notes[0]
    (whole / "out" / PARQUET).unlink()
    assert find(whole / "out") == [(PARQUET, "is missing", "")]


def test_a_batch_that_has_not_ended(whole):
    [journal] = (whole / "out/.bgexp").glob("*/*.journal.jsonl")
    journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])
    (whole / "out/summary.json").unlink()
    [(_, problem, _)] = find(whole / "out")
    assert problem.startswith("the batch has not come to its end: 1 of its parts are not done")


def test_a_subset_sees_what_is_missing_of_all(whole):
    for name in (CAT, DUCK, OWL):
        (whole / "out" / name).unlink()
    verification = verify(whole / "out", "subset=20%")
    assert [damage.file for damage in verification.damage] == [CAT, DUCK, OWL]
    assert (verification.n_rows, verification.n_sampled) == (5, 1)


def test_an_input_inside_of_the_output(whole, bgexp_cli, weights):
    (whole / "both/in").mkdir(parents=True)
    shutil.copy(whole / "in" / ROW[OWL], whole / "both/in")
    settings = [f"detector.weights={weights}", "detector.image_size=64", "refine=none"]
    places = [f"input={whole / 'both/in'}", f"output={whole / 'both'}", f"runs_dir={whole / 'r'}"]
    code, _, err = bgexp_cli("batch", *settings, *places, "device=cpu")
    assert code == 0, err
    assert verify(whole / "both").is_whole


def test_the_command(whole, bgexp_cli):
    code, out, _ = bgexp_cli("verify", str(whole / "out"))
    assert code == 0
    assert out == f"{whole / 'out'}: whole (5 rows; 6 results and 4 inputs read)\n"
    (whole / "out" / OWL).unlink()
    code, out, _ = bgexp_cli("verify", str(whole / "out"))
    assert code == 1
    assert out.splitlines() == [
        f"{OWL}: is missing (row {ROW[OWL]})",
        f"{whole / 'out'}: DAMAGED: 1 fault (5 rows; 6 results and 4 inputs read)",
    ]
    code, out, _ = bgexp_cli("verify", str(whole / "out"), "--json", "subset=1")
    assert code == 1
    document = json.loads(out)
    assert document["whole"] is False
    assert document["damage"][0]["row"] == ROW[OWL]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "output: no such folder: nowhere"),
        (["."], "is neither the output of a batch nor a run's folder"),
        ([], "output: a value is needed"),
        (["a", "b"], "b: a setting is given as key=value"),
        ([".", "subset=120%"], "subset: Input should be less than or equal to 1 (got"),
    ],
)
def test_wrong_use(bgexp_cli, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = bgexp_cli("verify", *words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


# -- runs ------------------------------------------------------------------------------------


@pytest.fixture
def run_folder(two_runs, tmp_path):
    return shutil.copytree(next(two_runs.glob("sweep/*/0")), tmp_path / "run")


def rewrite(archive, change):
    """Write an archive anew from the names and contents that `change` returns."""
    with zipfile.ZipFile(archive) as file:
        content = [(name, file.read(name)) for name in file.namelist()]
    with zipfile.ZipFile(archive, "w") as file:
        for name, data in change(content):
            file.writestr(zipfile.ZipInfo(name), data)


def test_a_run(run_folder):
    verification = verify(run_folder)
    assert verification.is_whole
    assert (verification.n_rows, verification.n_results, verification.n_inputs) == (4, 4, 4)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda masks: masks[1:], ("{first}", "is missing")),
        (lambda masks: [*masks, ("x.png", b"")], ("masks.zip/x.png", "no row names it")),
        (lambda masks: [(masks[0][0], masks[1][1]), *masks[1:]], ("{first}", "was changed")),
        (lambda masks: [(masks[0][0], b"x"), *masks[1:]], ("{first}", "was changed")),
    ],
)
def test_masks_of_a_run(run_folder, change, expected):
    with zipfile.ZipFile(run_folder / "masks.zip") as file:
        first = file.namelist()[0]
    rewrite(run_folder / "masks.zip", change)
    [(file, problem, _)] = find(run_folder)
    assert file == expected[0].format(first=f"masks.zip/{first}")
    assert problem.startswith(expected[1])


def test_alphas_of_a_run(run_folder):
    shutil.copy(run_folder / "masks.zip", run_folder / "alpha.zip")
    rows = pd.read_parquet(run_folder / "per_image.parquet")
    rows.assign(alpha_sha256=rows["mask_sha256"]).to_parquet(run_folder / "per_image.parquet")
    RunFolder(run_folder).write_summary(RunFolder(run_folder).read_summary())
    assert verify(run_folder).n_results == 8
    assert find(run_folder) == []
    path = rows["path"][0]
    rewrite(run_folder / "alpha.zip", lambda files: [(files[0][0], files[1][1]), *files[1:]])
    assert find(run_folder) == [(f"alpha.zip/{path}.png", "was changed", path)]
    (run_folder / "alpha.zip").unlink()
    assert find(run_folder) == [("alpha.zip", "is missing", "")]


def test_a_damaged_archive(run_folder):
    flip_bit(run_folder / "masks.zip")
    [(file, problem, row)] = find(run_folder)
    assert file == f"masks.zip/{row}.png"
    assert problem.startswith("cannot be read: Bad CRC-32")
    os.truncate(run_folder / "masks.zip", 200)
    assert find(run_folder) == [("masks.zip", "cannot be read: File is not a zip file", "")]
    (run_folder / "masks.zip").unlink()
    assert find(run_folder) == [("masks.zip", "is missing", "")]


def test_rows_and_reports_of_a_run(run_folder):
    rows = pd.read_parquet(run_folder / "per_image.parquet")
    (run_folder / "report.html").unlink()
    rows[1:].to_parquet(run_folder / "per_image.parquet", index=False)
    path = rows["path"][0]
    assert find(run_folder) == [
        (f"masks.zip/{path}.png", "no row names it", ""),
        ("per_image.parquet", "was changed", ""),
        ("report.html", "is missing", ""),
        ("summary.json", "its counts are not those of the rows: total, ok", ""),
    ]
    (run_folder / "per_image.parquet").write_bytes(b"PAR1")
    assert [file for file, _, _ in find(run_folder)] == ["per_image.parquet", "report.html"]


def test_a_sweep(two_runs, tmp_path):
    sweep = shutil.copytree(next(two_runs.glob("sweep/*")), tmp_path / "sweep")
    verification = verify(sweep)
    assert verification.is_whole
    assert (verification.n_rows, verification.n_results, verification.n_inputs) == (8, 8, 8)
    flip_bit(sweep / "1/config.yaml")
    (sweep / "0/per_image.parquet").unlink()
    assert find(sweep) == [
        ("0/per_image.parquet", "is missing", ""),
        ("1/config.yaml", "was changed", ""),
    ]
    shutil.rmtree(sweep / "0")
    assert ("0/per_image.parquet", "is missing", "") in find(sweep)
    for name in ("²", "9" * 50):
        (sweep / name).mkdir()
    assert ("0/per_image.parquet", "is missing", "") in find(sweep)


@pytest.mark.parametrize(
    "name", ["config.yaml", "per_image.parquet", "report.html", "samples/{first}"]
)
def test_what_a_run_wrote_once(run_folder, name):
    name = name.format(first=min(path.name for path in (run_folder / "samples").iterdir()))
    content = (run_folder / name).read_bytes()
    flip_bit(run_folder / name)
    assert [file for file, _, _ in find(run_folder)] == [name]
    (run_folder / name).write_bytes(content)
    assert find(run_folder) == []
    (run_folder / name).unlink()
    assert name in [file for file, _, _ in find(run_folder)]


def test_a_summary_names_no_file_elsewhere(run_folder):
    summary = json.loads((run_folder / "summary.json").read_text())
    summary["files"] = {"../secret": "0"}
    (run_folder / "summary.json").write_text(json.dumps(summary))
    (run_folder.parent / "secret").touch()
    assert find(run_folder) == [("../secret", "is missing", "")]


# -- object stores ---------------------------------------------------------------------------


def test_an_output_in_a_store(whole, bucket):
    for file in (whole / "out").rglob("*"):
        if file.is_file():
            name = file.relative_to(whole / "out").as_posix()
            write_object(bucket / "out" / name, file.read_bytes())
    verification = verify(bucket / "out")
    assert verification.is_whole
    assert (verification.n_rows, verification.n_results, verification.n_inputs) == (5, 6, 4)
    delete_object(bucket / "out" / OWL)
    write_object(bucket / "out" / DUCK, b"other")
    write_object(bucket / "out/regular/more.png", b"x")
    assert find(bucket / "out") == [
        (DUCK, "was changed", ROW[DUCK]),
        (OWL, "is missing", ROW[OWL]),
        ("regular/more.png", "no row names it", ""),
    ]
    with pytest.raises(UserError, match="is neither the output of a batch nor a run's folder"):
        verify(bucket / "none")


def test_a_changed_alpha_is_found(run_cli, weights, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(SAMPLE / "images/animals/cat.jpg", tmp_path / "in")
    words = [f"detector.weights={weights}", "detector.image_size=64", "refine=none", "device=cpu"]
    words += [
        f"{name}={tmp_path / folder}" for name, folder in (("input", "in"), ("output", "out"))
    ]
    words += [f"runs_dir={tmp_path / 'runs'}", "cutout.edge=soft", "alphas=true"]
    assert run_cli("batch", *words) == 0
    out = tmp_path / "out"
    assert find(out) == []
    (out / "alphas/cat.png").write_bytes(b"other")
    assert find(out) == [("alphas/cat.png", "was changed", "cat.jpg")]
    (out / "alphas/cat.png").unlink()
    assert find(out) == [("alphas/cat.png", "is missing", "cat.jpg")]
