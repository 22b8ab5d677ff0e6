"""The gradient of one step: the same number however its groups are binned and on however many ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..batch.group import Group, scored_masks
from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch, pack, sent
from ..batch.plan import plan
from ..evaluate import measure
from ..logps.policy import Policy
from ..logps.whole import Axis, join, slots
from ..objectives.base import Objective, Settings
from ..objectives.metrics import raising
from ..objectives.total import item_weights
from .distributed import World, sync_gradients
from .finite import Finite
from .moving import MovingReference
from .source import Step
from .totals import Totals

Live = Callable[[], AbstractContextManager[Policy]]
"""Yields the reference as a policy, for as long as the context lasts."""


@dataclass(frozen=True)
class Learner:
    """What a step's gradient is taken of.

    Attributes:
        policy: Laid out over the ranks or not.
        objective, settings: The loss.
        world: The processes.
        bin_tokens: Tokens a bin may hold.
        scope: Route to the gradient; the objective's own unless a test asks for the other.
        live: The reference; given where the objective reads the divergence from it.
        state: Running values of the objective, float64 scalars on the CPU, the same on all ranks; made anew where none
            are given, and changed in place, once a step.
        moving: The reference, where it follows the policy; then no log-probs of it are kept, and `live` is its own.
        temperature: Divides the logits of every log-prob: that at which fresh responses are drawn.
        fresh: Whether responses are drawn as the run goes on, so that nothing of them can be kept beforehand.
    """

    policy: Policy
    objective: Objective
    settings: Settings
    world: World
    bin_tokens: int
    scope: str
    live: Live | None = None
    state: dict[str, Tensor] = field(default_factory=dict)
    moving: MovingReference | None = None
    temperature: float = 1.0
    fresh: bool = False

    def __post_init__(self) -> None:
        self.set_state({**self.objective.state(self.settings), **self.state})

    def set_state(self, values: Mapping[str, float | Tensor]) -> None:
        """Put running values in place of the present ones."""
        self.state.update({name: torch.as_tensor(value, dtype=torch.float64).cpu() for name, value in values.items()})

    def advance(self, logps: Logps, whole: PackedBatch) -> None:
        """Let the objective's running values follow a step's detached log-probs; rank 0's count on all ranks."""
        if not self.state:
            return
        following = {**self.state, **self.objective.update(logps, whole, self.settings)}
        values = torch.stack([following[name].detach().double() for name in self.state])
        values = self.world.total(values if self.world.rank == 0 else torch.zeros_like(values)).cpu()
        self.set_state(dict(zip(self.state, values, strict=True)))

    def with_reference(self, groups: Sequence[Group]) -> Sequence[Group]:
        """Return groups with the log-probs of a moving reference as it is now; of one that stands, they have them."""
        if self.moving is None or not groups:
            return groups
        return self.moving.attach(groups, bin_tokens=self.bin_tokens, temperature=self.temperature)

    def forward(self, batch: PackedBatch) -> Logps:
        """Return a bin's floats at the desk, the divergence from the reference among them where it is needed."""
        if not (self.needs.divergence and batch.responses):
            plain: Logps = self.policy(batch, self.needs)
            return plain.to(self.world.desk)
        assert self.live is not None
        with self.live() as reference:
            against = reference.outputs(batch, self.needs)
        logps: Logps = self.policy(batch, self.needs, against)
        return logps.to(self.world.desk)

    @property
    def reads_cache(self) -> bool:
        """Whether the reference's log-probs are computed once and kept."""
        return self.needs.reference and self.moving is None and not self.fresh

    @property
    def needs(self) -> Needs:
        """What the objective reads, of the distribution that responses come from."""
        needs = self.objective.needs(self.settings)
        return needs if self.temperature == 1 else replace(needs, temperature=self.temperature)


def metric_names(learner: Learner, step: Step) -> list[str]:
    """Return the names of the step's metrics, those of the objective read off its first group."""
    own = measure.metric_names(learner.objective, learner.settings, pack(step.groups[:1]).with_state(learner.state))
    own += [_MISMATCH] if step.compared else []
    return own if learner.needs.head == "score" else [*own, "gradient_raising"]


def denominators(learner: Learner, groups: Sequence[Group]) -> dict[str, float]:
    """Return Σ w over the whole step for each term: one number, whatever the bins and ranks.

    A step whose weights are all 0 gets denominator 1, and with it a loss of 0.
    """
    terms = learner.objective.terms(learner.settings)
    totals = dict.fromkeys(((term.unit, term.weight) for term in terms.values()), 0.0)
    for group in groups:
        for unit, weight in totals:
            totals[unit, weight] += _weight_of(group, unit, weight)
    return {name: totals[term.unit, term.weight] or 1.0 for name, term in terms.items()}


def _weight_of(group: Group, unit: str, weight: str) -> float:
    """Return Σ w over a group's items of a unit."""
    if unit == "group":
        return 1.0
    if unit == "edge":
        return float(group.columns.edge["weight"].sum())
    weights = group.columns.response[weight]
    if unit == "response":
        return float(weights.sum())
    return sum(float(w) * float(m.sum()) for w, m in zip(weights, scored_masks(group), strict=True))


def weighted(learner: Learner, losses: Mapping[str, Tensor], batch: PackedBatch, totals: Mapping[str, float]) -> Tensor:
    """Return Σ_k c_k · Σ_i w_i ℓ_ki / denominator_k over the items of this batch."""
    terms = learner.objective.terms(learner.settings)
    parts = [
        terms[name].coefficient * (item_weights(batch, terms[name]).to(values) * values).sum() / totals[name]
        for name, values in losses.items()
    ]
    return torch.stack(parts).sum()


@dataclass(frozen=True)
class Bins:
    """A step divided and packed: all that can be made of it before the weights of the step before are known.

    Attributes:
        ranks: For each rank its bins, each of them positions in the step's groups.
        batches: This rank's bins, at its desk.
        whole: The step as one batch, where the objective is evaluated on it.
        totals: Σ w over the whole step for each term.
    """

    ranks: Sequence[Sequence[Sequence[int]]]
    batches: Sequence[PackedBatch]
    whole: PackedBatch | None
    totals: Mapping[str, float]

    @classmethod
    def of(cls, learner: Learner, step: Step) -> Bins:
        """Divide a step over ranks and bins, and pack this rank's."""
        world, groups = learner.world, step.groups
        ranks = plan([group.tokens for group in groups], world=world.size, budget=learner.bin_tokens)
        batches = [pack([groups[i] for i in members]).to(world.desk) for members in ranks[world.rank]]
        whole = None if learner.scope == "item" else pack(groups).to(world.desk)
        return cls(ranks, batches, whole, denominators(learner, groups))


def step_gradient(learner: Learner, step: Step, bins: Bins | None = None) -> Totals:
    """Add the step's gradient to the policy's parameters and return its metrics.

    Nothing on the device is waited for before all of its work is under way.

    Args:
        learner: What the gradient is taken of.
        step: The groups, with reference log-probs where they are needed.
        bins: `Bins.of` the same, where that was made ahead.

    Raises:
        NonFiniteError: A log-prob or loss is NaN or infinite; nothing has been updated yet.
    """
    bins = bins or Bins.of(learner, step)
    return _item_route(learner, step, bins) if bins.whole is None else _step_route(learner, step, bins, bins.whole)


def _forward(learner: Learner, packed: PackedBatch, finite: Finite) -> tuple[PackedBatch, Logps]:
    batch = packed.with_state(learner.state)
    logps = learner.forward(batch)
    for name, value in _differentiable(logps).items():
        finite.note(_CALLED[name], value, batch)
    if learner.needs.reference and batch.responses:
        finite.note("reference log-prob", batch.token["reference"], batch)
    return batch, logps


def _auxiliary(step: Step, batch: PackedBatch, logps: Logps) -> Tensor | float:
    """Return a mixture-of-experts loss of this bin, weighted by its share of the step's tokens."""
    if logps.auxiliary is None:
        return 0.0
    return logps.auxiliary * batch.tokens / sum(group.tokens for group in step.groups)


def _item_route(learner: Learner, step: Step, bins: Bins) -> Totals:
    out, finite = Totals(), Finite(step)
    for n, packed in enumerate(bins.batches):
        sync_gradients(learner.policy, n == len(bins.batches) - 1)
        batch, logps = _forward(learner, packed, finite)
        if not batch.responses:  # a rank short of bins takes part in the collectives, with coefficient 0
            (torch.stack([value.sum() for value in _differentiable(logps).values()]).sum() * 0.0).backward()
            continue
        loss = weighted(learner, learner.objective.losses(logps, batch, learner.settings), batch, bins.totals)
        finite.note("loss", loss.reshape(1), batch)
        if logps.score_S is None:
            logps.policy_R.retain_grad()
        (loss + _auxiliary(step, batch, logps)).backward()
        out.loss = out.loss + loss.detach().double()
        if logps.score_S is None and logps.policy_R.grad is not None:
            out.add("gradient_raising", raising(logps.policy_R.grad, logps.policy_R))
        for name, metric in learner.objective.measured(_detached(logps), batch, learner.settings).items():
            out.add(name, metric.total())
        _compare(out, step, batch, logps)
    finite.check()
    return out


def _step_route(learner: Learner, step: Step, bins: Bins, packed: PackedBatch) -> Totals:
    """Evaluate the objective once on the whole step, then back-propagate its fixed coefficients bin by bin."""
    world, finite, alone = learner.world, Finite(step), len(bins.batches) == 1
    whole = packed.with_state(learner.state)
    kept: list[tuple[PackedBatch, Logps]] = []
    with torch.set_grad_enabled(alone):  # with one bin the two phases share a forward
        sync_gradients(learner.policy, True)
        for own in bins.batches:
            batch, logps = _forward(learner, own, finite)
            kept.append((batch, logps if alone else _detached(logps)))
    orders = [[i for members in own for i in members] for own in bins.ranks]
    floats = _gather(world, step, [logps for _, logps in kept], orders)
    leaves = {name: value.requires_grad_() for name, value in _differentiable(floats).items()}
    loss = weighted(learner, learner.objective.losses(floats, whole, learner.settings), whole, bins.totals)
    finite.note("loss", loss.reshape(1), whole)
    coefficients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    for n, (own, members) in enumerate(zip(bins.batches, bins.ranks[world.rank], strict=True)):
        sync_gradients(learner.policy, n == len(bins.batches) - 1)
        batch, logps = kept[0] if alone else _forward(learner, own, finite)
        parts = []
        for name, value in _differentiable(logps).items():
            at = sent(slots(step.groups, members, "S" if name == "score_S" else "R"), world.desk)
            parts.append((value * coefficients[name].index_select(0, at)).sum())
        (torch.stack(parts).sum() + _auxiliary(step, batch, logps)).backward()
    out = Totals()
    if world.rank == 0:  # every rank holds the same numbers: one of them counts
        out.loss = loss.detach().double()
        if "policy_R" in coefficients:
            out.add("gradient_raising", raising(coefficients["policy_R"], floats.policy_R))
        for name, metric in learner.objective.measured(_detached(floats), whole, learner.settings).items():
            out.add(name, metric.total())
        _compare(out, step, whole, floats)
    finite.check()
    learner.advance(_detached(floats), whole)
    return out


def _compare(out: Totals, step: Step, batch: PackedBatch, logps: Logps) -> None:
    """Add how far the policy's log-probs are from those that the sampler told, where they are to be the same."""
    if step.compared and "sampled" in batch.token:
        apart = (logps.policy_R.detach().double() - batch.token["sampled"].double()).abs()
        out.add(_MISMATCH, (apart.sum(), torch.ones_like(apart).sum()))


def _gather(world: World, step: Step, own: Sequence[Logps], orders: Sequence[Sequence[int]]) -> Logps:
    """Put every rank's floats in the step's order; each rank's `orders` say which groups it had, one after another."""

    def assemble(parts: list[Tensor], axis: Axis) -> Tensor:
        everyone = torch.cat(world.gather(torch.cat([part.detach() for part in parts])))
        where = sent(torch.cat([slots(step.groups, order, axis) for order in orders]), everyone.device)
        return torch.empty_like(everyone).index_copy(0, where, everyone)

    return join(own, assemble)


_MISMATCH = "sampler_mismatch"

_CALLED = {"policy_R": "policy log-prob", "divergence_R": "policy log-prob", "value_R": "value", "score_S": "score"}


def _differentiable(logps: Logps) -> dict[str, Tensor]:
    """Return the floats through which a loss reaches the policy, by name."""
    if logps.score_S is not None:
        return {"score_S": logps.score_S}
    read = {"policy_R": logps.policy_R, "divergence_R": logps.divergence_R, "value_R": logps.value_R}
    return {name: value for name, value in read.items() if value is not None}


def _detached(logps: Logps) -> Logps:
    return replace(logps, **{name: value.detach() for name, value in _differentiable(logps).items()})
