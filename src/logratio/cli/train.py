"""`logratio train`: every key of the recipe is an option, and every option goes through the recipe's checks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from cyclopts import Group, Parameter

from .. import objectives
from ..config import RunConfig
from ..errors import ConfigError, RunError
from ..train.keys import ALIASES, Key, keys
from ..train.recipe import resolve

FIRST = ("model", "data", "eval.data", "objective", "reference", "lora", "output")
"""Keys that `--help` shows at its top, in this order."""

_PANELS = {
    "objective": "Objective",
    "train": "Training",
    "reference_sync": "A reference that moves",
    "lora": "Adapter",
    "rollout": "Fresh responses",
    "judge": "Judge",
    "value": "Values",
    "texts": "Texts beside fresh responses",
    "tokens": "Tokens",
    "template": "Chat template",
    "rows": "Rows",
    "eval": "Evaluation",
    "every": "Intervals, as shares of the run",
    "keep": "Checkpoints",
    "trackers": "Trackers",
    "stop_on": "Stopping",
}
MAIN = Group.create_ordered("Run")
ABOUT_RECIPE = "A YAML file with these keys, as `train: {lr: 1e-6}`; options win over it."
_ABOUT_PREFLIGHT = "Do not look for what makes a run other than it seems; the manifest says so."
_ABOUT_RESUME = "Continue that run with its own recipe; `auto`: continue the one in --output, or start it."


def run(
    *words: Annotated[str, Parameter(name="RECIPE", help=ABOUT_RECIPE, allow_leading_hyphen=True)],
    resume: Annotated[str | None, Parameter(help=_ABOUT_RESUME, metavar="RUN", group=MAIN)] = None,
    no_preflight: Annotated[bool, Parameter(help=_ABOUT_PREFLIGHT, group=MAIN, show_default=False)] = False,
    **options: Any,
) -> int:
    """Align a model by a recipe, by options, or both, and return the exit code.

    `words` hold the recipe and options that are no key of one; `options` come by parameter name, as `train__lr`.
    """
    recipe, overrides = options_of(words, options)
    if resume in (None, "auto"):
        resolved = resolve(recipe, overrides)
    elif recipe or overrides:
        given = str(recipe or f"--{next(iter(overrides))}")
        raise ConfigError(
            f"--resume {resume} continues with that run's own recipe, so {given} cannot be given; drop it."
        )
    else:
        resolved = resolve(_recipe_of(Path(str(resume))), {"output": resume})
    from ..train import api, distributed  # after the recipe's checks, since they take seconds to import
    from .progress import ProgressLines

    with ProgressLines(passes=False) as progress:
        result = api.run(resolved, resume=resume, listeners=[progress], preflight=not no_preflight)
    distributed.stop()  # or the processes of a GPU run warn at their exit that they were never parted
    return 130 if result.status == "interrupted" else 0


def options_of(words: Sequence[str], options: Mapping[str, Any]) -> tuple[Path | None, dict[str, Any]]:
    """Return the recipe and the values by dotted key or alias that a command line gives.

    Args:
        words: What stands without a known option: the recipe, and unknown keys, which the recipe's checks answer.
        options: Values by parameter name, as `train__lr`; None is not given.
    """
    recipe, overrides = _sorted(words)
    given = {_PATHS[name]: _typed(_PATHS[name], value) for name, value in options.items() if value is not None}
    return recipe, overrides | given


def _recipe_of(directory: Path) -> Path:
    recipe = directory / "config.yaml"
    if not recipe.is_file():
        raise RunError(f"{directory} holds no run (config.yaml is missing), so nothing can be resumed; check the path.")
    return recipe


def _sorted(words: Sequence[str]) -> tuple[Path | None, dict[str, Any]]:
    """Part what is no known option into the recipe and unknown keys, which the recipe's checks answer."""
    recipe, overrides, rest = None, dict[str, Any](), list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            name, equals, text = word.removeprefix("--").partition("=")
            if not equals:
                text = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
            overrides[name.replace("-", "_")] = _typed(name, text)
        elif recipe is None:
            recipe = Path(word)
        else:
            raise ConfigError(f"{word} is a second recipe beside {recipe}; data is given with --data, values as --key.")
    return recipe, overrides


def _typed(path: str, value: Any) -> Any:
    """Read lists, mappings and `null` as YAML; other text is converted by the key's own type."""
    if path == "rows.map":
        return dict(_assignments(value))
    if isinstance(value, list):
        return [_typed(path, item) for item in value] if len(value) > 1 else _typed(path, value[0])
    if isinstance(value, str) and (value == "null" or value[:1] in "[{" or path.startswith("template.kwargs")):
        try:
            return yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--{path} {value} is not valid YAML; check its brackets and quotes.") from None
    return value


def _assignments(values: Sequence[str]) -> Iterator[tuple[str, str]]:
    for value in values:
        field, equals, path = value.partition("=")
        if not equals:
            raise ConfigError(f'--map "{value}" has no "="; write --map chosen=path.in.row.')
        yield field, path


def _table() -> dict[str, Key]:
    """Return every key of the recipe and every setting of every objective, in the order of `--help`."""
    known = keys(RunConfig)
    del known["version"]  # on the command line that is the program's own
    offered = f"what is minimised: {', '.join(objectives.names())}, or your own as PATH.py:FUNCTION"
    known["objective"] = Key("objective", offered, "", "dpo", (), "string")
    named = "who judges fresh responses: module:function, file.py:function, a reward model's folder, or a server's URL"
    known["judge"] = Key("judge", named, "", "none", (), "string")
    known["lora"] = Key("lora", "train an adapter of this rank, scaled by 2", "", "none", (), "integer")
    first = {path: known[path] for path in FIRST}
    return first | {key.path: key for key in _settings()} | known


def _settings() -> Iterator[Key]:
    """Yield each setting once: its meaning in dpo or in the most objectives, and where it has another one."""
    meanings: dict[str, dict[Key, list[str]]] = {}
    for name in objectives.names():
        for key in keys(objectives.load(name).settings, "objective.").values():
            meanings.setdefault(key.path, {}).setdefault(key, []).append(name)
    for having in meanings.values():
        key, names = max(having.items(), key=lambda item: ("dpo" in item[1], len(item[1])))
        others = sorted(name for other, found in having.items() if other != key for name in found)
        differing = f"; another meaning or default in {_few(others)}" if others else ""
        yield replace(
            key,
            description=f"{_few(names)}: {key.description}{differing}",
            choices=tuple(dict.fromkeys(choice for other in having for choice in other.choices)),
            kind=key.kind if len({other.kind for other in having}) == 1 else "string",
        )


def _few(names: Sequence[str]) -> str:
    """Return names in a row, dpo first; of many, the first and how many there are besides."""
    first = sorted(names, key=lambda name: (name != "dpo", name))
    return ", ".join(first) if len(first) <= 4 else f"{', '.join(first[:3])} and {len(first) - 3} more"


def _parameter(key: Key, panel: Group) -> inspect.Parameter:
    names = [f"--{key.path}", *(f"--{alias.replace('_', '-')}" for alias, path in ALIASES.items() if path == key.path)]
    kind: Any = {"boolean": bool | None, "array": list[str] | None, "object": list[str] | None}.get(
        key.kind, str | None
    )
    numeric = key.kind in ("integer", "number") and key.rule
    about = Parameter(
        name=names,
        help=f"{key.description}; {key.rule}" if numeric else key.description,
        group=panel,
        choices=key.choices or None,
        metavar={"integer": "INT", "number": "FLOAT", "object": "A=B"}.get(key.kind),
        show_default=(lambda _: key.default) if key.default not in (None, "none", "false") else False,
    )
    return inspect.Parameter(
        key.path.replace(".", "__"), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, about]
    )


def signature(command: Callable[..., int]) -> inspect.Signature:
    """Return the signature that the command line reads: the command's own, and an option for each other recipe key."""
    own = [part for part in inspect.signature(command).parameters.values() if part.kind is not part.VAR_KEYWORD]
    panels = {name: Group.create_ordered(title) for name, title in _PANELS.items()}
    options = [
        _parameter(key, MAIN if path in FIRST else panels[path.partition(".")[0]])
        for path, key in _TABLE.items()
        if path not in {part.name for part in own}
    ]
    return inspect.Signature([*own, *options])


_TABLE = _table()
_PATHS = {path.replace(".", "__"): path for path in _TABLE}
vars(run)["__signature__"] = signature(run)
