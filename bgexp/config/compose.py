"""Overrides to checked settings: everything that can be wrong is found before a job starts."""

import difflib
import itertools
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from bgexp.config import renamed
from bgexp.config.base import expand_home
from bgexp.config.choices import list_choices, list_shipped
from bgexp.config.conf_dir import find_conf_dir
from bgexp.config.credentials import use_credentials
from bgexp.config.trust import (
    list_typed,
    raise_refusal,
    refuse_aliases_in_masses,
    refuse_code,
    refuse_keys_of_files,
    refuse_swept_store,
    refuse_typed_keys,
    trust,
)
from bgexp.errors import UserError

# OmegaConf takes an empty element of a list as empty text, and would print the whole of it.
warnings.filterwarnings("ignore", "In the sequence", UserWarning)

_NAME = re.compile(r"[\w$-]+([./@:][\w$-]+)*", re.ASCII)  # of a setting or a group
_NAMED_BY_USER = ("dataset.real.", "dataset.real=")  # what stands below has the user's own names


def compose_config(command: str, overrides: Sequence[str], extra: Path | None) -> DictConfig:
    """Compose the config, `hydra` included.

    Raises:
        UserError: an override or a config that cannot be; one line.
    """
    parse_overrides(overrides)
    _refuse_choices_of_others(command, overrides)
    overrides = [f"++{o}" if o.startswith(_NAMED_BY_USER) else o for o in overrides]
    refuse_typed_keys(overrides)
    if extra:
        refuse_aliases_in_masses(extra)
    path = [f"hydra.searchpath=[{quote(f'file://{extra.resolve()}')}]"] if extra else []
    with trust(overrides):
        config = _compose(command, [*overrides, *path])
        refuse_code(config.hydra)
        refuse_swept_store(config)
        if extra:
            refuse_keys_of_files(
                config, _compose_own(command, config, overrides), [*overrides, *path]
            )
        _hide_credentials(config)
        _expand_home(config)
    return config


def _refuse_choices_of_others(command: str, overrides: Sequence[str]) -> None:
    """Refuse a choice that only other commands take, before Hydra stumbles over what is in it."""
    allowed = list_choices(command)
    for override in overrides:
        group, _, choices = override.partition("=")
        for choice in choices.split(",") if group in allowed else ():
            if choice in list_shipped(group) and choice not in allowed[group]:
                names = ", ".join(allowed[group])
                raise UserError(f"{group}: no such choice here (got {choice}; allowed: {names})")


def _compose(command: str, overrides: Sequence[str]) -> DictConfig:
    with initialize_config_dir(str(find_conf_dir()), version_base="1.3"):
        try:
            return compose(command, list(overrides), return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise_refusal(error)
            raise UserError(_describe_error(command, overrides, error)) from error
        except (YAMLError, OSError, UnicodeError) as error:
            raise UserError(f"--config-dir: {' '.join(str(error).split())}") from error
        except Exception as error:  # of values and files that Hydra does not expect: any type
            text = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"an override, or a file of --config-dir, that cannot be read: {text}"
            ) from error


def _compose_own(command: str, config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Compose bgexp's own files and what was typed for Hydra, with the launcher that was chosen."""
    groups = ("hydra/launcher", "hydra/sweeper")
    choices = [f"{group}={config.hydra.runtime.choices[group]}" for group in groups]
    typed = [o for o in overrides if o.lstrip("+~").startswith("hydra")]
    return _compose(command, [*(o for o in typed if not o.startswith(groups)), *choices])


def quote(text: str, literal: bool = True) -> str:
    """Quote a text as a value in an override, whatever is in it.

    Args:
        text: The value.
        literal: Take what looks like an interpolation as text, too.
    """
    if literal:
        text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    return QuotedString(text, Quote.single).with_quotes()


def resolve_config(config: DictConfig, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the settings without `hydra`, interpolations resolved.

    Args:
        config: As it was composed.
        overrides: As they were typed, where the config does not hold them in `hydra`.

    Raises:
        UserError: a value that has to be given is missing, or an interpolation leads nowhere.
    """
    with trust([*overrides, *list_typed(config)]):
        return _resolve_settings(config)


def _resolve_settings(config: DictConfig) -> dict[str, Any]:
    keys = [key for key in config if isinstance(key, str) and key != "hydra"]
    for key in config:
        if not isinstance(key, str):  # such as a number, in a file of --config-dir
            raise UserError(f"{key!r}: no such setting")
    try:
        values = OmegaConf.to_container(
            OmegaConf.masked_copy(config, keys),
            resolve=True,
            throw_on_missing=True,
        )
    except MissingMandatoryValue as error:
        key = str(error).rpartition(": ")[2].splitlines()[0]
        raise UserError(f"{key}: a value is needed (give {key}=…)") from error
    except OmegaConfBaseException as error:
        raise_refusal(error)
        raise UserError(" ".join(str(error).split())) from error
    return dict(values)  # type: ignore[arg-type]


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Parse overrides as Hydra does.

    Raises:
        UserError: one that it cannot read.
    """
    parser, parsed = OverridesParser.create(), []
    for override in overrides:
        key, equals, _ = override.partition("=")
        name = key.lstrip("+~")
        if not name or not (equals or key.startswith("~")):
            raise UserError(f"{override}: a setting is given as key=value")
        if not _NAME.fullmatch(name):
            raise UserError(f"{name}: no such setting (a name has letters from a to z, digits, _)")
        try:
            parsed.append(parser.parse_override(override))
        except (HydraException, ValueError) as error:  # the latter of a number too long
            raise UserError(f"{override}: {key} takes no such value (quote a text: '…')") from error
    return parsed


def list_combinations(config: DictConfig, overrides: Sequence[str]) -> Iterator[list[str]]:
    """List the overrides of each job of a sweep, as Hydra's basic sweeper enumerates them.

    Raises:
        UserError: an override cannot be enumerated.
    """
    stored = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    choices = []
    for override in parse_overrides([*stored, *overrides]):
        if not override.is_sweep_override():
            choices.append([str(override.input_line)])
        elif override.is_discrete_sweep():
            key = override.get_key_element()
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            raise UserError(f"{override.input_line}: a sweep needs listed values or range(…)")
    yield from ([*choice] for choice in itertools.product(*choices))


def _hide_credentials(config: DictConfig) -> None:
    """Take user and password out of the tracking address, wherever it comes from."""
    with suppress(OmegaConfBaseException):
        uri = OmegaConf.select(config, "tracking.uri")
        if uri is not None and (rest := use_credentials(str(uri))) != uri:
            config.tracking.uri = rest


def _expand_home(config: DictConfig) -> None:
    """Expand ~ where folders are made from the config itself; settings expand their own paths."""
    for key in ("runs_dir", "hydra.run.dir", "hydra.sweep.dir"):
        with suppress(OmegaConfBaseException):
            folder = OmegaConf.select(config, key)
            if str(folder).startswith("~"):
                OmegaConf.update(config, key, expand_home(folder))


def _describe_error(command: str, overrides: Sequence[str], error: Exception) -> str:
    """Describe Hydra's error in one line: key, what came, what is allowed."""
    text = str(error)
    several = re.search(r"Ambiguous value for argument '(.+)'", text)
    if several:
        return f"{several[1]}: several values are a sweep, which needs -m"
    if isinstance(error, MissingConfigException):
        missing_choice = re.search(r"Could not find '(.+?)/([^/']+)'", text)
        if missing_choice:
            group, name = missing_choice.groups()
            if group == "hydra/launcher" and name.startswith("submitit_"):
                return f"{group}: {name} is not installed (pip install 'bgexp[slurm]')"
            allowed = sorted(path.stem for path in (find_conf_dir() / group).glob("*.yaml"))
            return renamed.add_hint(
                f"{group}: no such choice: {name!r} (allowed: {', '.join(allowed)})",
                renamed.CHOICES.get((group, name)),
            )
    key = re.search(r"Could not override '(\S+)'\.\s+To append", text)
    if key:
        return _describe_unknown_key(command, overrides, key[1])
    group = re.search(r"Could not override '(\S+?)'\.?\s+No match in the defaults list", text)
    if group:
        return f"{group[1]}: no such group of settings"
    return " ".join(text.split())


def _describe_unknown_key(command: str, overrides: Sequence[str], key: str) -> str:
    """Describe which choice has no such key, and which key may have been meant."""
    known: list[str] = []
    for path in [find_conf_dir() / f"{command}.yaml", *find_conf_dir().glob("*/*.yaml")]:
        content = OmegaConf.load(path)
        prefix = "" if path.parent == find_conf_dir() else f"{path.parent.name}."
        known += [f"{prefix}{name}" for name in _list_leaves(content)]
    group, _, setting = key.partition(".")
    choice = next((o for o in overrides if setting and o.startswith(f"{group}=")), "")
    line = f"{key}: no such setting" + (f" with {choice}" if choice else "")
    owners = [
        path.stem
        for path in sorted((find_conf_dir() / group).glob("*.yaml"))
        if key in {f"{group}.{name}" for name in _list_leaves(OmegaConf.load(path))}
    ]
    if owners:
        return f"{line} (it belongs to {' and '.join(f'{group}={owner}' for owner in owners)})"
    close = difflib.get_close_matches(key, known, n=1)
    return renamed.add_hint(line, renamed.SETTINGS.get(key) or next(iter(close), None))


def _list_leaves(config: Any, prefix: str = "") -> Iterator[str]:  # noqa: ANN401
    for name in config:
        if isinstance(OmegaConf.to_container(config).get(name), dict):  # type: ignore[union-attr]
            yield from _list_leaves(config[name], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
