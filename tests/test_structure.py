"""What is promised about the sources: who imports whom, and that no file is trusted with code."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import yaml

import bgexp
from bgexp.config.conf_dir import find_conf_dir

PACKAGE = Path(bgexp.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

# The packages from top to bottom: each imports only what stands below it.
ORDER = [
    "cli",
    "verify",
    "autotune",
    "review",
    "promote",
    "compare",
    "sweep",
    "batch",
    "train",
    "experiment",
    "quality",
    "exchange",
    "report",
    "pipeline",
    "detect",
    "datasets",
    "tracking",
    "metrics",
    "images",
    "config",
    "system",
    "errors",
    "__init__",  # the version
]
# The face of bgexp keeps torch's compiler from being loaded, before anything else can load it.
FIRST_IMPORT = ("__init__", "bgexp.system.import_hook.postpone_compiler")
LEVEL = {name: level for level, name in enumerate(ORDER)}

# Who may import these: heavy, or the way to something outside.
OWNERS = {
    "nncf": {"detect/openvino"},
    "onnxruntime": {"detect/rembg"},
    "openvino": {"detect/openvino"},
    "mlflow": {"promote/serving_model", "tracking"},
    "hydra": {
        "cli/run",
        "config/compose",
        "config/free_text",
        "sweep/optuna_space",
        "sweep/submitted_jobs",
    },
    "omegaconf": {"cli", "config/compose", "config/trust", "sweep/optuna_space"},
    "obstore": {"system/stores"},
    "optuna": {"sweep"},
    "ray": {"batch/ray_engine", "system/ray_cluster"},
    "submitit": {"batch/slurm_engine", "sweep/submitted_jobs", "system/slurm_queue"},
    "PIL": {"detect/rembg", "images", "quality/near_duplicates"},
    "imagehash": {"quality/near_duplicates"},
    "pillow_heif": {"images"},
    "pycocotools": {"datasets/coco_masks", "experiment/mask_ap"},
    "torch": {
        "autotune/measure",
        "cli/probe_detection",
        "cli/doctor",
        "detect",
        "pipeline/unet",
        "train",
    },
    "torchvision": {"cli/doctor", "cli/probe_detection", "detect", "pipeline/unet", "train"},
    "lightning_fabric": {"train"},
    "safetensors": {"detect/weights"},
    "jinja2": {"report"},
    "markupsafe": {"report"},
}


def name_of(path):
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def tree_of(path):
    return ast.parse(path.read_text(), str(path))


def list_imported(tree):
    """Full names of all that a module imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_module(name):
    """The package's name behind `bgexp.…`; `bgexp.__version__` is of `__init__`."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LEVEL else "__init__"


def find_upward_imports(module, tree):
    """Imports that do not go downwards."""
    own = module.partition("/")[0]
    for name in list_imported(tree):
        if (module, name) == FIRST_IMPORT:
            continue
        target = own_module(name)
        inside = target == own and "/" in module
        if name.partition(".")[0] == "bgexp" and not inside and LEVEL[own] >= LEVEL[target]:
            yield name


def find_strangers(module, tree):
    """Imports that only other modules may have."""
    places = {module, module.partition("/")[0]}
    for name in list_imported(tree):
        owners = OWNERS.get(name.partition(".")[0])
        if owners is not None and not places & owners:
            yield name


def loads_code(tree):
    """Calls that would run what is in a file."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node.func)
        safe = any(
            word.arg == "weights_only" and ast.unparse(word.value) == "True"
            for word in node.keywords
        )
        risky = {"torch.load", "get_state_dict", "yaml.load", "eval", "exec", "joblib.load"}
        if (call in risky or call.endswith(".get_state_dict")) and not safe:
            yield call
        if call.endswith("instantiate") or call.startswith(("pickle.", "dill.", "cloudpickle.")):
            yield call


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_source_file(path):
    tree, module = tree_of(path), name_of(path)
    assert ast.get_docstring(tree), "a module says what it is for"
    assert module.partition("/")[0] in LEVEL, "a new package needs a place in the order"
    if path.name == "__init__.py" and path.parent != PACKAGE:
        assert len(tree.body) == 1, "a package's face holds a docstring and nothing else"
    assert list(find_upward_imports(module, tree)) == []
    assert list(find_strangers(module, tree)) == []
    assert list(loads_code(tree)) == []
    assert not {"pickle", "cloudpickle", "dill", "joblib"} & {
        name.partition(".")[0] for name in list_imported(tree)
    }
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc"}


def test_every_package_has_its_place():
    packages = {name_of(path).partition("/")[0] for path in SOURCES}
    assert packages == set(LEVEL)
    assert len(LEVEL) == len(ORDER)


def test_no_module_imports_itself_through_others():
    modules = {f"bgexp.{name_of(path).replace('/', '.')}": path for path in SOURCES}
    graph = {
        module: {
            target
            for name in list_imported(tree_of(path))
            for target in (name, name.rpartition(".")[0])
            if target in modules
        }
        for module, path in modules.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_a_circle_would_be_found():
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()


@pytest.mark.parametrize(
    "path", sorted(find_conf_dir().rglob("*.yaml")), ids=lambda path: path.name
)
def test_configs_are_data(path):
    def keys(value):
        if isinstance(value, dict):
            yield from value
            value = list(value.values())
        if isinstance(value, list):
            for inner in value:
                yield from keys(inner)

    assert "_target_" not in set(keys(yaml.safe_load(path.read_text())))


# -- the checks themselves -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "module", "source"),
    [
        (
            find_upward_imports,
            "images/decode",
            "from bgexp.pipeline.remove import remove_background",
        ),
        (find_upward_imports, "system/atomic", "import bgexp.images.decode"),
        (find_upward_imports, "metrics/overlap", "def f():\n    from bgexp import detect"),
        (find_upward_imports, "detect/demo", "from bgexp.train.loop import train"),
        (find_strangers, "detect/demo", "import mlflow"),
        (find_strangers, "sweep/jobs", "from hydra import compose"),
        (find_strangers, "metrics/overlap", "if x:\n    import torch.nn"),
        (find_strangers, "report/pictures", "from PIL import Image"),
    ],
)
def test_what_would_be_found_among_imports(check, module, source):
    assert len(list(check(module, ast.parse(source)))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pickle.loads(data)",
        "COCO.get_state_dict()",
        "hydra.utils.instantiate(config)",
        "yaml.load(text, yaml.Loader)",
    ],
)
def test_what_would_be_found_among_calls(source):
    assert len(list(loads_code(ast.parse(source)))) == 1


def test_what_is_allowed():
    assert not list(loads_code(ast.parse("torch.load(path, weights_only=True); yaml.safe_load(x)")))
    assert not list(find_upward_imports("cli", ast.parse("from bgexp.errors import UserError")))
    assert not list(
        find_upward_imports("train/loop", ast.parse("from bgexp.train.composites import compose"))
    )


def find_folder_makers(tree):
    """Calls that make a folder by a method or function of their own."""
    return {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    } & {"mkdir", "makedirs"}


def test_folders_are_made_by_one_owner_which_syncs_their_names():
    assert find_folder_makers(ast.parse("path.mkdir(); os.makedirs(x)")) == {"mkdir", "makedirs"}
    makers = [name_of(path) for path in SOURCES if find_folder_makers(tree_of(path))]
    assert makers == ["system/atomic"]
