"""The bench of picked prompts labels alike whoever picks, and its table compares within seeds."""

from pathlib import Path

import pytest

from bench.next_prompts import ARMS, labelled, table, useful
from logratio.evaluate.draw import Drawn
from logratio.testbed.build import Built
from logratio.testbed.world import World, preference


def test_a_label_depends_on_prompt_samples_and_seed_and_follows_the_worlds_judge():
    built = Built(World("nano", 0), Path("nowhere"))
    reviews = [row["prompt"] + row["completion"] for row in built.world.demonstrations(40)]
    reward = built.world.reward
    prompt, texts = "", next([a, b] for a in reviews for b in reviews if 0.6 < preference(reward(a), reward(b)) < 0.9)
    samples = [Drawn(text, 1, True) for text in texts]
    chance = preference(*map(reward, texts))
    first = [labelled(built, prompt, samples, seed)["chosen"] == texts[0] for seed in range(600)]
    assert sum(first) / 600 == pytest.approx(chance, abs=4 * (chance * (1 - chance) / 600) ** 0.5)
    assert labelled(built, prompt, samples, 5) == labelled(built, prompt, samples, 5)


def test_what_says_nothing_teaches_nothing():
    assert useful({"chosen": "a", "rejected": "b"})
    for chosen, rejected in (("a", "a"), (" ", "a"), ("a", "")):
        assert not useful({"chosen": chosen, "rejected": rejected})


def test_differences_are_taken_seed_by_seed():
    def seed(level):
        arms = {arm: {"reward": level + 0.1 * n, "kl": 1.0, "gap": 2.0} for n, arm in enumerate(ARMS)}
        return {"first round": {"reward": level - 1, "kl": 0.5}, **arms}

    rows = {row.split("|")[1].strip(): row for row in table([seed(0.0), seed(5.0), seed(9.0)])[2:]}
    assert list(rows) == ["first round", *ARMS]
    assert "+0.100 [+0.100, +0.100]" in rows["margin"] and "-1.000 [-1.000, -1.000]" in rows["first round"]
    assert "| +0.100 |" in table([seed(0.0)])[4]  # one seed has no interval
    assert "| – |" in rows["random"] and "| 2.00 |" in rows["judge"]
