"""Every shipped config is composed and checked; nothing is computed."""

import itertools
from pathlib import Path

import pytest
from pydantic import ValidationError

from bgexp.config import conf_dir
from bgexp.config.analyze import AnalyzeSettings
from bgexp.config.autotune import AutotuneSettings
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_settings, flatten_settings
from bgexp.config.compare import CompareSettings
from bgexp.config.compose import compose_config, list_combinations, resolve_config
from bgexp.config.conf_dir import find_conf_dir
from bgexp.config.doctor import DoctorSettings, UiSettings
from bgexp.config.export import ExportSettings
from bgexp.config.promote import PromoteSettings
from bgexp.config.review import ReviewSettings, SelectSettings
from bgexp.config.run import RunSettings
from bgexp.config.stages import Combine, Cutout, GrabCut, GuidedFilter, NoRefinement, UNet
from bgexp.config.sweep import SweepSettings
from bgexp.config.train import RealSet, TrainSettings
from bgexp.config.verify import VerifySettings
from bgexp.errors import UserError

CONF = Path(__file__).parents[1] / "conf"
COMMANDS = {
    "analyze": AnalyzeSettings,
    "batch": BatchSettings,
    "compare": CompareSettings,
    "doctor": DoctorSettings,
    "promote": PromoteSettings,
    "review": ReviewSettings,
    "run": RunSettings,
    "select": SelectSettings,
    "train": TrainSettings,
    "autotune": AutotuneSettings,
    "ui": UiSettings,
    "verify": VerifySettings,
    "export": ExportSettings,
}
# What a choice, or a command, has to be given.
NEEDED = {
    "analyze": ["dataset.root=/photographs"],
    "batch": ["input=/photographs", "output=/cut-outs"],
    "export": ["format=coco"],
    "verify": ["output=/cut-outs"],
    "detector=masks": ["detector.path=/masks"],
    "dataset=folder": ["dataset.root=/photographs"],
    "dataset=coco": ["dataset.images=/photographs", "dataset.annotations=/a.json"],
    "training=mixed_detector": ["dataset.real.people.root=/people"],
    "dataset=mixed": ["dataset.real.people.root=/people"],
    "dataset=pairs": ["dataset.images=/photographs", "dataset.masks=/masks"],
}


def choices(group):
    return [f"{group}={path.stem}" for path in sorted((CONF / group).glob("*.yaml"))]


def leaves(value, prefix=""):
    """Dotted names of all settings in nested dicts."""
    if not isinstance(value, dict):
        return {prefix}
    return {name for key in value for name in leaves(value[key], f"{prefix}.{key}".strip("."))}


def compose_plain(command, *overrides):
    needed = [extra for choice in (command, *overrides) for extra in NEEDED.get(choice, [])]
    return resolve_config(compose_config(command, [*overrides, *needed], None))


FOR_TRAINING = {"dataset=composites", "dataset=mixed"}
DATASETS = [choice for choice in choices("dataset") if choice not in FOR_TRAINING]
NETWORKS = [choice for choice in choices("detector") if choice != "detector=masks"]
TRAINED = [choice for choice in NETWORKS if choice != "detector=rembg"]
TRAINED_ON = ["dataset=pairs", "dataset=coco", "dataset=composites"]
CASES = [
    *(
        ("run", *chosen)
        for chosen in itertools.product(DATASETS, *map(choices, ["detector", "refine"]))
    ),
    ("analyze",),
    *(("batch", *chosen) for chosen in itertools.product(NETWORKS, choices("refine"))),
    *(("batch", engine) for engine in choices("engine")),
    *(("run", engine) for engine in choices("engine") if engine != "engine=slurm"),
    ("compare",),
    *(("doctor", chosen) for chosen in NETWORKS),
    ("promote",),
    ("review",),
    ("select",),
    *(("train", *chosen) for chosen in itertools.product(TRAINED_ON, TRAINED)),
    *(("autotune", chosen) for chosen in TRAINED),
    ("ui",),
    ("verify",),
    ("export",),
]


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_configs_and_schema_have_the_same_settings(case):
    config = compose_plain(*case)
    settings = check_settings(COMMANDS[case[0]], config)
    assert leaves(config) == flatten_settings(settings).keys()
    for choice in case[1:]:
        group, _, name = choice.partition("=")
        assert config[group]["name"] == name


def test_every_config_is_tested():
    groups = {"combine", "dataset", "detector", "engine", "experiment", "refine", "sweep"}
    groups |= {"tracking", "schemas"}
    assert {path.name for path in CONF.iterdir() if path.is_dir()} == groups | {"training"}
    assert choices("combine") == ["combine=default"]  # in every composed case
    assert choices("tracking") == ["tracking=default"]
    assert {path.stem for path in CONF.glob("*.yaml")} == {*COMMANDS, "hydra_runs"}
    assert len(CASES) == 4 * 5 * 4 + 1 + 4 * 4 + 3 + 2 + 1 + 4 + 3 + 3 * 3 + 3 + 3


@pytest.mark.parametrize("kind", ["grid", "optuna"])
def test_a_sweep_with_a_name(kind):
    config = compose_plain("run", f"sweep={kind}", "sweep.study=mine")
    sweep = {"sweep": config.pop("sweep")}
    assert leaves(sweep) == flatten_settings(check_settings(SweepSettings, sweep)).keys()
    check_settings(RunSettings, config)  # its settings are those of no job
    overrides = [f"sweep={kind}", "sweep.study=mine", "runs_dir=/r"]
    folder = compose_config("run", overrides, None).hydra
    assert folder.sweep.dir == "/r/sweep/mine"


def test_masks_of_a_tool_are_judged_as_they_are():
    config = compose_plain("run", "detector=masks", "detector.path=/masks")
    assert config["refine"]["name"] == "none"


def test_a_peer_is_not_trained():
    with pytest.raises(UserError, match=r"^detector: no such choice here .got rembg; allowed"):
        check_settings(TrainSettings, compose_plain("train", "dataset=pairs", "detector=rembg"))


@pytest.mark.parametrize("training", choices("training"))
def test_every_shipped_training(training):
    settings = check_settings(
        TrainSettings, compose_plain("train", training, "backbone=mobilenet_v2.pth")
    )
    assert settings.dataset.name == ("mixed" if "mixed" in training else "composites")


@pytest.mark.parametrize(
    ("command", "dataset"),
    [("run", "composites"), ("run", "mixed"), ("train", "folder"), ("train", "sample")],
)
def test_a_dataset_of_another_command(command, dataset):
    with pytest.raises(UserError, match=f"^dataset: no such choice here .got {dataset}; "):
        check_settings(COMMANDS[command], compose_plain(command, f"dataset={dataset}"))


def test_real_sets_are_named_by_the_user():
    overrides = "dataset=mixed", "dataset.real.people.weight=0.4", "+dataset.real.pets.root=/pets"
    real = check_settings(TrainSettings, compose_plain("train", *overrides)).dataset.real
    assert real == {
        "people": RealSet(root=Path("/people"), weight=0.4),
        "pets": RealSet(root=Path("/pets")),
    }
    overrides = "dataset=mixed", "dataset.real={pets: {root: /pets}}"
    real = check_settings(TrainSettings, compose_plain("train", *overrides)).dataset.real
    assert real.keys() == {"people", "pets"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset=mixed"], "dataset.real: a set is needed (give dataset.real.NAME.root=DIR)"),
        (["dataset=mixed", "dataset.real.a.weight=1"], "dataset.real.a.root: a value is needed"),
        (
            ["dataset=mixed", "dataset.real.a.root=/a", "dataset.real.a.masks=/b"],
            "dataset.real.a.masks: no such setting",
        ),
        (
            ["dataset=composites", "dataset.real.a.root=/a"],
            "dataset.real: no such setting",
        ),
    ],
)
def test_a_real_set_that_is_wrong(overrides, message):
    with pytest.raises(UserError) as error:
        check_settings(TrainSettings, resolve_config(compose_config("train", overrides, None)))
    assert str(error.value) == message


def test_a_training_from_a_backbone_needs_its_file():
    with pytest.raises(UserError, match="backbone: init=backbone needs a file here"):
        check_settings(TrainSettings, compose_plain("train", "dataset=pairs", "init=backbone"))


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_job_of_every_experiment(experiment):
    config = compose_config("run", [experiment], None)
    jobs = list(list_combinations(config, [experiment]))
    settings = [check_settings(RunSettings, compose_plain("run", *job)) for job in jobs]
    assert (len(jobs) > 1) == str(config.hydra.mode).endswith("MULTIRUN")
    assert len({job_settings.model_dump_json() for job_settings in settings}) == len(jobs)


def test_the_first_sweep_is_of_two_thresholds_with_and_without_refinement():
    config = compose_config("run", ["experiment=first_sweep"], None)
    assert str(config.hydra.mode).endswith("MULTIRUN")
    settings = [
        check_settings(RunSettings, compose_plain("run", *job))
        for job in list_combinations(config, ["experiment=first_sweep"])
    ]
    assert {(s.detector.score_threshold, s.refine.name) for s in settings} == {
        (threshold, refine) for threshold in (0.5, 0.9) for refine in ("none", "unet")
    }


def test_a_call_without_settings_does_what_the_configs_say():
    settings = check_settings(RunSettings, compose_plain("run"))
    assert settings.combine == Combine()
    assert settings.refine == UNet()
    assert settings.cutout == Cutout()
    for name, refine in {
        "none": NoRefinement(),
        "grabcut": GrabCut(),
        "guided": GuidedFilter(),
    }.items():
        assert check_settings(RunSettings, compose_plain("run", f"refine={name}")).refine == refine


def test_settings_never_change():
    settings = check_settings(RunSettings, compose_plain("run"))
    with pytest.raises(ValidationError, match="frozen"):
        settings.combine.mask_threshold = 0.1


# -- where configs come from -----------------------------------------------------------------


def test_a_checkout_uses_its_own_folder():
    assert find_conf_dir() == CONF


def test_an_installed_package_uses_the_folder_inside_it(tmp_path, monkeypatch):
    installed = tmp_path / "site-packages" / "bgexp"
    (installed / "conf").mkdir(parents=True)
    (tmp_path / "site-packages" / "conf").mkdir()  # of another package
    monkeypatch.setattr(conf_dir, "__file__", str(installed / "config" / "conf_dir.py"))
    assert find_conf_dir() == installed / "conf"


def test_a_conf_in_the_current_folder_is_never_picked_up(tmp_path, monkeypatch):
    (tmp_path / "conf").mkdir()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "conf" / "ui.yaml").write_text("port: 1\n")
    monkeypatch.chdir(tmp_path)
    assert find_conf_dir() == CONF
    assert compose_plain("ui")["port"] == 5000


def test_the_wheel_takes_conf_along():
    project = (CONF.parent / "pyproject.toml").read_text()
    assert '[tool.hatch.build.targets.wheel.force-include]\n"conf" = "bgexp/conf"\n' in project
