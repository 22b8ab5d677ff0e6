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
from ..batch.packed import PackedBatch, pack
from ..batch.plan import plan
from ..errors import NonFiniteError
from ..evaluate import measure
from ..logps.policy import Policy
from ..logps.whole import Axis, join, slots
from ..objectives.base import Objective, Settings
from .distributed import World, sync_gradients
from .moving import MovingReference
from .source import Step

Live = Callable[[], AbstractContextManager[Policy]]
"""Yields the reference as a policy, for as long as the context lasts."""


@dataclass
class Totals:
    """Metrics of a step as (Σ w·v, Σ w), to be added over bins and ranks.

    Attributes:
        loss: Σ over terms and items of c·w·ℓ / denominator; already a share of the step's loss.
        sums: Name → float64 [2].
    """

    loss: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    sums: dict[str, Tensor] = field(default_factory=dict)

    def add(self, name: str, total: tuple[Tensor, Tensor]) -> None:
        """Add a metric's (Σ w·v, Σ w)."""
        pair = torch.stack(total).cpu()
        self.sums[name] = self.sums[name] + pair if name in self.sums else pair

    def reduce(self, world: World, names: Sequence[str]) -> dict[str, float]:
        """Return the step's means over all ranks; a metric with no item in the step is left out.

        Args:
            world: The processes.
            names: Metrics in one order on all ranks; a rank without bins has none of its own.
        """
        rows = [torch.stack((self.loss, torch.ones((), dtype=torch.float64)))]
        rows += [self.sums.get(name, torch.zeros(2, dtype=torch.float64)) for name in names]
        table = world.total(torch.stack(rows).to(world.device)).cpu()
        means = {name: (value / count).item() for name, (value, count) in zip(names, table[1:], strict=True) if count}
        return {"loss": table[0, 0].item(), **means}


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

    def __post_init__(self) -> None:
        self.set_state({**self.objective.state(self.settings), **self.state})

    def set_state(self, values: Mapping[str, float | Tensor]) -> None:
        """Put running values in place of the present ones."""
        self.state.update({name: torch.as_tensor(value, dtype=torch.float64).cpu() for name, value in values.items()})

    def advance(self, logps: Logps, whole: PackedBatch) -> None:
        """Let the objective's running values follow a step's detached log-probs; rank 0's count on all ranks."""
        if not self.state:
            return
        following = self.objective.update(logps, whole, self.settings)
        values = torch.stack([following[name].detach().double() for name in self.state])
        values = self.world.total(values if self.world.rank == 0 else torch.zeros_like(values))
        self.set_state(dict(zip(self.state, values, strict=True)))

    def with_reference(self, groups: Sequence[Group]) -> Sequence[Group]:
        """Return groups with the log-probs of a moving reference as it is now; of one that stands, they have them."""
        if self.moving is None or not groups:
            return groups
        return self.moving.attach(groups, bin_tokens=self.bin_tokens)

    def forward(self, batch: PackedBatch) -> Logps:
        """Return a bin's floats, the divergence from the reference among them where it is needed."""
        if not (self.needs.divergence and batch.responses):
            plain: Logps = self.policy(batch, self.needs)
            return plain
        assert self.live is not None
        with self.live() as reference:
            against = reference.outputs(batch, self.needs)
        logps: Logps = self.policy(batch, self.needs, against)
        return logps

    @property
    def reads_cache(self) -> bool:
        """Whether the reference's log-probs are computed once and kept."""
        return self.needs.reference and self.moving is None

    @property
    def needs(self) -> Needs:
        """What the objective reads."""
        return self.objective.needs(self.settings)


def metric_names(learner: Learner, step: Step) -> list[str]:
    """Return the names of the objective's metrics, read off the step's first group."""
    return measure.metric_names(learner.objective, learner.settings, pack(step.groups[:1]).with_state(learner.state))


def denominators(learner: Learner, groups: Sequence[Group]) -> dict[str, float]:
    """Return Σ w over the whole step for each term: one number, whatever the bins and ranks.

    A step whose weights are all 0 gets denominator 1, and with it a loss of 0.
    """
    totals = {"edge": 0.0, "response": 0.0, "token": 0.0, "group": 0.0}
    for group in groups:
        weights = group.columns.response["weight"]
        totals["group"] += 1.0
        totals["edge"] += float(group.columns.edge["weight"].sum())
        totals["response"] += float(weights.sum())
        totals["token"] += sum(float(w) * float(m.sum()) for w, m in zip(weights, scored_masks(group), strict=True))
    return {name: totals[term.unit] or 1.0 for name, term in learner.objective.terms(learner.settings).items()}


def item_weights(batch: PackedBatch, unit: str) -> Tensor:
    """Return w of each item of a unit, float32."""
    if unit == "edge":
        return batch.edge["weight"]
    if unit == "response":
        return batch.response["weight"]
    if unit == "token":
        return batch.response["weight"].index_select(0, batch.response_R)
    return torch.ones(len(batch.row_G), device=batch.row_G.device)


def weighted(learner: Learner, losses: Mapping[str, Tensor], batch: PackedBatch, totals: Mapping[str, float]) -> Tensor:
    """Return Σ_k c_k · Σ_i w_i ℓ_ki / denominator_k over the items of this batch."""
    terms = learner.objective.terms(learner.settings)
    parts = [
        terms[name].coefficient * (item_weights(batch, terms[name].unit).to(values) * values).sum() / totals[name]
        for name, values in losses.items()
    ]
    return torch.stack(parts).sum()


def step_gradient(learner: Learner, step: Step) -> Totals:
    """Add the step's gradient to the policy's parameters and return its metrics.

    Raises:
        NonFiniteError: A log-prob or loss is NaN or infinite; nothing has been updated yet.
    """
    ranks = plan([group.tokens for group in step.groups], world=learner.world.size, budget=learner.bin_tokens)
    totals = denominators(learner, step.groups)
    if learner.scope == "item":
        return _item_route(learner, step, ranks[learner.world.rank], totals)
    return _step_route(learner, step, ranks, totals)


def _forward(learner: Learner, step: Step, members: Sequence[int]) -> tuple[PackedBatch, Logps]:
    batch = pack([step.groups[i] for i in members]).with_state(learner.state).to(learner.world.device)
    logps = learner.forward(batch)
    for value in _differentiable(logps).values():
        _require_finite(step, batch, value, "policy log-prob" if logps.score_S is None else "score")
    if learner.needs.reference and members:
        _require_finite(step, batch, batch.token["reference"], "reference log-prob")
    return batch, logps


def _auxiliary(step: Step, batch: PackedBatch, logps: Logps) -> Tensor | float:
    """Return a mixture-of-experts loss of this bin, weighted by its share of the step's tokens."""
    if logps.auxiliary is None:
        return 0.0
    return logps.auxiliary * len(batch.tokens_T) / sum(group.tokens for group in step.groups)


def _item_route(learner: Learner, step: Step, bins: Sequence[Sequence[int]], totals: Mapping[str, float]) -> Totals:
    out = Totals()
    for n, members in enumerate(bins):
        sync_gradients(learner.policy, n == len(bins) - 1)
        batch, logps = _forward(learner, step, members)
        if not members:  # a rank short of bins takes part in the collectives, with coefficient 0
            (torch.stack([value.sum() for value in _differentiable(logps).values()]).sum() * 0.0).backward()
            continue
        loss = weighted(learner, learner.objective.losses(logps, batch, learner.settings), batch, totals)
        _require_finite(step, batch, loss.reshape(1), "loss")
        (loss + _auxiliary(step, batch, logps)).backward()
        out.loss += loss.detach().double().cpu()
        for name, metric in learner.objective.metrics(_detached(logps), batch, learner.settings).items():
            out.add(name, metric.total())
    return out


def _step_route(
    learner: Learner, step: Step, ranks: Sequence[Sequence[Sequence[int]]], totals: Mapping[str, float]
) -> Totals:
    """Evaluate the objective once on the whole step, then back-propagate its fixed coefficients bin by bin."""
    world = learner.world
    bins = ranks[world.rank]
    whole = pack(step.groups).with_state(learner.state).to(world.device)
    orders = [[i for members in own for i in members] for own in ranks]
    kept: list[tuple[PackedBatch, Logps]] = []
    with torch.set_grad_enabled(len(bins) == 1):  # with one bin the two phases share a forward
        sync_gradients(learner.policy, True)
        for members in bins:
            batch, logps = _forward(learner, step, members)
            kept.append((batch, logps if len(bins) == 1 else _detached(logps)))
    floats = _gather(world, step, [logps for _, logps in kept], orders)
    leaves = {name: value.requires_grad_() for name, value in _differentiable(floats).items()}
    loss = weighted(learner, learner.objective.losses(floats, whole, learner.settings), whole, totals)
    _require_finite(step, whole, loss.reshape(1), "loss")
    coefficients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    for n, members in enumerate(bins):
        sync_gradients(learner.policy, n == len(bins) - 1)
        batch, logps = kept[0] if len(bins) == 1 else _forward(learner, step, members)
        parts = []
        for name, value in _differentiable(logps).items():
            own = slots(step.groups, members, "S" if name == "score_S" else "R").to(world.device)
            parts.append((value * coefficients[name].index_select(0, own)).sum())
        (torch.stack(parts).sum() + _auxiliary(step, batch, logps)).backward()
    out = Totals()
    if world.rank == 0:  # every rank holds the same numbers: one of them counts
        out.loss += loss.detach().double().cpu()
        for name, metric in learner.objective.metrics(_detached(floats), whole, learner.settings).items():
            out.add(name, metric.total())
    learner.advance(_detached(floats), whole)
    return out


def _gather(world: World, step: Step, own: Sequence[Logps], orders: Sequence[Sequence[int]]) -> Logps:
    """Put every rank's floats in the step's order; each rank's `orders` say which groups it had, one after another."""

    def assemble(parts: list[Tensor], axis: Axis) -> Tensor:
        everyone = torch.cat(world.gather(torch.cat([part.detach() for part in parts])))
        where = torch.cat([slots(step.groups, order, axis) for order in orders]).to(everyone.device)
        return torch.empty_like(everyone).index_copy(0, where, everyone)

    return join(own, assemble)


def _differentiable(logps: Logps) -> dict[str, Tensor]:
    """Return the floats through which a loss reaches the policy, by name."""
    if logps.score_S is not None:
        return {"score_S": logps.score_S}
    apart_R = logps.divergence_R
    return {"policy_R": logps.policy_R, **({} if apart_R is None else {"divergence_R": apart_R})}


def _detached(logps: Logps) -> Logps:
    return replace(logps, **{name: value.detach() for name, value in _differentiable(logps).items()})


def _require_finite(step: Step, batch: PackedBatch, values: Tensor, name: str) -> None:
    good = torch.isfinite(values)
    if bool(good.all()):
        return
    rows = batch.row_G
    if len(values) == batch.responses:
        rows = rows[batch.spans.group_S.to(rows.device)[~good].unique()]
    elif len(values) == len(batch.response_R):
        bad_S = batch.response_R[~good].unique()
        rows = rows[batch.spans.group_S.to(bad_S.device)[bad_S].unique()]
    raise NonFiniteError(
        f"step {step.index + 1}: {name} is not finite in {values.dtype}, data rows {rows.tolist()[:20]}; "
        "no weight was updated: lower train.lr, leave these rows out, or under bf16 use train.precision fp32."
    )
