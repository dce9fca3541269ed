"""The settings in which runs differ, as overrides would give them."""

from collections.abc import Mapping, Sequence

import yaml

from bgexp.report.labels import settings_lines
from bgexp.tracking.past_runs import StoredRun
from bgexp.tracking.run_names import SAID

# What changes no result, or is told by the weights' hash and by the images themselves.
_PASSED_OVER = (
    "runs_dir.",
    "workers.",
    "tracking.",
    "force.",
    "cache.",
    "samples.",
    "max_failed.",
    "device.",
    "dataset.",
    "detector.weights.",
    "detector.score_floor.",
    "refine.weights.",
)


def differing(runs: Sequence[StoredRun]) -> list[list[str]]:
    """For each run, those of its settings that another one has with another value.

    The settings of a stage are compared only among runs whose stage is of the same kind: a size of
    one refinement is not that of another. Weights are told apart by their hash.
    """
    settings = [_settings(run) for run in runs]
    keys = dict.fromkeys(key for own in settings for key in own)
    kept = [key for key in keys if _differs(key, settings)]
    return [[f"{key}={own[key]}" for key in kept if key in own] for own in settings]


def cautions(runs: Sequence[StoredRun]) -> list[str]:
    """What else differs between the runs and may be taken for an effect of the settings."""
    found = []
    if len({_told(run, "bgexp", "source_hash") for run in runs}) > 1:
        found.append("The runs were made by different versions of bgexp's code")
    devices = dict.fromkeys(_told(run, "device", "name") for run in runs)
    if len(devices) > 1:
        found.append(f"Their times are those of different devices: {', '.join(devices)}")
    return found


def _differs(key: str, settings: Sequence[Mapping[str, str]]) -> bool:
    stage = key.partition(".")[0]
    values: dict[str, set[str]] = {}
    for own in (own for own in settings if key in own):
        kind = "" if key == stage or key in SAID else own.get(stage, "")
        values.setdefault(kind, set()).add(own[key])
    return any(len(found) > 1 for found in values.values())


def _settings(run: StoredRun) -> dict[str, str]:
    """By override, as text; the name of a choice under that of its group."""
    path = run.folder / "config.yaml"
    config = yaml.safe_load(path.read_text()) if path.is_file() else None
    lines = [(key.removesuffix(".name"), value) for key, value in settings_lines(config or {})]
    found = {key: value for key, value in lines if not f"{key}.".startswith(_PASSED_OVER)}
    return found | {"detector.weights": _told(run, "weights", "sha256")[:8]}


def _told(run: StoredRun, section: str, key: str) -> str:
    return str((run.summary.get(section) or {}).get(key) or "")
