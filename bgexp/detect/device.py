"""Which device computes."""

import cv2
import torch

from bgexp.errors import UserError
from bgexp.system.cores import count_own_cores

Device = torch.device
CPU = Device("cpu")


def pick_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`.

    Raises:
        UserError: CUDA was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: this machine has no CUDA device (got 'cuda'; use auto or cpu)")
    use_cuda = name != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if use_cuda else "cpu")


def get_device_name(device: torch.device) -> str:
    """Return the GPU's name, or the instruction set of the CPU's kernels."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"CPU {torch.backends.cpu.get_cpu_capability()}"


def describe_device(requested: str, device: torch.device) -> dict[str, str]:
    """Return the device as a summary has it: as it was asked for, its type and its name."""
    return {"requested": requested, "used": device.type, "name": get_device_name(device)}


def limit_threads() -> None:
    """Limit OpenCV to this process's share of the cores, as torch limits itself.

    A launcher that starts several jobs at once gives each its share.
    """
    cv2.setNumThreads(count_own_cores())


def use_threads(threads: int) -> None:
    """Limit torch and OpenCV to this number of threads."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def has_bf16(device: Device) -> bool:
    """Return whether the device has bf16 instructions; any CPU can emulate them, slowly."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
