"""The folder of configs; it is found without Hydra, whose import help does not wait for."""

from pathlib import Path


def find_conf_dir() -> Path:
    """Find the folder of configs: the checkout's own, or the one inside the installed package."""
    package = Path(__file__).parents[1]
    checkout = package.parent / "conf"
    if (package.parent / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    return package / "conf"
