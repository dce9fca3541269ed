"""Weights: found, verified by SHA-256, and loaded without running any code of the file."""

import json
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from bgexp.errors import UserError
from bgexp.system.atomic import make_folder, write_whole
from bgexp.system.hashing import hash_bytes, hash_file
from bgexp.system.store_copies import fetch_file
from bgexp.system.stores import Address, read_place

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Weights:
    """A file of weights.

    Attributes:
        name: What it is called.
        path: Where it lies.
        sha256: The SHA-256 of its bytes.
        key: The setting that names it, for error messages.
    """

    name: str
    path: Path
    sha256: str
    key: str = "detector.weights"


def locate_weights(
    path: str | Path | Address, name: str = "", sha256: str = "", key: str = "detector.weights"
) -> Weights:
    """Locate a file, of which one in an object store is copied; `sha256` has to be the file's.

    Raises:
        UserError: no such file, or another one than expected.
    """
    path = find_file(path, key)
    if not path.is_file():
        raise UserError(f"{key}: no such file: {path}")
    digest = hash_file(path)
    if not digest.startswith(sha256):
        raise UserError(
            f"{key}: {path} is damaged: its SHA-256 begins with {digest[:16]} and not "
            f"with {sha256[:16]}; delete it and try again"
        )
    return Weights(name or path.name, path, digest, key)


def find_file(path: str | Path | Address, key: str = "detector.weights") -> Path:
    """Return the path of a file of weights, of one in an object store that of its copy.

    Raises:
        UserError: There is no such object.
    """
    place = read_place(path)
    return fetch_file(place, key) if isinstance(place, Address) else Path(path)


def download_weights(url: str, name: str) -> Weights:
    """Return torchvision's weights in torch's cache, downloaded there at the first use.

    The published file name ends with the first 8 digits of its SHA-256, which is all that is
    known beforehand; they are checked at every load, not only while downloading.

    Raises:
        UserError: it is not there and cannot be downloaded, or it is damaged.
    """
    target = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    digits = target.stem.rpartition("-")[2]
    if not target.is_file():
        try:
            make_folder(target.parent)
            torch.hub.download_url_to_file(url, str(target), digits, progress=True)
        except (OSError, HTTPException, RuntimeError) as error:
            raise UserError(
                f"detector.weights: {name} is not at {target} and cannot be fetched ({error}). "
                f"Bring {url} there, set detector.weights=FILE, or use detector=demo"
            ) from error
    return locate_weights(target, name, digits)


def load_weights(model: torch.nn.Module, weights: Weights) -> None:
    """Load the weights into the model, which has to have exactly these names and shapes.

    Raises:
        UserError: the file is no state dict, or one of another model.
    """
    state = read_state(weights.path, weights.key)
    # Norms that are frozen count no batches; files written with ones that do still fit.
    state = {
        name: value for name, value in state.items() if not name.endswith("num_batches_tracked")
    }
    names = {name for name in model.state_dict() if not name.endswith("num_batches_tracked")}
    if state.keys() != names:
        missing, unknown = len(names - state.keys()), len(state.keys() - names)
        raise UserError(
            f"{weights.key}: {weights.path} belongs to another model "
            f"({missing} of {len(names)} tensors missing, {unknown} unknown)"
        )
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{weights.key}: {weights.path}: {reason}") from error


def read_state(path: Path, key: str = "detector.weights") -> State:
    """Read a state dict from a `.safetensors` or a torch file (`weights_only=True`, always).

    Raises:
        UserError: it is no file of weights that can be read.
    """
    try:
        if path.suffix == ".safetensors":
            return load(path.read_bytes())
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on odd bytes the unpickler raises any type
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise UserError(f"{key}: {path} is no file of weights ({reason})") from error
    if not isinstance(state, dict) or not all(
        isinstance(k, str) and torch.is_tensor(v) for k, v in state.items()
    ):
        raise UserError(f"{key}: {path} holds no plain state dict of tensors")
    return state


def encode_safetensors(weights: Weights) -> bytes:
    """Return a .safetensors file's bytes with its model card; a torch file's tensors as such bytes.

    Raises:
        UserError: it is no file of weights that can be read.
    """
    if weights.path.suffix == ".safetensors":
        return weights.path.read_bytes()
    state = read_state(weights.path, weights.key)
    return save({name: value.contiguous().clone() for name, value in state.items()})


def read_card(path: Path) -> dict[str, str]:
    """Read the model card in a .safetensors file; empty for any other file."""
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}


def read_classes(path: Path) -> tuple[str, ...] | None:
    """Read the class names by id from the card of a file that bgexp train wrote, if it has them."""
    try:
        names = json.loads(read_card(path).get("classes", "null"))
    except (ValueError, RecursionError):  # someone else's card
        return None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def save_state(state: State, path: Path, metadata: dict[str, str]) -> str:
    """Write weights as fp16 and norm statistics as fp32, atomically; return the file's SHA-256.

    Running variances reach below fp16's smallest number, so every norm entry stays fp32.
    """
    norms = {name.rpartition(".")[0] for name in state if name.endswith("running_var")}
    tensors = {
        name: (value.float() if name.rpartition(".")[0] in norms else value.half()).contiguous()
        for name, value in state.items()
    }
    data = save(tensors, metadata)
    write_whole(path, data)
    return hash_bytes(data)
