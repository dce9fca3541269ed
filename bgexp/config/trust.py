"""What a config file is trusted with: settings, and a few keys of Hydra's own section.

Configs are shared and copied. What somebody types is that person's own; what stands in a file names
no code, no command, no log file, and no environment variable.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import yaml
from omegaconf import Container, DictConfig, ListConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bgexp.errors import UserError

_CODE = re.compile(
    r"hydra(_plugins|\._internal)\.[\w.]+\.\w+(Launcher|Sweeper)"
    r"|logging\.(Stream|File)Handler|bgexp\.system\.log_file\.LogFile"
)
_MAKES_CONFIG = re.compile(r"\$\{\s*oc\.(create|decode)")  # resolvers that turn text into config
# What Hydra's own section may hold from a file. Not a launcher's commands, such as Slurm's `setup`.
_FROM_FILES = re.compile(
    r"hydra\.(mode|run\.dir|sweep\.(dir|subdir)|sweeper\.(params\..+|max_batch_size)"
    r"|launcher\.(n_jobs|prefer|verbose|timeout|pre_dispatch|batch_size|timeout_min|nodes|name"
    r"|(cpus|tasks|gpus|mem)_per_(task|node|gpu|cpu)|mem_gb|partition|qos|account|constraint"
    r"|comment|exclude|gres|signal_delay_s|max_num_timeout|array_parallelism))"
)
_TYPED = re.compile(
    rf"{_FROM_FILES.pattern}|hydra\.(launcher|sweeper|verbose)(\..+)?"
    r"|hydra\.job\.(name|chdir)|hydra\.output_subdir|hydra/(launcher|sweeper|(job|hydra)_logging)"
)
_SHORT = "hydra.mode, run.dir, sweep.dir, sweep.subdir, sweeper.params, and a launcher's resources"
_OWN_RECORD = re.compile(
    r"hydra\.(searchpath|overrides|runtime\.(choices|config_sources)|job\.override_).*"
)
_ABSENT = object()
_MAX_VALUES = 100_000  # of a file, aliases written out: some seconds of Hydra's

_overrides: ContextVar[Sequence[str]] = ContextVar("overrides", default=())


@contextmanager
def trust(overrides: Sequence[str]) -> Iterator[None]:
    """Let the values of these overrides, which somebody typed, read environment variables."""
    token = _overrides.set((*_overrides.get(), *overrides))
    try:
        yield
    finally:
        _overrides.reset(token)


def list_typed(config: DictConfig) -> list[str]:
    """List the overrides that a composed config was made with, as they were typed."""
    hydra = dict(_list_items(config)).get("hydra")
    overrides = dict(_list_items(hydra)).get("overrides")
    lists = [part for name, part in _list_items(overrides) if name in ("task", "hydra")]
    return [_get_text(part) for items in lists for _, part in _list_items(items)]


def refuse_typed_keys(overrides: Sequence[str]) -> None:
    """Check that overrides set none of Hydra's keys but those that are needed.

    Raises:
        UserError: one that sets variables, log files, or another search path.
    """
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if re.fullmatch(r"hydra\.sweeper(\.params.*)?", key):  # onto none it cannot be put
            raise UserError(f"{key}: what is swept is typed as -m KEY=A,B")
        if re.search(r"(^|@)hydra\b", key) and not _TYPED.fullmatch(key):
            hint = "use --config-dir" if key == "hydra.searchpath" else f"allowed: {_SHORT}"
            raise UserError(f"{key}: not for Hydra's own section here ({hint})")


def refuse_aliases_in_masses(folder: Path) -> None:
    """Check that no config file below a folder stands for far more values than it writes down.

    Aliases of aliases let a few lines mean billions, which Hydra would all make.

    Raises:
        UserError: the file.
    """
    for path in sorted(folder.rglob("*.yaml")):
        try:
            is_bomb = path.is_file() and _stands_for_masses(path.read_bytes())
        except (OSError, ValueError, yaml.YAMLError):
            continue  # told by Hydra, if the file is chosen
        if is_bomb:
            raise UserError(f"--config-dir: {path}: aliases for more than {_MAX_VALUES:,} values")


def _stands_for_masses(text: bytes) -> bool:
    """Return whether a YAML text has aliases and, with them written out, too many values."""
    if b"*" not in text or b"&" not in text:
        return False
    n_values, sizes, opened = 0, dict[str | None, int](), list[tuple[str | None, int]]()
    for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            n_values += sizes.get(event.anchor, 1)
            if n_values > _MAX_VALUES:
                return True
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            opened.append((event.anchor, n_values))
            sizes[event.anchor] = _MAX_VALUES + 1  # until it is whole: it would hold itself
            n_values += 1
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            sizes[anchor] = n_values - before
    return False


def refuse_code(value: object, key: str = "hydra") -> None:
    """Refuse configs that name code other than Hydra's own launchers, sweepers and handlers.

    `hydra` is looked at whole: its `_target_` is instantiated, its logging's `class` and `()` too.

    Raises:
        UserError: the key, and what it names.
    """
    if not isinstance(value, Container) or value._is_missing() or value._is_none():
        return
    for name in range(len(value)) if isinstance(value, ListConfig) else value:
        if key == "hydra" and name == "overrides":
            continue  # what was typed, as text
        key_of, text = f"{key}.{name!s}", str(value._get_node(name))
        names_code = name in ("_target_", "()", "class") and not _CODE.fullmatch(text)
        if names_code or _MAKES_CONFIG.search(text):
            raise UserError(f"{key_of}: a config names no code (got {text!r})")
        try:
            refuse_code(value[name], key_of)
        except OmegaConfBaseException as error:  # what is not known before a job has started
            raise_refusal(error)


def refuse_keys_of_files(config: DictConfig, own: DictConfig, overrides: Sequence[str]) -> None:
    """Check what config files put into Hydra's section.

    Args:
        config: The composed config.
        own: The same of bgexp's own files and the overrides alone.
        overrides: All that were typed.

    Raises:
        UserError: the key, what it holds, and what is allowed.
    """
    if sorted(list_typed(config)) != sorted(overrides):
        raise UserError("hydra.overrides: a config file cannot set it")
    before = dict(_list_leaves(own.hydra, "hydra"))
    for key, text in _list_leaves(config.hydra, "hydra"):
        if before.get(key, _ABSENT) == text or _OWN_RECORD.fullmatch(key):
            continue
        if not _FROM_FILES.fullmatch(key) or "\n" in str(text):
            # What env_copy took from the environment is shown to nobody.
            got = "" if key.startswith("hydra.job.env_set") else f"got {text!r}; "
            raise UserError(f"{key}: a config file cannot set it ({got}allowed: {_SHORT})")
        if key.startswith("hydra.sweeper.params.") and "$" in str(text):
            raise UserError(f"{key}: a swept value holds no interpolation (got {text!r})")


def refuse_swept_store(config: DictConfig) -> None:
    """Check that a sweep's stored values name no store: Hydra writes them down, passwords and all.

    Raises:
        UserError: The key, without what it holds.
    """
    params = dict(_list_items(dict(_list_items(config.hydra))["sweeper"])).get("params")
    for key, _ in _list_items(params):
        if key.lstrip("+~").partition(".")[0] == "tracking":
            raise UserError(f"hydra.sweeper.params.{key}: not swept (give {key.lstrip('+~')}=…)")


def raise_refusal(error: BaseException | None) -> None:
    """Raise the refusal that an error of OmegaConf stands for, if it does."""
    while error is not None:
        if isinstance(error, UserError):
            raise error
        error = error.__cause__ or error.__context__


def _list_leaves(node: object, key: str) -> Iterator[tuple[str, Any]]:
    """Yield keys and values as they are written, interpolations unresolved."""
    inner = _list_items(node)
    if not inner:
        yield key, _get_text(node)
    for name, child in inner:
        yield from _list_leaves(child, f"{key}.{name}")


def _list_items(node: object) -> list[tuple[str, Node]]:
    if not isinstance(node, Container) or not isinstance(node._content, dict | list):
        return []
    content = node._content
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    return [(str(name), child) for name, child in pairs]


def _get_text(node: Any) -> Any:  # noqa: ANN401
    value = node._value()
    return str(value) if isinstance(value, dict | list) else value


def _read_variable(
    key: str,
    default: Any = _ABSENT,  # noqa: ANN401
    *,
    _node_: Node,
    _root_: DictConfig,
) -> str | None:
    """Return an environment variable, as `oc.env` does, for a value that was typed.

    The resolver itself is replaced: a file could hide its name from a look at the text.
    """
    name, text = _node_._get_full_key(None), str(_node_._value())
    typed = _overrides.get() or list_typed(_root_)
    if not any(_is_typed(name, text, override) for override in typed):
        raise UserError(
            f"{name}: a config file reads no environment variable (got {text!r}; allowed: on the "
            f"command line, {name}='{text}')"
        )
    if key in os.environ:
        return os.environ[key]
    if default is _ABSENT:
        raise KeyError(f"Environment variable {key!r} not found")
    return None if default is None else str(default)


def _is_typed(name: str, text: str, override: str) -> bool:
    # In the overrides of a sweep's jobs Hydra escapes what it was given.
    key, _, value = override.replace("\\", "").lstrip("+").partition("=")
    if name in (key, "hydra.job.override_dirname"):  # which Hydra makes of what was typed
        return "${" in value
    return name.startswith((f"{key}.", f"{key}[")) and text.replace("\\", "") in value


OmegaConf.register_new_resolver("oc.env", _read_variable, replace=True)
