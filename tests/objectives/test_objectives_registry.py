"""What every registered objective meets."""

import inspect

import pytest
import torch

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.errors import ConfigError
from logratio.objectives.metrics import TABLE
from worlds import random_groups

LABELS = {"labels": {"k": 1, "labels": True, "mismatched": True}, "demonstrations": {"k": 1}, "pairs": {"k": 2}}


@pytest.fixture(params=objectives.names())
def entry(request):
    return request.param, objectives.load(request.param)


def evaluate(objective, groups, settings, shift_R=0.0):
    batch = pack(groups)
    draw = torch.Generator().manual_seed(1)
    noise_R = torch.randn(len(batch.target_R), generator=draw, dtype=torch.float64)
    logp_R = (batch.token["reference"].double() + noise_R + shift_R).requires_grad_()
    return batch, logp_R, objective.losses(Logps(logp_R), batch, settings)


def groups_of(objective):
    return random_groups(6, seed=2, **LABELS[objective.data])


def test_losses_are_per_item_of_the_declared_unit(entry):
    _, objective = entry
    settings = objective.settings()
    batch, _, losses = evaluate(objective, groups_of(objective), settings)
    sizes = {
        "token": len(batch.target_R),
        "response": batch.responses,
        "edge": len(batch.winner_E),
        "group": len(batch.row_G),
    }
    terms = objective.terms(settings)
    assert losses.keys() == terms.keys()
    assert all(loss.shape == (sizes[terms[name].unit],) for name, loss in losses.items())


def test_gradients_agree_with_finite_differences(entry):
    _, objective = entry
    batch, logp_R, losses = evaluate(objective, groups_of(objective), objective.settings())
    weights = {name: torch.rand(len(loss), dtype=torch.float64) for name, loss in losses.items()}

    def total(values_R):
        out = objective.losses(Logps(values_R), batch, objective.settings())
        return sum((weights[name] * loss).sum() for name, loss in out.items())

    (gradient_R,) = torch.autograd.grad(total(logp_R), logp_R)
    borrowed = batch.response.get("mismatched", torch.zeros(batch.responses))[batch.response_R]
    for at in torch.nonzero(borrowed == 0).flatten()[::5].tolist():  # a baseline has no gradient, by design
        step_R = torch.zeros_like(logp_R)
        step_R[at] = 1e-5
        slope = (total(logp_R + step_R) - total(logp_R - step_R)) / 2e-5
        assert gradient_R[at].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-9)


def test_order_of_groups_does_not_matter(entry):
    _, objective = entry
    groups, settings = groups_of(objective), objective.settings()

    def totals(order):
        batch = pack(order)
        logps = Logps(batch.token["reference"].double() * 0.9)
        return {name: loss.sum().item() for name, loss in objective.losses(logps, batch, settings).items()}

    assert totals(groups) == pytest.approx(totals(groups[::-1]), rel=1e-10)


def test_every_setting_acts_and_is_refused_out_of_range(entry):
    name, objective = entry
    base = objective.settings()
    _, _, before = evaluate(objective, groups_of(objective), base, shift_R=0.3)
    for field, info in objective.settings.model_fields.items():
        other = base.model_copy(update={field: getattr(base, field) * 0.5 + 0.2})
        _, _, after = evaluate(objective, groups_of(objective), other, shift_R=0.3)
        assert any(not torch.allclose(after[k], before[k]) for k in before), f"{name}.{field} is accepted and ignored"
        assert info.description
        with pytest.raises(ValueError):
            objective.settings(**{field: -1.0})


def test_documentation_is_whole(entry):
    name, objective = entry
    function = getattr(inspect.getmodule(objective.losses), name)
    for part in ("Args:", "Returns:"):
        assert part in function.__doc__
    assert objective.formula and objective.source and objective.summary
    batch, logp_R, _ = evaluate(objective, groups_of(objective), objective.settings())
    for metric in objective.metrics(Logps(logp_R.detach()), batch, objective.settings()):
        assert metric in TABLE, f"{metric} has no formula and unit"


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match='objective "dop" does not exist; did you mean "dpo"'):
        objectives.load("dop")
