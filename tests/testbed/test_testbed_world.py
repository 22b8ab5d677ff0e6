"""Texts, prompts and judgements of a world."""

import math
from itertools import combinations

import numpy as np
import pytest

from logratio.testbed.world import LONGEST, SHORTEST, World, pieces, preference, preference_rows, split_of

SIZES = ("nano", "small")


@pytest.mark.parametrize("size", SIZES)
def test_the_tokenizer_is_lossless_small_and_splits_between_words(size):
    world = World(size, 0)
    tokenizer = world.tokenizer
    assert tokenizer.get_vocab_size() <= 512
    for row in world.demonstrations(500):
        text = row["prompt"] + row["completion"]
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids) == text
        assert min(ids) > 3, "no special token stands for a word"
        prompt, completion = tokenizer.encode(row["prompt"]).ids, tokenizer.encode(row["completion"]).ids
        assert prompt + completion == ids
        assert len(completion) < world.scale.response
        assert 1 <= len(prompt) <= LONGEST and len(prompt) >= min(SHORTEST, len(ids) - 1)


@pytest.mark.parametrize("size", SIZES)
def test_held_out_prompts_meet_no_training_prompt(size):
    worlds = [World(size, seed) for seed in (0, 1)]
    train = [set(world.prompts("train", 800)) for world in worlds]
    held = [set(world.prompts("held_out", 200)) for world in worlds]
    shown = {row["prompt"] for world in worlds for row in world.demonstrations(800)}
    assert [len(t) for t in train] == [800, 800] and [len(h) for h in held] == [200, 200]
    assert not (train[0] | train[1] | shown) & (held[0] | held[1])
    assert train[0] != train[1]
    assert all(split_of(p) == "held_out" for p in held[0])


def test_a_world_is_a_function_of_its_seed_and_rows_of_their_number():
    one, same, other = World("nano", 3), World("nano", 3), World("nano", 4)
    assert list(one.demonstrations(20)) == list(same.demonstrations(30))[:20] != list(other.demonstrations(20))
    assert one.prompts("train", 5) == same.prompts("train", 9)[:5]


def test_judgements_follow_bradley_terry():
    world, rng = World("nano", 0), np.random.default_rng(0)
    for difference in (-1.0, 0.0, 2.0):
        n = 4000
        wins = sum(world.prefer(difference, 0.0, rng) for _ in range(n))
        p = 1 / (1 + math.exp(-difference))
        assert abs(wins / n - p) < 4 * math.sqrt(p * (1 - p) / n)
    for a, b in combinations((-2.0, 0.0, 3.0), 2):
        assert preference(a, b) == pytest.approx(1 - preference(b, a))


def test_preference_rows_tell_who_won():
    world = World("nano", 0)
    prompts = world.prompts("train", 300)
    texts = [[" a", " b", " c", " d", " e", " e"]] * len(prompts)
    scores = [[2.0, 0.0, -1.0, -1.0, 5.0, 5.0]] * len(prompts)
    rows = list(preference_rows(world, prompts, texts, scores))
    assert len(rows) == 2 * len(prompts), "identical responses are passed over"
    first = [row for row in rows if {row["chosen"], row["rejected"]} == {" a", " b"}]
    share = np.mean([row["chosen"] == " a" for row in first])
    p = 1 / (1 + math.exp(-2))
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / len(first))
    assert rows == list(preference_rows(world, prompts, texts, scores))
    assert pieces("I saw it.") == ["I", " saw", " it", "."]
