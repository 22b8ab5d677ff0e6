"""Pairs by hand: what a pairwise objective reads, in float64, and the gradients on its two sides."""

import torch

from logratio.objectives.views import PairLogps, PairSums

H = torch.linspace(-40, 40, 81, dtype=torch.float64)


def column(value, like):
    return torch.as_tensor(value, dtype=torch.float64).expand_as(like).clone()


def sums(chosen, rejected, *, lengths=(1.0, 1.0), probability=1.0):
    """Pairs without a reference; `lengths` of chosen and rejected."""
    chosen = torch.as_tensor(chosen, dtype=torch.float64)
    return PairSums(
        chosen=chosen.clone().requires_grad_(),
        rejected=column(rejected, chosen).requires_grad_(),
        chosen_length=column(lengths[0], chosen),
        rejected_length=column(lengths[1], chosen),
        probability=column(probability, chosen),
    )


def margins(h, *, lengths=(1.0, 1.0), probability=1.0):
    """Pairs whose chosen log-ratio less the rejected one is `h`, one part of it on each side."""
    h = torch.as_tensor(h, dtype=torch.float64)
    bare = sums(h / 4 - 7, -3 * h / 4 - 5, lengths=lengths, probability=probability)
    return PairLogps(**vars(bare), reference_chosen=column(-7.0, h), reference_rejected=column(-5.0, h))


def slopes(loss, pairs):
    """Return ∂Σℓ/∂S⁺ and ∂Σℓ/∂S⁻, [E] each."""
    return torch.autograd.grad(loss.sum(), (pairs.chosen, pairs.rejected))


def close(found, expected, **kwargs):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), **kwargs)
