"""A study: methods × settings × seeds on one starting model, as the `study:` part of a recipe says it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, ValidationError

from ..config import Judge, JudgeConfig, Leaf
from ..errors import ConfigError
from ..train.recipe import Resolved, resolve
from .grid import Cell, as_text, folder_name, label

KEY = "study"
"""Its key in a recipe; what stands beside it is shared by all runs."""


class WorldConfig(Leaf):
    """The built-in world whose files a recipe calls `world/…`."""

    size: Literal["nano", "small"] = Field("nano", description="nano or small")
    seed: int = Field(0, ge=0, description="of its texts, its model and its judge")


class VariantConfig(Leaf):
    """A method: what it changes in the recipe, and over which values."""

    name: str = Field(description="what plots and tables call it")
    recipe: dict[str, Any] = Field(default_factory=dict, description="keys of a recipe, over those all runs share")
    grid: dict[str, list[Any]] = Field(default_factory=dict, description="dotted key → values: all combinations")
    quick: bool | dict[str, list[Any]] = Field(
        True, description="whether --quick runs it; or the grid that it runs then"
    )


class SharedConfig(Leaf):
    """A run that others build on, such as a reward model; a recipe calls its folder `shared/NAME`."""

    name: str = Field(pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*", description="its folder")
    recipe: dict[str, Any] = Field(description="keys of a recipe, over those all runs share")


def _seeds(value: Any) -> Any:
    return tuple(range(value)) if isinstance(value, int) else value


class StudyConfig(Leaf):
    """What is compared, and by which reward."""

    judge: Judge = Field(description="the reward that all runs are measured by, whatever they learn from")
    variants: tuple[VariantConfig, ...] = Field(min_length=1, description="the methods")
    shared: tuple[SharedConfig, ...] = Field((), description="runs that are made first")
    world: WorldConfig | None = Field(None, description="the built-in world that the runs live in")
    seeds: Annotated[tuple[int, ...], BeforeValidator(_seeds)] = Field(
        (0, 1, 2), min_length=1, description="of the runs; a number n stands for 0 … n − 1"
    )
    jobs: PositiveInt = Field(2, description="runs at a time, each with one thread")
    samples: PositiveInt = Field(128, description="samples of the reference a prompt, for the frontier")
    levels: tuple[PositiveFloat, ...] = Field(
        (1.0, 2.0, 4.0, 8.0), description="KL at which methods are compared, nats"
    )
    quick: dict[str, Any] = Field(default_factory=dict, description="keys of this part that --quick replaces")


@dataclass(frozen=True)
class Planned:
    """A study with its runs, checked.

    Attributes:
        config: What was asked for.
        shared: Runs to be made first, in their order.
        cells: The others.
        model: Start and reference of all of them.
        limit: Tokens of a sample at most.
    """

    config: StudyConfig
    shared: Sequence[Cell]
    cells: Sequence[Cell]
    model: str
    limit: int


def study_of(document: Mapping[str, Any], *, quick: bool = False) -> StudyConfig | None:
    """Return the study of a recipe, None where it has none.

    Args:
        document: The recipe's content.
        quick: Take the short form that the study describes under `quick`.

    Raises:
        ConfigError: A key is unknown or a value out of range, all problems at once; or the judge compares.
    """
    if KEY not in document:
        return None
    given = dict(document[KEY] or {})
    short = given.get("quick") or {}
    if quick and not short:
        raise ConfigError("the recipe has no study.quick, so --quick has nothing to go by; write it, or drop --quick.")
    try:
        study = StudyConfig.model_validate({**given, **(short if quick else {})})
    except ValidationError as error:
        lines = [f"`{KEY}.{'.'.join(map(str, one['loc']))}`: {one['msg']}." for one in error.errors()]
        raise ConfigError("\n".join(lines)) from None
    _require_scores(study.judge)
    variants = tuple(_short(one) for one in study.variants if one.quick is not False) if quick else study.variants
    names = [one.name for one in variants]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f'two variants of the study are called "{twice}"; give each a name of its own.')
    return study.model_copy(update={"variants": variants})


def _short(variant: VariantConfig) -> VariantConfig:
    return variant.model_copy(update={"grid": variant.quick}) if isinstance(variant.quick, dict) else variant


def _require_scores(judge: JudgeConfig) -> None:
    """Refuse a judge that compares; of those that a recipe can name, a server alone does."""
    if judge.url is not None and judge.form == "compare":
        raise ConfigError(
            f"`{KEY}.judge` is {judge.url} with form: compare, and shares of comparisons won are relative to one run's "
            "other responses, so they mean nothing across runs; a study needs a score of each response: write "
            f"form: score under `{KEY}.judge`."
        )


def plan(document: Mapping[str, Any], study: StudyConfig, output: Path, world: Path | None = None) -> Planned:
    """Return a study's runs, every one checked before the first starts.

    Args:
        document: The recipe's content.
        study: Of it.
        output: Folder of the study.
        world: Folder that `world/` stands for.

    Raises:
        ConfigError: Something in any run's recipe is wrong, one line each.
    """
    places = {f"shared/{one.name}": str(output / one.name) for one in study.shared}
    if world is not None:
        places["world"] = str(world)
    base = placed({key: value for key, value in document.items() if key not in (KEY, "output")}, places)
    problems: dict[str, None] = {}

    def checked(what: str, *overrides: Mapping[str, Any]) -> Resolved | None:
        joined: dict[str, Any] = {}
        for part in overrides:
            joined |= placed(part, places)
        try:
            return resolve(base, joined)
        except ConfigError as error:
            problems.update({f"{line} (at {what})": None for line in str(error).splitlines()})
            return None

    shared = [_cell(one.name, {"variant": one.name}, checked(one.name, one.recipe), output) for one in study.shared]
    cells = [
        _cell(name, values, checked(name, variant.recipe, point, {"train.seed": seed}), output)
        for variant in study.variants
        for point in _points(variant.grid)
        for seed in study.seeds
        for name, values in [_named(variant, point, seed)]
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    whole, ready = [cell for cell in cells if cell], [cell for cell in shared if cell]
    first = whole[0].resolved.config
    _require_alike(whole)
    return Planned(study, ready, whole, first.model, first.eval.max_new_tokens)


def setting_of(values: Mapping[str, str]) -> str:
    """Return what a run was set to, apart from its method and seed: `beta 0.1`."""
    return ", ".join(f"{label(path)} {text}" for path, text in values.items() if path not in ("variant", "seed"))


def placed(tree: Any, places: Mapping[str, str]) -> Any:
    """Return a recipe's content with `world/…` and `shared/NAME…` as the paths that they stand for."""
    if isinstance(tree, Mapping):
        return {key: placed(value, places) for key, value in tree.items()}
    if isinstance(tree, list):
        return [placed(value, places) for value in tree]
    if isinstance(tree, str):
        for name, path in places.items():
            if tree == name or tree.startswith(f"{name}/"):
                return path + tree[len(name) :]
    return tree


def _points(grid: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _named(variant: VariantConfig, point: Mapping[str, Any], seed: int) -> tuple[str, dict[str, str]]:
    values = {path: as_text(value) for path, value in point.items()}
    parts = [re.sub(r"[^a-z0-9]+", "-", variant.name.lower()).strip("-")]
    parts += [f"{label(path)}-{folder_name(text)}" for path, text in values.items()]
    return "_".join([*parts, f"seed-{seed}"]), {"variant": variant.name, **values, "seed": str(seed)}


def _cell(name: str, values: Mapping[str, str], resolved: Resolved | None, output: Path) -> Cell | None:
    if resolved is None:
        return None
    config = resolved.config.model_copy(update={"output": str(output / name)})
    return Cell(name, values, replace(resolved, config=config))


def _require_alike(cells: Sequence[Cell]) -> None:
    """Refuse runs that could not stand in one plot.

    Raises:
        ConfigError: They differ in the model that they start from, or in what they are evaluated on.
    """
    first = cells[0].resolved.config
    for cell in cells:
        config = cell.resolved.config
        for key, own, other in (
            ("model", config.model, first.model),
            ("eval.data", config.eval.data, first.eval.data),
            ("eval.samples", config.eval.samples, first.eval.samples),
            ("eval.max_new_tokens", config.eval.max_new_tokens, first.eval.max_new_tokens),
        ):
            if own != other:
                raise ConfigError(
                    f"`{key}` differs between {cells[0].name} and {cell.name}, whose points would not compare; a study "
                    "has one starting model and one set of prompts: give it outside of `study`."
                )
    if first.eval.data is None or not first.eval.samples:
        raise ConfigError(
            "a study needs eval.data, the prompts that all of its runs are measured on, and eval.samples, how many of "
            "them; held-out shares would differ between seeds."
        )
