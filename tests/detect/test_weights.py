import hashlib
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from bgexp.detect.weights import (
    Weights,
    download_weights,
    load_weights,
    locate_weights,
    read_state,
    save_state,
)
from bgexp.errors import UserError


def small_model():
    return nn.Sequential(nn.Conv2d(3, 4, 1), FrozenBatchNorm2d(4))


def random_state():
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.rand(value.shape, generator=generator)
        for name, value in small_model().state_dict().items()
    }


def weights_at(path):
    return Weights(path.name, path, "")


def flip_a_byte(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


class RunsCode:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_a_round_trip_keeps_norms_in_32_bits_and_the_rest_in_16(tmp_path):
    state, path = random_state(), tmp_path / "w.safetensors"
    state["1.running_var"][0] = 1e-8  # in 16 bits it would be 0
    digest = save_state(state, path, {"data": "none"})
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    tensors = read_state(path)
    assert {key for key, tensor in tensors.items() if tensor.dtype == torch.float16} == {
        "0.weight",
        "0.bias",
    }
    assert {tensor.dtype for key, tensor in tensors.items() if key.startswith("1.")} == {
        torch.float32
    }
    model = small_model()
    load_weights(model, locate_weights(path, sha256=digest))
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        expected = state[name].half().float() if name.startswith("0.") else state[name]
        assert torch.equal(value, expected), name


def test_a_torch_file_with_batch_counters_loads(tmp_path):
    counters = {"1.num_batches_tracked": torch.tensor(7)}
    torch.save(random_state() | counters, tmp_path / "w.pth")
    model = small_model()
    load_weights(model, locate_weights(tmp_path / "w.pth"))
    assert torch.equal(model[0].weight, random_state()["0.weight"])


@pytest.mark.parametrize("position", [0, 200, -1])
def test_one_flipped_byte_against_a_known_hash(tmp_path, position):
    path = tmp_path / "w.safetensors"
    digest = save_state(random_state(), path, {})
    assert locate_weights(path, "demo", digest) == Weights("demo", path, digest)
    flip_a_byte(path, position)
    with pytest.raises(UserError, match=f"w.safetensors is damaged: .* not with {digest[:16]}"):
        locate_weights(path, "demo", digest)


def test_no_such_file(tmp_path):
    for path in (tmp_path, tmp_path / "none.pth"):
        with pytest.raises(UserError, match=r"detector\.weights: no such file"):
            locate_weights(path)


def test_weights_of_another_model(tmp_path):
    path = tmp_path / "w.safetensors"
    save_state(nn.Linear(2, 2).state_dict(), path, {})
    with pytest.raises(UserError, match=r"another model \(6 of 6 tensors missing, 2 unknown\)"):
        load_weights(small_model(), weights_at(path))


def test_weights_of_another_shape(tmp_path):
    path = tmp_path / "w.safetensors"
    save_state(random_state() | {"0.bias": torch.zeros(5)}, path, {})
    with pytest.raises(UserError, match=r"size mismatch for 0\.bias"):
        load_weights(small_model(), weights_at(path))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".txt"])
@pytest.mark.parametrize(
    "content",
    [b"", b"not weights at all\n", b"hello", b"version https://git-lfs", b"PK\x03\x04 half a zip"],
)
def test_what_is_no_file_of_weights(tmp_path, suffix, content):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"w{suffix} is no file of weights \(.+\)"):
        read_state(path)


@pytest.mark.parametrize("length", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file(tmp_path, suffix, length):
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(random_state(), path)
    else:
        save_state(random_state(), path, {})
    path.write_bytes(path.read_bytes()[: int(length * path.stat().st_size)])
    with pytest.raises(UserError, match="no file of weights"):
        read_state(path)


@pytest.mark.parametrize(
    "content",
    [[1, 2, 3], {"model": {"weight": torch.zeros(1)}}, {"epoch": 3}, {1: torch.zeros(1)}],
    ids=["list", "nested", "number", "numbered"],
)
def test_what_is_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth holds no plain state dict of tensors"):
        load_weights(small_model(), weights_at(tmp_path / "w.pth"))


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("how", ["pickle", "torch"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_code_in_a_file_is_refused_and_does_not_run(tmp_path, monkeypatch, forced, how, suffix):
    path, trace = tmp_path / f"evil{suffix}", tmp_path / "it-ran"
    content = {"weight": torch.zeros(1), "evil": RunsCode(trace)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(UserError, match="no file of weights"):
        read_state(path)
    assert not trace.exists()


def test_that_code_would_have_run(tmp_path):
    torch.save(RunsCode(tmp_path / "it-ran"), tmp_path / "evil.pth")
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert (tmp_path / "it-ran").is_dir()


# -- downloads -------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Put torch's cache into an empty folder, and no proxy between us and the server."""
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("no_proxy", "*")
    torch.hub.set_dir(tmp_path / "hub")
    return tmp_path / "hub" / "checkpoints"


def publish(folder, content=b"some weights"):
    """Write a file named as torchvision's are: the name ends with 8 digits of its SHA-256."""
    digest = hashlib.sha256(content).hexdigest()
    path = folder / f"model-{digest[:8]}.pth"
    path.write_bytes(content)
    return path, digest


def test_weights_are_fetched_once_into_torchs_cache(hub, tmp_path):
    source, digest = publish(tmp_path)
    weights = download_weights(source.as_uri(), "COCO_V1")
    assert weights == Weights("COCO_V1", hub / source.name, digest)
    assert weights.path.read_bytes() == b"some weights"
    source.unlink()
    assert download_weights(source.as_uri(), "COCO_V1") == weights


def test_a_damaged_download_is_refused_and_not_kept(hub, tmp_path):
    source, _ = publish(tmp_path)
    flip_a_byte(source, 3)
    with pytest.raises(UserError, match="invalid hash value"):
        download_weights(source.as_uri(), "COCO_V1")
    assert list(hub.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_refused_at_every_load(hub, tmp_path):
    source, _ = publish(tmp_path)
    download_weights(source.as_uri(), "COCO_V1")
    flip_a_byte(hub / source.name, 3)
    for _ in range(2):
        with pytest.raises(UserError, match=r"is damaged: .*; delete it and try again"):
            download_weights(source.as_uri(), "COCO_V1")


def test_without_network_the_message_says_where_and_what_to_do(hub):
    url = "http://127.0.0.1:9/model-01234567.pth"
    with pytest.raises(UserError) as caught:
        download_weights(url, "COCO_V1")
    message = str(caught.value)
    for part in (str(hub / "model-01234567.pth"), url, "detector.weights=FILE", "detector=demo"):
        assert part in message
    assert "\n" not in message


def test_a_cache_that_cannot_be_written(hub):
    hub.parent.parent.mkdir(exist_ok=True)
    Path(hub.parent).write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be fetched"):
        download_weights("http://127.0.0.1:9/model-01234567.pth", "COCO_V1")
