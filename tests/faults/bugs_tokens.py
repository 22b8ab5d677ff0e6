"""Bugs of masks and tokens."""

from dataclasses import replace

import numpy as np
import torch
from catching import by_check, by_test, dropout_world
from fault import Fault
from seams import around, instead, value

from logratio.data.problems import Unusable
from logratio.data.shared import checked
from logratio.data.transcript import ASSISTANT
from logratio.errors import DataError

BOS = 1
"""Of the small runs' tokenizer."""


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


def kept_though_empty(unplanted, self, tokens, begins, turns, chat):
    try:
        return unplanted(self, tokens, begins, turns, chat)
    except Unusable:
        ended = self._ended(tokens, 0, chat)
        return ended, np.ones(len(ended), bool)


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
        4,
        "a response without a token is kept",
        around("logratio.data.tokenize.Encoder._response", kept_though_empty),
        by_test("data/test_data_tokenize", "test_what_cannot_be_learned_from_is_dropped_with_its_reason"),
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
        around("logratio.logps.trunk.Trunk.run", positions_of_the_row),
        by_check("prefix_sharing", **{"train.path": "shared"}),
        "a response sees its sibling, or stands at another position",
    ),
    Fault(
        10,
        "positions go through the whole row, and models have learned positions",
        around("logratio.logps.trunk.Trunk.run", positions_of_the_row),
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
