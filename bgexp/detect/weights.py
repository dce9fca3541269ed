"""Weights: found, verified by SHA-256, and loaded without running any code of the file."""

import json
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from bgexp.errors import UserError
from bgexp.system.atomic import write_whole
from bgexp.system.hashing import sha256_bytes, sha256_file

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Weights:
    """A file of weights.

    Attributes:
        name: What it is called.
        path: Where it lies.
        sha256: Of its bytes.
        key: The setting that named it, for what is said about it.
    """

    name: str
    path: Path
    sha256: str
    key: str = "detector.weights"


def local_file(
    path: str | Path, name: str = "", sha256: str = "", key: str = "detector.weights"
) -> Weights:
    """A file on this machine; `sha256`, where given, has to be the file's.

    Raises:
        UserError: no such file, or another one than expected.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{key}: no such file: {path}")
    found = sha256_file(path)
    if not found.startswith(sha256):
        raise UserError(
            f"{key}: {path} is damaged: its SHA-256 begins with {found[:16]} and not "
            f"with {sha256[:16]}; delete it and try again"
        )
    return Weights(name or path.name, path, found, key)


def downloaded(url: str, name: str) -> Weights:
    """Torchvision's weights in torch's cache, fetched there at the first use.

    The published file name ends with the first 8 digits of its SHA-256, which is all that is
    known beforehand; they are checked at every load, not only while downloading.

    Raises:
        UserError: it is not there and cannot be fetched, or it is damaged.
    """
    target = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    digits = target.stem.rpartition("-")[2]
    if not target.is_file():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(target), digits, progress=True)
        except (OSError, HTTPException, RuntimeError) as error:
            raise UserError(
                f"detector.weights: {name} is not at {target} and cannot be fetched ({error}). "
                f"Bring {url} there, set detector.weights=FILE, or use detector=demo"
            ) from error
    return local_file(target, name, digits)


def load_into(model: torch.nn.Module, weights: Weights) -> None:
    """Puts the weights into the model, which has to have exactly these names and shapes.

    Raises:
        UserError: the file is no state dict, or one of another model.
    """
    state = read_state(weights.path, weights.key)
    # Norms that are frozen count no batches; files written with ones that do still fit.
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    wanted = {k for k in model.state_dict() if not k.endswith("num_batches_tracked")}
    if state.keys() != wanted:
        missing, unknown = len(wanted - state.keys()), len(state.keys() - wanted)
        raise UserError(
            f"{weights.key}: {weights.path} belongs to another model "
            f"({missing} of {len(wanted)} tensors missing, {unknown} unknown)"
        )
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{weights.key}: {weights.path}: {reason}") from error


def read_state(path: Path, key: str = "detector.weights") -> State:
    """Reads a state dict from a `.safetensors` or a torch file (`weights_only=True`, always).

    Raises:
        UserError: it is no file of weights that can be read.
    """
    try:
        if path.suffix == ".safetensors":
            return load(path.read_bytes())
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the type says nothing: on odd bytes the unpickler raises any
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise UserError(f"{key}: {path} is no file of weights ({reason})") from error
    if not isinstance(state, dict) or not all(
        isinstance(k, str) and torch.is_tensor(v) for k, v in state.items()
    ):
        raise UserError(f"{key}: {path} holds no plain state dict of tensors")
    return state


def as_safetensors(weights: Weights) -> bytes:
    """The content of a .safetensors file, model card and all; of a torch file, its tensors in one.

    Raises:
        UserError: it is no file of weights that can be read.
    """
    if weights.path.suffix == ".safetensors":
        return weights.path.read_bytes()
    state = read_state(weights.path, weights.key)
    return save({name: value.contiguous().clone() for name, value in state.items()})


def read_card(path: Path) -> dict[str, str]:
    """The model card in a .safetensors file; empty for any other file."""
    try:
        with safe_open(path, "pt") as stored:
            return dict(stored.metadata() or {})
    except (SafetensorError, OSError):
        return {}


def read_classes(path: Path) -> tuple[str, ...] | None:
    """The names of the classes by id that a file which bgexp train wrote says it knows, if any."""
    try:
        names = json.loads(read_card(path).get("classes", "null"))
    except ValueError:  # someone else's card
        return None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def save_state(state: State, path: Path, metadata: dict[str, str]) -> str:
    """Writes weights as fp16 and norm statistics as fp32, whole; returns the file's SHA-256.

    Running variances reach below fp16's smallest number, so every norm entry stays fp32.
    """
    norms = {name.rpartition(".")[0] for name in state if name.endswith("running_var")}
    stored = {
        name: (value.float() if name.rpartition(".")[0] in norms else value.half()).contiguous()
        for name, value in state.items()
    }
    data = save(stored, metadata)
    write_whole(path, data)
    return sha256_bytes(data)
