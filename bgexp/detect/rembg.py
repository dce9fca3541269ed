"""A peer: networks of the U2-Net family with the arithmetic of rembg, for rembg's own masks.

Qin et al., U2-Net, Pattern Recognition 2020; rembg 2.0.86, sessions/base.py and u2netp.py. Only
onnxruntime is needed, which runs the operators of an ONNX file and no code of it.
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from bgexp.config.detectors import Rembg
from bgexp.detect.detections import Selection, SoftMask
from bgexp.detect.weights import Weights, locate_weights
from bgexp.errors import UserError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

KEY = "detector.model"
SIDE = 320  # pixels of the network's input, both ways
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as the network was trained
# rembg's models of this arithmetic, and the MD5 that rembg publishes for each.
MODELS = {
    "u2netp": "8e83ca70e441ab06c318d82300c84806",
    "u2net": "60024c5c889badc19c04ad937298a77b",
    "u2net_human_seg": "c09ddc2e0104f800e3e1bb4652583d1f",
    "silueta": "55e59e0d8062d2f5d013f4725ee84782",
}
RELEASE = "https://github.com/danielgatis/rembg/releases/download/v0.0.0"


class RembgDetector:
    """A U2-Net ready to run, on the processor.

    Attributes:
        selection: Of no use: a soft mask has no scores and no classes.
    """

    def __init__(self, session: "InferenceSession") -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._output = session.get_outputs()[0].name  # the finest of its seven
        self.selection = Selection(0.0)

    def detect(self, image: NDArray[np.uint8]) -> SoftMask:
        """Return the soft mask of an image, HxWx3 uint8 RGB."""
        [soft] = self._session.run([self._output], {self._input: normalise(image)})
        small = Image.fromarray(stretch_contrast(np.asarray(soft)[0, 0]))
        size = image.shape[1], image.shape[0]
        return SoftMask(np.asarray(small.resize(size, Image.Resampling.LANCZOS), np.uint8))


def normalise(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale and normalise an image, HxWx3 uint8 RGB, for the network: 1x3x320x320 float32."""
    small = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    pixels = np.asarray(small, np.float64)
    pixels = (pixels / max(pixels.max(), 1e-6) - MEAN) / STD
    return np.asarray(pixels.transpose(2, 0, 1)[None], np.float32)


def stretch_contrast(soft: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Stretch a map from its least value at 0 to its greatest at 255; a constant one to 0."""
    low, high = soft.min(), soft.max()
    if not high > low:
        return np.zeros(soft.shape, np.uint8)
    return np.asarray((soft - low) / (high - low) * 255).astype(np.uint8)


def load_runtime() -> Any:  # noqa: ANN401
    """Import the module onnxruntime, which comes with the extra `rembg`.

    Raises:
        UserError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError("detector=rembg needs onnxruntime: pip install 'bgexp[rembg]'") from error
    return onnxruntime


def build_rembg(weights: Weights) -> RembgDetector:
    """Build a detector of the network in a file.

    Raises:
        UserError: onnxruntime is not installed, or the file is no such network.
    """
    onnxruntime = load_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        # From its bytes: a file may name others beside it, and those would be read too.
        session = onnxruntime.InferenceSession(
            weights.path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has a class of its own for each kind of damage
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{KEY}: {weights.path} cannot be run ({reason})") from error
    _check_shapes(session, weights)
    return RembgDetector(session)


def _check_shapes(session: "InferenceSession", weights: Weights) -> None:
    for nodes, expected in (
        (session.get_inputs(), (1, 3, SIDE, SIDE)),
        (session.get_outputs(), (1, 1, SIDE, SIDE)),
    ):
        shape = nodes[0].shape
        fits = len(shape) == 4 and all(  # a size that is open has a name or None
            not isinstance(size, int) or size == length
            for size, length in zip(shape, expected, strict=True)
        )
        if not fits or nodes[0].type != "tensor(float)":
            raise UserError(
                f"{KEY}: {weights.path} is no network of the U2-Net family "
                f"({nodes[0].name} is {shape}; expected {list(expected)})"
            )


def find_model(settings: Rembg) -> Weights:
    """Find the file that the settings name; one of rembg's own models is verified by its MD5.

    Raises:
        UserError: it is not there, or damaged.
    """
    if settings.model not in MODELS:
        if not settings.model.endswith(".onnx"):
            raise UserError(
                f"{KEY}: no such model: {settings.model} (allowed: {', '.join(MODELS)}, FILE.onnx)"
            )
        return locate_weights(Path(settings.model), key=KEY)
    name = f"{settings.model}.onnx"
    folders = _list_model_folders(settings.model)
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        raise UserError(
            f"{KEY}: {settings.model} is not on this machine: bring {RELEASE}/{name} to "
            f"{folders[0] / name}, or set {KEY}=FILE.onnx"
        )
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if md5 != MODELS[settings.model]:
        raise UserError(f"{KEY}: {path} is damaged: its MD5 is {md5}; delete it and try again")
    return locate_weights(path, settings.model, key=KEY)


def _list_model_folders(model: str) -> list[Path]:
    """Return the folders that rembg searches: its present one and that of its earlier versions."""
    data = os.environ.get("XDG_DATA_HOME")
    old = Path(os.environ.get("U2NET_HOME") or f"{data or '~'}/.u2net").expanduser()
    if os.environ.get("U2NET_HOME"):
        return [old / "models" / model, old]
    default = f"{data}/rembg" if data else "~/.rembg"
    home = Path(os.environ.get("REMBG_HOME", default)).expanduser()
    return [home / "models" / model, old]
