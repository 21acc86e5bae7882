"""Writes ``configuration.md`` from the models of ``stream.config``, so that the page cannot disagree with the program.

Types, bounds and defaults come from the models. What a key means comes from ``configuration-texts.yaml``, or else from
the comment behind its field; a key with neither is refused, and so is a text for a key that is gone.
"""

from __future__ import annotations

import ast
import inspect
import io
import tokenize
from pathlib import Path
from typing import Any

import yaml

from stream import cluster_section, config, config_sections, sink_sections
from stream.policy import PolicySettings

HERE = Path(__file__).parent
PAGE = HERE / "configuration.md"
TEXTS: dict[str, Any] = yaml.safe_load((HERE / "configuration-texts.yaml").read_text(encoding="utf-8"))

TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true`, `false`",
    "object": "mapping of texts",
}
FORMATS = {
    "path": "path",
    "date-time": "time",
    "zone": "`{name, kind, polygon}`",
    "scene": "`{scene, hours}`",
    "ports": '`"FIRST-LAST"`',
}
BOUNDS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}


def page() -> str:
    """The whole page."""
    schema = config.Config.model_json_schema()
    models: dict[str, Any] = schema["$defs"]
    sections = {name: _models_in(about) for name, about in schema["properties"].items()}
    plain = {name: about for name, about in schema["properties"].items() if not sections[name]}
    used = set(plain)
    named = ", ".join(f"[{name}](#{name})" for name, inside in sections.items() if inside)
    parts = [TEXTS["head"], "## Top level\n", _table("", {**schema, "properties": plain}, config.Config)]
    parts.append(f"The rest is in sections: {named}. Only `cameras` is required.\n")
    for name, inside in sections.items():
        if not inside:
            continue
        parts.append(f"## {name}\n")
        for model in inside:
            parts.append(_introduction(name, schema["properties"][name], models[model]))
            parts.append(_table(f"{name}.", _resolved(models[model], models), _class(model)))
            used |= {f"{name}.{key}" for key in models[model]["properties"]}
        if name in TEXTS["after"]:
            parts.append(TEXTS["after"][name])
    if stale := set(TEXTS["meaning"]) - used | set(TEXTS["after"]) - set(sections):
        raise ValueError(f"configuration-texts.yaml explains what is no key: {', '.join(sorted(stale))}")
    return "\n".join(parts).rstrip() + "\n"


def _class(model: str) -> type:
    parts = (config_sections, config, sink_sections, cluster_section)
    return next(found for part in parts if isinstance(found := getattr(part, model, None), type))


def _models_in(about: Any) -> list[str]:
    """Names of the models that a property is made of."""
    if isinstance(about, list):
        return [name for value in about for name in _models_in(value)]
    if not isinstance(about, dict):
        return []
    if "$ref" in about:
        return [about["$ref"].rpartition("/")[2]]
    return [name for key, value in about.items() if key != "discriminator" for name in _models_in(value)]


def _resolved(owner: dict[str, Any], models: dict[str, Any]) -> dict[str, Any]:
    """A model whose properties say themselves what a mapping in them holds."""
    properties = {
        name: {**models[about["$ref"].rpartition("/")[2]], **about} if "$ref" in about else about
        for name, about in owner["properties"].items()
    }
    return {**owner, "properties": properties}


def _introduction(name: str, about: dict[str, Any], model: dict[str, Any]) -> str:
    text = model["description"].split("; see :")[0].split("\n")[0].rstrip(".").replace("None", "null")
    kind = model["properties"].get("type", {}).get("const")
    if kind:
        return f"An entry with `type: {kind}`: {text}.\n"
    shape = {"array": "A list. Each entry: ", "object": "By name. Each entry: "}.get(about.get("type", ""), "")
    return f"{shape}{text}.\n"


def _table(prefix: str, owner: dict[str, Any], model: type) -> str:
    comments = _comments(PolicySettings if model is config_sections.AlertsSection else model)
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for name, about in owner["properties"].items():
        meaning = TEXTS["meaning"].get(prefix + name) or comments.get(name)
        if not meaning:
            raise ValueError(f"{prefix}{name}: explain it in configuration-texts.yaml or behind its field")
        default = "required" if name in owner.get("required", ()) else f"`{_yaml(about.get('default'))}`"
        rows.append(f"| `{name}` | {_value(about)} | {default} | {_sentence(meaning)} |")
    return "\n".join([*rows, ""])


def _sentence(text: str) -> str:
    first = text.split(":")[0].split(" ")[0]
    begins = text if first in ("campus", "spade", "auto") else text[:1].upper() + text[1:]  # values stay as they are
    return begins.replace("None", "`null`").rstrip(".") + "."


def _yaml(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True).strip().removesuffix("...").strip()


def _value(about: dict[str, Any]) -> str:
    """Type and bounds in words."""
    if "anyOf" in about:
        kinds = [_value(kind) for kind in about["anyOf"] if kind.get("type") != "null"]
        return " or ".join(kinds) + ", or `null`" * (len(kinds) < len(about["anyOf"]))
    if "enum" in about or "const" in about:
        return ", ".join(f"`{value}`" for value in about.get("enum", [about.get("const")]))
    if "properties" in about:
        kinds = {_value(each) for each in about["properties"].values()}
        return f"`{{{', '.join(about['properties'])}}}`, each: {'; '.join(sorted(kinds))}"
    if about["type"] == "array":
        return f"list of: {_value(about['items'])}"
    words = [FORMATS.get(about.get("format", "")) or TYPES[about["type"]]]
    words += [f"{sign} {about[bound]:.10g}" for bound, sign in BOUNDS.items() if bound in about]
    words += [f"multiple of {about['multipleOf']}"] if "multipleOf" in about else []
    return ", ".join(words)


def _comments(model: type) -> dict[str, str]:
    """What stands behind each field of a class, in the source."""
    source = inspect.getsource(model)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    behind = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.end_lineno in behind:
            found[node.target.id] = behind[node.end_lineno]
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
