"""The bugs that made runs of other programs look healthy, planted one by one, and what catches each."""

from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from catching import Catcher, adapter_world, by_check, by_run, by_test, dropout_world, kto_world
from seams import Plant, around, instead, value

from logratio.data.shared import checked
from logratio.data.transcript import ASSISTANT
from logratio.errors import DataError
from logratio.train.source import Mismatched

BOS = 1
"""Of the small runs' tokenizer."""


@dataclass(frozen=True)
class Fault:
    """A bug and what catches it.

    Attributes:
        number: Place in the list of silent bugs.
        what: The bug.
        plant: Puts it in place.
        catcher: What is expected to catch it.
        says: Words of the message; "" where that is a test's name.
    """

    number: int
    what: str
    plant: Plant
    catcher: Catcher
    says: str = ""


# Masks and tokens


def changed_row(change):
    """Plant a change of every row of tokens."""
    return around(
        "logratio.data.tokenize.Encoder._row",
        lambda unplanted, self, job, texts, tally: change(unplanted(self, job, texts, tally)),
    )


def changed_response(change):
    """Plant a change of every response's tokens and mask."""
    return around("logratio.data.tokenize.Encoder._response", lambda unplanted, *given: change(*unplanted(*given)))


def prompt_in_the_rejected(row):
    whole = np.concatenate([row.prompt, row.responses[-1]])
    masks = (*row.loss[:-1], np.ones(len(whole), bool))
    return replace(row, responses=(*row.responses[:-1], whole), loss=masks)


def common_beginning_cut(row):
    one, two = row.responses
    same = 0
    while same < min(len(one), len(two)) - 1 and one[same] == two[same]:
        same += 1
    return replace(row, responses=(one[same:], two[same:]), loss=tuple(mask[same:] for mask in row.loss))


def unscored(at):
    def change(ids, mask):
        mask = mask.copy()
        mask[at] = False
        return ids, mask

    return changed_response(change)


def begun_by_bos(ids, mask):
    return np.concatenate([[BOS], ids]).astype(np.int32), np.concatenate([[True], mask])


def padded_lengths(batch):
    length_S = batch.sum_by_response(torch.ones_like(batch.response_R, dtype=torch.float32))
    return torch.full_like(length_S, float(length_S.max()))


def responses_cut(group, rule, *, bos):
    room = max(1, rule.max_length - len(group.prompt))
    return replace(
        group,
        responses=tuple(ids[-room:] for ids in group.responses),
        loss=tuple(mask[-room:] for mask in group.loss),
    )


def last_marker_of_the_first(texts):
    end = texts[0].rfind(ASSISTANT) + len(ASSISTANT)
    return checked(texts[0][:end], tuple(text[end:] for text in texts))


def thought_cut(unplanted, *given, **named):
    draft = unplanted(*given, **named)
    answers = [whole[len(draft.prompt) :] for whole in draft.wholes]
    cut = [answer.partition("</think>")[2] if answer.startswith("<think>") else answer for answer in answers]
    return replace(draft, wholes=tuple(draft.prompt + answer for answer in cut))


def positions_of_the_row(unplanted, self, batch, **extra):
    return unplanted(self, replace(batch, positions_T=torch.arange(len(batch.positions_T))), **extra)


END = "logratio.data.tokenize.Encoder._ended"
TOKENS = (
    Fault(
        1,
        "the rejected response's prompt is trained on",
        changed_row(prompt_in_the_rejected),
        by_check("loss_mask"),
        "score the prompt again",
    ),
    Fault(
        1,
        "the rejected response's prompt is trained on",
        changed_row(prompt_in_the_rejected),
        by_test("data/test_data_tokenize", "test_hall_of_fame_1_no_prompt_token_carries_loss_on_either_side"),
    ),
    Fault(
        2,
        "the first response token is not trained on",
        unscored(0),
        by_check("loss_mask"),
        "leave out the first token",
    ),
    Fault(
        2,
        "the first response token is read from the row's end, as by a roll",
        around(
            "logratio.batch.packed.pack",
            lambda unplanted, groups: (lambda batch: replace(batch, source_R=batch.source_R - 1))(unplanted(groups)),
        ),
        by_test("batch/test_batch_pack", "test_the_first_response_token_is_predicted_by_the_prompts_last"),
    ),
    Fault(
        3,
        "masks are inverted",
        changed_response(lambda ids, mask: (ids, ~mask)),
        by_check("tokens_shown"),
        "has no token that is trained on",
    ),
    Fault(
        3,
        "the chosen response's mask is applied to the rejected one",
        changed_row(lambda row: replace(row, loss=row.loss[::-1])),
        by_test(
            "data/test_data_tokenize",
            "test_hall_of_fame_3_each_response_has_its_own_mask",
            fails=(AssertionError, IndexError),
        ),
    ),
    Fault(
        4,
        "a mean is taken over the padded length",
        value("logratio.batch.packed.PackedBatch.length_S", property(padded_lengths)),
        by_test("batch/test_batch_pack", "test_unscored_tokens_are_absent_and_do_not_count_in_lengths"),
    ),
    Fault(
        5,
        "keeping the end of a long row erases the response",
        instead("logratio.data.overflow.fit", responses_cut),
        by_test(
            "data/test_data_store",
            "test_hall_of_fame_5_cutting_the_prompt_leaves_responses_whole_and_bos_in_place",
        ),
    ),
    Fault(
        6,
        "what both answers begin with is taken for prompt",
        changed_row(common_beginning_cut),
        by_test("data/test_data_tokenize", "test_hall_of_fame_6_an_answer_that_begins_another_keeps_its_end"),
    ),
    Fault(
        6,
        "a transcript is split at the chosen text's last marker",
        instead("logratio.data.shared.shared_transcript", last_marker_of_the_first),
        by_test(
            "data/test_data_formats",
            "test_transcripts_with_several_turns_split_at_the_last_common_answer",
            fails=(AssertionError, DataError),
        ),
    ),
    Fault(
        7,
        "a leading think block of the chosen response is cut off",
        around("logratio.data.spans.draft_chat", thought_cut),
        by_test("data/test_data_template", "test_hall_of_fame_7_a_leading_think_block_of_the_chosen_response_stays"),
    ),
    Fault(
        8,
        "every response begins with a BOS",
        changed_response(begun_by_bos),
        by_check("sequence_ends"),
        "hold a BOS inside",
    ),
    Fault(
        8,
        "the template and the tokenizer both add a BOS",
        around(
            "logratio.data.tokenize.Encoder._begun",
            lambda unplanted, self, prompt: np.concatenate([[BOS], unplanted(self, prompt)]).astype(np.int32),
        ),
        by_check("sequence_ends"),
        "begin with another number of BOS",
    ),
    Fault(
        8,
        "the template and the trainer both add an EOS",
        around(END, lambda unplanted, *given: (lambda ids: np.append(ids, ids[-1]))(unplanted(*given))),
        by_check("sequence_ends"),
        "end with two end tokens",
    ),
    Fault(
        8,
        "EOS is missing",
        around(END, lambda unplanted, *given: unplanted(*given)[:-1]),
        by_check("sequence_ends"),
        "do not end with an end token",
    ),
    Fault(
        8,
        "EOS is masked, as where padding is the same token",
        unscored(-1),
        by_check("sequence_ends"),
        "end with a token that carries no loss",
    ),
    Fault(
        9,
        "later turns are left out",
        around("logratio.data.spans._scored_turns", lambda unplanted, *given: unplanted(*given)[:1]),
        by_test("data/test_data_tokenize", "test_hall_of_fame_9_every_later_turn_is_there"),
    ),
    Fault(
        10,
        "positions go through the whole row, whatever stands in it",
        around("logratio.logps.policy.Policy._run", positions_of_the_row),
        by_check("prefix_sharing", **{"train.path": "shared"}),
        "a response sees its sibling, or stands at another position",
    ),
    Fault(
        10,
        "positions go through the whole row, and models have learned positions",
        around("logratio.logps.policy.Policy._run", positions_of_the_row),
        by_check("batch_order", world=dropout_world, objective="sft", **{"train.path": "shared"}),
        "a group sees what stands before it",
    ),
    Fault(
        11,
        "images are ignored in silence",
        value("logratio.data.schema._MEDIA", ()),
        by_test("data/test_data_formats", "test_a_picture_in_a_later_row_is_found"),
    ),
)


# Reference


def base_for_start(unplanted, loaded, choice):
    return unplanted(loaded, "base")


def adapters_own_modules_stay(unplanted, model):
    """Switch off the low-rank part alone."""
    from peft.tuners.lora import LoraLayer

    @contextmanager
    def off():
        layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
        for layer in layers:
            layer.enable_adapters(False)
        yield
        for layer in layers:
            layer.enable_adapters(True)

    return off()


def reference_scored(change):
    """Plant a change of the log-probs that the reference pass computes."""
    return around(
        "logratio.logps.reference.score",
        lambda unplanted, *given, **named: [change(values) for values in unplanted(*given, **named)],
    )


def reference_ignored(unplanted, logps, batch):
    return unplanted(logps, batch.with_token(reference=logps.policy_R.detach()))


def frozen_copy_shared(unplanted, model):
    unplanted(model)
    named = dict(model.named_parameters())
    for name, weight in named.items():
        if ".reference." in name:
            weight.data = named[name.replace(".reference.", ".default.")].data


REFERENCE = (
    Fault(
        12,
        "the base serves as reference of a loaded adapter",
        around("logratio.models.adapters.reference_view", base_for_start),
        by_check("reference_at_start", world=adapter_world),
        "Policy and reference are the same weights and differ by",
    ),
    Fault(
        12,
        "modules saved beside the adapter stay active when it is off",
        around("logratio.models.adapters.adapter_off", adapters_own_modules_stay),
        by_test(
            "models/test_models_adapters",
            "test_a_loaded_adapters_reference_is_its_frozen_copy_and_base_on_request",
            fixtures=("base", "adapter"),
        ),
    ),
    Fault(
        12,
        "the adapter's frozen copy shares storage with the adapter in training",
        around("logratio.models.adapters.hold", frozen_copy_shared),
        by_check("reference_storage", world=adapter_world),
        "No learning signal",
    ),
    Fault(
        13,
        "precomputed log-probs are ignored, and the policy's own taken: 0.6931 for ever",
        around("logratio.objectives.views.responses", reference_ignored),
        by_run("loss_fell"),
        "The loss stays 0.693147 to the last digit",
    ),
    Fault(
        14,
        "the reference is computed in fp16",
        reference_scored(lambda values: values.astype(np.float16).astype(np.float32)),
        by_check("reference_at_start"),
        "Policy and reference are the same weights and differ by",
    ),
    Fault(
        14,
        "the reference is computed at another temperature",
        reference_scored(lambda values: values / 1.1),
        by_check("reference_at_start"),
        "Policy and reference are the same weights and differ by",
    ),
    Fault(
        15,
        "a cache made by several processes is reduced by a maximum from zeros",
        reference_scored(lambda values: np.maximum(values, 0)),
        by_check("reference_at_start"),
        "Policy and reference are the same weights and differ by",
    ),
    Fault(
        16,
        "dropout is active",
        instead("logratio.models.dropout.switch_off_dropout", lambda model: {}),
        by_check("two_forwards", world=dropout_world, **{"train.path": "plain"}),
        "something in the model draws random numbers",
    ),
)


# Losses


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
)

FAULTS = (*TOKENS, *REFERENCE, *LOSSES)
