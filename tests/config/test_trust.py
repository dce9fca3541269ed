"""Configs of somebody else: data, and nothing that runs, writes or tells."""

import json

import pytest
from omegaconf import OmegaConf

from bgexp.config.compose import compose_config, list_combinations, quote, resolve_config
from bgexp.config.load import load_settings
from bgexp.config.trust import refuse_code
from bgexp.errors import UserError

SECRET = "s3cret"

HYDRA = {
    "env": "job: {env_set: {GIT_CONFIG_COUNT: '1'}}",
    "copied": "job: {env_copy: [SECRET]}",
    "log": "job_logging: {handlers: {file: {filename: /tmp/x}}}",
    "stream": "hydra_logging: {handlers: {console: {stream: 'ext://os.environ'}}}",
    "record": "output_subdir: ../x",
    "overrides": "overrides: {task: ['runs_dir=${oc.env:SECRET}']}",
    "folder": "launcher: {temp_folder: /tmp/x}",
    "line": 'launcher: {pre_dispatch: "a\\nb"}',
    "output": "runtime: {output_dir: /tmp/x}",
    "help": "help: {template: x}",
    "swept": "sweeper: {params: {seed: '\\${oc.env:SECRET}'}}",
}


def write_config(folder, text, name="own"):
    file = folder / f"experiment/{name}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"# @package _global_\n{text}\n")


@pytest.fixture(autouse=True)
def _secret(monkeypatch):
    monkeypatch.setenv("SECRET", SECRET)


@pytest.mark.parametrize("case", HYDRA)
def test_a_config_file_sets_only_a_few_of_hydras_keys(tmp_path, case):
    launcher = "joblib" if "launcher" in HYDRA[case] else "basic"
    defaults = f"defaults:\n  - override /hydra/launcher: {launcher}\n"
    write_config(tmp_path, f"{defaults}hydra: {{{HYDRA[case]}}}")
    with pytest.raises(UserError, match=r"^hydra\.\S+: a (config file|swept value)") as caught:
        load_settings("run", ["experiment=own"], tmp_path)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["${oc.create:'{_target_: f}'}", "${ oc.decode:'{class: f}'}"])
def test_no_text_becomes_a_config(text):
    with pytest.raises(UserError, match=r"^hydra\.launcher: a config names no code"):
        refuse_code(OmegaConf.create({"launcher": {"name": text}}))


@pytest.mark.parametrize("group", ["job_logging", "hydra_logging", "launcher", "output"])
def test_a_config_file_brings_no_group_of_hydras(tmp_path, group):
    (tmp_path / "hydra" / group).mkdir(parents=True)
    text = "handlers: {other: {class: logging.FileHandler, filename: /tmp/x}}"
    (tmp_path / "hydra" / group / "own.yaml").write_text(f"# @package hydra.{group}\n{text}\n")
    write_config(tmp_path, f"defaults:\n  - override /hydra/{group}: own")
    with pytest.raises(UserError, match=r"^hydra[./]"):
        load_settings("run", ["experiment=own"], tmp_path)


def test_what_people_set_for_hydra_passes(tmp_path):
    write_config(
        tmp_path,
        "defaults:\n  - override /hydra/launcher: joblib\n"
        "hydra:\n  mode: MULTIRUN\n  run: {dir: '${runs_dir}/x'}\n  launcher: {n_jobs: 2}\n"
        "  sweeper: {params: {seed: '1,2'}}",
    )
    typed = ["experiment=own", "hydra.sweep.dir=y", "hydra.launcher.batch_size=1"]
    config = compose_config("run", typed, tmp_path)
    assert (config.hydra.run.dir, config.hydra.sweep.dir) == ("runs/x", "y")
    assert (config.hydra.launcher.n_jobs, config.hydra.launcher.batch_size) == (2, "1")
    assert len(list(list_combinations(config, typed))) == 2


@pytest.mark.parametrize(
    "override",
    [
        "+hydra.job.env_set.PATH=x",
        "hydra.job.env_copy=[SECRET]",
        "hydra.job_logging.handlers.file.filename=x",
        "hydra.searchpath=[file://x]",
        "hydra={job:{env_set:{A:b}}}",
        "+experiment@hydra.job.env_set=fast",
    ],
)
def test_of_hydras_keys_only_a_few_can_be_typed(override):
    with pytest.raises(UserError, match=r"not for Hydra's own section here \((allowed|use)"):
        compose_config("run", [override], None)


@pytest.mark.parametrize(
    "override",
    ["+hydra.sweeper.params.seed=1", "hydra.sweeper.params={seed:1}", "hydra.sweeper={}"],
)
def test_what_is_swept_is_not_typed_for_hydra(override):
    with pytest.raises(
        UserError, match=r"^hydra\.sweeper\S*: what is swept is typed as -m KEY=A,B$"
    ):
        compose_config("run", [override], None)


@pytest.mark.parametrize("key", ["tracking.uri", "+tracking.uri", "tracking"])
def test_no_store_is_swept_from_a_file(tmp_path, key):
    """Hydra writes what is swept into multirun.yaml."""
    params = {
        key: "{uri: 'http://me:s3cret@host'}" if key == "tracking" else "http://me:s3cret@host"
    }
    write_config(tmp_path, f"hydra: {{sweeper: {{params: {json.dumps(params)}}}}}")
    with pytest.raises(UserError, match=r"^hydra\.sweeper\.params\.\+?tracking") as caught:
        compose_config("run", ["experiment=own"], tmp_path)
    assert SECRET not in str(caught.value)


READS = {
    "plain": "seed: ${oc.env:SECRET}",
    "default": "runs_dir: a/${oc.env:SECRET,x}",
    "nested": "model: '${oc.${samples}:SECRET}'\nsamples: env",
    "another": "runs_dir: ${model}\nmodel: ${oc.env:SECRET}",
    "folder": "hydra: {run: {dir: '${oc.env:SECRET}'}}",
    "subfolder": "hydra: {sweep: {subdir: '${oc.env:SECRET}'}}",
    "list": "detector: {labels: ['${oc.env:SECRET}']}",
    "choice": "defaults:\n  - override /refine: ${oc.env:SECRET}",
}


@pytest.mark.parametrize("case", READS)
def test_a_config_file_reads_no_variable(tmp_path, case):
    write_config(tmp_path, READS[case])
    with pytest.raises(UserError, match=r"no environment variable|oc\.env") as caught:
        load_settings(
            "run", ["experiment=own", "seed=1"] if case != "plain" else ["experiment=own"], tmp_path
        )
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_typed_reads_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", "here")
    write_config(tmp_path, "cache: {max_gb: 1}")
    overrides = ["experiment=own", "runs_dir=${oc.env:PLACE}/a", "model='${oc.env:NONE,\"x\"}'"]
    overrides += ["detector.labels=['${oc.env:PLACE}']", "tracking={experiment:'${oc.env:PLACE}'}"]
    settings = load_settings("run", overrides, tmp_path)
    assert (str(settings.runs_dir), settings.model) == ("here/a", "x")
    assert settings.detector.labels == ("here",)
    assert settings.tracking.experiment == "here"


def test_a_job_of_a_sweep_reads_what_was_typed(monkeypatch):
    """Hydra gives a job no section of its own, and its overrides escaped."""
    monkeypatch.setenv("PLACE", "here")
    job = OmegaConf.create({"model": "${oc.env:PLACE}"}, flags={"struct": True})
    assert resolve_config(job, [r"model=$\{oc.env\:PLACE\}"]) == {"model": "here"}
    with pytest.raises(UserError, match=r"^model: a config file reads no environment variable"):
        resolve_config(job, ["seed=1"])


def test_a_typed_choice_lets_its_file_read_nothing(tmp_path):
    (tmp_path / "tracking").mkdir()
    (tmp_path / "tracking/own.yaml").write_text("uri: null\nexperiment: ${oc.env:SECRET}\n")
    with pytest.raises(UserError, match=r"^tracking\.experiment: a config file reads no env"):
        load_settings("run", ["tracking=own", "runs_dir=${oc.env:SECRET}"], tmp_path)


@pytest.mark.parametrize("text", ["${oc.env:SECRET}", "a\\${seed}", "it's \\\\${seed}", "${"])
def test_a_quoted_value_is_no_interpolation(text):
    overrides = [f"tracking.experiment={quote(text)}"]
    assert load_settings("run", overrides).tracking.experiment == text


@pytest.mark.parametrize("start", ["&a0 [x, x]", "&a0 {k: [x, *a0]}"])
def test_aliases_do_not_stand_for_masses(tmp_path, start):
    """An alias of two, 16 times doubled."""
    lines = [f"a0: {start}", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 17))]
    write_config(tmp_path, "\n".join(lines), "bomb")
    with pytest.raises(UserError, match=r"bomb\.yaml: aliases for more than 100,000 values"):
        load_settings("run", ["+experiment=bomb"], tmp_path)


def test_aliases_are_values(tmp_path):
    write_config(tmp_path, "seed: &n 3\ndetector: {image_size: *n}")
    with pytest.raises(UserError, match=r"detector\.image_size: .*got 3"):
        load_settings("run", ["experiment=own"], tmp_path)
    write_config(tmp_path, "seed: &n 64\ndetector: {image_size: *n}")
    settings = load_settings("run", ["experiment=own"], tmp_path)
    assert (settings.seed, settings.detector.image_size) == (64, 64)
