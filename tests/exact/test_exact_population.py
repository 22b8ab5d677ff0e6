import math

import pytest
import torch
from torch.nn.functional import softplus

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.errors import ConfigError
from logratio.exact import comparisons, coverage, gibbs, population, preferences
from logratio.exact.optimum import minimise
from logratio.exact.world import policy, random_world

WORLD = random_world(11, prompts=3, responses=4, longest=5)
TRUE = preferences.bradley_terry(WORLD.reward_XY)
ROWS = comparisons.population(WORLD, TRUE, coverage.uneven(2, 3, 4))
PAIRED = population.compared(WORLD, ROWS)
SOME = random_world(12, prompts=3, responses=4).reference_XY


def population_loss(name, whole, **settings):
    """A registered objective's population loss, of the logits."""
    objective = objectives.load(name)
    chosen = objective.settings(**settings)
    terms = objective.terms(chosen)

    def loss(logits_XY):
        losses = objective.losses(whole.logps(policy(logits_XY)), whole.batch, chosen)
        parts = [terms[term].coefficient * whole.mean(value, terms[term].unit) for term, value in losses.items()]
        return torch.stack(parts).sum()

    return loss


def test_token_log_probs_add_up_to_the_tables_and_average_to_them_per_token():
    batch = PAIRED.batch
    sums = batch.sum_by_response(PAIRED.logps(SOME).policy_R).reshape(3, 4)
    assert torch.allclose(sums, SOME, rtol=0, atol=1e-14)
    assert torch.equal(batch.length_S.reshape(3, 4).long(), WORLD.length_XY)
    reference = batch.sum_by_response(batch.token["reference"]).reshape(3, 4)
    assert torch.allclose(reference, WORLD.reference_XY, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "whole", [PAIRED, population.labelled(WORLD, SOME.exp(), 1 - SOME.exp(), mismatched=True), population.ranked(WORLD)]
)
def test_every_column_is_float64_and_as_long_as_its_level(whole):
    batch = whole.batch
    sizes = {
        "token": len(batch.target_R),
        "response": batch.responses,
        "edge": len(batch.winner_E),
        "group": len(batch.row_G),
    }
    for level, size in sizes.items():
        for column in getattr(batch, level).values():
            assert column.dtype == torch.float64 and column.shape == (size,)


def test_a_population_of_pairs_evaluates_dpo_as_its_closed_form_does():
    wins = ROWS.wins(3, 4)
    a = SOME - WORLD.reference_XY
    expected = (wins * softplus(-0.3 * (a[:, :, None] - a[:, None, :]))).sum()
    assert population_loss("dpo", PAIRED, beta=0.3)(SOME).item() == pytest.approx(expected.item(), rel=1e-14)


def test_the_registered_dpo_finds_the_gibbs_optimum_from_labels_hard_and_soft():
    soft = population.compared(WORLD, comparisons.soft(WORLD, TRUE, coverage.uneven(2, 3, 4)))
    for whole in (PAIRED, soft):
        found = minimise(population_loss("dpo", whole, beta=0.2), WORLD.reference_XY)
        assert found.kind == "finite"
        assert torch.allclose(found.policy_XY, gibbs.optimum(WORLD, 0.2), rtol=0, atol=1e-10)


def test_the_registered_simpo_reads_means_over_tokens():
    mean = SOME / WORLD.length_XY
    gap = 2.0 * (mean[:, :, None] - mean[:, None, :])
    expected = (ROWS.wins(3, 4) * softplus(0.5 - gap)).sum()
    assert population_loss("simpo", PAIRED, beta=2.0, gamma_beta_ratio=0.25)(SOME).item() == pytest.approx(
        expected.item(), rel=1e-12
    )


def test_ties_and_margins_reach_their_columns():
    gap = WORLD.reward_XY[:, :, None] - WORLD.reward_XY[:, None, :]
    rows = comparisons.population(
        WORLD,
        TRUE,
        coverage.uniform(3, 4),
        ties_XYY=torch.full((3, 4, 4), 0.1).double().round(decimals=1),
        margin_XYY=gap,
    )
    batch = population.compared(WORLD, rows).batch
    x, won, lost = batch.spans.group_S[batch.winner_E], batch.winner_E % 4, batch.loser_E % 4
    assert torch.equal(batch.edge["margin"], gap[x, won, lost])
    share = batch.edge["weight"][batch.edge["tie"] == 1].sum() / batch.edge["weight"].sum()
    assert share.item() == pytest.approx(0.1, abs=1e-14)
    expected = (
        WORLD.weight_X[x]
        * 2
        / 12
        * torch.where(batch.edge["tie"] == 1, 0.1 + 0 * gap[x, won, lost], 0.9 * TRUE[x, won, lost])
    )
    assert torch.allclose(batch.edge["weight"], expected, rtol=0, atol=1e-15)


def test_response_weights_are_wins_and_scores_the_true_reward():
    response = PAIRED.batch.response
    assert torch.allclose(response["weight"].reshape(3, 4), ROWS.wins(3, 4).sum(-1), rtol=0, atol=1e-15)
    assert torch.equal(response["score"].reshape(3, 4), WORLD.reward_XY)


def test_preferred_ft_imitates_the_winners():
    """The mean of −log π over tokens weighs a response by its length; over responses it does not."""
    wins = ROWS.good(3, 4)
    found = minimise(population_loss("sft", PAIRED), WORLD.reference_XY)
    assert found.kind == "finite"
    assert torch.allclose(found.policy_XY.exp(), wins / wins.sum(-1, keepdim=True), rtol=0, atol=1e-10)


def test_labelled_populations_evaluate_kto_as_its_closed_form_does_baseline_included():
    good, bad = ROWS.good(3, 4), ROWS.bad(3, 4)
    whole = population.labelled(WORLD, good, bad, mismatched=True)
    a = SOME - WORLD.reference_XY
    share = (good + bad) / (good + bad).sum()
    own = share.sum(-1)
    baseline = 0.0
    for x in range(3):
        for other in range(3):
            if other != x:
                baseline += (own[x] / (1 - own[x]) * (share[other] * a[x]).sum()).item()
    assert whole.batch.response["mismatched"].sum().item() == pytest.approx(1, abs=1e-14)
    shifted = -a if baseline < 0 else a  # so that the clamp at 0 does not hide it
    at = WORLD.reference_XY + shifted
    z = abs(baseline)
    total = (good + bad).sum()
    expected = (
        good * torch.sigmoid(-0.3 * (shifted - z)) + 1.5 * bad * torch.sigmoid(0.3 * (shifted - z))
    ).sum() / total
    objective = objectives.load("kto")
    settings = objective.settings(beta=0.3, undesirable_weight=1.5)
    value = whole.mean(objective.losses(whole.logps(at), whole.batch, settings)["kto"], "response")
    assert z > 0.01 and value.item() == pytest.approx(expected.item(), rel=1e-12)


def test_mismatched_responses_need_a_second_prompt():
    lone = random_world(0, prompts=1, responses=3)
    even = torch.full((1, 3), 0.5)
    assert "mismatched" in population.labelled(lone, even, even).batch.response
    with pytest.raises(ConfigError, match="this world has 1 prompt"):
        population.labelled(lone, even, even, mismatched=True)


def test_rankings_are_a_distribution_whose_pairwise_marginals_are_bradley_terry():
    whole = population.ranked(WORLD)
    batch, orders = whole.batch, math.factorial(4)
    assert len(batch.row_G) == 3 * orders
    by_prompt = batch.group["weight"].reshape(3, orders).sum(-1)
    assert torch.allclose(by_prompt, WORLD.weight_X, rtol=0, atol=1e-14)
    wins = torch.zeros(3, 4, 4, dtype=torch.float64)
    won, lost = whole.response_S[batch.winner_E], whole.response_S[batch.loser_E]
    wins.index_put_((whole.prompt_S[batch.winner_E], won, lost), batch.edge["weight"], accumulate=True)
    expected = TRUE * WORLD.weight_X[:, None, None]
    off = ~torch.eye(4, dtype=torch.bool)
    assert torch.allclose(wins[:, off], expected[:, off], rtol=0, atol=1e-14)


def test_the_registered_plackett_luce_finds_the_gibbs_optimum():
    found = minimise(population_loss("plackett_luce", population.ranked(WORLD), beta=0.5), WORLD.reference_XY)
    assert found.kind == "finite"
    assert torch.allclose(found.policy_XY, gibbs.optimum(WORLD, 0.5), rtol=0, atol=1e-10)


def test_duels_are_the_pairs_one_group_each():
    whole = population.duels(WORLD, ROWS)
    batch = whole.batch
    assert len(batch.row_G) == len(ROWS) and torch.equal(batch.group["weight"], ROWS.weight_C)
    assert torch.equal(whole.response_S[batch.winner_E], ROWS.winner_C)
    assert torch.equal(whole.response_S[batch.loser_E], ROWS.loser_C)
    dpo, listwise = (population_loss(name, whole, beta=0.3)(SOME).item() for name in ("dpo", "plackett_luce"))
    assert dpo == pytest.approx(population_loss("dpo", PAIRED, beta=0.3)(SOME).item(), rel=1e-13)
    assert listwise == pytest.approx(dpo, rel=1e-13)
    tied = comparisons.population(WORLD, TRUE, coverage.uniform(3, 4), ties_XYY=torch.ones(3, 4, 4))
    assert (population.duels(WORLD, tied).batch.response["score"] == 0).all()
    with pytest.raises(ConfigError, match="soft labels have no ranking"):
        population.duels(WORLD, comparisons.soft(WORLD, TRUE, coverage.uniform(3, 4)))


def test_a_world_too_large_for_all_rankings_is_refused():
    with pytest.raises(ConfigError, match="at most 6"):
        population.ranked(random_world(0, prompts=1, responses=7))


def test_entropy_and_squares_are_known_where_responses_are_single_tokens_and_only_there():
    assert PAIRED.logps(SOME).entropy_R is None
    short = random_world(11, prompts=3, responses=4)
    seen = population.compared(short, comparisons.population(short, TRUE, coverage.uniform(3, 4))).logps(SOME)
    entropy = -(SOME.exp() * SOME).sum(-1)
    assert torch.allclose(seen.entropy_R.reshape(3, 4), entropy[:, None].expand(3, 4), rtol=0, atol=1e-14)
    square = SOME.exp().square().sum(-1)
    assert torch.allclose(seen.square_R.reshape(3, 4), square[:, None].expand(3, 4), rtol=0, atol=1e-14)


def test_gradients_pass_through_to_the_table():
    leaf = SOME.clone().requires_grad_()
    PAIRED.batch.sum_by_response(PAIRED.logps(leaf).policy_R).sum().backward()
    assert torch.allclose(leaf.grad, torch.ones(3, 4).double(), rtol=0, atol=1e-14)
    assert isinstance(PAIRED.logps(leaf), Logps)


def test_a_group_mean_weighs_groups_and_a_token_mean_weighs_tokens_by_their_response():
    whole = population.ranked(WORLD)
    assert whole.mean(torch.ones(len(whole.batch.row_G)).double(), "group").item() == pytest.approx(1)
    marked = (torch.arange(len(whole.batch.row_G)) < math.factorial(4)).double()
    assert whole.mean(marked, "group").item() == pytest.approx(WORLD.weight_X[0].item(), abs=1e-14)
    tokens = PAIRED.mean(torch.ones(len(PAIRED.batch.target_R)).double(), "token")
    longer = (PAIRED.batch.length_S[PAIRED.batch.response_R] > 2).double()
    weight, length = ROWS.good(3, 4), WORLD.length_XY.double()
    expected = (weight * length * (length > 2)).sum() / (weight * length).sum()
    assert tokens.item() == pytest.approx(1) and PAIRED.mean(longer, "token").item() == pytest.approx(expected.item())
