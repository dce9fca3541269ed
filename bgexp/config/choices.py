"""Which choices of a group of settings a command takes, read from `conf/` without Hydra."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bgexp.config.conf_dir import find_conf_dir

Schema = Mapping[str, Any]


def list_choices(command: str) -> dict[str, tuple[str, ...]]:
    """Return the choices of each group in a command's defaults that its settings allow."""
    text = (find_conf_dir() / f"{command}.yaml").read_text()
    defaults = re.search(r"^defaults:\n((?:  .*\n)+)", text, re.MULTILINE)
    groups = re.findall(
        r"^  - (?:override )?/?(\w+):", defaults[1] if defaults else "", re.MULTILINE
    )
    schema = read_schema(command)
    return {group: _list_allowed(schema, group) for group in groups}


def list_shipped(group: str) -> tuple[str, ...]:
    """Return all choices of a group, whichever command takes them."""
    return tuple(sorted(path.stem for path in (find_conf_dir() / group).glob("*.yaml")))


def read_schema(command: str) -> Schema:
    """Read the JSON Schema of a command's settings."""
    schema: Schema = json.loads((find_conf_dir() / f"schemas/{command}.json").read_text())
    return schema


def list_alternatives(schema: Schema, node: Schema) -> Iterator[Schema]:
    """Yield a node of a schema and whatever it may be instead."""
    yield node
    if "$ref" in node:
        yield from list_alternatives(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
    for part in node.get("anyOf", ()):
        yield from list_alternatives(schema, part)


def _list_allowed(schema: Schema, group: str) -> tuple[str, ...]:
    """Return the choices whose name the section may have; all, where it has none."""
    names = {
        part["const"]
        for section in list_alternatives(schema, schema["properties"].get(group, {}))
        if (name := section.get("properties", {}).get("name")) is not None
        for part in list_alternatives(schema, name)
        if "const" in part
    }
    return tuple(choice for choice in list_shipped(group) if not names or choice in names)
