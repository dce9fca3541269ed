"""Weights: found, verified by SHA-256, and loaded without running any code of the file."""

import hashlib
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bgexp.errors import UserError

State = dict[str, torch.Tensor]


def read_state(path: Path) -> State:
    """Reads a state dict from a `.safetensors` or a torch file (`weights_only=True`, always).

    Raises:
        UserError: the file is missing or is no file of weights.
    """
    if not path.is_file():
        raise UserError(f"detector.weights: no such file: {path}")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as stored:
                return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(
            f"detector.weights: {path} is no file of weights that can be read ({reason})"
        ) from error
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise UserError(f"detector.weights: {path} holds no plain state dict of tensors")
    return state


def save_state(state: State, path: Path, metadata: dict[str, str]) -> str:
    """Writes weights as fp16 and norm statistics as fp32; returns the file's SHA-256.

    Running variances reach below fp16's smallest number, so every norm entry stays fp32.
    """
    norms = {name.rpartition(".")[0] for name in state if name.endswith("running_var")}
    stored = {
        name: (value.float() if name.rpartition(".")[0] in norms else value.half()).contiguous()
        for name, value in state.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(stored, path, metadata)
    return hashlib.sha256(path.read_bytes()).hexdigest()
