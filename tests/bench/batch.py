"""Whole batches of two processes beside the naive script, on the same photographs.

python -m tests.bench.batch FOLDER adds its cases to FOLDER/bench.json.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from time import perf_counter

import cv2
import pandas as pd
import torch

from bgexp.autotune.candidates import list_arithmetics
from bgexp.images.decode import load_image
from bgexp.metrics.overlap import iou
from bgexp.system.atomic import write_json
from bgexp.system.hashing import hash_file
from bgexp.system.provenance import describe_bgexp
from tests.bench.cases import check_refined, check_work
from tests.bench.contenders import Naive, load_settings
from tests.bench.controlled import (
    PROPOSALS,
    SCENES,
    controlled_predictions,
    write_random_weights,
)
from tests.bench.machine import describe_machine
from tests.bench.present import format_batches
from tests.bench.scenes import make_scene, save_scene

RESNET, WEIGHTS = "maskrcnn_resnet50_fpn", "random.safetensors"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        sizes: In megapixels.
        scenes: How many a size has; the naive script sees each once.
        copies: Of each scene in a batch.
        arithmetics: Backends and precisions, the reference first.
        processes: How many; others than the last only at the first size, in the reference's.
            Without refinement at the first and the last size.
        batches: How many a size, half of them before the naive script and half of them after.
        network: Settings of the network other than the default ones.
        detections: How many the network is made to find in a picture.
        proposals: Regions that the box head has to see.
    """

    sizes: tuple[float, ...] = (1, 4, 12)
    scenes: int = 3
    copies: int = 6
    batches: int = 2
    arithmetics: tuple[dict[str, str], ...] = field(
        default_factory=lambda: tuple(list_arithmetics(torch.device("cpu")))
    )
    processes: tuple[int, ...] = (1, 2)
    network: dict[str, int] = field(default_factory=dict)

    def variants(self, size):
        """List how batches of a size are run: (processes, arithmetic, refine)."""
        ends = self.sizes[0], self.sizes[-1]
        process_counts = self.processes if size == self.sizes[0] else self.processes[-1:]
        variants = [(processes, self.arithmetics[0], "grabcut") for processes in process_counts]
        variants += [(self.processes[-1], a, "grabcut") for a in self.arithmetics[1:]]
        unrefined = self.arithmetics if size in ends else ()
        return variants + [(self.processes[-1], a, "none") for a in unrefined]

    detections: int = 100
    proposals: int = 1000


@dataclass(frozen=True, eq=False)
class Batch:
    """One measured batch.

    Attributes:
        seconds: Of the whole program, from its start to its end.
        rows: Its manifest.
        masks: Its masks, HxW bool by the name of the scene's picture.
    """

    seconds: float
    rows: pd.DataFrame
    masks: dict


PLAN = Plan()


def measure_batches(folder, plan=PLAN):
    """Measure by the plan and put the cases into the folder's bench.json."""
    machine, file = describe_machine(), folder / "bench.json"
    with tempfile.TemporaryDirectory() as scratch:
        cases = list(_measure_cases(Path(scratch), plan))
    results = json.loads(file.read_text()) if file.exists() else {"schema_version": 1, "cases": []}
    load = describe_machine()["load_average"]
    results["batch"] = {"machine": machine, "load_average_after": load, "bgexp": describe_bgexp()}
    results["cases"] = [case for case in results["cases"] if "beside_s" not in case] + cases
    write_json(file, results)
    return results


def _measure_cases(scratch, plan):
    weights = scratch / WEIGHTS
    write_random_weights(weights, load_settings("detector", RESNET, weights=str(weights)))
    naive = Naive(weights, **plan.network)
    with controlled_predictions() as control:
        warm = _make_scenes(scratch / "warm", plan.sizes[0], plan)[:1]
        for arithmetic in plan.arithmetics:  # makes networks, and the tracking store
            variant = plan.processes[-1], arithmetic, "none"
            _run_batch(scratch / "warm", warm, scratch, plan, *variant)
        _run_naive(naive, warm, control, plan, "grabcut")
        for size in plan.sizes:
            folder = scratch / f"{size:g}"
            scenes = _make_scenes(folder, size, plan)
            variants = plan.variants(size)
            batches_by_variant = [[] for _ in variants]
            outcomes = {}
            for number in range(plan.batches):
                if number == plan.batches // 2:
                    for refine in {refine for *_, refine in variants}:
                        outcomes[refine] = _run_naive(naive, scenes, control, plan, refine)
                for variant, batches in zip(variants, batches_by_variant, strict=True):
                    batches.append(_run_batch(folder, scenes, scratch, plan, *variant))
            for variant, batches in zip(variants, batches_by_variant, strict=True):
                yield _build_case(size, scenes, *variant, batches, outcomes[variant[-1]])
                _print_case(size, *variant, batches, outcomes[variant[-1]])


def _make_scenes(folder, megapixels, plan):
    """Make the scenes of a size, saved for the workers."""
    (folder / "scenes").mkdir(parents=True)
    scenes = [
        make_scene(folder / "scenes", megapixels, seed, plan.detections)
        for seed in range(plan.scenes)
    ]
    for scene in scenes:
        save_scene(scene)
    return scenes


def _run_batch(folder, scenes, scratch, plan, processes, arithmetic, refine):
    """Run `bgexp batch` as a program of its own over links to the pictures, and check it."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch_folder:
        source, output = Path(scratch_folder) / "input", Path(scratch_folder) / "output"
        for scene in scenes:
            for copy in range(plan.copies):
                (source / str(copy)).mkdir(parents=True, exist_ok=True)
                os.link(scene.file, source / str(copy) / scene.file.name)
        values = {"input": source, "output": output, "runs_dir": scratch / "runs", "refine": refine}
        values |= {"detector": RESNET, "detector.weights": scratch / WEIGHTS}
        values |= {f"detector.{key}": value for key, value in (plan.network | arithmetic).items()}
        command = [sys.executable, "-m", "tests.bench.steered_batch", "tests.bench.steered"]
        command.append("batch")
        command += [f"{k}={v}" for k, v in values.items()] + ["device=cpu", f"workers={processes}"]
        extra = {SCENES: str(scenes[0].file.parent), PROPOSALS: str(plan.proposals)}
        started = perf_counter()
        subprocess.run(
            command, check=True, cwd=ROOT, env={**os.environ, **extra}, stdout=subprocess.DEVNULL
        )
        seconds = perf_counter() - started
        rows = pd.read_parquet(output / "manifest.parquet")
        return Batch(seconds, rows, _load_masks(rows, output, scenes, plan))


def _load_masks(rows, output, scenes, plan):
    """Load the mask of each scene; every copy of it has to be done, and with the same bytes."""
    if len(rows) != plan.copies * len(scenes) or set(rows["status"]) != {"done"}:
        raise AssertionError(f"not all done: {rows[['path', 'status', 'reason']]}")
    masks = {}
    for name, copies in rows.groupby(rows["path"].map(lambda path: Path(path).name)):
        result = output / copies["output"].iloc[0]
        if set(copies["output_sha256"]) != {hash_file(result)}:
            raise AssertionError(f"{name}: not the same result each time")
        masks[name] = load_image(result).any(axis=2)
    return masks


def _run_naive(naive, scenes, control, plan, refine):
    """Run the naive script on each scene, its start not counted."""
    outcomes = []
    for scene in scenes:
        control.scene = scene
        outcomes.append(naive.run(scene, refine, scene.file.with_suffix(".png")))
        check_work("naive", control, plan.proposals)
        check_refined(outcomes[-1], refine)
    return outcomes


def _build_case(megapixels, scenes, processes, arithmetic, refine, batches, outcomes):
    """Build a case: seconds a photograph, in a batch those of the whole program."""
    ours = [batch.seconds / len(batch.rows) for batch in batches]
    naive = [outcome.seconds for outcome in outcomes]
    stages = [json.loads(times) for batch in batches for times in batch.rows["timings_ms"]]
    beside = [batch.seconds - _sum_worked(batch, processes) for batch in batches]
    masks = [batches[0].masks[scene.file.name] for scene in scenes]
    return {
        "megapixels": megapixels,
        "detector": RESNET,
        "predictions": "controlled",
        "objects": scenes[0].objects,
        **arithmetic,
        "refine": refine,
        "workers": processes,
        "threads": {"ours": 1, "naive": torch.get_num_threads(), "opencv": cv2.getNumThreads()},
        "rounds": len(batches),
        "photographs": {"ours": len(batches[0].rows), "naive": len(scenes)},
        "ours_s": fmean(ours),
        "ours_spread_s": [min(ours), max(ours)],
        "naive_s": fmean(naive),
        "naive_spread_s": [min(naive), max(naive)],
        "rembg_s": None,
        "ratio": {
            "total": fmean(naive) / fmean(ours),
            "median": fmean(naive) / median(ours),
            "min": fmean(naive) / max(ours),
            "max": fmean(naive) / min(ours),
        },
        "images_per_s": {"ours": 1 / fmean(ours), "naive": 1 / fmean(naive)},
        "beside_s": fmean(beside),
        "iou_vs_naive": median(
            iou(mask, outcome.mask) for mask, outcome in zip(masks, outcomes, strict=True)
        ),
        "iou_vs_truth": {
            "ours": median(iou(m, s.truth) for m, s in zip(masks, scenes, strict=True)),
            "naive": median(iou(o.mask, s.truth) for o, s in zip(outcomes, scenes, strict=True)),
        },
        "stages_ms": {stage: median(times[stage] for times in stages) for stage in stages[0]},
        "peak_rss_bytes": max(int(batch.rows["memory"].max()) for batch in batches),
        "naive_peak_rss_bytes": None,
    }


def _sum_worked(batch, processes):
    """Compute the seconds that a process spent on photographs; the program's others are beside."""
    spent = sum(sum(json.loads(times).values()) for times in batch.rows["timings_ms"])
    return spent / 1000 / processes


def _print_case(megapixels, processes, arithmetic, refine, batches, outcomes):
    ours = ", ".join(
        f"{b.seconds:.1f} (beside {b.seconds - _sum_worked(b, processes):.1f})" for b in batches
    )
    way = f"{processes} x {arithmetic['backend']} {arithmetic['precision']} {refine}"
    naive = ", ".join(f"{o.seconds:.1f}" for o in outcomes)
    print(
        f"{megapixels:g} MP, {len(batches[0].rows)} photographs, {way}: {ours}; naive {naive}",
        flush=True,
    )


if __name__ == "__main__":
    print(format_batches(measure_batches(Path(sys.argv[1]))))
