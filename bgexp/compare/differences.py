"""The settings in which runs differ, as overrides would give them."""

from collections.abc import Mapping, Sequence

from bgexp.config.roles import NOT_RESULT, Role, find_keys
from bgexp.config.run import RunSettings
from bgexp.report.labels import list_settings
from bgexp.tracking.past_runs import StoredRun
from bgexp.tracking.run_names import ALWAYS

# What changes no result; weights are told apart by their hash, a peer's network by its name.
_IGNORED = find_keys(RunSettings, *NOT_RESULT, Role.SAMPLES) - ALWAYS.keys()


def find_differing_settings(runs: Sequence[StoredRun]) -> list[list[str]]:
    """Return for each run its settings that have another value in another run.

    The settings of a stage are compared only among runs whose stage is of the same kind: a size of
    one refinement is not that of another. Weights are told apart by their hash.
    """
    settings = [_read_settings(run) for run in runs]
    keys = dict.fromkeys(key for config in settings for key in config)
    differing = [key for key in keys if _is_varied(key, settings)]
    return [[f"{key}={config[key]}" for key in differing if key in config] for config in settings]


def find_cautions(runs: Sequence[StoredRun]) -> list[str]:
    """Return what else differs between the runs and may be taken for an effect of the settings."""
    sentences = []
    if len({_read_summary_text(run, "bgexp", "source_hash") for run in runs}) > 1:
        sentences.append("The runs were made by different versions of bgexp's code")
    devices = dict.fromkeys(_read_summary_text(run, "device", "name") for run in runs)
    if len(devices) > 1:
        sentences.append(f"Their times are those of different devices: {', '.join(devices)}")
    return sentences


def _is_varied(key: str, settings: Sequence[Mapping[str, str]]) -> bool:
    stage = key.partition(".")[0]
    values: dict[str, set[str]] = {}
    for config in (config for config in settings if key in config):
        kind = "" if key == stage or key in ALWAYS else config.get(stage, "")
        values.setdefault(kind, set()).add(config[key])
    return any(len(options) > 1 for options in values.values())


def _read_settings(run: StoredRun) -> dict[str, str]:
    """Read a run's settings by override, as text; the name of a choice under that of its group."""
    settings = {
        key.removesuffix(".name"): value
        for key, value in list_settings(run.folder.read_config())
        if key not in _IGNORED and not key.startswith("dataset.")  # the images tell the dataset
    }
    return settings | {"detector.weights": _read_summary_text(run, "weights", "sha256")[:8]}


def _read_summary_text(run: StoredRun, section: str, key: str) -> str:
    return str((run.summary.get(section) or {}).get(key) or "")
