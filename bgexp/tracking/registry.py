"""The promoted models: versions of one registered name, of which an alias is the champion.

What a version holds is downloaded and verified as data. That it can be served as an MLflow model
too makes no difference here: no model's code is run, and a model of someone else's is refused.
"""

import base64
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from bgexp import __version__
from bgexp.config.base import TrackedSettings
from bgexp.config.check import check_settings
from bgexp.config.pipeline import PipelineSettings
from bgexp.errors import UserError
from bgexp.system.addresses import read_file_uri
from bgexp.system.atomic import make_folder, sync_tree
from bgexp.tracking.bundle import SETTINGS, Bundle, load_bundle
from bgexp.tracking.leaderboard import CHECKS, SCORES, SPEED
from bgexp.tracking.store import open_store
from bgexp.tracking.stored_files import explain_failed_fetch

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

Pipeline = TypeVar("Pipeline", bound=PipelineSettings)

NAME = "bgexp"
CHAMPION, PREVIOUS = "champion", "previous"
PROMOTING, RETURNING = "promoting", "returning"  # the champion to be, while aliases change
RUN, SETTINGS_SHA256 = "bgexp.run_id", "bgexp.settings_sha256"
BUNDLE = "bundle"  # the artifact's folder
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # the second: of an alias
_MODEL_TYPE = "background removal"
_CODE = Path(__file__).parents[1] / "promote" / "serving_model.py"
_EXAMPLE = Path(__file__).parents[1] / "sample" / "images" / "household" / "mug.jpg"


@dataclass(frozen=True)
class Version:
    """A version of a registered model; run_id: of the run that was promoted, "" if by another."""

    name: str
    number: int
    run_id: str
    settings_sha256: str

    def __str__(self) -> str:
        return f"{self.name} version {self.number}"


def find_version(settings: TrackedSettings, reference: str) -> Version | None:
    """Find the version that a reference means; None where there is none.

    Args:
        settings: The store.
        reference: `champion`, `previous` or a number, of the model named `bgexp`; or NAME@ALIAS,
            NAME/NUMBER.

    Raises:
        UserError: the store cannot be reached.
    """
    name, alias, number = _parse_reference(reference)
    client, _ = open_store(settings)
    entity = _lookup(client, name, alias, number)
    if entity is None:
        return None
    tags = entity.tags
    return Version(name, int(entity.version), tags.get(RUN, ""), tags.get(SETTINGS_SHA256, ""))


def _parse_reference(reference: str) -> tuple[str, str, str]:
    """Return name, alias and number; one of the last two is empty."""
    if "@" in reference:
        name, _, alias = reference.partition("@")
        return name, alias, ""
    name, slash, number = reference.rpartition("/")
    if number.isdecimal():
        return name or NAME, "", number
    return (NAME, reference, "") if not slash else (reference, "", "")


def _lookup(client: "MlflowClient", name: str, alias: str, number: str) -> "ModelVersion | None":
    with _pass_over_missing(client, name):
        if alias:
            return client.get_model_version_by_alias(name, alias)
        return client.get_model_version(name, number)
    return None


@contextmanager
def _pass_over_missing(client: "MlflowClient", name: str) -> Iterator[None]:
    """Pass over the error that a model is not there; a store that is away is another one."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        # A server with users forbids to read what is not there, too.
        forbidden = error.error_code == "PERMISSION_DENIED"
        if error.error_code in _MISSING or (forbidden and not _is_listed(client, name)):
            return
        raise


def _is_listed(client: "MlflowClient", name: str) -> bool:
    quoted = name.replace("'", "")  # of which no registered name has one
    return len(client.search_registered_models(f"name = '{quoted}'")) > 0


def fetch(settings: TrackedSettings, reference: str) -> tuple[Version, Bundle]:
    """Download a promoted model into the runs folder and verify it.

    Raises:
        UserError: there is none, it was not promoted by bgexp, or it is not what was promoted.
    """
    version = find_version(settings, reference)
    if version is None:
        raise UserError(
            f"model: nothing is registered as {reference} in "
            f"{settings.tracking.uri or settings.runs_dir} (allowed: champion, previous or a "
            "version's number, once bgexp promote has made one)"
        )
    if not version.settings_sha256:
        raise UserError(f"model: {version} was not made by bgexp promote, and is not loaded")
    return version, _download(settings, version)


def apply_model(settings: Pipeline) -> tuple[Pipeline, Version | None]:
    """Return the settings with the stages of the promoted model they name, and its version.

    The background stays that of the settings. The version is None where none is named.

    Raises:
        UserError: as `fetch`.
    """
    if settings.model is None:
        return settings, None
    version, bundle = fetch(settings, settings.model)
    stages = {name: stage for name, stage in bundle.settings.items() if name != "cutout"}
    return check_settings(type(settings), settings.model_dump() | stages), version


def _download(settings: TrackedSettings, version: Version) -> Bundle:
    import mlflow

    client, _ = open_store(settings)
    models = settings.runs_dir.resolve() / "models"
    target = models / f"{version.name}-{version.number}"
    with explain_failed_fetch(f"model: {version}"):
        make_folder(target)
        with TemporaryDirectory(dir=models, prefix=".") as folder:
            uri = client.get_model_version_download_uri(version.name, str(version.number))
            # Only the data: a model's code and pickles stay where they are.
            data = f"{uri.rstrip('/')}/artifacts/{BUNDLE}"
            place = mlflow.artifacts.download_artifacts(artifact_uri=data, dst_path=folder)
            bundle = load_bundle(Path(place))
            if bundle.sha256 != version.settings_sha256:
                raise UserError(f"model: {version}: its {SETTINGS} is not the promoted one")
            for name in (*bundle.weights, SETTINGS):
                (bundle.folder / name).replace(target / name)
    return load_bundle(target)


def register(
    settings: TrackedSettings,
    name: str,
    bundle: Bundle,
    tags: Mapping[str, str],
) -> Version:
    """Register a bundle as the next version of a name.

    It is an MLflow model too, made from a file of code and never pickled (serving_model.py), and
    belongs to the run that its settings come from, with what that run measured on its dataset.

    Args:
        settings: The store.
        name: The registered name.
        bundle: Settings and weights.
        tags: Labels of the version.
    """
    import mlflow
    from mlflow.entities import LoggedModelOutput

    client, experiment_id = open_store(settings)
    for logger in ("store.model_registry", "models.signature"):
        logging.getLogger(f"mlflow.{logger}").setLevel(logging.WARNING)
    run_id = bundle.source["run_id"]
    labels = {**tags, SETTINGS_SHA256: bundle.sha256, RUN: run_id}
    model = client.create_logged_model(experiment_id, name, run_id, labels, model_type=_MODEL_TYPE)
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            path=Path(folder) / "model",
            python_model=str(_CODE),
            artifacts={BUNDLE: str(bundle.folder)},  # the artifact's folder is called like this one
            pip_requirements=[f"bgexp=={__version__}"],
            input_example=[base64.b64encode(_EXAMPLE.read_bytes()).decode()],  # it is tried, too
        )
        client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
    place = read_file_uri(model.artifact_location)
    if place is not None:
        sync_tree(place)  # before a version names it
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    _link_metrics(client, run_id, model.model_id)
    if _is_model_missing(client, name):
        client.create_registered_model(name)
    entity = client.create_model_version(
        name,
        f"models:/{model.model_id}",
        run_id,
        tags=labels,
        await_creation_for=0,
        model_id=model.model_id,
    )
    return Version(name, int(entity.version), run_id, bundle.sha256)


def _link_metrics(client: "MlflowClient", run_id: str, model_id: str) -> None:
    """Give a model its run's metrics and dataset; the run itself keeps each of them once."""
    from mlflow.entities import Metric

    run = client.get_run(run_id)
    inputs = run.inputs.dataset_inputs if run.inputs else []
    dataset = inputs[0].dataset if inputs else None
    names = [name for name in (*SCORES, *CHECKS, SPEED) if name in run.data.metrics]
    latest = [client.get_metric_history(run_id, name)[-1] for name in names]
    # The store knows a metric by run, name, time, step and value: to log one again adds nothing.
    linked = [
        Metric(
            metric.key,
            metric.value,
            metric.timestamp,
            metric.step,
            model_id=model_id,
            dataset_name=dataset.name if dataset else None,
            dataset_digest=dataset.digest if dataset else None,
            run_id=run_id,
        )
        for metric in latest
    ]
    client.log_batch(run_id, metrics=linked)


def _is_model_missing(client: "MlflowClient", name: str) -> bool:
    with _pass_over_missing(client, name):
        client.get_registered_model(name)
        return False
    return True


def set_champion(settings: TrackedSettings, version: Version, change: str = PROMOTING) -> None:
    """Make a version the champion, and the champion until now the previous one.

    Args:
        settings: The store.
        version: The champion to be.
        change: PROMOTING or RETURNING; an alias that tells what to finish where this is killed.
    """
    client, _ = open_store(settings)
    client.set_registered_model_alias(version.name, change, str(version.number))
    finish_change(settings, version.name)


def finish_change(settings: TrackedSettings, name: str) -> str:
    """Finish a change of the champion that was begun; return which, "" where there was none."""
    client, _ = open_store(settings)
    for change in (PROMOTING, RETURNING):
        if (version := find_version(settings, f"{name}@{change}")) is None:
            continue
        champion = find_version(settings, f"{name}@{CHAMPION}")
        if champion is None or champion.number != version.number:
            if champion is not None:
                client.set_registered_model_alias(name, PREVIOUS, str(champion.number))
            client.set_registered_model_alias(name, CHAMPION, str(version.number))
        client.delete_registered_model_alias(name, change)
        return change
    return ""
