"""Whole runs, bgexp beside the naive script: the same pictures, turn by turn, in one process.

python -m tests.bench.run FOLDER writes FOLDER/bench.json and FOLDER/bench.png.
"""

import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import torch

from bgexp.autotune.candidates import list_arithmetics
from bgexp.system.atomic import write_json
from bgexp.system.peak_memory import read_peak_memory
from bgexp.system.provenance import describe_bgexp, find_package_versions
from tests.bench.cases import (
    REFERENCE,
    build_case,
    check_refined,
    check_same,
    check_work,
    name_side,
)
from tests.bench.contenders import REFINES, Naive, Ours, Rembg, load_settings
from tests.bench.controlled import controlled_predictions, write_random_weights
from tests.bench.dense import measure_dense
from tests.bench.machine import describe_machine, measure_matmul_gflops
from tests.bench.present import draw_plot, format_comparison
from tests.bench.scenes import enlarge_sample, make_scene

RESNET, WEIGHTS = "maskrcnn_resnet50_fpn", "random.safetensors"
COMPARED = ("none", "grabcut")  # what the naive script can do too


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: How many rounds at most, by megapixels.
        objects: How many a scene has in two more rounds at the least size.
        arithmetics: Backends and precisions, the reference first.
        limit_s: After this many seconds no third or later round of a size begins.
        scenes: How many pictures a size has; the rounds go over them again and again.
        sample: How many sample photographs the shipped detector gets, and how many rounds each.
        network: Settings of the network other than the default ones.
        detections: How many the network is made to find in a picture.
        proposals: Regions that the box head has to see.
        shape: Of the pictures of which the dense part alone is measured.
        peaks: Whether peak memory is measured too, a process for each.
    """

    rounds: dict[float, int]
    objects: tuple[int, ...] = (1, 20)
    arithmetics: tuple[dict[str, str], ...] = field(
        default_factory=lambda: tuple(list_arithmetics(torch.device("cpu")))
    )
    limit_s: float = 400
    scenes: int = 3
    sample: tuple[int, int] = (24, 2)
    network: dict[str, int] = field(default_factory=dict)
    detections: int = 100
    proposals: int = 1000
    shape: tuple[int, ...] = (1, 3, 800, 1088)  # of 4 to 3 in the default settings
    peaks: bool = True


PLAN = Plan({1: 5, 4: 3, 12: 2})


def measure(folder, plan=PLAN):
    """Measure by the plan and write bench.json and bench.png into the folder."""
    started, machine = perf_counter(), describe_machine()
    with tempfile.TemporaryDirectory() as scratch:
        cases = [*_run_resnet_cases(Path(scratch), plan), *_run_demo_cases(Path(scratch), plan)]
        dense = measure_dense(_make_resnet_settings(Path(scratch), plan), plan.shape)
    results = {
        "schema_version": 1,
        "machine": machine,
        "versions": find_package_versions(),
        "bgexp": describe_bgexp(),
        "matmul_gflops": measure_matmul_gflops(),
        "dense": dense,
        "seconds": perf_counter() - started,
        "cases": cases,
    }
    write_json(folder / "bench.json", results)
    draw_plot(results, folder / "bench.png")
    return results


def _run_resnet_cases(scratch, plan):
    settings = _make_resnet_settings(scratch, plan)
    contenders = {name_side(detector): Ours(detector) for detector in settings}
    contenders |= {"naive": Naive(scratch / WEIGHTS, **plan.network), **Rembg.find()}
    reference, turns = settings[0], _plan_turns(contenders)
    with controlled_predictions() as control:
        least = min(plan.rounds)
        _run_round(contenders, make_scene(scratch, least, 0, plan.detections), turns, control, plan)
        for megapixels in plan.rounds:
            rounds = _run_rounds(contenders, turns, megapixels, control, plan, scratch)
            peaks = _measure_peaks(settings, rounds[0][0]) if plan.peaks else {}
            for refine in REFINES:
                yield build_case(megapixels, reference, refine, rounds, peaks)
            for detector in settings[1:]:
                for refine in COMPARED:
                    yield build_case(megapixels, detector, refine, rounds, peaks)
        for objects in plan.objects:
            scenes = [make_scene(scratch, least, n, plan.detections, objects) for n in range(2)]
            rounds = [(s, _run_round(contenders, s, turns, control, plan)) for s in scenes]
            peaks = _measure_peaks(settings[:1], scenes[0]) if plan.peaks else {}
            for refine in COMPARED:
                yield build_case(least, reference, refine, rounds, peaks)


def _make_resnet_settings(scratch, plan):
    """Make the settings of Mask R-CNN in each arithmetic, on random weights."""
    weights = scratch / WEIGHTS
    plain = load_settings("detector", RESNET, weights=str(weights), **plan.network)
    write_random_weights(weights, plain)
    return [plain.model_copy(update=changes) for changes in plan.arithmetics]


def _plan_turns(contenders):
    """Plan the turns of a round: neighbours are compared; every second round goes backwards."""
    ours = [name for name in contenders if name not in ("naive", "rembg")]
    pairs = [(name, refine) for refine in COMPARED for name in (*ours, "naive")]
    others = [(REFERENCE, refine) for refine in REFINES if refine not in COMPARED]
    return [*pairs, *others, *(("rembg", "none") for name in contenders if name == "rembg")]


def _run_rounds(contenders, turns, megapixels, control, plan, scratch):  # as the plan has it
    """Run every turn on one scene after the other: a list of (scene, outcomes by turn)."""
    scenes = [make_scene(scratch, megapixels, seed, plan.detections) for seed in range(plan.scenes)]
    started, rounds = perf_counter(), []
    for number in range(plan.rounds[megapixels]):
        if number >= 2 and perf_counter() - started > plan.limit_s:
            break
        scene, order = scenes[number % len(scenes)], turns[:: -1 if number % 2 else 1]
        rounds.append((scene, _run_round(contenders, scene, order, control, plan)))
        _print_round(megapixels, rounds[-1][1])
    return rounds


def _run_round(contenders, scene, turns, control, plan):
    """Run each turn on one scene and check it; return outcomes by turn."""
    outcomes = {}
    control.scene = scene
    for name, refine in turns:
        outcome = contenders[name].run(scene, refine, scene.file.with_suffix(".png"))
        outcomes[name, refine] = outcome
        if name != "rembg":
            check_work(name, control, plan.proposals)
            check_refined(outcome, refine)
    for name, refine in outcomes:
        if refine == "none" and name not in ("naive", "rembg"):
            check_same(scene, outcomes[name, refine], outcomes["naive", refine])
    return outcomes


def _run_demo_cases(scratch, plan):
    """Measure the shipped detector unchanged, on sample photographs of a megapixel."""
    count, repeats = plan.sample
    scenes = [*enlarge_sample(scratch, 1, count)] * repeats
    settings = [load_settings("detector", "demo", **changes) for changes in plan.arithmetics]
    contenders, target = {name_side(d): Ours(d) for d in settings}, scratch / "demo.png"
    turns = [(name, "none") for name in contenders]
    turns += [(REFERENCE, refine) for refine in REFINES if refine != "none"]
    for name, refine in turns:  # warms up
        contenders[name].run(scenes[0], refine, target)
    rounds = []
    for number, scene in enumerate(scenes):
        order = turns[:: -1 if number % 2 else 1]
        rounds.append((scene, {(n, r): contenders[n].run(scene, r, target) for n, r in order}))
    cases = [build_case(1, settings[0], refine, rounds) for refine in REFINES]
    return cases + [build_case(1, detector, "none", rounds) for detector in settings[1:]]


def _measure_peaks(settings, scene):
    """Measure peak memory in bytes by side, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    peaks = {}
    for name, detector in [("naive", settings[0]), *((name_side(d), d) for d in settings)]:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            peaks[name] = pool.submit(_measure_peak, name, detector, scene).result()
    return peaks


def _measure_peak(name, detector, scene):
    contender = Naive(detector.weights) if name == "naive" else Ours(detector)
    with controlled_predictions() as control:
        control.scene = scene
        # The naive script reaches its peak before GrabCut, where it pastes its masks.
        refine = "none" if name == "naive" else "grabcut"
        contender.run(scene, refine, scene.file.with_suffix(".png"))
    # Not ru_maxrss: on Linux a new process takes over what its parent had reached.
    return read_peak_memory()


def _print_round(megapixels, outcomes):
    seconds = "  ".join(
        f"{name} {refine} {o.seconds:.2f}" for (name, refine), o in outcomes.items()
    )
    print(f"{megapixels:g} MP, seconds: {seconds}", flush=True)


if __name__ == "__main__":
    print(format_comparison(measure(Path(sys.argv[1]))))
