"""From a recipe and what the person typed to a checked configuration, before any model is loaded."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .. import objectives
from ..config import JUDGES, DataPart, LoraConfig, RolloutConfig, RunConfig, judge_of
from ..errors import ConfigError
from ..objectives.base import Objective, Settings
from ..objectives.mixture import with_texts
from .foreign import answer
from .keys import ALIASES, Key, keys, sections, shown
from .onpolicy import with_rollout
from .sync import require_movable
from .unread import require_samples_judged, require_texts_beside, require_values_read
from .versions import moved, require_readable

LARGE = 3_000_000_000
"""Parameters from which the default learning rate is 5e-7."""

_USUAL = 3e8
"""Parameters below which a suggestion, made for models of hundreds of millions and more, allows for more."""

Flat = dict[str, Any]
"""Values by dotted key, as {"train.lr": 1e-6}."""

_KEYS = keys(RunConfig)
_SECTIONS = sections(RunConfig)
_PARTS = {path: key for at in ("data.", "eval.data.", "texts.data.") for path, key in keys(DataPart, at).items()}
_NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?")
_REASONS = {
    "objective.beta": "at 0 every margin is 0, so nothing would be learned",
    "train.lr": "at 0 no weight would move",
    "model": "a run starts from a model directory or hub name",
    "data": "a run learns from a file, a folder or a hub name",
}


@dataclass(frozen=True)
class Resolved:
    """A recipe that passed every check that needs no model.

    Attributes:
        config: The whole run; `config.objective` holds every setting of the objective.
        objective: The registered objective that it names.
        settings: That objective's settings.
        explicit: Dotted keys that the person set; the others are defaults or the objective's suggestions.
    """

    config: RunConfig
    objective: Objective
    settings: Settings
    explicit: frozenset[str]


def resolve(recipe: Path | Mapping[str, Any] | None, overrides: Mapping[str, Any] | None = None) -> Resolved:
    """Join a recipe with overrides, and check every key and value.

    Later wins: general defaults, the objective's suggestions, the recipe, the overrides.

    Args:
        recipe: A YAML file, or its content.
        overrides: Values by dotted key (`train.lr`) or alias (`lr`); numbers may be text.

    Raises:
        ConfigError: All problems at once, one line each: unknown keys with the nearest valid one, keys of other tools
            with ours, values out of range with their rule.
    """
    document = read(recipe) if isinstance(recipe, Path) else dict(recipe or {})
    spelled = {ALIASES.get(name, name): value for name, value in (overrides or {}).items()}
    flat: Flat = {}
    for path, value in _flatten(document):
        _put(flat, path, value)
    changed = list(_flatten(spelled))
    _part_with_judges(flat, [path for path, _ in changed])
    for path, value in changed:
        _put(flat, path, value)
    require_readable(flat.pop("version", None), f"recipe {recipe}" if isinstance(recipe, Path) else "the recipe")
    objective = objectives.load(str(flat.get("objective.name", "dpo")))
    valid = {**_KEYS, **keys(objective.settings, "objective.")}
    problems = [_unknown(path, value, valid) for path, value in flat.items() if not _known(path, valid)]
    if problems:
        raise ConfigError("\n".join(problems))
    suggested = {path: value for path, value in objective.suggests.items() if flat.get(path) is None}
    document = _nested({"objective.name": "dpo", **flat, **suggested})
    given = {key: value for key, value in document["objective"].items() if key != "name"}
    problems = _violations(objective.settings, given, valid, "objective.") + _violations(RunConfig, document, valid)
    if problems:
        raise ConfigError("\n".join(problems))
    settings = objective.settings.model_validate(given)
    document["objective"] |= settings.model_dump()
    config = RunConfig.model_validate(document)
    config = with_rollout(config, objective, settings)
    require_movable(config, objective.needs(settings))
    require_values_read(config, objective.needs(settings))
    require_samples_judged(config, objective.needs(settings))
    if config.texts is not None:
        require_texts_beside(config, objective)
        objective = with_texts(objective, config.texts.weight)
    return Resolved(config, objective, settings, frozenset(flat))


def read(path: Path) -> dict[str, Any]:
    """Read a YAML recipe.

    Raises:
        ConfigError: The file is missing, is no YAML mapping, or gives a key twice.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"recipe {path} does not end in .yaml; data is given with --data, a model with --model.")
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise ConfigError(f"recipe {path} does not exist; check the path, or leave it out.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path} cannot be read ({error}); a recipe is a YAML file in UTF-8.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"recipe {path} is not valid YAML: {_one_line(error)}.") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(
            f"recipe {path} holds {type(document).__name__}, not keys and values as `model: NAME`; "
            "if it is data, give it with --data."
        )
    return document


def to_yaml(config: RunConfig) -> str:
    """Return the configuration as a recipe that gives the same run."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def learning_rate(config: RunConfig, explicit: frozenset[str], parameters: int, lora: bool) -> tuple[float, str]:
    """Return the peak learning rate and where it comes from, in words.

    A rate that the person gave is taken as it is. Otherwise the objective's suggestion, else 1e-6, or 5e-7 from 3·10⁹
    parameters; ten times that for LoRA.

    Args:
        config: The resolved recipe.
        explicit: Keys that the person set.
        parameters: Number of parameters of the model, adapters excluded.
        lora: Whether an adapter is trained.
    """
    if "train.lr" in explicit:
        return config.train.lr, "given"
    rate, source = config.train.lr, "default"
    if "train.lr" in objectives.load(config.objective["name"]).suggests:
        source = f"suggested for {config.objective['name']}"
    elif parameters >= LARGE:
        rate, source = 5e-7, f"default from 3B parameters ({parameters / 1e9:.1f}B here)"
    return (rate * 10, f"{source}, {shown(rate)}, × 10 for LoRA") if lora else (rate, source)


def for_size(rate: float, parameters: int) -> float:
    """Return what a rate, made for models of hundreds of millions of parameters and more, allows for a smaller one.

    Rates grow as one over the width, as the square root of the parameters falls (μP, arXiv:2203.03466): what moves a
    wide layer by a given amount moves a narrow one by less.
    """
    return rate * max(1.0, math.sqrt(_USUAL / max(1, parameters)))


def _flatten(document: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value), with shorthands as `objective: dpo`, `lora: 16` and `judge: a:b` spelled out."""
    for name, value in document.items():
        path = f"{prefix}{name}"
        if path == "lora" and not (isinstance(value, Mapping) and value):
            yield from _adapter(value)
        elif path in ("judge", "eval.judge") and isinstance(value, str):
            yield from _flatten(judge_of(value), f"{path}.")
        elif path == "rollout" and (value is True or value == {}):
            yield "rollout.k", RolloutConfig().k
        elif path == "objective" and not isinstance(value, Mapping):
            yield "objective.name", value
        elif path == "template" and not isinstance(value, Mapping):
            yield "template.use", value
        elif path in _SECTIONS and value in (None, {}):
            continue  # a section without keys, as a bare `train:`
        elif isinstance(value, Mapping) and (path not in _KEYS or _KEYS[path].open):
            yield from _flatten(value, f"{path}.")
        else:
            yield path, value


def _adapter(value: Any) -> Iterator[tuple[str, Any]]:
    """Spell out `lora: 16` (rank, and twice that as alpha), `lora: true` (the defaults) and `lora: null`."""
    if value in (None, False, "none"):
        yield "lora", None
    elif value is True or value == {}:
        yield "lora.r", LoraConfig().r
    else:
        yield "lora.r", value
        if str(value).isdecimal():
            yield "lora.alpha", 2 * int(value)


def _put(flat: Flat, path: str, value: Any) -> None:
    """Set a key; `lora: null` takes an adapter away, and a later `lora.r` brings it back."""
    if path == "lora":
        for other in [key for key in flat if key.startswith("lora.")]:
            del flat[other]
    elif path.startswith("lora."):
        flat.pop("lora", None)
    flat[path] = value


def _part_with_judges(flat: Flat, changed: Sequence[str]) -> None:
    """Forget a judge of the recipe where another one is named instead; its `on_failure` stays."""
    for at in ("judge", "eval.judge"):
        if any(path == f"{at}.{kind}" for kind in JUDGES for path in changed):
            for path in [path for path in flat if path.startswith(f"{at}.") and path != f"{at}.on_failure"]:
                del flat[path]


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"a": {"b": 1}} for {"a.b": 1}."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        node = tree
        *above, leaf = path.split(".")
        for part in above:
            node = node.setdefault(part, {})
        node[leaf] = value
    return tree


def _known(path: str, valid: Mapping[str, Key]) -> bool:
    inside_open = any(up in _KEYS and _KEYS[up].open for up in _above(path) if up != "objective")
    return path in valid or path in ("objective.name", "lora") or inside_open


def _above(path: str) -> list[str]:
    """Return the paths above one, nearest first: a.b.c → a.b, a."""
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


def _unknown(path: str, value: Any, valid: Mapping[str, Key]) -> str:
    """Return the sentence for a key that does not exist: another tool's key answered, or the nearest of ours."""
    if said := moved(path, shown(value)):
        return said
    if path in _SECTIONS:
        inside = ", ".join(key.removeprefix(f"{path}.") for key in valid if key.startswith(f"{path}."))
        return f"`{path}` is {shown(value)}, but it is a section with the keys {inside}."
    text, leaf = shown(value), path.rpartition(".")[2]
    for part in (leaf, *_above(path)):
        if said := answer(part, "…" if "{" in text or len(text) > 40 else text):
            return said
    section = path.rpartition(".")[0]
    siblings = [key for key in valid if section and key.startswith(f"{section}.")]
    candidates = siblings if section == "objective" else list(valid)  # another objective's setting is no typing error
    leaves = [(alias, full) for alias, full in ALIASES.items() if full in candidates]
    leaves += [(key.rpartition(".")[2], key) for key in candidates]
    if close := get_close_matches(leaf, [name for name, _ in leaves], n=1, cutoff=0.7):
        (meant,) = get_close_matches(path, [full for name, full in leaves if name == close[0]], n=1, cutoff=0.0)
        return f"`{path}` is not a key here; did you mean `{meant}`?"
    if siblings or section == "objective":
        return (
            f"`{path}` is not a key here{_elsewhere(path)}; those of `{section}` are: {', '.join(siblings) or 'none'}."
        )
    return f"`{path}` is not a key here; keys: {', '.join([key for key in valid if '.' not in key] + [*_SECTIONS])}."


def _elsewhere(path: str) -> str:
    """Return which objectives have a setting that the chosen one lacks."""
    having = [name for name in objectives.names() if path in keys(objectives.load(name).settings, "objective.")]
    others = f" and {len(having) - 3} more" if len(having) > 4 else ""
    return f", but a setting of {', '.join(having[:3] if others else having)}{others}" if having else ""


def _violations(record: type[BaseModel], values: Any, valid: Mapping[str, Key], prefix: str = "") -> list[str]:
    """Return one sentence per rule that the values break."""
    try:
        record.model_validate(values)
    except ValidationError as error:
        return list(dict.fromkeys(_sentence(detail, valid, prefix) for detail in error.errors()))
    return []


def _sentence(detail: ErrorDetails, valid: Mapping[str, Key], prefix: str) -> str:
    """Return value, rule, reason and remedy of one validation error."""
    table = {**valid, **_PARTS}
    if detail["type"] == "value_error" and prefix and not detail["loc"]:  # a rule across settings is its own sentence
        return f"`{prefix.rstrip('.')}`: {detail['ctx']['error']}"
    path = prefix + ".".join(part for part in detail["loc"] if isinstance(part, str))
    if detail["type"] == "value_error" and path in _SECTIONS:
        return f"`{path}`: {detail['ctx']['error']}"
    if detail["type"] == "extra_forbidden":
        return _unknown(path, detail["input"], table)
    while path not in table and "." in path:  # alternatives of one key end in their type's name
        path = path.rpartition(".")[0]
    if detail["type"] == "missing":
        option = f" to the recipe, or --{path} …" if path in _KEYS else ""
        return f"`{path}` is missing: {_REASONS.get(path, table[path].description)}; add `{path}: …`{option}."
    key = table[path]
    value = detail["input"]
    given = f'"{value}"' if isinstance(value, str) and not _NUMBER.fullmatch(value) else shown(value)
    reason = _REASONS.get(path, key.description)
    default = f"; the default is {key.default}" if key.default is not None else ""
    return f"`{path}` is {given}, but must be {key.rule} ({reason}){default}."


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, since one of its values would be lost in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.MarkedYAMLError(None, None, f"key {name!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)
