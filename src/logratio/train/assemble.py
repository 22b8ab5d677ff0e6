"""Put a run together: data, model, memory budget, reference, optimiser, in the order that fails cheapest first."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..batch.group import Group, Ints
from ..config import RunConfig
from ..data.prompts import Prompted
from ..data.store import prompt_hash
from ..errors import ConfigError
from ..files import content_hash
from ..logps.policy import Policy
from ..logps.reference import ReferenceValues
from ..models.load import Loaded
from ..rollout.engines import open_engine
from ..rollout.generate import context, plainly, stop_tokens
from ..rollout.judge import Judge
from .distributed import World, wrap
from .drawn import Choice
from .gradient import Learner
from .judges import judges
from .loop import Fit
from .memory import Estimate, bin_budget, estimate
from .moving import MovingReference, weight_bytes
from .opening import Opening
from .optim import Optimizer
from .pairlog import PairLog
from .preflight.run import Preflight
from .preflight.tokens import Tokenised
from .recipe import Resolved, learning_rate, to_yaml
from .reference import ReferencePass, describe_reference, live_reference, require_at_hand, standing_reference
from .rewards import asking_of
from .rollouts import Draw, RolloutSource
from .rundir import RunDirectory
from .setup import DataSet, Inputs, data_set, policy_of, tokenizer_of, uses_bf16, within_positions, wrap_policy
from .signals import Interrupted, StopRequest
from .source import Source, read_groups
from .sync import described
from .validate import Prompts, Validation, choosing
from .values import PREFIX, named_weights, value_part
from .watch import Watch


@dataclass(frozen=True)
class Assembled:
    """A run ready to start.

    Attributes:
        fit: What the loop touches.
        model: The model with its names.
        tokenizer: Saved beside it.
        opening: What the run is.
    """

    fit: Fit
    model: Loaded
    tokenizer: Any
    opening: Opening


def assemble(
    resolved: Resolved,
    directory: RunDirectory,
    world: World,
    emit: Callable[..., None],
    stop: StopRequest,
    inputs: Inputs,
    preflight: Preflight | None = None,
    before_pass: Callable[[Opening, Learner, Optimizer, ReferencePass], None] = lambda *run: None,
) -> Assembled:
    """Load and check everything, say what the run is, and fill the reference cache.

    `before_pass` is called with what the first step needs but the reference's log-probs, which take long.

    Raises:
        Interrupted: A stop was asked for during the reference pass; finished blocks stay.
        PreflightError: The checks before loading found something wrong.
    """
    judge, judge_eval = judges(resolved.config, inputs, world)  # a name that leads nowhere costs least here
    opening, optimizer = open_run(resolved, directory, world, inputs, preflight, judge)
    config, data, train = opening.config, opening.data, opening.config.train

    def on_block(done: int, of: int) -> None:
        emit("reference", done=done, of=of)
        if world.any(bool(stop)) and done < of:
            raise Interrupted

    learner = learner_of(resolved, opening)
    opened = {"lines": opening.lines(), "steps": opening.steps, "directory": str(directory.path)}
    emit("open", **opened, config=config.model_dump(mode="json"))
    passing = ReferencePass(
        config,
        opening.model,
        opening.policy,
        world,
        opening.bf16,
        on_block,
        warn=lambda text: emit("warning", text=text),
    )
    learner = with_reference(learner, optimizer, opening, passing.warn)
    identity = _identity(passing) if learner.needs.reference else ""
    _compare_start(directory, data, resolved.objective.origin, passing.warn)
    directory.manifest(**opening.manifest(identity), status="running", error=None)
    before_pass(opening, learner, optimizer, passing)
    values = passing.values(data.groups) if learner.reads_cache else None
    # KL on samples needs the reference once training is under way: a second model, or the adapter switched. Beside
    # sharded weights there is no room for one, and a model given as an object cannot be read again.
    apart = inputs.model is None or opening.model.adapter != "none" or config.reference not in ("start", "base")
    reachable = apart and world.size == 1
    validation = _validation(
        learner, data, passing, values, opening.tokenizer, directory, reachable=reachable, judge=judge_eval
    )
    _tell_sampling(validation.fixed, opening.model, world, emit)
    source = source_of(opening, learner, values, directory, judge)
    watch = Watch(directory, config, opening.steps, emit)
    fit = Fit(learner, optimizer, source, config, train.lr, directory, identity, validation, emit, stop, {}, watch)
    return Assembled(fit, opening.model, opening.tokenizer, opening)


def learner_of(resolved: Resolved, opening: Opening) -> Learner:
    """Return what a step's gradient is taken of, yet without a reference at hand."""
    rollout, bins = opening.config.rollout, opening.config.train.bin_tokens or 1
    learner = Learner(
        opening.policy, resolved.objective, resolved.settings, opening.world, bins, resolved.objective.scope
    )
    return learner if rollout is None else replace(learner, fresh=True, temperature=rollout.temperature)


def source_of(
    opening: Opening,
    learner: Learner,
    values: ReferenceValues | None,
    directory: RunDirectory,
    judge: Judge | None,
) -> Source:
    """Return what yields the steps: the data itself, or what the policy draws to its prompts."""
    config, data = opening.config, opening.data
    if config.rollout is None or judge is None or not isinstance(data.prepared, Prompted):
        return replace(opening.files, reference=values)
    draw = Draw(
        rollout=config.rollout,
        choice=Choice.of(learner.objective, learner.settings, config.rollout),
        judge=judge,
        asking=data.prepared.asking,
        tokenizer=opening.tokenizer,
        stop_ids=stop_tokens(opening.model.model, opening.tokenizer),
        seed=config.train.seed,
        engine=None if config.rollout.engine is None else open_engine(config.rollout.engine),
    )
    reference = learner.live if learner.needs.reference else None
    return RolloutSource(opening.files, opening.phases, draw, learner, reference, directory, opening.texts)


def with_reference(learner: Learner, optimizer: Optimizer, opening: Opening, warn: Callable[[str], None]) -> Learner:
    """Give the learner a reference that moves, or a standing one for every bin, where the run needs either."""
    config = opening.config
    if (every := config.reference_sync.every) is not None:
        never = opening.phases.count == 1 if every == "phase" else every >= opening.steps
        if never:
            has = "one phase" if every == "phase" else f"{opening.steps} steps"
            warn(f"reference_sync.every is {every} and the run has {has}, so the reference never moves.")
        moving = MovingReference(
            opening.policy, optimizer, config.reference_sync, opening.world, lambda i: opening.phases.place(i).first
        )
        return replace(learner, moving=moving, live=moving.live)
    if learner.needs.divergence or (learner.fresh and learner.needs.reference):
        live = standing_reference(config, opening.model, opening.policy, bf16=opening.bf16)
        return replace(learner, live=live)
    return learner


def _identity(passing: ReferencePass) -> str:
    """Return what a checkpoint must agree in with the run that goes on from it: the reference, and how it moves."""
    start, sync = passing.cache.identity, passing.config.reference_sync
    return start if sync.every is None else content_hash({"start": start, **sync.model_dump()})


def open_run(
    resolved: Resolved,
    directory: RunDirectory,
    world: World,
    inputs: Inputs,
    preflight: Preflight | None,
    judge: Judge | None = None,
) -> tuple[Opening, Optimizer]:
    """Load data and model, settle what depends on them, and make the run resumable by writing its recipe."""
    _require_possible(resolved.config, world)
    date = world.text(str(directory.manifest().get("date") or datetime.date.today().isoformat()))
    with world.first():  # rank 0 tokenises, the others find the tokens cached
        resolved = within_positions(resolved, inputs)
        tokenizer = tokenizer_of(resolved.config, inputs)
        data = data_set(resolved, tokenizer, inputs, date)
    if preflight is not None:
        preflight.before_loading(Tokenised(resolved.config, data, tokenizer, date, inputs))
    model = policy_of(resolved, world, tokenizer, inputs)
    reference = describe_reference(resolved.config, model) + described(resolved.config.reference_sync)
    if _at_hand(resolved):
        divergence = resolved.objective.needs(resolved.settings).divergence
        require_at_hand(resolved.config, model, world, given=inputs.model is not None, divergence=divergence)
    bf16 = uses_bf16(resolved.config, world)
    needs = resolved.objective.needs(resolved.settings)
    valued = value_part(resolved.config, needs, model, tokenizer, world.device)
    policy = wrap_policy(resolved.config, model, data, valued)
    wrap(policy, world, bf16=bf16)
    optimizer = _optimizer(resolved.config, policy, world, bf16=bf16, value_rate=valued.rate if valued else 1.0)
    config, needed, lr_source = _settled(resolved, model, policy, world, bf16=bf16)
    directory.config(to_yaml(config))
    opening = Opening(
        resolved=resolved,
        config=config,
        tokenizer=tokenizer,
        model=model,
        policy=policy,
        data=data,
        reference=reference if resolved.objective.needs(resolved.settings).reference else None,
        lr_source=lr_source,
        memory=needed.line(config.train.bin_tokens or 1),
        estimate=needed,
        bf16=bf16,
        world=world,
        date=date,
        valued=valued,
        judge=None if judge is None else judge.description,
    )
    return opening, optimizer


def _at_hand(resolved: Resolved) -> bool:
    """Whether the reference itself is needed while the run goes on, not only its log-probs of the data."""
    needs = resolved.objective.needs(resolved.settings)
    return needs.divergence or (needs.reference and resolved.config.rollout is not None)


def _compare_start(directory: RunDirectory, data: DataSet, origin: str, warn: Callable[[str], None]) -> None:
    """Say so where a run that has made steps is continued on other data, or with another loss, than it began with."""
    if not directory.checkpoints():
        return
    manifest = directory.manifest()
    began, now = manifest.get("data", {}).get("fingerprint"), data.fingerprint
    if began != now:
        warn(
            f"the data is not what this run began with (hash {now[:8]}, then {str(began)[:8]}): from here on steps see "
            "other rows than they would have; put it back, or start a new run."
        )
    first = manifest.get("objective", {}).get("origin", "")
    if first != origin:
        warn(
            f"the objective is not what this run began with (now {origin or 'built in'}, then {first or 'built in'}): "
            "from here on another loss is minimised; put its file back, or start a new run."
        )


def _require_possible(config: RunConfig, world: World) -> None:
    """Refuse what this machine or these processes cannot do, before a model is loaded.

    Raises:
        ConfigError: `train.weights` or `train.optimizer` contradicts the precision or the number of processes.
    """
    train = config.train
    if config.rollout is not None and world.size > 1:
        raise ConfigError(
            f"rollout is given, and there are {world.size} processes: responses are drawn, judged and kept by one "
            "process so far; start one."
        )
    if train.weights == "bf16" and not (uses_bf16(config, world) and world.size == 1):
        raise ConfigError(
            "train.weights is bf16, which needs train.precision bf16 and one process: it keeps no float32 masters and "
            "rounds each update stochastically; leave it at fp32 otherwise."
        )
    if train.optimizer == "adamw_8bit" and world.size > 1:
        raise ConfigError(
            f"train.optimizer is adamw_8bit, and there are {world.size} processes: its kernels do not know sharded "
            "weights; use adamw, whose moments are sharded too, or one process."
        )


def _optimizer(config: RunConfig, policy: Policy, world: World, *, bf16: bool, value_rate: float) -> Optimizer:
    """Take the trainable weights; on one process, leave the model computing in the wanted dtype."""
    train = config.train
    compute = torch.bfloat16 if bf16 and world.size == 1 else None  # under FSDP2 its mixed-precision policy does this
    named = named_weights(policy)
    optimizer = Optimizer(
        named,
        kind=train.optimizer,
        weight_decay=train.weight_decay,
        epsilon=train.epsilon,
        stochastic=train.weights == "bf16",
        seed=train.seed,
        compute=compute,
        rates={name: value_rate for name in named if name.startswith(PREFIX)},
    )
    for weight in policy.parameters() if compute else ():
        if not weight.requires_grad:
            weight.data = weight.data.to(compute)
    return optimizer


def _settled(
    resolved: Resolved, model: Loaded, policy: Policy, world: World, *, bf16: bool
) -> tuple[RunConfig, Estimate, str]:
    """Return the recipe with learning rate and micro-batch budget settled, and where they come from."""
    train = resolved.config.train
    lr, lr_source = learning_rate(resolved.config, resolved.explicit, model.parameters, model.adapter != "none")
    switched = model.adapter != "none" and resolved.config.reference in ("start", "base")
    sync, in_bins = resolved.config.reference_sync, _at_hand(resolved)
    second = in_bins and not switched and sync.every is None
    moving = weight_bytes(sync, 2 if bf16 and world.size == 1 else 4, in_bins=in_bins)
    needed = estimate(
        model.model,
        train,
        bf16=bf16,
        world=world,
        second_model=second,
        moving=moving,
        value=policy.value,
        rollout=resolved.config.rollout,
    )
    bins = train.bin_tokens or world.least(bin_budget(needed, world.device))
    settled = train.model_copy(update={"lr": lr, "bin_tokens": bins})
    return resolved.config.model_copy(update={"train": settled}), needed, lr_source


def _validation(
    learner: Learner,
    data: DataSet,
    passing: ReferencePass,
    train_values: ReferenceValues | None,
    tokenizer: Any,
    directory: RunDirectory,
    *,
    reachable: bool,
    judge: Judge | None,
) -> Validation:
    """Gather the held-out groups with their reference log-probs, and the fixed prompts to sample."""
    config = passing.config
    if data.evaluation is not None:
        values = passing.values(data.evaluation) if learner.reads_cache else None
        held = read_groups(data.evaluation, range(len(data.evaluation)), values)
    else:
        held = read_groups(data.groups, data.held_out, train_values)
    generates = learner.needs.head == "lm"  # a reward model does not
    shown = _that_fit(held, passing)[: config.eval.samples] if generates else []
    rows = data.shown if isinstance(data.prepared, Prompted) else None
    asking = {} if judge is None else asking_of(held, rows, data.prepared.report.template, tokenizer)

    def live() -> AbstractContextManager[Policy]:
        if learner.moving is not None:
            return learner.moving.live()
        return live_reference(config, passing.model, passing.policy, bf16=passing.bf16)

    fixed = Prompts(
        prompts=shown,
        tokenizer=tokenizer,
        stop_ids=stop_tokens(passing.model.model, tokenizer),
        max_new_tokens=config.eval.max_new_tokens,
        seed=config.train.seed,
        live=live if learner.needs.reference and (reachable or learner.moving is not None) else None,
        judge=judge,
        asking=[asking[prompt.tobytes()] for prompt in shown] if judge is not None else [],
        select=choosing(config, [prompt_hash(prompt) for prompt in shown], "samples") if learner.fresh else None,
    )

    def keep_sample(row: Mapping[str, Any]) -> None:
        directory.append("samples.jsonl", row)

    answered = [group for group in held if group.responses]
    return Validation(learner, answered, data.choosing, fixed, keep_sample, PairLog(directory, tokenizer))


def _that_fit(held: Sequence[Group], passing: ReferencePass) -> list[Ints]:
    """Return the held-out prompts, each once, that leave room for a sample; say so where none does."""
    limit, new = context(passing.model.model), passing.config.eval.max_new_tokens
    prompts = list({group.prompt.tobytes(): group.prompt for group in held if len(group.prompt)}.values())
    fitting = prompts if limit is None else [prompt for prompt in prompts if len(prompt) + new <= limit]
    if prompts and not fitting:
        passing.warn(
            f"none of {len(prompts)} held-out prompts leaves room for eval.max_new_tokens {new} in the model's {limit} "
            "positions, so nothing is sampled; lower eval.max_new_tokens."
        )
    return fitting


def _tell_sampling(fixed: Prompts, model: Loaded, world: World, emit: Callable[..., None]) -> None:
    """Say so where the model's samples cannot share their prompt; sharded weights are tried when first sampled."""
    why = None if world.size > 1 else plainly(model.model, fixed.prompts, fixed.max_new_tokens)
    if why is not None:
        emit("note", text=f"{why}.")
