"""Which device computes."""

import torch

from bgexp.errors import UserError

Device = torch.device
CPU = Device("cpu")


def pick_device(wanted: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`.

    Raises:
        UserError: CUDA was asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("device: this machine has no CUDA device (got 'cuda'; use auto or cpu)")
    use_cuda = wanted != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if use_cuda else "cpu")


def device_name(device: torch.device) -> str:
    """What people call it: the GPU's name, or the instruction set of the CPU's kernels."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"CPU {torch.backends.cpu.get_cpu_capability()}"
