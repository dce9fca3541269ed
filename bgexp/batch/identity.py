"""All that determines the results of a batch."""

import json
from pathlib import Path

from bgexp.batch.journal import Identity, Origin
from bgexp.config.batch import BatchSettings
from bgexp.config.roles import NOT_RESULT, dump_without
from bgexp.config.stages import UNet
from bgexp.detect.build import find_runtime_versions, find_weights
from bgexp.detect.device import describe_device, pick_device
from bgexp.pipeline.cutout import hash_background
from bgexp.pipeline.refine import find_network
from bgexp.system.hashing import hash_bytes
from bgexp.system.provenance import find_package_versions, hash_sources
from bgexp.system.stores import Address
from bgexp.tracking.registry import Version


def compute_origin(
    settings: BatchSettings, version: Version | None, source: Path | Address
) -> Origin:
    """Return all that determines the results of a batch.

    Args:
        settings: The batch's settings, those of the promoted model among them.
        version: The promoted model, if one is named.
        source: The folder of the input, absolute, or its address.

    Raises:
        UserError: Weights or device are missing.
    """
    weights = find_weights(settings.detector)
    device = describe_device(settings.device, pick_device(settings.device))
    refine = settings.refine
    provenance = {
        **dump_without(settings, *NOT_RESULT),
        "weights": weights.sha256,
        "background": hash_background(settings.cutout.background),
        "refine.weights": find_network(refine).sha256 if isinstance(refine, UNet) else "",
        "device": device["name"],
        "versions": find_package_versions() | find_runtime_versions(settings.detector),
        "bgexp": hash_sources()[:16],
    }
    digest = hash_bytes(json.dumps(provenance, sort_keys=True).encode())
    name, number = (version.name, str(version.number)) if version else (settings.detector.name, "")
    identity = Identity(digest, weights.sha256, name, number)
    return Origin(identity, {"input": str(source), **provenance}, device)
