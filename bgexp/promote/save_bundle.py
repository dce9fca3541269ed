"""The settings and weights of a run as one bundle, written and verified."""

from collections.abc import Mapping
from pathlib import Path

from bgexp.config.detectors import Masks
from bgexp.config.run import RunSettings
from bgexp.config.stages import UNet
from bgexp.detect.build import find_weights
from bgexp.detect.weights import Weights, encode_safetensors
from bgexp.errors import UserError
from bgexp.pipeline.refine import find_network
from bgexp.system.atomic import write_json, write_whole
from bgexp.system.hashing import hash_bytes
from bgexp.tracking.bundle import (
    DETECTOR,
    REFINER,
    SETTINGS,
    Bundle,
    _list_owners,
    load_bundle,
    select_stages,
)


def find_run_weights(settings: RunSettings) -> dict[str, Weights]:
    """Find the files of weights that the settings name, by the name that they get in a bundle.

    Raises:
        UserError: one is missing or damaged, or there is no network.
    """
    if isinstance(settings.detector, Masks):
        raise UserError("detector=masks has no network")
    weights = {DETECTOR: find_weights(settings.detector)}
    if isinstance(settings.refine, UNet):
        weights[REFINER] = find_network(settings.refine)
    return weights


def save_bundle(settings: RunSettings, folder: Path, source: Mapping[str, str]) -> Bundle:
    """Write a run's settings and weights into an empty folder, and read them back.

    Raises:
        UserError: weights are missing or damaged.
    """
    hashes = {}
    for name, weights in find_run_weights(settings).items():
        data = encode_safetensors(weights)
        write_whole(folder / name, data)
        hashes[name] = hash_bytes(data)
    stages = select_stages(settings)
    for stage, name in _list_owners(stages):
        stages[stage]["weights"] = name
    content = {"schema_version": 1, **stages, "weights": hashes, "source": dict(source)}
    write_json(folder / SETTINGS, content)
    return load_bundle(folder)
