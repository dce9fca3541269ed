"""Whole batches on a GPU: photographs a second, how busy it is, and who sets the pace.

python -m tests.bench.gpu FOLDER writes FOLDER/gpu.json and prints its table.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import torch

from bgexp.autotune.candidates import list_arithmetics
from bgexp.batch.findings import describe_pace
from bgexp.images.decode import load_image
from bgexp.metrics.overlap import iou
from bgexp.system.atomic import write_json
from bgexp.system.provenance import describe_bgexp, find_package_versions
from tests.bench.batch import RESNET, ROOT, WEIGHTS
from tests.bench.contenders import load_settings
from tests.bench.controlled import SCENE, write_random_weights
from tests.bench.machine import describe_machine
from tests.bench.scenes import make_scene, save_scene


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        photographs: How many a batch has, by megapixels.
        arithmetics: Backends and precisions, without refinement; the last one with it, too.
        refines: With what the last one refines.
        device: Where the network computes.
        network: Settings of the network other than the default ones.
        detections: How many the network is made to find in a picture.
    """

    photographs: dict[float, int] = field(default_factory=lambda: {1: 2000, 12: 500})
    arithmetics: tuple[dict[str, str], ...] = field(
        default_factory=lambda: tuple(list_arithmetics(torch.device("cuda")))
    )
    refines: tuple[str, ...] = ("grabcut", "unet")
    device: str = "cuda"
    network: dict[str, int] = field(default_factory=dict)
    detections: int = 100

    def variants(self):
        """List how batches are run: (arithmetic, refine)."""
        unrefined = [(arithmetic, "none") for arithmetic in self.arithmetics]
        return unrefined + [(self.arithmetics[-1], refine) for refine in self.refines]


def measure(folder, plan=None):
    """Measure by the plan and write gpu.json into the folder."""
    plan, machine = plan or Plan(), describe_machine()
    with tempfile.TemporaryDirectory() as scratch:
        cases = list(_measure_cases(Path(scratch), plan))
    provenance = {
        "machine": machine,
        "versions": find_package_versions(),
        "bgexp": describe_bgexp(),
    }
    write_json(folder / "gpu.json", {"schema_version": 1, **provenance, "cases": cases})
    return cases


def _measure_cases(scratch, plan):
    weights = scratch / WEIGHTS
    write_random_weights(weights, load_settings("detector", RESNET, weights=str(weights)))
    for megapixels, count in plan.photographs.items():
        scene = make_scene(scratch, megapixels, 0, plan.detections)
        save_scene(scene)
        for arithmetic, refine in plan.variants():
            case = {"megapixels": megapixels, "photographs": count, **arithmetic, "refine": refine}
            case |= _run_batch(scratch, scene, count, plan, arithmetic, refine)
            print(format_row(case), flush=True)
            yield case


def _run_batch(scratch, scene, count, plan, arithmetic, refine):
    """Run `bgexp batch` as a program of its own over links to one picture; return its numbers."""
    with tempfile.TemporaryDirectory(dir=scratch) as scratch_folder:
        source, output = Path(scratch_folder) / "input", Path(scratch_folder) / "output"
        source.mkdir()
        for number in range(count):
            os.link(scene.file, source / f"{number:06}.jpg")
        values = {"input": source, "output": output, "runs_dir": scratch / "runs", "refine": refine}
        values |= {"detector": RESNET, "detector.weights": scratch / WEIGHTS, "device": plan.device}
        values |= {f"detector.{key}": value for key, value in (plan.network | arithmetic).items()}
        command = [sys.executable, "-m", "tests.bench.steered_batch"]
        command += ["tests.bench.steered_network", "batch"]
        command += [f"{key}={value}" for key, value in values.items()]
        with _sample_gpu_busy() as busy:
            subprocess.run(
                command,
                check=True,
                cwd=ROOT,
                env={**os.environ, SCENE: str(scene.file)},
                stdout=subprocess.DEVNULL,
            )
        summary = json.loads((output / "summary.json").read_text())
        if summary["counts"]["done"] != count:
            raise AssertionError(f"not all done: {summary['counts']}")
        mask = load_image(next(output.glob("regular/**/*.png"))).any(axis=2)
    return {
        "images_per_s": summary["images_per_s"],
        "gpu_busy": fmean(busy) / 100 if busy else None,
        "network": summary["network"],
        "pace": ": ".join(describe_pace(summary)),
        "stages_ms": {name: stage["mean_ms"] for name, stage in summary["timings"].items()},
        "iou_vs_truth": iou(mask, scene.truth),
        "peak_rss_bytes": summary["peak_rss_bytes"],
    }


@contextmanager
def _sample_gpu_busy():
    """Yield a list, filled at the end: percentages, five a second, from first work to last."""
    percentages = []
    if not shutil.which("nvidia-smi"):
        yield percentages
        return
    command = ["nvidia-smi", "-i", "0", "--query-gpu=utilization.gpu", "-lms", "200"]
    command.append("--format=csv,noheader,nounits")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sampler:
        try:
            yield percentages
        finally:
            sampler.terminate()
        samples = [int(word) for word in sampler.stdout.read().split() if word.isdigit()]
    busy_places = [place for place, percent in enumerate(samples) if percent]
    percentages += samples[busy_places[0] : busy_places[-1] + 1] if busy_places else []


def format_row(case):
    """Format a case as a row of the table, Markdown."""
    busy = "?" if case["gpu_busy"] is None else f"{case['gpu_busy']:.0%}"
    cells = (
        f"{case['megapixels']:g} MP",
        f"{case['backend']} {case['precision']}",
        case["refine"],
        f"{case['images_per_s']:.1f}",
        busy,
        f"{case['network']['pictures_per_batch']:.1f}",
        case["pace"],
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("bench-gpu: this machine has no CUDA device")
    print("| photograph | arithmetic | refine | images/s | GPU busy | pictures a batch | network |")
    print("|---|---|---|---|---|---|---|", flush=True)
    measure(Path(sys.argv[1]))
