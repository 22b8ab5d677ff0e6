import math

import pytest
import torch

from logratio.objectives.dpo import dpo
from logratio.objectives.views import PairLogps


def pairs(margin, *, probability=None, shift=0.0, reference_shift=0.0):
    """Pairs whose chosen-minus-rejected log-ratio is `margin`, at arbitrary log-probs."""
    margin = torch.as_tensor(margin, dtype=torch.float64)
    chosen, rejected = margin / 3 - 7, -2 * margin / 3 - 7
    reference = torch.full_like(margin, -7.0)
    return PairLogps(
        chosen=chosen + shift,
        rejected=rejected + shift,
        reference_chosen=reference + reference_shift,
        reference_rejected=reference + reference_shift,
        chosen_length=torch.ones_like(margin),
        rejected_length=torch.ones_like(margin),
        probability=torch.ones_like(margin) if probability is None else torch.as_tensor(probability).double(),
    )


H = torch.linspace(-40, 40, 81, dtype=torch.float64)


def test_at_the_reference_the_loss_is_log_2_for_every_smoothing():
    for smoothing in (0.0, 0.1, 0.49):
        assert dpo(pairs([0.0]), beta=0.3, label_smoothing=smoothing).item() == pytest.approx(math.log(2), abs=1e-12)


def test_it_is_the_negative_log_sigmoid_of_the_margin():
    expected = -torch.log(torch.sigmoid(0.25 * H))
    assert torch.allclose(dpo(pairs(H), beta=0.25), expected, atol=1e-12)


def test_its_gradient_is_the_closed_form_with_opposite_signs_on_the_two_sides():
    """∂ℓ/∂log π(y⁺) = −β·σ(−m) and ∂ℓ/∂log π(y⁻) = +β·σ(−m) (arXiv:2305.18290, §4)."""
    view = pairs(H)
    view.chosen.requires_grad_(), view.rejected.requires_grad_()
    dpo(view, beta=0.25).sum().backward()
    expected = -0.25 * torch.sigmoid(-0.25 * H)
    assert torch.allclose(view.chosen.grad, expected, atol=1e-12)
    assert torch.allclose(view.rejected.grad, -expected, atol=1e-12)


def test_swap_identity_and_shift_invariance():
    """ℓ(u) − ℓ(−u) = −u; a constant added to both log-probs of a pair, or to both of the reference's, cancels."""
    assert torch.allclose(dpo(pairs(H), beta=0.5) - dpo(pairs(-H), beta=0.5), -0.5 * H, atol=1e-10)
    assert torch.allclose(dpo(pairs(H, shift=3.7), beta=0.5), dpo(pairs(H), beta=0.5), atol=1e-12)
    assert torch.allclose(dpo(pairs(H, reference_shift=-2.0), beta=0.5), dpo(pairs(H), beta=0.5), atol=1e-12)


def test_scaling_beta_up_and_log_ratios_down_cancels():
    assert torch.allclose(dpo(pairs(H / 4), beta=1.0), dpo(pairs(H), beta=0.25), atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.05, 0.2])
def test_smoothing_is_stationary_at_the_logit_of_one_minus_epsilon(smoothing):
    """Silent-bug list 3 of implementations: label smoothing that is accepted must act."""
    best = math.log((1 - smoothing) / smoothing)
    h = torch.tensor([best / 0.5], dtype=torch.float64, requires_grad=True)
    dpo(pairs(h), beta=0.5, label_smoothing=smoothing).sum().backward()
    assert abs(h.grad.item()) < 1e-12
    around = dpo(pairs(torch.tensor([best - 0.3, best, best + 0.3]) / 0.5), beta=0.5, label_smoothing=smoothing)
    assert around[1] < around[0] and around[1] < around[2]


def test_a_soft_label_is_stationary_at_its_own_log_odds_and_equals_smoothing_of_its_complement():
    h = torch.tensor([math.log(0.8 / 0.2)], dtype=torch.float64, requires_grad=True)
    dpo(pairs(h, probability=[0.8]), beta=1.0).sum().backward()
    assert abs(h.grad.item()) < 1e-7
    soft, smooth = dpo(pairs(H, probability=[0.9] * 81), beta=0.3), dpo(pairs(H), beta=0.3, label_smoothing=0.1)
    assert torch.allclose(soft, smooth, atol=1e-6)


def test_it_is_finite_for_log_ratios_of_ten_thousand_in_float32():
    view = pairs(torch.tensor([-1e4, 1e4]))
    view = PairLogps(**{name: value.float() for name, value in vars(view).items()})
    assert torch.isfinite(dpo(view, beta=1.0, label_smoothing=0.1)).all()
