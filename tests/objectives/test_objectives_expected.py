"""The expected gradient of every estimator, enumerated, is that of what the page says it is."""

from pathlib import Path

import pytest
import torch

from logratio import objectives
from logratio.exact.tree import kl, token_kl, tree
from logratio.testing import expectations
from logratio.testing.enumerated import expected_gradient, random_setting

PAGE = (Path(__file__).parents[2] / "docs" / "on-policy.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", expectations.ROWS, ids=lambda row: f"{row.name}-{row.world}-{row.says}")
@pytest.mark.parametrize("seed", [0, 1])
def test_the_expected_gradient_is_that_of_the_stated_function(row, seed):
    off, size = row.deviation(seed)
    print(f"{row.name} {dict(row.settings)}: {off:.1e} of {size:.1e}")
    assert off < 1e-13 and size > 1e-3  # the goal is 1e-10; figures are about 1e-16


def test_the_page_has_every_row_with_its_figure():
    written = [line for line in PAGE.splitlines() if line.startswith(("| `", "| objective"))]
    for line in expectations.table().splitlines():
        own = line.rsplit("|", 2)
        found = [old for old in written if old.rsplit("|", 2)[0] == own[0]]
        if not line.startswith("| ---"):
            assert found, f"docs/on-policy.md should have the row {line}"
        if line.startswith("| `"):
            assert float(found[0].rsplit("|", 2)[1]) < 1e-13


def test_values_that_are_wrong_bias_ppo_below_lambda_1():
    (row,) = (row for row in expectations.ROWS if row.name == "ppo" and row.settings["lam"] < 1)
    assert expectations.replace(row, given=lambda setting: setting).deviation()[0] > 1e-3


def gradient(of, at):
    leaf = at.clone().requires_grad_()
    (found,) = torch.autograd.grad(of(leaf), leaf)
    return found


def test_the_rows_differ_where_the_page_says_that_methods_do():
    """The comparisons can fail: a per-token KL is not the sequence's, k3's is the other one, G/(G−1) is missing."""
    given = random_setting(tree(3, 2))
    at, reference, world = given.policy_PV, given.reference_PV, given.world
    whole = gradient(lambda logits: kl(world, logits, reference), at)
    fixed = gradient(lambda logits: token_kl(world, logits, reference), at)
    other = gradient(lambda logits: token_kl(world, logits, reference, forward=True), at)
    assert kl(world, at, reference).item() == pytest.approx(token_kl(world, at, reference).item(), abs=1e-14)
    assert (whole - fixed).abs().max() > 1e-2 and (fixed - other).abs().max() > 1e-2
    grpo = objectives.load("grpo")
    plain = {"beta": 0.0, "normalise": "none", "denominator": "constant", "constant": 1}
    mean, others = (
        expected_gradient(grpo, grpo.settings(**plain, leave_one_out=left), given, 3) for left in (False, True)
    )
    assert (mean - others * 2 / 3).abs().max() < 1e-15


CONSTANT = {"normalise": "none", "denominator": "constant", "constant": 1}
ARMS, UNEVEN = tree(3, 1, ends=False), tree(2, 2)


@pytest.mark.parametrize(
    ("name", "settings", "world", "field"),
    [
        ("rloo", {"beta": 0.3}, UNEVEN, True),
        ("grpo", {"beta": 0.0, "normalise": "none"}, ARMS, True),
        ("grpo", {"beta": 0.0}, ARMS, False),
        ("gspo", {}, ARMS, False),
        ("grpo", {"beta": 0.0, **CONSTANT}, UNEVEN, True),
        ("grpo", {"beta": 0.0, "normalise": "none"}, UNEVEN, False),
        ("grpo", {"beta": 0.3, "kl": "k1_reward", **CONSTANT}, UNEVEN, True),
        ("grpo", {"beta": 0.3, "kl": "k2", **CONSTANT}, UNEVEN, False),
    ],
)
def test_what_the_gradient_of_nothing_is(name, settings, world, field):
    """Dividing by a standard deviation, dividing by lengths, and a KL by token: no function has these gradients.

    The expected gradient as a field over logits has a symmetric Jacobian only if it is one of a function.
    """
    given = random_setting(world)
    objective = objectives.load(name)
    step = 1e-5

    def at(i, sign):
        moved = given.policy_PV.clone().flatten()
        moved[i] += sign * step
        other = expectations.replace(given, policy_PV=moved.view_as(given.policy_PV))
        return expected_gradient(objective, objective.settings(**settings), other, 3).flatten()

    count = given.policy_PV.numel()
    jacobian = torch.stack([(at(i, 1) - at(i, -1)) / (2 * step) for i in range(count)])
    skew = (jacobian - jacobian.T).abs().max()
    print(f"{name} {settings}: {skew:.1e}")
    assert (skew < 1e-9) if field else (skew > 3e-3)


def test_a_tree_lists_every_response_once():
    for vocabulary, longest, ends, count, states in ((3, 2, True, 7, 3), (2, 3, False, 8, 7), (4, 1, False, 4, 1)):
        world = tree(vocabulary, longest, ends=ends)
        logits = random_setting(world).policy_PV
        assert (len(world.sequences), world.states) == (count, states)
        assert world.logps(logits).exp().sum().item() == pytest.approx(1, abs=1e-14)
        assert world.visits(logits)[0].item() == pytest.approx(1, abs=1e-14)
        assert world.visits(logits).sum().item() == pytest.approx(
            (world.length_Y * world.logps(logits).exp()).sum().item(), abs=1e-13
        )
