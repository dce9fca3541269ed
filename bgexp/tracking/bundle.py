"""Settings and weights as one verified unit: promotion writes it, batch and serving read it.

A bundle is a folder with settings.json and safetensors files: data that is checked, never code.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bgexp.config.base import Section
from bgexp.config.check import check_settings
from bgexp.config.detectors import DetectorSettings
from bgexp.config.pipeline import STAGES
from bgexp.config.roles import NOT_RESULT, dump_without
from bgexp.config.run import RunSettings
from bgexp.config.stages import Combine, Cutout, Refine
from bgexp.errors import UserError
from bgexp.system.hashing import hash_bytes, hash_file
from bgexp.system.state_files import decode_json, read_state

SETTINGS = "settings.json"
DETECTOR, REFINER = "detector.safetensors", "refiner.safetensors"


class _Content(Section):
    """The content of settings.json; `weights`: SHA-256 by file name; `source`: the run's origin."""

    schema_version: Literal[1]
    detector: DetectorSettings
    combine: Combine
    refine: Refine
    cutout: Cutout
    seed: int
    weights: dict[str, str]
    source: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """A bundle on the disk whose files were verified.

    Attributes:
        folder: Its folder.
        settings: By STAGES, as a config holds them; weights are the bundle's own files.
        sha256: SHA-256 of settings.json.
        weights: SHA-256 by file name.
        source: The run that was promoted, its dataset and its state of bgexp.
    """

    folder: Path
    settings: Mapping[str, Any]
    sha256: str
    weights: Mapping[str, str]
    source: Mapping[str, str]


def select_stages(settings: RunSettings) -> dict[str, Any]:
    """Return the settings that decide what becomes of an image, by STAGES, without weights."""
    values = dump_without(settings, *NOT_RESULT)
    return {name: values[name] for name in STAGES}


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle and verify it; nothing of it is run.

    Raises:
        UserError: a file is missing or not the one that settings.json names, or settings.json
            holds a key, a value or an interpolation that no settings have.
    """
    path = folder / SETTINGS
    try:
        data = read_state(path)
        content = decode_json(data)
    except (OSError, ValueError) as error:
        raise UserError(f"model: {path}: cannot be read ({error})") from error
    if "${" in data.decode(errors="replace"):
        raise UserError(f"model: {path}: a promoted setting holds no interpolation")
    try:
        checked = check_settings(_Content, content)
    except UserError as error:
        raise UserError(f"model: {path}: {str(error).splitlines()[0]}") from error
    stages = {name: content[name] for name in STAGES}
    owners = dict(_list_owners(stages))
    if set(checked.weights) != set(owners.values()) or any(
        content[stage].get("weights") != name for stage, name in owners.items()
    ):
        raise UserError(f"model: {path}: it names other weights than its own")
    for stage, name in owners.items():
        _verify(folder / name, checked.weights[name])
        stages[stage] = stages[stage] | {"weights": str(folder / name)}
    return Bundle(folder, stages, hash_bytes(data), checked.weights, checked.source)


def _list_owners(stages: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the stages that have weights, and the name of each one's file."""
    yield "detector", DETECTOR
    if stages["refine"].get("name") == "unet":
        yield "refine", REFINER


def _verify(path: Path, sha256: str) -> None:
    try:
        digest = hash_file(path)
    except OSError as error:
        raise UserError(f"model: {path}: {error.strerror}") from error
    if digest != sha256:
        raise UserError(
            f"model: {path} is not the promoted file: its SHA-256 begins with {digest[:16]} "
            f"and not with {sha256[:16]}"
        )
