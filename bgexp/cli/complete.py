"""What can stand next on a command line of bgexp, for the completion of shells.

It is asked at each press of the key: it reads the schemas in `conf/` and imports little.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bgexp.config.choices import Schema, list_alternatives, list_choices, read_schema
from bgexp.config.conf_dir import find_conf_dir

SHELLS = {"bash": "bgexp.bash", "fish": "bgexp.fish", "zsh": "bgexp.zsh"}
_SCRIPTS = Path(__file__).parent / "completion"
_NOT_SETTINGS = ("defaults", "hydra", "$schema")
_CONSTANTS: Mapping[str, tuple[object, ...]] = {"boolean": (True, False), "null": (None,)}
_HYDRA_GROUPS = {"hydra/launcher": ("basic", "joblib", "submitit_slurm", "submitit_local")}


def read_script(shell: str) -> str:
    """Return the script that a shell reads; `shell` is one of SHELLS."""
    return (_SCRIPTS / SHELLS[shell]).read_text()


def complete_line(line: str, flags: Mapping[str, Sequence[str]]) -> list[str]:
    """List what the last word of a line can become.

    Args:
        line: The command line up to the cursor, such as "bgexp run detector.sc".
        flags: Of each command; of one without settings, the words that it takes.
    """
    *words, last = line.split(" ")
    words = [word for word in words[1:] if word]
    if not words:
        return [name for name in flags if name.startswith(last)]
    command = words[0]
    if command not in flags:
        return []
    if last.startswith("-") or not (find_conf_dir() / f"{command}.yaml").exists():
        candidates = [*flags[command]]
    elif "=" in last:
        candidates = _list_values(command, last)
    else:
        candidates = _list_keys(command, last)
    return [candidate for candidate in candidates if candidate.startswith(last)]


def _list_keys(command: str, last: str) -> list[str]:
    """List groups and settings as `key=`; those within a section once its name is there."""
    schema = read_schema(command)
    groups = [f"{group}=" for group in _list_groups(command)]
    keys = [f"{key}=" for key in _walk_keys(schema, schema, "")]
    sections = dict.fromkeys(f"{key.partition('.')[0]}." for key in keys if "." in key)
    within = [key for key in keys if "." in key and key.startswith(last.partition(".")[0] + ".")]
    top = [key for key in keys if "." not in key]
    return list(dict.fromkeys([*groups, *top, *(within if "." in last else sections)]))


def _list_values(command: str, last: str) -> list[str]:
    """List `key=value` for each value that is known; in a sweep the last one after a comma."""
    key, _, value = last.partition("=")
    before = value.rpartition(",")[0]
    start = f"{key}={before}," if before else f"{key}="
    if (group := _list_groups(command).get(key)) is not None:
        return [start + choice for choice in group]
    schema = read_schema(command)
    values = [text for node in _find_nodes(schema, key) for text in _walk_values(schema, node)]
    return [start + text for text in dict.fromkeys(values)]


def _list_groups(command: str) -> dict[str, tuple[str, ...]]:
    """Return the choices of each group of a command."""
    return list_choices(command) | (_HYDRA_GROUPS if command == "run" else {})


def _walk_keys(schema: Schema, node: Schema, prefix: str) -> Iterator[str]:
    for name, child in _list_properties(schema, node):
        inner = list(_walk_keys(schema, child, f"{prefix}{name}."))
        yield from inner or [f"{prefix}{name}"]


def _find_nodes(schema: Schema, key: str) -> list[Schema]:
    nodes = [schema]
    for part in key.split("."):
        nodes = [
            child
            for node in nodes
            for name, child in _list_properties(schema, node)
            if name == part
        ]
    return nodes


def _list_properties(schema: Schema, node: Schema) -> Iterator[tuple[str, Schema]]:
    for part in list_alternatives(schema, node):
        for name, child in part.get("properties", {}).items():
            if name not in _NOT_SETTINGS and not (name == "name" and node is not schema):
                yield name, child  # a section's name is chosen with its group


def _walk_values(schema: Schema, node: Schema) -> Iterator[str]:
    for part in list_alternatives(schema, node):
        values = [*part.get("enum", ()), *part.get("examples", ())]
        values += [part["const"]] if "const" in part else []
        values += _CONSTANTS.get(str(part.get("type")), ())
        for value in values:
            yield value if isinstance(value, str) else json.dumps(value)
