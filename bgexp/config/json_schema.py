"""JSON Schemas of config files, by which editors complete and check them.

`python -m bgexp.config.json_schema` writes those in `conf/schemas`.
"""

import json
from typing import Any

from bgexp.config.load import SETTINGS
from bgexp.config.sweep import SweepSettings

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# What may stand in place of any value: a value that has to be given, or an interpolation.
_OPEN = {"type": "string", "pattern": r"^\?\?\?$|\$\{"}
_GROUPS = {  # by their folder in conf/, the commands whose settings have all of its choices
    "combine": ["run"],
    "dataset": ["run", "train"],
    "detector": ["run"],
    "engine": ["batch"],
    "refine": ["run"],
    "tracking": ["run"],
}


def build_schema(command: str) -> Schema:
    """Return the JSON Schema (draft 2020-12) of a command's config files.

    A file may hold some of the settings, interpolations, a defaults list, a section of Hydra's.

    Args:
        command: Such as "run".
    """
    schema = SETTINGS[command].model_json_schema()
    if command == "run":
        sweep = SweepSettings.model_json_schema(ref_template="#/$defs/{model}")
        schema["$defs"] |= sweep.pop("$defs", {})
        schema["properties"] |= sweep["properties"]
    schema = _loosen(schema)
    schema["properties"]["hydra"] = {"type": "object"}
    return {"$schema": _DIALECT, **schema, "title": f"bgexp {command}"}


def format_schema(command: str) -> str:
    """Return the text of a command's schema."""
    return json.dumps(build_schema(command), indent=1) + "\n"


def build_files() -> dict[str, str]:
    """Return the texts of all schemas in `conf/schemas`, by file name."""
    files = {f"{command}.json": format_schema(command) for command in SETTINGS}
    for group, commands in _GROUPS.items():
        sections = [{"$ref": f"{command}.json#/properties/{group}"} for command in commands]
        schema = {"$schema": _DIALECT, "anyOf": sections}
        files[f"{group}.json"] = json.dumps(schema, indent=1) + "\n"
    return files


def _loosen(schema: Any) -> Any:  # noqa: ANN401
    """Return a schema that also allows a part of the settings, and open values in it."""
    if isinstance(schema, list):
        return [_loosen(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    loose = {
        {"oneOf": "anyOf"}.get(key, key): _loosen(part)
        for key, part in schema.items()
        if key not in ("required", "discriminator")
    }
    if isinstance(loose.get("properties"), dict):
        loose["properties"] = {
            name: {"anyOf": [part, _OPEN]} for name, part in loose["properties"].items()
        } | {"defaults": {"type": "array"}}
    return loose


if __name__ == "__main__":
    from bgexp.config.conf_dir import find_conf_dir

    for name, text in build_files().items():
        (find_conf_dir() / "schemas" / name).write_text(text)
