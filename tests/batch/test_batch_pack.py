import numpy as np
import torch

from logratio.batch.group import Group
from logratio.batch.packed import pack


def group(row, prompt, *responses, masks=None, edges=((0, 1),)):
    ids = tuple(np.array(r, np.int32) for r in responses)
    loss = tuple(np.array(m, bool) for m in masks) if masks else tuple(np.ones(len(r), bool) for r in responses)
    made = Group(row, np.array(prompt, np.int32), ids, loss, np.array(edges, np.int32).reshape(-1, 2))
    return made.with_columns(
        response={"weight": np.ones(len(ids), np.float32)}, edge={"weight": np.ones(len(made.edges), np.float32)}
    )


def test_a_prompt_is_stored_once_and_positions_continue_from_its_end():
    batch = pack([group(5, [1, 2, 3], [4, 5], [6]), group(9, [7], [8], [9, 10])])
    assert batch.tokens_T.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert batch.positions_T.tolist() == [0, 1, 2, 3, 4, 3, 0, 1, 1, 2]
    assert batch.spans.prompt_start_G.tolist() == [0, 6]
    assert batch.spans.response_start_S.tolist() == [3, 5, 7, 8]
    assert batch.spans.group_S.tolist() == [0, 0, 1, 1]
    assert batch.row_G.tolist() == [5, 9]


def test_the_first_response_token_is_predicted_by_the_prompts_last():
    """Silent-bug list, masks and tokens 2: the first response token is scored, by its true predecessor."""
    batch = pack([group(0, [1, 2, 3], [4, 5], [6]), group(1, [7], [8], [9, 10])])
    assert batch.target_R.tolist() == [4, 5, 6, 8, 9, 10]
    assert batch.tokens_T[batch.source_R].tolist() == [3, 4, 3, 7, 7, 9]
    assert batch.response_R.tolist() == [0, 0, 1, 2, 3, 3]
    assert batch.length_S.tolist() == [2, 1, 1, 2]
    assert batch.winner_E.tolist() == [0, 2] and batch.loser_E.tolist() == [1, 3]


def test_unscored_tokens_are_absent_and_do_not_count_in_lengths():
    """Silent-bug list, masks and tokens 4: a mean is over scored tokens, never over padding or user turns."""
    batch = pack([group(0, [1], [2, 3, 4], [5, 6], masks=([1, 0, 1], [0, 1]))])
    assert batch.target_R.tolist() == [2, 4, 6]
    assert batch.tokens_T[batch.source_R].tolist() == [1, 3, 5]
    assert batch.length_S.tolist() == [2, 1]
    assert batch.sum_by_response(torch.tensor([1.0, 10.0, 100.0])).tolist() == [11.0, 100.0]


def test_without_a_prompt_the_first_token_has_no_log_prob_and_nothing_wraps_around():
    batch = pack([group(0, [1], [2], edges=()), group(1, [], [3, 4, 5], edges=())])
    assert batch.target_R.tolist() == [2, 4, 5]
    assert batch.tokens_T[batch.source_R].tolist() == [1, 3, 4]


def test_columns_travel_in_order_and_an_empty_batch_is_valid():
    a = group(0, [1], [2], [3]).with_columns(token={"reference": np.array([-1, -2], np.float32)})
    b = group(1, [1], [2, 3], [3]).with_columns(token={"reference": np.array([-3, -4, -5], np.float32)})
    assert pack([b, a]).token["reference"].tolist() == [-3, -4, -5, -1, -2]
    empty = pack([])
    assert empty.responses == 0 and empty.tokens_T.shape == empty.source_R.shape == (0,)
