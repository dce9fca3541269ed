"""Fails unless a runs folder holds a whole, finished sweep over the sample.

The numbers have to be the same in its files, in the tracking store, and recomputed from its masks.

Usage: python .ci/check_sweep.py RUNS
"""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
from mlflow import MlflowClient

from bgexp.config.datasets import Sample
from bgexp.datasets.read import read_dataset
from bgexp.images.decode import decode_mask
from bgexp.metrics.performance import METRICS, evaluate_performance

LEAST_MEAN_IOU = 0.5  # far below what the shipped detector reaches, far above what chance does


def recomputed(folder: Path) -> dict[str, float]:
    """Every metric's mean over the sample, from the masks of a job alone."""
    scores = []
    with zipfile.ZipFile(folder / "masks.zip") as archive:
        for item in read_dataset(Sample(name="sample"), seed=0).items:
            mask = decode_mask(archive.read(f"{item.path}.png"))
            scores.append(evaluate_performance(mask, decode_mask(item.mask.read_bytes())))
    return {key: float(np.nanmean([score[key] for score in scores])) for key in METRICS}


def main(runs: Path) -> None:
    """Checks every job and prints its numbers."""
    client = MlflowClient(f"sqlite:///{runs.resolve()}/mlflow.db")
    (sweep,) = (runs / "sweep").iterdir()
    jobs = sorted(path.parent for path in sweep.glob("*/summary.json"))
    assert len(jobs) >= 4, f"{len(jobs)} jobs, expected at least 4"
    for job in jobs:
        summary = json.loads((job / "summary.json").read_text())
        assert summary["status"] == "finished", summary["error"]
        assert summary["counts"]["ok"] == 24, summary["counts"]
        run = client.get_run(summary["run_id"])
        assert run.info.status == "FINISHED"
        parent = client.get_run(summary["parent_run_id"])
        assert parent.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == summary["parent_run_id"]
        for key, mean in recomputed(job).items():
            assert abs(summary["metrics"][key]["mean"] - mean) < 1e-6, key
            assert abs(run.data.metrics[f"{key}.mean"] - mean) < 1e-6, key
        assert summary["metrics"]["iou"]["mean"] > LEAST_MEAN_IOU
        print(f"{run.info.run_name}: IoU {summary['metrics']['iou']['mean']:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
