"""Settings and weights as one unit: what is saved reads back, and nothing else does."""

import json

import pytest
import torch
from safetensors.torch import load_file

from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.config.detectors import MaskRcnnResnet50Fpn
from bgexp.config.run import RunSettings
from bgexp.detect.resnet50 import build_resnet50_model
from bgexp.errors import UserError
from bgexp.promote.save_bundle import save_bundle
from bgexp.system.hashing import hash_file
from bgexp.tracking.bundle import DETECTOR, REFINER, SETTINGS, load_bundle, select_stages

SOURCE = {"run_id": "abc"}


def run_settings(*overrides):
    values = resolve_config(compose_config("run", list(overrides), None))
    return check_settings(RunSettings, {k: v for k, v in values.items() if k != "sweep"})


@pytest.fixture
def bundle(tmp_path, weights):
    settings = run_settings(f"detector.weights={weights}", "seed=7", "combine.min_area=0.01")
    return save_bundle(settings, tmp_path / "bundle", SOURCE)


def rewrite(bundle, change):
    path = bundle.folder / SETTINGS
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_what_is_saved_reads_back(bundle, weights):
    again = load_bundle(bundle.folder)
    assert again == bundle
    assert again.source == SOURCE
    assert again.settings["seed"] == 7
    assert again.settings["combine"]["min_area"] == 0.01
    assert again.settings["detector"]["weights"] == str(bundle.folder / DETECTOR)
    assert again.weights[DETECTOR] == hash_file(weights)  # the very file, model card and all
    assert set(again.weights) == {DETECTOR, REFINER}


def test_without_a_network_that_refines_there_is_one_file(tmp_path, weights):
    settings = run_settings(f"detector.weights={weights}", "refine=grabcut")
    assert set(save_bundle(settings, tmp_path / "b", SOURCE).weights) == {DETECTOR}


def test_a_torch_file_becomes_safetensors_with_the_same_tensors(tmp_path):
    text = "detector=maskrcnn_resnet50_fpn"
    detector = run_settings(text).detector
    assert isinstance(detector, MaskRcnnResnet50Fpn)
    state = build_resnet50_model(detector).state_dict()
    torch.save(state, tmp_path / "w.pth")
    settings = run_settings(text, f"detector.weights={tmp_path / 'w.pth'}", "refine=none")
    bundle = save_bundle(settings, tmp_path / "b", SOURCE)
    stored = load_file(bundle.folder / DETECTOR)
    assert stored.keys() == state.keys()
    assert all(torch.equal(stored[name], state[name]) for name in state)


def test_where_the_weights_lie_and_a_sweeps_floor_are_no_part_of_it(weights):
    first = run_settings(f"detector.weights={weights}", "detector.score_threshold=0.6")
    other = run_settings("detector.score_threshold=0.6", "detector.score_floor=0.2")
    assert select_stages(first) == select_stages(other)


@pytest.mark.parametrize("stage", ["", "detector", "combine", "refine", "cutout"])
def test_code_in_settings_is_refused(bundle, stage):
    def plant(content):
        (content[stage] if stage else content)["_target_"] = "os.system"

    rewrite(bundle, plant)
    with pytest.raises(UserError, match=rf"{stage}\.?_target_: no such setting"):
        load_bundle(bundle.folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["cutout"].update(background="${oc.env:HOME}"), "holds no interpolation"),
        (lambda c: c["combine"].update(mask_threshold=2), "combine.mask_threshold"),
        (lambda c: c.pop("refine"), "refine: a value is needed"),
        (lambda c: c.update(schema_version=2), "schema_version"),
        (lambda c: c["detector"].update(weights="/etc/passwd"), "other weights than its own"),
        (lambda c: c["weights"].update(more="00"), "other weights than its own"),
        (lambda c: c["weights"].update({DETECTOR: "0" * 64}), "is not the promoted file"),
    ],
)
def test_changed_settings_are_refused(bundle, change, message):
    rewrite(bundle, change)
    with pytest.raises(UserError, match=message) as caught:
        load_bundle(bundle.folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [DETECTOR, REFINER])
def test_changed_or_missing_weights_are_refused(bundle, name):
    path = bundle.folder / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{name} is not the promoted file"):
        load_bundle(bundle.folder)
    path.unlink()
    with pytest.raises(UserError, match="No such file"):
        load_bundle(bundle.folder)


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b'{"schema_version": 1'])
def test_no_settings_at_all(tmp_path, content):
    (tmp_path / SETTINGS).write_bytes(content)
    with pytest.raises(UserError, match="model: "):
        load_bundle(tmp_path)
