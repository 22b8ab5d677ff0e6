"""Tokenizer, data and model of a run, from names or from objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..batch.group import Columns, Group
from ..batch.needs import Head
from ..batch.packed import pack
from ..config import RunConfig
from ..data.prepare import prepare
from ..data.prepared import Prepared, held_out
from ..data.prompts import Asking, Prompted, prepare_prompts
from ..errors import ConfigError, DataError, ModelError
from ..evaluate.measure import measured_names
from ..files import content_hash
from ..logps.policy import Policy
from ..logps.verdict import choose_path_once
from ..maths.counter import permutation
from ..models.load import Loaded, known_positions, load_model, load_tokenizer, loaded
from ..models.scalar import settle_padding
from ..rollout.generate import context, stop_tokens
from .distributed import World
from .recipe import Resolved
from .source import mismatch
from .validate import choosing
from .values import Valued


@dataclass(frozen=True)
class Inputs:
    """Objects given in place of the recipe's names, from Python.

    Attributes:
        model, tokenizer: A loaded pair, or None.
        data, eval_data: Iterables of rows, or None.
        judge: Whatever prefers, or a function that scores, or None.
    """

    model: Any = None
    tokenizer: Any = None
    data: Any = None
    eval_data: Any = None
    judge: Any = None


@dataclass(frozen=True)
class DataSet:
    """Groups with the positions that are trained on and evaluated on.

    Attributes:
        prepared: All groups of the training files, in their order: what the reference cache is filled for; prompts
            alone where responses are drawn.
        groups: The same, with borrowed responses where the objective needs them.
        train: Positions in `groups` to train on.
        held_out: Positions in `groups` kept from training; empty where evaluation data is given.
        evaluation: Groups of the evaluation files, where given.
        choosing: Which of the groups evaluated on choose a best checkpoint; None unless one is asked for.
        shown: Text and other fields of each prompt evaluated on, where responses are drawn.
        texts: What is imitated beside the responses that are drawn, where the recipe asks for it.
    """

    prepared: Prepared | Prompted
    groups: Sequence[Group]
    train: NDArray[np.int64]
    held_out: NDArray[np.int64]
    evaluation: Sequence[Group] | None
    choosing: NDArray[np.int64] | None
    shown: Sequence[Asking] = ()
    texts: Prepared | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of all that is trained on."""
        own = self.prepared.fingerprint
        return own if self.texts is None else content_hash(own, self.texts.fingerprint)


def tokenizer_of(config: RunConfig, inputs: Inputs) -> Any:
    """Return the tokenizer: the given one, else the model's."""
    return inputs.tokenizer if inputs.tokenizer is not None else load_tokenizer(config.model)


def within_positions(resolved: Resolved, inputs: Inputs) -> Resolved:
    """Return the recipe with `tokens.max_length` lowered to the positions that the model knows.

    Raises:
        ConfigError: A larger one was asked for.
    """
    config = resolved.config
    given = config.tokens.max_length
    known = context(inputs.model) if inputs.model is not None else known_positions(config.model)
    if known is None or given <= known:
        return resolved
    if "tokens.max_length" in resolved.explicit:
        raise ConfigError(
            f"tokens.max_length is {given}, but {config.model} knows {known} positions, so a longer row could not be "
            f"scored as it was trained; set it to {known} or less."
        )
    tokens = config.tokens.model_copy(update={"max_length": known})
    return replace(resolved, config=config.model_copy(update={"tokens": tokens}))


def data_set(resolved: Resolved, tokenizer: Any, inputs: Inputs, date: str) -> DataSet:
    """Read, validate and tokenise the data, and keep a share of prompts from training.

    Raises:
        DataError: Rows that cannot be used; no margin where the objective reads them; or too few prompts to hold any
            out.
        ConfigError: A best checkpoint is asked for by what the objective does not measure, or too few prompts are held
            out to choose and report one.
    """
    config, objective = resolved.config, resolved.objective
    needs = objective.needs(resolved.settings)
    if config.rollout is not None:
        return replace(_prompts(config, tokenizer, inputs, date), texts=_texts(config, tokenizer, date))

    def read(data: Any) -> Prepared:
        found = prepare(
            data,
            kind=objective.data,
            tokenizer=tokenizer,
            tokens=config.tokens,
            template=config.template,
            rows=config.rows,
            date=date,
            group_by_prompt=bool(config.rows.group_by_prompt),
            ties=needs.ties,
        )
        if needs.margin:
            _require_margins(found, config.objective["name"])
        return found

    def groups_of(prepared: Prepared) -> Sequence[Group]:
        if not needs.mismatched:
            return prepared.groups
        return mismatch(prepared.groups, prepared.prompt_hash, config.tokens.max_length)

    prepared = read(config.data if inputs.data is None else inputs.data)
    groups = groups_of(prepared)
    _require_measured(resolved, groups[0])
    everything = np.arange(len(groups))
    given = inputs.eval_data if inputs.eval_data is not None else config.eval.data
    if given is not None:
        other = read(given)
        judged = groups_of(other)
        # At most max_groups of them, drawn alike for every run: the first ones of a sorted file would be of one kind.
        kept = np.sort(permutation(len(judged), 0, 0)[: config.eval.max_groups])
        chosen = choosing(config, other.prompt_hash[kept], "groups")
        return DataSet(prepared, groups, everything, everything[:0], [judged[int(i)] for i in kept], chosen)
    share, most = config.eval.holdout, config.eval.max_groups
    held = held_out(prepared.prompt_hash, share=share, most=most, seed=config.train.seed)
    if held.all():
        raise DataError(
            f"all {len(groups)} groups would be held out (eval.holdout {config.eval.holdout:g}), so nothing is left to "
            "train on; add rows with other prompts, give eval.data, or set eval.holdout to 0."
        )
    chosen = choosing(config, prepared.prompt_hash[held], "groups")
    return DataSet(prepared, groups, everything[~held], everything[held], None, chosen)


def _prompts(config: RunConfig, tokenizer: Any, inputs: Inputs, date: str) -> DataSet:
    """Read the prompts that responses are drawn to, and hold some out.

    Raises:
        DataError: There are too few to hold any out, or rows cannot be used.
    """
    rollout, evaluated = config.rollout, config.eval
    assert rollout is not None

    def read(data: Any, room: int) -> Prompted:
        return prepare_prompts(
            data,
            tokenizer=tokenizer,
            tokens=config.tokens,
            template=config.template,
            rows=config.rows,
            room=room,
            date=date,
        )

    prepared = read(config.data if inputs.data is None else inputs.data, rollout.max_new_tokens)
    everything = np.arange(len(prepared.groups))
    given = inputs.eval_data if inputs.eval_data is not None else evaluated.data
    if given is not None:
        other = read(given, evaluated.max_new_tokens)
        kept = np.sort(permutation(len(other.groups), 0, 0)[: evaluated.max_groups]).tolist()
        apart, shown = [other.groups[i] for i in kept], [other.asking[i] for i in kept]
        return DataSet(prepared, prepared.groups, everything, everything[:0], apart, None, shown)
    share, most = evaluated.holdout, evaluated.max_groups
    held = held_out(prepared.prompt_hash, share=share, most=most, seed=config.train.seed)
    if held.all():
        raise DataError(
            f"all {len(held)} prompts would be held out (eval.holdout {share:g}), so nothing is left to train on; add "
            "prompts, give eval.data, or set eval.holdout to 0."
        )
    shown = [prepared.asking[int(i)] for i in everything[held]]
    return DataSet(prepared, prepared.groups, everything[~held], everything[held], None, None, shown)


def _texts(config: RunConfig, tokenizer: Any, date: str) -> Prepared | None:
    """Read the texts that are mixed in; what goes beyond `tokens.max_length` is cut, and `rows.map` is not theirs."""
    if config.texts is None:
        return None
    return prepare(
        config.texts.data,
        kind="demonstrations",
        tokenizer=tokenizer,
        tokens=config.tokens.model_copy(update={"overflow": "truncate"}),
        template=config.template,
        rows=config.rows.model_copy(update={"map": {}}),
        date=date,
    )


def _require_margins(prepared: Prepared, objective: str) -> None:
    without = "leave objective.margin_scale out" if objective == "reward" else "use --objective dpo"
    if not any(group.columns.edge["margin"].any() for group in prepared.groups):
        raise DataError(
            f"none of {len(prepared.groups):,} pairs says how strong its preference is, and {objective} reads that: "
            f"bring a column `margin`, or responses with scores; or {without}."
        )


def _require_measured(resolved: Resolved, group: Group) -> None:
    """Refuse a best checkpoint by a name that no evaluation will have, before a model is loaded."""
    best = resolved.config.keep.best
    known = measured_names(resolved.objective, resolved.settings, group) if best is not None else []
    if best is not None and best.removeprefix("eval/") not in known:
        raise ConfigError(
            f"keep.best is {best}, which this run does not measure on held-out groups; choose one of "
            f"{', '.join(f'eval/{name}' for name in known)}."
        )


def policy_of(resolved: Resolved, world: World, tokenizer: Any, inputs: Inputs) -> Loaded:
    """Load the model in float32, with the adapter that the recipe asks for, and with the head of the objective.

    Raises:
        ModelError: A model given as an object ends in another head.
    """
    config, head = resolved.config, resolved.objective.needs(resolved.settings).head
    if inputs.model is not None:
        own = loaded(inputs.model.to(world.device), tokenizer, config.model, hold=True)
        _require_head(own, head, config.objective["name"])
        for weight in own.model.parameters():
            if weight.dtype in (torch.bfloat16, torch.float16):
                weight.data = weight.data.float()
    else:
        own = load_model(config.model, lora=config.lora, seed=config.train.seed, head=head)
        own.model.to(world.device)
    if head == "score":
        settle_padding(own.model, tokenizer, stop_tokens(own.model, tokenizer))
    return own


def _require_head(model: Loaded, head: Head, objective: str) -> None:
    if model.head != head:
        has, wants = ("a scalar head", "log-probs") if head == "lm" else ("no scalar head", "one")
        raise ModelError(
            f"the model given ({type(model.model).__name__}) has {has}, and {objective} needs {wants}: "
            "give it by name, or as the AutoModelFor… class that fits the objective."
        )


def wrap_policy(config: RunConfig, model: Loaded, data: DataSet, valued: Valued | None = None) -> Policy:
    """Wrap the model with what gives its values, and decide, on the data's first groups, whether prompts are shared."""
    value = None if valued is None else valued.part
    policy = Policy(model.model, path=config.train.path, checkpointing=config.train.checkpointing, value=value)
    policy.train(config.train.checkpointing)  # blocks recompute in training mode alone; dropout is 0 in both
    if config.train.path == "auto":
        first = [_answered(data.groups[int(i)]) for i in data.train[:2]]  # the plain path takes seconds a group
        lora = None if config.lora is None else config.lora.model_dump(mode="json")
        known_by = {"fingerprint": model.fingerprint, "lora": lora, "seed": config.train.seed}
        known_by |= {} if valued is None or valued.source is None else {"critic": valued.source.fingerprint}
        choose_path_once(policy, pack(first), model.head, model=known_by)
    return policy


def _answered(group: Group) -> Group:
    """Return a group that has responses; one that has none answers twice with the end of its own prompt."""
    if group.responses:
        return group
    responses = (group.prompt[-8:], group.prompt[-4:])
    return Group(
        row=group.row,
        prompt=group.prompt,
        responses=responses,
        loss=tuple(np.ones(len(own), np.bool_) for own in responses),
        edges=np.zeros((0, 2), np.int32),
        columns=Columns(response={"weight": np.ones(2, np.float32)}, edge={"weight": np.zeros(0, np.float32)}),
    )


def uses_bf16(config: RunConfig, world: World) -> bool:
    """Whether products are in bfloat16; `auto` says so on a GPU that has it."""
    if config.train.precision == "auto":
        return world.device.type == "cuda" and torch.cuda.is_bf16_supported()
    return config.train.precision == "bf16"
