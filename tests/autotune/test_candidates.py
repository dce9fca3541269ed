import torch
import yaml

from bgexp.autotune import candidates
from bgexp.autotune.candidates import (
    REFERENCE,
    apply_changes,
    list_arithmetics,
    list_smaller_inputs,
)
from bgexp.config.conf_dir import find_conf_dir
from bgexp.config.detectors import Demo, MaskRcnnResnet50Fpn

CPU = torch.device("cpu")


def load_config(kind, name):
    return kind.model_validate(
        yaml.safe_load((find_conf_dir() / f"detector/{name}.yaml").read_text())
    )


def test_the_reference_comes_first_and_all_are_settings(monkeypatch):
    for bf16 in (True, False):
        monkeypatch.setattr(candidates, "has_bf16", lambda _, has_bf16=bf16: has_bf16)
        tried = list_arithmetics(CPU)
        assert tried[0] == REFERENCE
        assert ({"backend": "torch", "precision": "bf16"} in tried) == bf16
        assert {"backend": "openvino", "precision": "int8"} in tried
        for changes in tried:
            detector = apply_changes(load_config(Demo, "demo"), changes)
            assert Demo.model_validate(detector.model_dump()) == detector
    assert {changes["precision"] for changes in list_arithmetics(torch.device("meta"))} == {
        "fp32",
        "fp16",
    }


def test_without_openvino(monkeypatch):
    monkeypatch.setattr(candidates, "find_spec", lambda _: None)
    monkeypatch.setattr(candidates, "has_bf16", lambda _: False)
    assert list_arithmetics(CPU) == [REFERENCE]


def test_smaller_inputs_are_whole_strides():
    assert list_smaller_inputs(load_config(Demo, "demo")) == [
        {"image_size": 288},
        {"image_size": 224},
    ]
    resnet = load_config(MaskRcnnResnet50Fpn, "maskrcnn_resnet50_fpn")
    expected = [{"min_size": 672, "max_size": 1120}, {"min_size": 544, "max_size": 896}]
    assert list_smaller_inputs(resnet) == expected
