"""One real detection on each device, and whether the GPUs' equal the CPU's."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import bgexp
from bgexp.cli.checks import Finding, run_check
from bgexp.config.detectors import Demo, DetectorSettings, Rembg
from bgexp.errors import UserError

if TYPE_CHECKING:  # these need torch or OpenCV, which may be what is broken
    import numpy as np
    from numpy.typing import NDArray

    from bgexp.detect.detections import Detections, DetectorOutput

PACKAGE = Path(bgexp.__file__).parent
PICTURE = PACKAGE / "sample" / "images" / "animals" / "cat.jpg"
BOX_PX, SCORE = 2.0, 0.02  # largest differences of two devices: box corners (pixels), scores


def check_detection(settings: DetectorSettings) -> Iterator[Finding]:
    """Check the weights, a detection on the CPU, and one on each GPU compared with it."""
    import torch

    from bgexp.detect.build import find_weights
    from bgexp.detect.detections import SoftMask
    from bgexp.images.decode import load_image

    try:
        weights = find_weights(settings)
        image = load_image(PICTURE)
        expected, milliseconds = _detect(settings, "cpu", image)
    except UserError as error:
        yield Finding("weights", "problem", str(error), _suggest_command(settings))
        return
    yield Finding("weights", "ok", f"{weights.path}, SHA-256 {weights.sha256[:16]}")
    if isinstance(expected, SoftMask):  # computed on the CPU, whatever GPUs there are
        yield check_mask("detection on cpu", float((expected.mask > 127).mean()), milliseconds)
        return
    yield check_output("detection on cpu", len(expected), milliseconds)
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        name = f"detection on cuda:{number}"
        yield from run_check(name, lambda n=name: _compare_with_cpu(settings, n, image, expected))  # type: ignore[misc]


def _compare_with_cpu(
    settings: DetectorSettings, name: str, image: "NDArray[np.uint8]", expected: "Detections"
) -> list[Finding]:
    from bgexp.detect.detections import Detections

    detections, milliseconds = _detect(settings, name.rpartition(" ")[2], image)
    assert isinstance(detections, Detections)  # as the CPU's
    if difference := find_disagreement(expected, detections, settings.floor):
        return [Finding(name, "problem", f"unlike the CPU's: {difference}", "bgexp run device=cpu")]
    return [check_output(name, len(detections), milliseconds)]


def _detect(
    settings: DetectorSettings, device: str, image: "NDArray[np.uint8]"
) -> tuple["DetectorOutput", float]:
    """Return the detections and the second call's time in ms: the first one also warms up."""
    import torch

    from bgexp.detect.build import build_detector

    detector = build_detector(settings, torch.device(device))
    detector.detect(image)
    start = perf_counter()
    output = detector.detect(image)
    return output, (perf_counter() - start) * 1000


def _suggest_command(settings: DetectorSettings) -> str:
    if isinstance(settings, Rembg):
        return "bgexp doctor detector=rembg detector.model=FILE.onnx"
    if settings.weights is None:  # the shipped file
        if (PACKAGE.parent / ".git").exists():
            root = shlex.quote(str(PACKAGE.parent))
            return f"git -C {root} checkout -- bgexp/detect/demo.safetensors"
        # By its file and not by name: an index may hold another project of that name.
        return f"pip install --force-reinstall --no-deps bgexp-{bgexp.__version__}-py3-none-any.whl"
    if not isinstance(settings, Demo) and settings.weights == "COCO_V1":
        import torch

        from bgexp.detect.build import COCO

        url = COCO[settings.name].url
        target = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
        return f"curl --fail --create-dirs -o {shlex.quote(str(target))} {url}"
    return "bgexp doctor detector=demo detector.weights=null"


def check_mask(name: str, coverage: float, milliseconds: float) -> Finding:
    """Check that a soft mask of the sample's cat keeps some of it and not all."""
    text = f"{coverage:.0%} of the sample's cat.jpg kept, {milliseconds:.0f} ms"
    if not 0 < coverage < 1:
        return Finding(name, "warning", text, "bgexp doctor detector=demo")
    return Finding(name, "ok", text)


def check_output(name: str, count: int, milliseconds: float) -> Finding:
    """Check that a detection on the sample's cat finds something."""
    text = f"{count} found in the sample's cat.jpg, {milliseconds:.0f} ms"
    if count == 0:
        return Finding(name, "warning", text, "bgexp doctor detector.score_threshold=0.3")
    return Finding(name, "ok", text)


def find_disagreement(expected: "Detections", detections: "Detections", threshold: float) -> str:
    """Describe the first detection that only one device has; empty where both agree.

    Scores within the tolerance of the threshold may lie on either side of it.
    """
    for first, second, defect in (
        (expected, detections, "not found"),
        (detections, expected, "found besides"),
    ):
        for box, label, score in zip(first.boxes, first.labels, first.scores, strict=True):
            is_near = abs(second.boxes - box).max(axis=1) <= BOX_PX
            is_alike = is_near & (second.labels == label) & (abs(second.scores - score) <= SCORE)
            if score > threshold + SCORE and not is_alike.any():
                return f"{defect}: box {box.round(1).tolist()}, label {label}, score {score:.3f}"
    return ""
