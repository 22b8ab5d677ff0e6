"""The recipe's keys as one flat table: what each is, what it may be, and what it is by default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

ALIASES = {
    "lr": "train.lr",
    "beta": "objective.beta",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "eval_data": "eval.data",
    "skip_bad_rows": "rows.skip_bad_rows",
    "max_bad_rows": "rows.max_bad_rows",
    "map": "rows.map",
    "reward": "judge.function",
}
"""Short names for the command line and for Python; a recipe spells keys out."""

Schema = Mapping[str, Any]

_KINDS = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text"}
_KINDS |= {"object": "a mapping", "array": "a list"}
_BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


@dataclass(frozen=True)
class Key:
    """One key of the recipe.

    Attributes:
        path: Dotted name, as `train.lr`.
        description: What it is.
        rule: What it may be, as `a number > 0` or `one of constant, linear, cosine`.
        default: Its default as YAML shows it; None where a value must be given.
        choices: The values it may take, where they are few.
        kind: JSON type of its value: string, number, integer, boolean, array or object.
    """

    path: str
    description: str
    rule: str
    default: str | None
    choices: tuple[str, ...]
    kind: str

    @property
    def open(self) -> bool:
        """Whether the person chooses the names below it, as in `rows.map.chosen`."""
        return self.kind == "object"


def keys(model: type[BaseModel], prefix: str = "") -> dict[str, Key]:
    """Return the leaves of a configuration record by dotted path, in order of definition."""
    schema = model.model_json_schema()
    return {path: _key(path, leaf) for path, leaf in _walk(schema, schema.get("$defs", {}), prefix) if leaf is not None}


def sections(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the dotted paths that hold keys rather than a value, as `train` and `lora`."""
    schema = model.model_json_schema()
    return tuple(path for path, leaf in _walk(schema, schema.get("$defs", {}), "") if leaf is None)


def shown(value: Any) -> str:
    """Return a value as a recipe shows it: `null`, `true`, `1e-6`, `[a, b]`, `text`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(shown, value)) + "]"
    if isinstance(value, float):
        return f"{value:g}".replace("e-0", "e-")
    return str(value) if str(value).strip() else repr(value)


def _walk(schema: Schema, definitions: Schema, prefix: str) -> Iterator[tuple[str, Schema | None]]:
    """Yield (path, schema) of each leaf and (path, None) of each section."""
    for name, field in schema["properties"].items():
        field = _resolved(field, definitions)
        if "properties" in field:
            yield prefix + name, None
            yield from _walk(field, definitions, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def _resolved(field: Schema, definitions: Schema) -> Schema:
    """Follow a reference, and fold `X or null` into X with `nullable`."""
    if "$ref" in field:
        return {**definitions[field["$ref"].rpartition("/")[2]], **field}
    if "anyOf" not in field:
        return field
    first, *others = field["anyOf"]
    return {**_resolved(first, definitions), **field, "nullable": {"type": "null"} in others}


def _key(path: str, leaf: Schema) -> Key:
    kind = leaf["type"]
    choices = tuple(map(str, (leaf["items"] if kind == "array" and "items" in leaf else leaf).get("enum", ())))
    bounds = " and ".join(f"{sign} {leaf[name]:g}" for name, sign in _BOUNDS.items() if name in leaf)
    rule = f"{_KINDS[kind]} {bounds.replace('≥ 0 and ≤ 0', 'equal to 0')}".strip()
    if choices:
        rule = f"{'some' if kind == 'array' else 'one'} of {', '.join(choices)}"
    elif kind == "array" and leaf.get("minLength"):
        rule = "a list that is not empty"
    default = shown(leaf["default"]) if "default" in leaf else None
    return Key(
        path=path,
        description=leaf.get("description", ""),
        rule=rule + (", or null" if leaf.get("nullable") else ""),
        default="none" if default in ("null", "[]", "{}") else default,
        choices=choices,
        kind=kind,
    )
