"""`import bgexp`: what a Python user gets by one name, and what that costs."""

import subprocess
import sys
from pathlib import Path

import pytest

import bgexp
from bgexp.pipeline import remover


def test_it_offers_what_stands_in_it():
    assert bgexp.remove_background is remover.remove_background
    assert {"RemovalResult", "Remover", "load_settings", "remove_background"} <= set(dir(bgexp))
    with pytest.raises(AttributeError, match="module 'bgexp' has no attribute 'remove'"):
        bgexp.remove  # noqa: B018


def test_importing_it_loads_nothing_heavy():
    code = (
        "import sys, bgexp; heavy = {'torch', 'torchvision', 'mlflow', 'hydra', 'numpy', 'cv2'};"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys(); bgexp.load_settings;"
        "assert not {'torch', 'mlflow'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_is_typed():
    package = Path(bgexp.__file__).parent
    assert (package / "py.typed").is_file()
    stub = (package / "__init__.pyi").read_text()
    assert all(f"import {name} as {name}\n" in stub for name in bgexp._FRONT_DOOR)
