"""bgexp and the naive script on one picture: from the file read to the file written."""

from dataclasses import dataclass, field
from time import perf_counter

import cv2
import numpy as np
import torch
import yaml
from pydantic import TypeAdapter

from bgexp.config.conf_dir import find_conf_dir
from bgexp.config.detectors import DetectorSettings
from bgexp.config.stages import Combine, Cutout, Refine
from bgexp.detect.build import build_detector, find_weights
from bgexp.errors import UserError
from bgexp.images.decode import load_image
from bgexp.images.png import encode_png
from bgexp.pipeline.remove import remove_background
from bgexp.system.atomic import write_whole
from tests.bench import naive
from tests.bench.controlled import published_weights

REFINES = sorted((p.stem for p in (find_conf_dir() / "refine").glob("*.yaml")), key="none".__ne__)


@dataclass(frozen=True, eq=False)
class Outcome:
    """The time and result of a run.

    Attributes:
        seconds: From the file read to the file written.
        mask: HxW bool, as written.
        unrefined: HxW bool, before refinement.
        boxes: (K, 4) float32 of the detections in the mask.
        stages_ms: Milliseconds by stage.
    """

    seconds: float
    mask: np.ndarray
    unrefined: np.ndarray
    boxes: np.ndarray | None
    stages_ms: dict[str, float] = field(default_factory=dict)


def load_settings(group, name, **changes):
    """Load the settings of `GROUP=NAME` in conf/, with changes."""
    kind = {"detector": DetectorSettings, "refine": Refine}[group]
    values = yaml.safe_load((find_conf_dir() / group / f"{name}.yaml").read_text())
    return TypeAdapter(kind).validate_python(values | changes)


class Ours:
    """bgexp's own stages, as configured by default."""

    def __init__(self, detector):
        self._detector = build_detector(detector, torch.device("cpu"))
        self._refine = {name: load_settings("refine", name) for name in REFINES}

    def run(self, scene, refine, target):
        started = perf_counter()
        image = load_image(scene.file)
        loaded = perf_counter()
        removed = remove_background(
            image, self._detector, Combine(), self._refine[refine], Cutout()
        )
        removed_at = perf_counter()
        data = encode_png(removed.cutout)
        encoded = perf_counter()
        write_whole(target, data)
        written = perf_counter()
        stages = {
            "load": 1000 * (loaded - started),
            **removed.timings_ms,
            "encode": 1000 * (encoded - removed_at),
            "write": 1000 * (written - encoded),
        }
        boxes = getattr(removed.detector_output, "boxes", None)  # rembg has none
        return Outcome(written - started, removed.mask, removed.unrefined, boxes, stages)


class Naive:
    """The naive script with the same weights."""

    def __init__(self, weights, **options):
        with published_weights(weights):
            self._model = naive.load_model(**options)

    def run(self, scene, refine, target):
        cv2.setRNGSeed(0)  # else its GrabCut gives another mask each time
        started = perf_counter()
        mask, unrefined, boxes = naive.remove_background(
            scene.file, target, self._model, use_grabcut=refine == "grabcut"
        )
        return Outcome(perf_counter() - started, mask, unrefined, boxes)


class Rembg(Ours):
    """rembg's smallest network, judged as it is: its boxes and objects do not exist."""

    @classmethod
    def find(cls):
        """Find the contender, by its name; none where its network is not on this machine."""
        settings = load_settings("detector", "rembg")
        try:
            find_weights(settings)
            return {"rembg": cls(settings)}
        except UserError as error:
            print(f"rembg is left out: {error}")
            return {}
