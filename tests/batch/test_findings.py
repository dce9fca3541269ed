import pytest

from bgexp.batch.findings import FLAGS, find_batch_findings
from bgexp.batch.journal import Record
from bgexp.batch.manifest import build_manifest
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config


def make_done(number, *flags, confidence=0.9, **values):
    values = {"coverage": 0.3, "confidence": confidence, "kind": "regular"} | values
    return Record(f"{number:02}.jpg", ".", "done", flags=flags, **values)


def make_skipped(path, reason):
    return Record(path, ".", "skipped", reason)


def find_findings(records, **summary):
    return find_batch_findings(build_manifest(records), {"status": "finished", **summary})


def test_a_good_batch_and_an_empty_one_say_nothing():
    assert find_findings([make_done(n) for n in range(8)]) == []
    assert find_findings([]) == []
    assert find_findings([make_skipped("x.txt", "not an image")]) == []


def test_failed_images():
    records = [make_done(n) for n in range(5)]
    records += [Record(f"f{n}.jpg", ".", "failed", "ValueError: x") for n in range(2)]
    records += [Record("f2.jpg", ".", "failed", "timed out")]
    [finding] = find_findings(records)
    assert (finding.severity, finding.title) == ("warning", "3 images failed")
    assert finding.evidence.startswith("ValueError: x (2); timed out (1). Run the same command")
    assert finding.paths == ("f0.jpg", "f1.jpg", "f2.jpg")
    assert finding.weight == 3 / 8
    assert find_findings(records, status="failed")[0].severity == "problem"


def test_damaged_files():
    records = [
        make_done(0),
        make_skipped("a.jpg", "corrupt: truncated"),
        make_skipped("b.txt", "not an image"),
    ]
    [finding] = find_findings(records)
    assert (finding.title, finding.paths) == ("1 file is damaged", ("a.jpg",))
    records.append(make_skipped("c.jpg", "corrupt: empty: no bytes"))
    assert find_findings(records)[0].title == "2 files are damaged"


@pytest.mark.parametrize("flag", FLAGS)
def test_each_flag(flag):
    records = [make_done(n) for n in range(6)] + [make_done(7, flag, confidence=0.9)]
    records += [make_done(8, "other", flag, confidence=0.2), make_done(9, flag, confidence=None)]
    [finding] = find_findings(records)
    assert finding.title == f"3 results flagged {flag}"
    assert finding.evidence == f"33.3% of the results: {FLAGS[flag][0]}."
    assert finding.paths == ("09.jpg", "08.jpg", "07.jpg")  # no score, then the least sure
    assert finding.setting == FLAGS[flag][1]
    assert finding.severity == ("warning" if flag in ("nothing_found", "high_coverage") else "note")


def test_a_flag_is_known_by_its_whole_name():
    assert find_findings([make_done(0, "low_trust")]) == []


def test_settings_to_try_are_ones_that_the_command_line_takes():
    for setting in {setting for _, setting in FLAGS.values() if setting}:
        config = compose_config("batch", ["input=a", "output=b", setting], None)
        check_settings(BatchSettings, resolve_config(config))


def test_missing_metadata_and_extensions():
    records = [make_done(n) for n in range(3)] + [
        make_done(4, quality_issues=("tiny", "wrong_extension"))
    ]
    wrong, missing = find_findings(records, missing_metadata={"make": 1200, "gps": 3})
    assert wrong.title == "1 image with the extension of another format"
    assert wrong.paths == ("04.jpg",)
    assert missing.title == "Metadata are missing"
    assert missing.evidence == "Images without the field: make 1,200, gps 3."


def test_at_most_five_and_the_worst_first():
    records = [make_done(n, *FLAGS) for n in range(4)] + [make_skipped("x.jpg", "corrupt: x")]
    records += [Record("f.jpg", ".", "failed", "x")]
    findings = find_findings(records, status="failed", missing_metadata={"make": 1})
    assert [finding.severity for finding in findings] == ["problem"] + ["warning"] * 3 + ["note"]
    assert findings[0].title == "1 image failed"
