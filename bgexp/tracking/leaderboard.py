"""The list of runs on which the tracking UI opens: the best first, what they differ in as columns.

MLflow keeps a view of the list as a tag of the experiment, under a key that the link names. Sorted
by a metric the list is flat: a sweep's jobs need no unfolding.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bgexp.config.base import TrackedSettings
from bgexp.tracking.past_runs import RUN
from bgexp.tracking.run_names import find_varied
from bgexp.tracking.store import PAGE_SIZE, open_store

VIEW = "bgexp"
MAX_SETTINGS = 6
SCORES = ("iou.mean", "boundary_iou.mean", "foreground_recall.mean", "background_leakage.mean")
CHECKS = ("checks.confidence.mean", "checks.coverage.mean")  # where there is no truth
SPEED = "images_per_s"
NEWEST = "attributes.start_time"


def write_leaderboard(settings: TrackedSettings) -> str:
    """Write the view of the experiment's runs; return the path of its page in the UI.

    Raises:
        UserError: The store cannot be opened.
    """
    client, experiment_id = open_store(settings)
    only_runs = f"tags.`bgexp.command` = '{RUN}'"
    newest = ["attributes.start_time DESC"]
    runs = client.search_runs([experiment_id], only_runs, max_results=PAGE_SIZE, order_by=newest)
    metrics = {name for run in runs for name in run.data.metrics}
    view = build_view([run.data.params for run in runs], metrics)
    client.set_experiment_tag(experiment_id, f"mlflow.sharedViewState.{VIEW}", json.dumps(view))
    mode = "workflowType=machine_learning"  # without it the UI is the one for language models
    return f"/#/experiments/{experiment_id}/runs?{mode}&viewStateShareKey={VIEW}"


def build_view(params: Sequence[Mapping[str, str]], metrics: Collection[str]) -> dict[str, Any]:
    """Return the state of the run list, as MLflow's UI reads it.

    Args:
        params: The parameters of each run.
        metrics: The metrics that any of them has.
    """
    has_truth = SCORES[0] in metrics
    scores = [*(SCORES if has_truth else CHECKS), SPEED]
    settings = find_varied(params)[:MAX_SETTINGS] or ["detector.name", "refine.name"]
    columns = [f"metrics.`{name}`" for name in scores] + [f"params.`{key}`" for key in settings]
    return {
        "searchFilter": "",
        "orderByKey": columns[0] if has_truth else NEWEST,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns,
        "columnOrder": columns,
    }
