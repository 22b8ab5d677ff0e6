"""The contract suite: what every objective meets by being registered."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import torch
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from torch import Tensor

from ..batch.packed import PackedBatch, pack
from ..metrics import METRICS
from ..objectives.base import Objective
from ..objectives.custom import from_function
from ..objectives.facts import Facts
from .cases import Case, case, even_pairs, labelled, variants

Check = Callable[[Objective], None]


def contract(objective: Objective | Callable[..., Tensor], facts: Facts | None = None) -> list[str]:
    """Hold an objective, or a function of pairs, to what the ones here are held to.

    Args:
        objective: As `--objective PATH.py:NAME` takes it.
        facts: What is known of a function. Without it, the checks that compare with declared facts are left out.

    Returns:
        Names of the checks that it passed.

    Raises:
        AssertionError: Names the check, the term and the figures.
    """
    held = objective if isinstance(objective, Objective) else from_function(objective, facts)
    declared = isinstance(objective, Objective) or facts is not None
    checks = [check for check in CHECKS if declared or check not in (value_at_the_reference, invariances, curve)]
    for check in checks:
        check(held)
    return [check.__name__ for check in checks]


def shapes(objective: Objective) -> None:
    """One finite value per item of each declared unit; terms, losses and metrics by declared names."""
    for given in _cases(objective):
        terms, losses = objective.terms(given.settings), given.losses(given.logp_R)
        sizes = _sizes(given.batch)
        assert losses.keys() == terms.keys(), f"terms {sorted(terms)}, losses {sorted(losses)}"
        for name, loss in losses.items():
            assert loss.shape == (sizes[terms[name].unit],), f"{name}: shape {tuple(loss.shape)}, {sizes}"
            assert bool(loss.isfinite().all()), f"{name} is not finite"
        for name, metric in objective.measured(given.logps(given.logp_R), given.batch, given.settings).items():
            assert name in METRICS, f"metric {name} has no formula and unit in logratio.metrics"
            assert metric.unit == "step" or metric.value.shape == (sizes[metric.unit],), f"metric {name}"


def gradients(objective: Objective) -> None:
    """Autograd agrees with central differences, in float64, except where a value is detached by design."""
    for given in _cases(objective):
        if objective.facts.detached:
            continue
        leaf_R = given.logp_R.clone().requires_grad_()
        (gradient_R,) = torch.autograd.grad(given.total(leaf_R), leaf_R)
        borrowed_R = _borrowed(given.batch)
        for at in torch.nonzero(~borrowed_R).flatten()[::5].tolist():
            step_R = torch.zeros_like(given.logp_R)
            step_R[at] = 1e-5
            slope = (given.total(given.logp_R + step_R) - given.total(given.logp_R - step_R)).item() / 2e-5
            assert math.isclose(gradient_R[at].item(), slope, rel_tol=2e-5, abs_tol=1e-7), (
                f"token {at}: autograd {gradient_R[at].item():.9g}, differences {slope:.9g}"
            )
        assert not bool(gradient_R[borrowed_R].any()), "a borrowed response has a gradient"


def invariance_to_order(objective: Objective) -> None:
    """Items keep their losses whatever the order of groups; an item-scope loss, whatever is beside it in the bin."""
    for given in _cases(objective):
        whole = given.losses(given.logp_R)
        order = list(range(len(given.groups)))[::-1]
        starts = _starts(given)
        for parts in [[order]] + ([[[i] for i in order]] if objective.scope == "item" else []):
            for name, loss in whole.items():
                again = torch.cat([_of(given, part, starts)[name] for part in parts])
                assert torch.allclose(again.sort().values, loss.sort().values, rtol=1e-9, atol=1e-9), (
                    f"{name} depends on the order or the company of groups"
                )


def value_at_the_reference(objective: Objective) -> None:
    """Where π = π_ref the losses are the declared ones."""
    for given in _cases(objective):
        if not objective.needs(given.settings).reference:
            assert objective.facts.at_reference is None, "it declares a value at a reference that it does not read"
            continue
        if "old" in given.batch.token:  # the phase began at the reference, where every ratio is 1
            given = given.on(given.batch.with_token(old=given.batch.token["reference"]))
        assert objective.facts.at_reference is not None, "its value at the reference is not declared"
        declared = objective.facts.at_reference(given.batch, given.settings)
        typical = given.logps(given.batch.token["reference"].double(), typical=True)
        for name, loss in objective.losses(typical, given.batch, given.settings).items():
            if name == "sft" or (name not in declared and objective.needs(given.settings).value):
                continue  # a value is not known where π = π_ref
            expected = torch.as_tensor(declared[name], dtype=torch.float64).expand_as(loss)
            own = ~_borrowed_responses(given.batch) if len(loss) == given.batch.responses else slice(None)
            assert torch.allclose(loss[own], expected[own], rtol=1e-6, atol=1e-7), f"{name}: {loss}, {expected}"


def invariances(objective: Objective) -> None:
    """Declared shifts leave all losses as they are; undeclared ones change some."""
    for settings in variants(objective):
        given = case(objective, settings)
        given = given.later() if objective.state(settings) else given
        reads = objective.needs(given.settings).reference
        before = given.losses(given.logp_R)
        by_S = torch.full((given.batch.responses,), 0.7, dtype=torch.float64)
        reference_R = given.batch.token["reference"].double()
        after = {
            "policy": given.losses(given.shifted(given.logp_R, by_S)),
            "reference": given.at(given.shifted(reference_R, by_S)).losses(given.logp_R),
        }
        for shift, losses in after.items():
            if shift == "reference" and not reads:
                continue
            same = all(torch.allclose(losses[name], before[name], rtol=1e-9, atol=1e-9) for name in before)
            declared = shift in objective.facts.shifts(settings)
            assert same == declared, f"{shift} shift: {'declared, but it matters' if declared else 'not declared'}"


def curve(objective: Objective) -> None:
    """The loss of a pair falls with its margin, or has the declared minimum; and obeys the swap identity."""
    facts = objective.facts
    if facts.curve is None and facts.minimum is None and facts.swap is None:
        return
    for settings in variants(objective):
        h = torch.linspace(-12, 12, 49, dtype=torch.float64)
        given, logp_R = even_pairs(objective, settings, h)
        loss = _weighted_items(given, logp_R, len(h))
        if facts.curve == "decreasing":
            assert bool((loss.diff() <= 1e-12).all()) and loss[-1] < loss[0], "not decreasing in the margin"
        if facts.minimum is not None:
            best = torch.tensor([facts.minimum(settings)], dtype=torch.float64)
            around = torch.cat((best - 1e-3, best, best + 1e-3))
            low = _weighted_items(*even_pairs(objective, settings, around), 3)
            assert low[1] < low[0] and low[1] < low[2], f"no minimum at the declared margin {best.item():g}: {low}"
        slope = facts.swap(settings) if facts.swap is not None else None
        if slope is not None:
            gap = loss - loss.flip(0)
            assert torch.allclose(gap, -slope * h, atol=1e-8), "swap identity ℓ(h) − ℓ(−h) = −k·h"


def extremes(objective: Objective) -> None:
    """Log-ratios of ±10⁴ in float32 give finite losses and gradients."""
    for given in _cases(objective):
        for side in (1.0, -1.0):
            sign_S = side * torch.where(torch.arange(given.batch.responses) % 2 == 0, 1.0, -1.0)
            ratio_R = given.shifted(torch.zeros_like(given.logp_R), 1e4 * sign_S).float()
            reference_R = torch.where(ratio_R > 0, -ratio_R, 0.0) - 2
            far = given.at(reference_R)
            leaf_R = (reference_R + ratio_R).requires_grad_()
            total = far.total(leaf_R)
            total.backward()
            assert bool(total.isfinite()), f"loss {total.item()} at log-ratios of ±10⁴"
            assert leaf_R.grad is not None and bool(leaf_R.grad.isfinite().all()), "gradient at log-ratios of ±10⁴"


def every_setting_acts(objective: Objective) -> None:
    """Each field changes the loss wherever it may be set; elsewhere setting it is an error; bounds are kept."""
    for name, field in objective.settings.model_fields.items():
        assert field.description, f"{name} has no description"
        acted = False
        for base in variants(objective):
            given = case(objective, base)
            for value in _others(field, getattr(base, name)):
                try:
                    other = objective.settings(**{**base.model_dump(), name: value})
                except ValidationError:
                    continue
                after = labelled(objective, other, given.groups)
                assert _changes(given, after), f"{name} = {value} is accepted and ignored beside {base}"
                acted = True
        assert acted, f"{name} could nowhere be set"
        for value in _beyond(field):
            try:
                objective.settings(**{name: value})
            except ValidationError:
                continue
            raise AssertionError(f"{name} = {value} is out of range and accepted")


def running_values(objective: Objective) -> None:
    """A state is updated under its own names, to finite scalars, and read: by a loss of step scope, or by the label."""
    for settings in variants(objective):
        given = case(objective, settings)
        initial = objective.state(settings)
        if not initial:
            assert not given.following(given.logp_R), "it updates running values that it does not declare"
            continue
        of_label = objective.label(given.groups, settings, initial)[1]
        assert of_label.keys() <= initial.keys(), f"state {sorted(initial)}, labelled {sorted(of_label)}"
        assert all(math.isfinite(value) for value in of_label.values()), f"{of_label}"
        for name in of_label:  # read in the first phase, or in the next
            read = any(_moved(given, state, name) > 1e-9 for state in (initial, of_label))
            assert read, f"the running value {name} is kept and ignored"
        if of_label.keys() == initial.keys():
            continue
        assert objective.scope == "step", "running values belong to losses of step scope"
        after = given.following(given.logp_R)
        assert after.keys() == given.batch.state.keys(), f"state {sorted(given.batch.state)}, updated {sorted(after)}"
        for name, value in after.items():
            assert value.shape == () and bool(value.isfinite()) and not value.requires_grad, f"{name}: {value}"
        moved = given.later().total(given.logp_R) - given.total(given.logp_R)
        assert abs(moved.item()) > 1e-9, "running values are kept and ignored"


def _moved(given: Case, state: Mapping[str, float], name: str) -> float:
    """Return by how much the loss of a phase that is labelled with another running value differs."""
    one, other = (
        labelled(given.objective, given.settings, given.groups, {**state, name: state[name] + by}).total(given.logp_R)
        for by in (0.0, 0.5)
    )
    return abs((other - one).item())


def documentation(objective: Objective) -> None:
    """Summary, formula and source are given; the public function of the objective explains arguments and result."""
    assert objective.summary and objective.formula and objective.source
    assert not objective.suggests or objective.suggested_by, "suggested values without a source"


CHECKS: tuple[Check, ...] = (
    shapes,
    gradients,
    invariance_to_order,
    value_at_the_reference,
    invariances,
    curve,
    extremes,
    every_setting_acts,
    running_values,
    documentation,
)


def _cases(objective: Objective) -> Iterator[Case]:
    """Yield a case of each choice of settings; with running values, one at the start and one later."""
    for settings in variants(objective):
        given = case(objective, settings)
        yield given
        if objective.state(settings):
            yield given.later()


def _sizes(batch: PackedBatch) -> dict[str, int]:
    edges, groups = len(batch.winner_E), len(batch.row_G)
    return {"token": len(batch.target_R), "response": batch.responses, "edge": edges, "group": groups}


def _borrowed_responses(batch: PackedBatch) -> Tensor:
    return batch.response.get("mismatched", torch.zeros(batch.responses)) > 0


def _borrowed(batch: PackedBatch) -> Tensor:
    return _borrowed_responses(batch).index_select(0, batch.response_R)


def _starts(given: Case) -> list[int]:
    starts = [0]
    for group in given.groups:
        starts.append(starts[-1] + group.scored)
    return starts


def _of(given: Case, members: list[int], starts: list[int]) -> dict[str, Tensor]:
    """Return the losses of some of the groups, in an order of their own."""
    part = Case(given.objective, given.settings, [given.groups[i] for i in members])
    logp_R = torch.cat([given.logp_R[starts[i] : starts[i + 1]] for i in members])
    return part.losses(logp_R, pack(part.groups).with_state(given.batch.state))


def _weighted_items(given: Case, logp_R: Tensor, n: int) -> Tensor:
    """Return Σ_k c_k·ℓ_k per pair, for objectives with one item a pair."""
    terms = given.objective.terms(given.settings)
    losses = given.losses(logp_R)
    return torch.stack([terms[name].coefficient * loss for name, loss in losses.items() if len(loss) == n]).sum(0)


def _changes(given: Case, after: Case) -> bool:
    if given.objective.terms(given.settings) != after.objective.terms(after.settings):
        return True
    if given.objective.rivals(given.settings) != after.objective.rivals(after.settings):
        return True
    if _following(given) != _following(after):
        return True
    both = [(given, after)] + ([(given.later(), after.later())] if given.batch.state else [])
    return any(bool((one.total(given.logp_R) - other.total(given.logp_R)).abs() > 1e-12) for one, other in both)


def _following(given: Case) -> Mapping[str, float]:
    """Return what the label makes of the running values."""
    return given.objective.label(given.groups, given.settings, given.objective.state(given.settings))[1]


def _others(field: FieldInfo, value: Any) -> Iterator[Any]:
    """Yield values unlike the present one."""
    annotation: Any = field.annotation
    choices = [choice for part in (annotation, *get_args(annotation)) for choice in _literals(part)]
    if choices:
        yield from (choice for choice in choices if choice != value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
    elif isinstance(value, float):
        yield from (value * 0.5 + 0.03, value * 1.5 + 0.01)
    else:
        yield from (0.3, 0.7)


def _literals(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _beyond(field: FieldInfo) -> Iterator[float]:
    """Yield numbers just outside the field's bounds."""
    for bound in field.metadata:
        for name, step in (("ge", -1e-6), ("gt", 0.0), ("le", 1e-6), ("lt", 0.0)):
            if hasattr(bound, name):
                yield getattr(bound, name) + step
