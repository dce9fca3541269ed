"""What determines the results of a batch: its settings, but not how they are computed."""

import json
from pathlib import Path

import pytest

from bgexp.batch.identity import compute_origin
from bgexp.config.load import load_settings
from bgexp.detect.build import find_weights
from bgexp.detect.device import describe_device, pick_device
from bgexp.pipeline.refine import find_network
from bgexp.system.hashing import hash_bytes
from bgexp.system.provenance import find_package_versions, hash_sources
from bgexp.tracking.registry import Version

SOURCE = Path("/photographs")


def make_origin(*overrides, version=None, source=SOURCE):
    settings = load_settings("batch", ["input=a", "output=b", "device=cpu", *overrides])
    return compute_origin(settings, version, source)


@pytest.fixture
def plain():
    return make_origin()


def test_it_is_the_hash_of_what_is_recorded(plain):
    recorded = dict(plain.provenance)
    assert recorded.pop("input") == str(SOURCE)
    digest = hash_bytes(json.dumps(recorded, sort_keys=True).encode())
    assert plain.identity.settings_hash == digest


def test_what_is_recorded(plain):
    settings = load_settings("batch", ["input=a", "output=b"])
    device = describe_device("cpu", pick_device("cpu"))
    weights = find_weights(settings.detector).sha256
    expected = {
        "weights": weights,
        "background": "",
        "refine.weights": find_network(settings.refine).sha256,
        "device": device["name"],
        "bgexp": hash_sources()[:16],
    }
    assert {key: plain.provenance[key] for key in expected} == expected
    assert plain.provenance["versions"].items() >= find_package_versions().items()
    assert plain.provenance["detector"]["name"] == "demo"
    assert (plain.device, plain.identity.weights_sha256) == (device, weights)


@pytest.mark.parametrize(
    "override", ["detector.score_threshold=0.71", "refine=grabcut", "cutout.background=white"]
)
def test_another_setting_is_another_identity(plain, override):
    assert make_origin(override).identity.settings_hash != plain.identity.settings_hash


def test_a_network_that_refines_is_part_of_it():
    assert make_origin("refine=none").provenance["refine.weights"] == ""


def test_another_background_under_the_same_name_is_another_identity(tmp_path):
    picture = tmp_path / "background.png"
    sample = Path(__file__).parents[2] / "bgexp" / "sample" / "images"
    hashes = set()
    for file in sorted(sample.rglob("*.*"))[:2]:
        picture.write_bytes(file.read_bytes())
        hashes.add(make_origin(f"cutout.background={picture}").identity.settings_hash)
    assert len(hashes) == 2


def test_what_changes_no_result_is_no_part_of_it(plain):
    other = make_origin("workers=3", "timeout_s=7", "max_failed=0.5", source=Path("/elsewhere"))
    assert other.identity == plain.identity


def test_a_promoted_model_is_named(plain):
    assert (plain.identity.model_name, plain.identity.model_version) == ("demo", "")
    identity = make_origin(version=Version("cutter", 3, "", "")).identity
    assert (identity.model_name, identity.model_version) == ("cutter", "3")
