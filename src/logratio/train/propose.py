"""A recipe for one model and one data set: what is found is measured, what is chosen says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import yaml

from ..config import VERSION, DataPart, EvalConfig, LoraConfig, TokensConfig
from ..data.prepare import prepare
from ..data.prepared import Prepared, held_out
from ..data.source import read_records
from ..errors import ConfigError, DataError
from ..models.load import known_positions, load_tokenizer, stored_adapter
from ..models.skeleton import skeleton
from ..report.text import visible
from . import distributed
from .memory import Estimate, bin_budget, estimate
from .recipe import Resolved, for_size, learning_rate, resolve
from .setup import uses_bf16
from .units import count, size

FITTING = {"Pair": "dpo", "Ranked": "dpo", "Labelled": "kto", "Demonstration": "sft"}
"""Kind of record → the objective that is proposed for it."""

_HELD = {"Pair": "pairs", "Ranked": "scored responses", "Labelled": "labelled responses", "Demonstration": "responses"}
_LOOKED = 200
"""Rows whose kind is looked at."""
_STEPS, _SMALLEST = 30, 8
"""Steps below which the batch is halved, down to a smallest one: a rate that warms up and falls needs some."""
_HELD_OUT, _MOST_HELD = 100, 0.2
"""Held-out groups below which an interval says little, and the largest share that is given up for them."""
_LONGEST = 4096
"""Tokens up to which the longest row decides the length limit; beyond it the 99th percentile does."""
_STRIDE = 64
_ANY = 1 << 30
_ROOM = 0.7
"""Share of the free memory beyond which an adapter is proposed in place of all weights."""
_RANK = 16
_APART = 10
"""Steps between evaluations, at least."""


@dataclass(frozen=True)
class Proposal:
    """A recipe and how it came about.

    Attributes:
        recipe: YAML with a comment on each choice.
        lines: What was found in the data, a line each.
    """

    recipe: str
    lines: Sequence[str]


@dataclass(frozen=True)
class _Choice:
    """A value of the recipe and why."""

    value: Any
    why: str


def propose(
    model: str, data: Sequence[str], *, objective: str | None = None, eval_data: str | None = None, output: str
) -> Proposal:
    """Look at a model's config and tokenizer and at all rows of the data, and write a recipe for exactly these.

    No weights are loaded. Tokens are cached, so that the run that follows does not make them again.

    Args:
        model: Folder or hub name.
        data: Files, folders or hub names.
        objective: What is minimised; default: what fits the data.
        eval_data: What is evaluated on; default: a share of the prompts is held out.
        output: The run directory that the recipe names.

    Raises:
        DataError: The data cannot be read, or holds nothing that an objective learns from.
        ModelError: The model is missing or of a kind that cannot be trained.
        ConfigError: The objective does not exist.
    """
    kind = _kind(data)
    name = objective or FITTING[kind]
    document: dict[str, Any] = {"model": model, "data": list(data), "objective": name}
    resolved = resolve(document, {} if eval_data is None else {"eval.data": eval_data})
    if resolved.objective.needs(resolved.settings).head == "score" and stored_adapter(model):
        raise ConfigError(f'"{model}" is an adapter, beside which no scalar head can be trained; give a whole model.')
    tokenizer, known = load_tokenizer(model), known_positions(model)
    length = _length(_tokenised(resolved, tokenizer, known or _ANY), known)
    found = _tokenised(resolved, tokenizer, length.value)
    held, groups = _Choice({"data": eval_data}, "as given"), len(found.groups)
    if eval_data is None:
        held, groups = _holdout(found)
    batch = _batch(resolved, groups)
    shape, needed, lora = _memory(resolved, model)
    parameters = sum(p.numel() for p in shape.parameters())
    rate, source = learning_rate(resolved.config, frozenset(), parameters, lora is not None or stored_adapter(model))
    if (allowed := for_size(rate, parameters)) >= 2 * rate:
        source += f"; for so small a model up to {allowed:.1g}, which moves it as far as this one moves a large one"
    steps = max(1, round(-(-groups // batch.value) * resolved.config.train.epochs))
    train = {
        "batch_size": batch,
        "epochs": _Choice(resolved.config.train.epochs, _steps(steps)),
        "lr": _Choice(float(f"{rate:g}"), source),
        "schedule": _Choice(resolved.config.train.schedule, "after a warm-up over a tenth of the steps"),
    }
    choices: dict[str, _Choice | dict[str, _Choice]] = {
        "version": _Choice(VERSION, "of these keys"),
        "model": _Choice(model, f"{type(shape).__name__}, {count(parameters)} parameters"),
        "data": _Choice(list(data) if len(data) > 1 else data[0], f"{found.report.groups:,} groups of {_HELD[kind]}"),
        "objective": _Choice({"name": name, **_told(resolved)}, resolved.objective.summary),
        "eval": held,
        "tokens": _Choice({"max_length": length.value}, length.why),
        "train": train,
        **_seldom(steps),
        "lora": lora or _Choice(None, "no adapter: gradients and moments of all weights fit"),
        "output": _Choice(output, "config, metrics, samples, checkpoints, report.html and model/ go here"),
    }
    return Proposal(_written(choices, needed, found), found.report.lines())


def _kind(data: Sequence[str]) -> str:
    """Return the kind of the first records."""
    parts = tuple(DataPart(path=path) for path in data)
    config = resolve({"model": "-", "data": list(data)}).config.rows
    kinds = {type(record).__name__ for record in islice(read_records(parts, config), _LOOKED)}
    known = [kind for kind in FITTING if kind in kinds]
    if not known:
        held = "prompts without responses" if kinds else "no usable row among the first"
        raise DataError(
            f"{', '.join(data)} holds {held}, and a run learns from responses; bring pairs, ranked or labelled "
            "responses, or responses to imitate."
        )
    return known[0]


def _tokenised(resolved: Resolved, tokenizer: Any, most: int) -> Prepared:
    """Tokenise everything, or take it from the cache, and leave out what exceeds `most` tokens."""
    config = resolved.config
    needs = resolved.objective.needs(resolved.settings)
    return prepare(
        config.data,
        kind=resolved.objective.data,
        tokenizer=tokenizer,
        tokens=TokensConfig(max_length=most, loss_on=config.tokens.loss_on),
        template=config.template,
        rows=config.rows,
        group_by_prompt=bool(config.rows.group_by_prompt),
        ties=needs.ties,
    )


def _length(found: Prepared, known: int | None) -> _Choice:
    """Choose the length limit: the longest row if that is affordable, else the 99th percentile; within positions."""
    report = found.report
    p = report.percentiles
    wanted = -(-(p["max"] if p["max"] <= _LONGEST else p["p99"]) // _STRIDE) * _STRIDE
    spread = f"p50 {p['p50']:,}, p99 {p['p99']:,}, longest {p['max']:,}"
    if known is not None and known < wanted:
        what = f"all that the model knows; {report.exceeding:,} of {report.rows:,} rows are longer, and left out"
        return _Choice(known, f"{what} unless tokens.overflow says otherwise ({spread})")
    what = "no row is longer" if wanted >= p["max"] else "a hundredth of the rows is longer, and left out"
    return _Choice(wanted, f"{what} ({spread})")


def _holdout(found: Prepared) -> tuple[_Choice, int]:
    """Choose the share of prompts kept from training, and return with it the groups that are left to train on.

    It is the general 5 %, and more where that is too few to see anything.
    """
    groups = len(found.groups)
    share = min(_MOST_HELD, max(0.05, round(_HELD_OUT / groups, 2)))
    out = int(held_out(found.prompt_hash, share=share, most=EvalConfig().max_groups, seed=0).sum())
    if not out:
        return _Choice(
            {"holdout": share}, "no group: prompts are held out whole, and too few differ; name eval.data"
        ), groups
    few = "; with more rows it would say more" if out < _HELD_OUT / 2 else ""
    return _Choice({"holdout": share}, f"{out:,} groups, chosen by prompt{few}"), groups - out


def _batch(resolved: Resolved, groups: int) -> _Choice:
    """Choose the batch: the objective's own, halved while an epoch has few steps."""
    own = resolved.config.train.batch_size
    batch = own
    while batch > _SMALLEST and groups / batch < _STEPS:
        batch //= 2
    why = f"groups a step; {own} is usual"
    return _Choice(
        batch, why if batch == own else f"{why}, and {groups:,} groups would make {_steps(-(-groups // own))}"
    )


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count:,} steps"


def _memory(resolved: Resolved, model: str) -> tuple[Any, str, _Choice | None]:
    """Estimate what training takes; return the model's shape, the estimate in words, and an adapter if it is needed."""
    world = distributed.start("none")
    shape, config = skeleton(model), resolved.config
    bf16 = uses_bf16(config, world)
    whole = estimate(shape, config.train, bf16=bf16, world=world)
    whole = replace(whole, free=whole.free - whole.weights)
    if stored_adapter(model) or _fits(whole):
        return shape, whole.line(bin_budget(whole, world.device)), None
    shape.requires_grad_(False)
    frozen = replace(estimate(shape, config.train, bf16=bf16, world=world), free=whole.free)
    there = size(whole.free + whole.weights)
    why = f"all weights would take {size(whole.weights + whole.ahead)} of {there} free; an adapter takes little"
    if frozen.free < 0:
        why = f"the weights alone take {size(frozen.weights)} of {there} free: this model is too large for this machine"
    chosen = LoraConfig(r=_RANK, alpha=2.0 * _RANK).model_dump(include={"r", "alpha"})
    line = replace(frozen, free=max(0, frozen.free)).line(bin_budget(frozen, world.device))
    return shape, line, _Choice(chosen, why)


def _fits(needed: Estimate) -> bool:
    return needed.ahead + 1024 * needed.per_token <= needed.free * _ROOM


def _seldom(steps: int) -> dict[str, _Choice | dict[str, _Choice]]:
    """Have a short run evaluate less often than the default's ten times: each one draws samples, longer than a step."""
    shares = [share for share in (0.1, 0.2, 0.25, 0.5, 1.0) if share * steps >= _APART]
    share = shares[0] if shares else 1.0
    why = "besides the one at the start, at the end" if share == 1 else f"about every {round(share * steps)} steps"
    return {} if share == 0.1 else {"every": {"eval": _Choice(share, why)}}


def _told(resolved: Resolved) -> dict[str, Any]:
    """Return the settings that most runs change, as the objective has them by default."""
    settings = resolved.settings.model_dump()
    return {name: settings[name] for name in ("beta", "tau", "gamma", "alpha") if settings.get(name) is not None}


def _written(choices: Mapping[str, _Choice | Mapping[str, _Choice]], memory: str, found: Prepared) -> str:
    template = found.report.template
    about = [
        "Written by `logratio init` for exactly this model and this data; every line can be changed.",
        f"template: {template.name if template else 'none; prompts and responses are plain text'}",
        memory,
        *found.report.source,
    ]
    lines = [f"# {_comment(line)}" for line in about]
    for name, choice in choices.items():
        if isinstance(choice, _Choice):
            lines.append(_line(name, choice))
        else:
            lines += [f"{name}:", *(f"  {_line(key, own)}" for key, own in choice.items())]
    return "\n".join(lines) + "\n"


def _line(name: str, choice: _Choice) -> str:
    return f"{name}: {flow(choice.value)}  # {_comment(choice.why)}"


def _comment(text: str) -> str:
    """Keep a comment on its line, whatever a file is called."""
    return " ".join(visible(text).split())


def flow(value: Any) -> str:
    """Spell a value as YAML in one line."""
    spelled = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1 << 30, sort_keys=False)
    return spelled.removesuffix("...\n").strip()
