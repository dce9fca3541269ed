"""The dense part of a Mask R-CNN by OpenVINO: on a processor the fastest program for it.

A network is translated once and kept beside torch's downloads, by what it is made of. int8 is
calibrated on bgexp's own sample images.
"""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from filelock import FileLock
from torch import Tensor
from torchvision.models.detection import MaskRCNN

from bgexp.detect.backbone import fold_norms
from bgexp.detect.dense import Dense, DenseNetwork, DenseOutput
from bgexp.errors import UserError
from bgexp.system.atomic import make_folder
from bgexp.system.hashing import hash_bytes

if TYPE_CHECKING:
    from openvino import Model

NETWORK = "dense.xml"  # its weights lie beside it, as dense.bin
_LARGEST = 8192  # pixels of a side


def load_openvino() -> Any:  # noqa: ANN401
    """Import the module openvino, which comes with the extra `openvino`.

    Raises:
        UserError: It is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise UserError(
            "detector.backend: openvino is not installed (pip install 'bgexp[openvino]')"
        ) from error
    return openvino


def supports_bf16() -> bool:
    """Return whether this CPU has bf16 instructions."""
    core = load_openvino().Core()
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def build_openvino_dense(
    model: MaskRCNN,
    precision: str,
    identity: dict[str, str],
    pictures: Callable[[], Iterable[Tensor]],
) -> Dense:
    """Build the dense part, on as many threads as torch has.

    Args:
        model: With its weights, on the CPU.
        precision: fp32, bf16 or int8.
        identity: What the network is made of; one that was translated before is reused.
        pictures: Returns the pictures that int8 is calibrated on, 1x3xHxW float32 each.

    Raises:
        UserError: OpenVINO is not installed, or bf16 was asked for and the processor has none.
    """
    openvino = load_openvino()
    core = openvino.Core()
    if precision == "bf16" and not supports_bf16():
        raise UserError("detector.precision: bf16: this processor has none (allowed: fp32, int8)")
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # or two processes would sit on one core
    }
    fp32 = _cache_network({**identity, "precision": "fp32"}, lambda: _translate(model))
    path = fp32
    if precision == "int8":
        path = _cache_network(
            {**identity, "precision": "int8"}, lambda: _quantise(core.read_model(fp32), pictures())
        )
    request = core.compile_model(core.read_model(path), "CPU", options).create_infer_request()

    def run(x: Tensor) -> DenseOutput:
        outputs = request.infer([x.numpy()], share_inputs=True, share_outputs=False)
        tensors = [torch.from_numpy(array) for array in outputs.values()]
        levels = len(tensors) // 3
        parts = (tuple(tensors[n * levels : (n + 1) * levels]) for n in range(3))
        return DenseOutput(*parts)

    return run


def _cache_network(identity: dict[str, str], make: "Callable[[], Model]") -> Path:
    """Return the file of a network, made by the first process that needs it."""
    openvino = load_openvino()
    key_parts = {**identity, "openvino": openvino.__version__, "torch": torch.__version__}
    key = hash_bytes(json.dumps(key_parts, sort_keys=True).encode())[:32]
    folder = Path(torch.hub.get_dir()) / "bgexp"
    target = folder / key
    make_folder(folder)
    with FileLock(folder / f"{key}.lock"):
        if not target.is_dir():
            with TemporaryDirectory(dir=folder) as scratch:
                built = Path(scratch) / key
                with patch.dict(os.environ, {"CI": "true"}):  # else it reports its use home
                    network = make()
                openvino.save_model(network, built / NETWORK, compress_to_fp16=False)
                built.rename(target)
    return target / NETWORK


def _translate(model: MaskRCNN) -> "Model":
    fold_norms(model.eval())
    sides = {n: 32 * torch.export.Dim(name, min=1, max=_LARGEST // 32) for n, name in _SIDES}
    example = (torch.zeros(1, 3, 256, 320),)
    exported = torch.export.export(DenseNetwork(model), example, dynamic_shapes=(sides,))
    return load_openvino().convert_model(exported)


def _quantise(network: "Model", pictures: Iterable[Tensor]) -> "Model":
    import nncf

    arrays = [picture.numpy() for picture in pictures]
    return nncf.quantize(network, nncf.Dataset(arrays), subset_size=len(arrays))


_SIDES = ((2, "height"), (3, "width"))
