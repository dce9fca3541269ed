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

from bgexp.environment import bgexp_state, package_versions, peak_memory
from bgexp.files import write_json
from tests.bench.cases import build_case, check_refined, check_same, check_work
from tests.bench.contenders import REFINES, Naive, Ours, configured
from tests.bench.controlled import controlled_predictions, write_random_weights
from tests.bench.machine import machine, matmul_gflops
from tests.bench.present import draw_plot, readme_text
from tests.bench.scenes import enlarged_sample, make_scene

RESNET, WEIGHTS = "maskrcnn_resnet50_fpn", "random.safetensors"
# Neighbours in time are compared; every second round goes backwards.
TURNS = [
    *(pair for refine in ("none", "grabcut") for pair in (("ours", refine), ("naive", refine))),
    *(("ours", refine) for refine in REFINES if refine not in ("none", "grabcut")),
]


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: How many rounds at most, by megapixels.
        limit_s: After this many seconds no third or later round of a size begins.
        scenes: How many pictures a size has; the rounds go over them again and again.
        sample: How many sample photographs the shipped detector gets, and how many rounds each.
        network: Settings of the network other than the default ones.
        detections: How many the network is made to find in a picture.
        proposals: Regions that the box head has to see.
        peaks: Whether peak memory is measured too, a process for each.
    """

    rounds: dict[float, int]
    limit_s: float = 400
    scenes: int = 3
    sample: tuple[int, int] = (8, 3)
    network: dict[str, int] = field(default_factory=dict)
    detections: int = 100
    proposals: int = 1000
    peaks: bool = True


PLAN = Plan({1: 5, 4: 3, 12: 2})


def measure(folder, plan=PLAN):
    """Measures by the plan and writes bench.json and bench.png into the folder."""
    started, before = perf_counter(), machine()
    with tempfile.TemporaryDirectory() as scratch:
        cases = [*_resnet_cases(Path(scratch), plan), *_demo_cases(Path(scratch), plan)]
    results = {
        "schema_version": 1,
        "machine": before,
        "versions": package_versions(),
        "bgexp": bgexp_state(),
        "matmul_gflops": matmul_gflops(),
        "seconds": perf_counter() - started,
        "cases": cases,
    }
    write_json(folder / "bench.json", results)
    draw_plot(results, folder / "bench.png")
    return results


def _resnet_cases(scratch, plan):
    weights = scratch / WEIGHTS
    detector = configured("detector", RESNET, weights=str(weights), **plan.network)
    write_random_weights(weights, detector)
    sides = {"ours": Ours(detector), "naive": Naive(weights, **plan.network)}
    with controlled_predictions() as control:
        warm = make_scene(scratch, min(plan.rounds), 0, plan.detections)
        _round(sides, warm, TURNS[:2], control, plan)
        for megapixels in plan.rounds:
            rounds = _rounds(sides, megapixels, control, plan, scratch)
            peaks = {"grabcut": _peaks(detector, rounds[0][0])} if plan.peaks else {}
            for refine in REFINES:
                yield build_case(megapixels, RESNET, refine, rounds, peaks.get(refine))


def _rounds(sides, megapixels, control, plan, scratch):
    """Every turn on one scene after the other: a list of (scene, outcomes by turn)."""
    scenes = [make_scene(scratch, megapixels, seed, plan.detections) for seed in range(plan.scenes)]
    started, done = perf_counter(), []
    for number in range(plan.rounds[megapixels]):
        if number >= 2 and perf_counter() - started > plan.limit_s:
            break
        scene, turns = scenes[number % len(scenes)], TURNS[:: -1 if number % 2 else 1]
        done.append((scene, _round(sides, scene, turns, control, plan)))
        _tell(megapixels, done[-1][1])
    return done


def _round(sides, scene, turns, control, plan):
    """One run of each turn on one scene, checked; outcomes by turn."""
    outcomes = {}
    control.scene = scene
    for side, refine in turns:
        outcomes[side, refine] = sides[side].run(scene, refine, scene.file.with_suffix(".png"))
        check_work(side, control, plan.proposals)
        check_refined(outcomes[side, refine], refine)
    check_same(outcomes["ours", "none"], outcomes["naive", "none"])
    return outcomes


def _demo_cases(scratch, plan):
    """The shipped detector as it is, on sample photographs of a megapixel."""
    count, repeats = plan.sample
    scenes = [*enlarged_sample(scratch, 1, count)] * repeats
    ours, target = Ours(configured("detector", "demo")), scratch / "demo.png"
    ours.run(scenes[0], "grabcut", target)  # warms up
    rounds = []
    for number, scene in enumerate(scenes):
        turns = REFINES[:: -1 if number % 2 else 1]
        rounds.append((scene, {("ours", name): ours.run(scene, name, target) for name in turns}))
    return [build_case(1, "demo", refine, rounds) for refine in REFINES]


def _peaks(detector, scene):
    """Peak memory in bytes by side, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    found = {}
    for side in ("ours", "naive"):
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            found[side] = pool.submit(_peak, side, detector, scene).result()
    return found


def _peak(side, detector, scene):
    contender = Ours(detector) if side == "ours" else Naive(detector.weights)
    with controlled_predictions() as control:
        control.scene = scene
        # The naive script reaches its peak before GrabCut, where it pastes its masks.
        refine = "grabcut" if side == "ours" else "none"
        contender.run(scene, refine, scene.file.with_suffix(".png"))
    # Not ru_maxrss: on Linux a new process takes over what its parent had reached.
    return peak_memory()


def _tell(megapixels, outcomes):
    seconds = "  ".join(
        f"{side} {refine} {o.seconds:.2f}" for (side, refine), o in outcomes.items()
    )
    print(f"{megapixels:g} MP, seconds: {seconds}", flush=True)


if __name__ == "__main__":
    print(readme_text(measure(Path(sys.argv[1]))))
