import pytest
import torch

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.objectives.kto import kto, raw_baseline
from worlds import random_groups

A = torch.linspace(-30, 30, 61, dtype=torch.float64)
GOOD, BAD = torch.ones_like(A), torch.zeros_like(A)
ZERO = torch.zeros((), dtype=torch.float64)
HALF = {"beta": 0.5, "desirable_weight": 1.0, "undesirable_weight": 1.0}


def test_at_the_reference_the_loss_is_half_of_lambda():
    at = torch.zeros(2, dtype=torch.float64)
    loss = kto(at, torch.tensor([1.0, 0.0]), ZERO, beta=0.1, desirable_weight=1.5, undesirable_weight=0.7)
    assert loss.tolist() == pytest.approx([0.75, 0.35])


def test_closed_form_of_both_labels():
    baseline = torch.tensor(2.0, dtype=torch.float64)
    assert torch.allclose(kto(A, GOOD, baseline, **HALF), 1 - torch.sigmoid(0.5 * (A - 2)), atol=1e-12)
    assert torch.allclose(kto(A, BAD, baseline, **HALF), 1 - torch.sigmoid(0.5 * (2 - A)), atol=1e-12)


def test_the_gradient_is_bounded_by_a_quarter_and_vanishes_at_both_extremes():
    a = A.clone().requires_grad_()
    kto(a, GOOD, ZERO, **HALF).sum().backward()
    sigma = torch.sigmoid(0.5 * A)
    assert torch.allclose(a.grad, -0.5 * sigma * (1 - sigma), atol=1e-12)
    assert a.grad.abs().max() <= 0.5 / 4 and a.grad[0].abs() < 1e-5 and a.grad[-1].abs() < 1e-5


def test_with_equal_weights_and_no_baseline_a_pair_sums_to_apo_zero():
    """(1 − σ(βa_w)) + σ(βa_l), arXiv:2408.06266."""
    pair = kto(A, GOOD, ZERO, **HALF) + kto(A.flip(0), BAD, ZERO, **HALF)
    assert torch.allclose(pair, 1 - torch.sigmoid(0.5 * A) + torch.sigmoid(0.5 * A.flip(0)), atol=1e-12)


def test_the_baseline_is_the_mean_over_mismatched_responses_without_gradient():
    a = torch.tensor([1.0, 2.0, 4.0, 8.0], requires_grad=True)
    baseline = raw_baseline(a, torch.tensor([0.0, 1.0, 0.0, 1.0]))
    assert baseline.item() == 5.0 and not baseline.requires_grad
    assert raw_baseline(a, torch.zeros(4)).item() == 0.0


def on_groups(reference_shift):
    """KTO on real groups; returns the loss per response, its gradient per token, the batch, the metrics."""
    groups = random_groups(8, k=1, labels=True, mismatched=True)
    batch = pack(groups)
    objective = objectives.load("kto")
    logp_R = (batch.token["reference"] + reference_shift).double().requires_grad_()
    losses = objective.losses(Logps(logp_R), batch, objective.settings())
    (losses["kto"] * batch.response["weight"]).sum().backward()
    return losses["kto"], logp_R.grad, batch, objective.metrics(Logps(logp_R.detach()), batch, objective.settings())


def test_mismatched_responses_move_the_baseline_and_get_exactly_zero_gradient():
    """Silent-bug list, losses 21: partners feed the baseline alone."""
    _, gradient_R, batch, metrics = on_groups(0.5)
    borrowed_R = batch.response["mismatched"].bool()[batch.response_R]
    assert (gradient_R[borrowed_R] == 0).all() and (gradient_R[~borrowed_R] != 0).all()
    mean_length = batch.length_S[batch.response["mismatched"].bool()].double().mean()
    assert metrics["baseline"].value.item() == pytest.approx(0.5 * mean_length.item(), rel=1e-5)


def test_a_negative_estimate_is_clamped_to_exactly_zero_and_both_values_are_metrics():
    losses, _, batch, metrics = on_groups(-0.5)
    assert metrics["baseline"].value.item() == 0.0 and metrics["baseline_raw"].value.item() < 0
    own = ~batch.response["mismatched"].bool()
    logratio = (-0.5 * batch.length_S)[own].double()
    expected = kto(logratio, batch.response["label"][own], ZERO, beta=0.1, desirable_weight=1.0, undesirable_weight=1.0)
    assert torch.allclose(losses[own], expected, atol=1e-5)
