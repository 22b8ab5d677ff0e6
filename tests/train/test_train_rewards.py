"""What an evaluation says of its samples through a judge: rewards and lengths, the thought apart."""

import numpy as np
import pytest

from logratio.data.prompts import Asking
from logratio.rollout.generate import Sample
from logratio.rollout.judges.function import FunctionJudge
from logratio.train.rewards import rewards


class Words:
    """A tokenizer of whole strings."""

    said = ["<end>", "ask", "ask <think>", "<think>abcd</think>xy", "xyz", "ef</think>\n\nu", "ghi"]

    def decode(self, ids, skip_special_tokens=False):
        return "".join(self.said[i] for i in ids if i or not skip_special_tokens)


def drawn(*texts):
    return [Sample(np.array([i, 0], np.int32), np.zeros(2, np.float32), True) for i in texts]


def length(prompts, responses, rows):
    return map(len, responses)


def test_rewards_and_lengths_are_of_answers_alone():
    prompts = [np.array([1], np.int32), np.array([2], np.int32)]  # the second one's template opens the thought
    asking = [Asking("ask", {}, 1.0)] * 2
    found = rewards(FunctionJudge(length, "length"), asking, prompts, [drawn(3, 4), drawn(5, 6)], Words())
    assert found["reward"].mean == found["answer_length"].mean == pytest.approx((2 + 3 + 1 + 0) / 4)
    assert found["thought_length"].mean == pytest.approx((4 + 0 + 2 + 3) / 4) and found["thought_length"].n == 4


def test_where_nobody_thinks_there_are_no_lengths():
    found = rewards(FunctionJudge(length, "length"), [Asking("ask", {}, 1.0)], [np.array([1])], [drawn(4, 4)], Words())
    assert set(found) == {"reward"} and found["reward"].mean == 3
