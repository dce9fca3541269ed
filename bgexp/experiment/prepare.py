"""What a run takes in: device, dataset and weights, checked, and each image with its truth."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bgexp.config.detectors import DetectorSettings, Masks, SoftMaskSettings
from bgexp.config.engines import Local, Ray, require_library
from bgexp.config.roles import NOT_RESULT, dump_without
from bgexp.config.run import RunSettings
from bgexp.config.stages import UNet
from bgexp.datasets.read import Dataset, read_dataset
from bgexp.detect.build import (
    build_cached_detector,
    build_detector,
    find_runtime_versions,
    find_weights,
)
from bgexp.detect.cache import DetectionCache
from bgexp.detect.detector import FileDetectors
from bgexp.detect.device import CPU, Device, describe_device, pick_device
from bgexp.detect.inference_server import ServerAddress
from bgexp.detect.masks import MaskReader, ToolMasks, find_masks
from bgexp.detect.weights import Weights
from bgexp.pipeline.refine import find_network, load_network
from bgexp.system.hashing import hash_bytes
from bgexp.system.provenance import find_package_versions, hash_sources
from bgexp.system.signals import StopRequest
from bgexp.tracking.store import open_store

if TYPE_CHECKING:
    from bgexp.system.ray_cluster import RayCluster


@dataclass(frozen=True)
class RunInputs:
    """The inputs of a run.

    Attributes:
        settings: Its settings.
        device: As a summary has it, of whoever evaluates the images.
        dataset: Its images.
        weights: The detector's; of a tool's masks their place and the hash of all of them.
        masks: Of detector=masks.
        detector: On this machine.
        refiner: The network of refine=unet.
        cluster: Whose workers evaluate the images; None: this machine's.
    """

    settings: RunSettings
    device: dict[str, str]
    dataset: Dataset
    weights: Weights
    masks: ToolMasks | None
    detector: FileDetectors
    refiner: Weights | None
    cluster: "RayCluster | None" = None

    @property
    def identity(self) -> str:
        """SHA-256 over everything that can change the result."""
        parts = {
            "settings": dump_without(self.settings, *NOT_RESULT),
            "score_floor": self.settings.detector.floor,
            "dataset": self.dataset.digest,
            "weights": self.weights.sha256,
            "refiner": self.refiner.sha256 if self.refiner else None,
            "sources": hash_sources(),
            "versions": find_package_versions() | find_runtime_versions(self.settings.detector),
            "device": self.device["name"],
        }
        return hash_bytes(json.dumps(parts, sort_keys=True).encode())


def prepare(settings: RunSettings) -> RunInputs:
    """Find device, data and weights.

    Raises:
        UserError: one of them is missing.
    """
    cluster = open_cluster(settings.engine)
    find_device = partial(_find_device, settings.device)
    device = cluster.call(find_device, StopRequest()) if cluster else find_device()
    dataset = read_dataset(settings.dataset, settings.seed)
    masks = None
    if isinstance(settings.detector, Masks):
        masks = find_masks(settings.detector, dataset.items)
        weights = masks.weights
    else:
        weights = find_weights(settings.detector)
    # Of a cluster, this machine loads no network.
    place = CPU if cluster else Device(device["used"])
    detector = build_run_detector(settings, place, masks or weights)
    refiner = _find_refiner(settings)
    return RunInputs(settings, device, dataset, weights, masks, detector, refiner, cluster)


def open_cluster(engine: Local | Ray) -> "RayCluster | None":
    """Connect to the engine's cluster, where it is one.

    Raises:
        UserError: Ray is not installed, or it is not there.
    """
    if isinstance(engine, Local):
        return None
    with require_library(engine):
        from bgexp.system.ray_cluster import RayCluster
    return RayCluster(**engine.model_dump(exclude={"name"}))


def _find_device(name: str) -> dict[str, str]:
    return describe_device(name, pick_device(name))


def build_run_detector(
    settings: RunSettings,
    device: Device,
    source: Weights | ToolMasks,
    network: ServerAddress | None = None,
) -> FileDetectors:
    """Build the run's detector; it loads a network, or asks another process's, when needed."""
    if isinstance(source, ToolMasks):
        return MaskReader(source)
    assert not isinstance(settings.detector, Masks)  # whose source is masks
    return build_cached_detector(settings.detector, device, source, _open_cache(settings), network)


def _find_refiner(settings: RunSettings) -> Weights | None:
    return find_network(settings.refine) if isinstance(settings.refine, UNet) else None


def _open_cache(settings: RunSettings) -> DetectionCache | None:
    folder, limit = settings.runs_dir.resolve() / "cache" / "detections", settings.cache.max_gb
    return DetectionCache(folder, round(1e9 * limit)) if limit else None


def check_ready(jobs: Sequence[RunSettings]) -> None:
    """Check for all that can be known to be missing before the first job starts.

    Raises:
        UserError: cluster, device, data, weights or labels are not there, or the store cannot be
            opened.
    """
    for engine in {settings.engine for settings in jobs}:
        open_cluster(engine)
    datasets = {
        (dataset, seed): read_dataset(dataset, seed)
        for dataset, seed in {(settings.dataset, settings.seed) for settings in jobs}
    }
    for settings in jobs:
        if isinstance(settings.detector, Masks):
            find_masks(settings.detector, datasets[settings.dataset, settings.seed].items)
    _check_networks([settings for settings in jobs if isinstance(settings.engine, Local)])
    for refine in {settings.refine for settings in jobs}:
        if isinstance(refine, UNet):
            load_network(refine)
    for store in {(settings.runs_dir, settings.tracking): settings for settings in jobs}.values():
        open_store(store)


def _check_networks(jobs: Sequence[RunSettings]) -> None:
    networks = {
        (_load_key(settings.detector), settings.device)
        for settings in jobs
        if not isinstance(settings.detector, Masks)
    }
    for detector, device in networks:
        build_detector(detector, pick_device(device))


def _load_key(detector: DetectorSettings) -> DetectorSettings:
    """Return the settings that decide what is loaded: a threshold is none of them."""
    if isinstance(detector, SoftMaskSettings):
        return detector
    return detector.replace(score_threshold=0.0, score_fallback=None, score_floor=None)
