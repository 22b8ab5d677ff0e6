"""Bugs of losses, rewards and metrics."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from catching import by_check, by_test, kto_world
from fault import Fault
from seams import around, instead, value

from logratio.train.source import Mismatched


def scaled_by_bin(unplanted, learner, losses, batch, totals):
    return unplanted(learner, losses, batch, {name: float(len(value)) for name, value in losses.items()})


def per_token_difference(pairs):
    return pairs.chosen_logratio / pairs.chosen_length - pairs.rejected_logratio / pairs.rejected_length


def divided_twice(unplanted, logps, batch):
    return unplanted(logps, batch) / batch.length_S[batch.winner_E]


def weight_on_the_wrong_term(unplanted, pairs, *, beta, alpha):
    preference = unplanted(pairs, beta=beta, alpha=0.0)
    return alpha * preference - pairs.chosen


def outside_autodiff(unplanted, self, *given):
    logps = unplanted(self, *given)
    return replace(logps, policy_R=logps.policy_R.detach().requires_grad_(torch.is_grad_enabled()))


def biased_odds(mean):
    return mean - torch.log(1.0001 - torch.exp(mean))


def bin_by_bin(unplanted, name):
    return replace(unplanted(name), scope="item")


def reversed_partners(groups, prompt_hash, most):
    return Mismatched(groups, np.arange(len(groups))[::-1].copy(), most)


def next_row_lends(unplanted, groups, prompt_hash, most):
    return replace(unplanted(groups, prompt_hash, most), partners=np.roll(np.arange(len(groups)), -1))


def ties_by_place(mean, score, present):
    place = torch.arange(score.shape[1]).to(score) * 1e-6
    ranked = score - place
    worse = (ranked[:, :, None] < ranked[:, None, :]) & present[:, :, None] & present[:, None, :]
    return torch.where(worse, (mean[:, :, None] - mean[:, None, :]).clamp(min=0), 0.0).sum((1, 2))


def before_the_first_pad(batch):
    spans = batch.spans
    ends = []
    for start, length in zip(spans.response_start_S.tolist(), spans.response_length_S.tolist(), strict=True):
        ids = batch.tokens_T[start : start + length].tolist()
        pads = [at for at, token in enumerate(ids) if token in (0, ids[-1])]
        ends.append(start + max(0, pads[0] - 1))
    return torch.tensor(ends)


def end_of_the_longest(batch):
    """As where rows are padded to the longest and the last place is read."""
    spans = batch.spans
    ends = spans.response_start_S + int(spans.response_length_S.max()) - 1
    return ends.clamp(max=len(batch.tokens_T) - 1)


def head_made_anew(unplanted, source, options, seed):
    model, told = unplanted(source, options, seed)
    torch.nn.init.normal_(model.score.weight, std=0.02, generator=torch.Generator().manual_seed(seed + 1))
    return model, told


GRADIENT = "train/test_train_gradient"
LOSSES = (
    Fault(
        17,
        "each micro-batch is divided by its own count",
        around("logratio.train.gradient.weighted", scaled_by_bin),
        by_check("micro_batches"),
        "the gradient depends on how a step is divided",
    ),
    Fault(
        18,
        "IPO averages over tokens where its name says sums",
        value("logratio.objectives.views.PairLogps.difference", property(per_token_difference)),
        by_test(
            "objectives/test_objectives_lengths",
            "test_ipo_comes_on_sums_and_on_means_and_both_names_keep_their_word",
        ),
    ),
    Fault(
        19,
        "the supervised term is divided by the length twice",
        around("logratio.objectives.mixture._imitation", divided_twice),
        by_test(
            "objectives/test_objectives_likelihood",
            "test_the_supervised_term_is_the_mean_over_each_chosen_response_s_own_tokens",
            "dpo",
        ),
    ),
    Fault(
        19,
        "α weighs the wrong term",
        around("logratio.objectives.cpo.cpo", weight_on_the_wrong_term),
        by_test(
            "objectives/test_objectives_likelihood",
            "test_the_weight_of_imitation_weighs_imitation_and_nothing_else",
            lambda module: lambda pairs, weight: module.cpo(pairs, beta=0.3, alpha=weight),
        ),
    ),
    Fault(
        20,
        "the forward pass is outside automatic differentiation",
        around("logratio.logps.policy.Policy.forward", outside_autodiff),
        by_check("gradient_reaches"),
        "no learning signal gets there",
    ),
    Fault(
        20,
        "odds are taken of 1.0001 − P",
        instead("logratio.objectives.orpo.log_odds", biased_odds),
        by_test(
            "objectives/test_objectives_likelihood",
            "test_log_odds_are_exact_from_certainty_to_impossibility",
        ),
    ),
    Fault(
        21,
        "KTO's baseline is that of the micro-batch",
        around("logratio.objectives.load", bin_by_bin),
        by_check("micro_batches", world=kto_world),
        "the gradient depends on how a step is divided",
    ),
    Fault(
        21,
        "KTO pairs a prompt with its own response at an odd size",
        instead("logratio.train.source.mismatch", reversed_partners),
        by_test(GRADIENT, "test_the_baseline_of_kto_is_over_every_mismatched_pair_of_the_step", 7, 1),
    ),
    Fault(
        21,
        "a response is borrowed from a row of the same prompt, which is no mismatched pair",
        around("logratio.train.source.mismatch", next_row_lends),
        by_test("train/test_train_source", "test_no_partner_shares_the_prompt"),
    ),
    Fault(
        22,
        "equal scores are ranked by where they stand",
        instead("logratio.objectives.rrhf.rrhf", ties_by_place),
        by_test("objectives/test_objectives_rankings", "test_pairs_in_order_and_ties_cost_nothing"),
    ),
    Fault(
        23,
        "the experts' auxiliary loss is dropped",
        instead("logratio.train.gradient._auxiliary", lambda step, batch, logps: 0.0),
        by_test(GRADIENT, "test_the_load_balancing_loss_of_experts_reaches_the_routers", "item", 10**6),
    ),
    Fault(
        24,
        "a reward model reads its score before the padding token",
        instead("logratio.logps.score.at_ends", before_the_first_pad),
        by_test(
            "logps/test_logps_score",
            "test_the_last_token_is_found_by_length_even_where_it_is_the_padding_token",
            "shared",
        ),
    ),
    Fault(
        24,
        "a trained score head is made anew",
        around("logratio.models.scalar.load", head_made_anew),
        by_test(
            "train/test_train_reward",
            "test_a_reward_model_is_trained_further_from_where_it_was",
            fixtures=("done",),
        ),
    ),
    Fault(
        24,
        "a reward is read at the end of the row, wherever the response ends",
        instead("logratio.logps.score.at_ends", end_of_the_longest),
        by_test(
            "logps/test_logps_score",
            "test_a_score_is_transformers_own_of_the_row_alone_and_of_rows_padded_on_either_side",
            "llama",
            "shared",
        ),
    ),
    Fault(
        27,
        "metrics are those of the first process",
        value("test_train_processes.HERE", Path(__file__).parent / "first_process"),
        by_test("train/test_train_processes", "test_two_processes_take_the_steps_of_one"),
        slow=True,
    ),
)
