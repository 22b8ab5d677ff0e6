"""What an implicit reward learned is read off a run, in a world where it is known."""

import json

import numpy as np
import pytest

from logratio.evaluate.learned import learned
from logratio.files import read_rows
from logratio.testbed.aspects import UNREAD, aspect_table
from logratio.testbed.world import World
from logratio.train.api import train


def test_the_true_reward_is_the_sum_of_what_a_text_claims(nano):
    table = aspect_table(nano.world)
    rows = read_rows(nano.folder / "held_out.jsonl")[:50]
    prompts = [row["prompt"] for row in rows for _ in row["responses"]]
    texts = [text for row in rows for text in row["responses"]]
    names, values = table(texts, [f"<s>{prompt}" for prompt in prompts])
    assert names[-1] == UNREAD and values.shape == (len(texts), len(names))
    reward = [nano.world.reward(prompt + text) for prompt, text in zip(prompts, texts, strict=True)]
    assert (values[:, :-1].sum(1) - values[:, -1]).tolist() == reward
    assert len(set(reward)) > 3


def test_each_aspect_counts_once_and_both_sides_cancel():
    table = aspect_table(World("nano", 0))
    praise, blame = "The plot is superb.", "The plot is awful."
    names, values = table([f" {praise}", f" {blame}", " Nobody said so."], [praise, praise, praise])
    plot = names.index("plot")
    assert values[:, plot].tolist() == [1, 0, 1] and values[:, -1].tolist() == [0, 0, 1]


WORTH = {"plot": 3.0, "film": -3.0}
"""What an odd judge pays for praise of an aspect; the others are worth nothing to it."""


@pytest.mark.slow
def test_a_run_taught_odd_tastes_is_found_to_have_them(nano, tmp_path):
    """Both are found before all others and with their signs; what was not paid for does not stand out."""
    table = aspect_table(nano.world)

    def score(text):
        names, values = table([text], [""])
        return float(sum(WORTH.get(name, 0.0) * value for name, value in zip(names, values[0], strict=True)))

    train(
        nano.model,
        list(nano.judged(score)),
        {"name": "dpo", "beta": 0.1},
        eval_data=list(nano.judged(score, "held_out")),
        output=tmp_path / "run",
        train={"lr": 1e-3, "epochs": 8, "batch_size": 32, "precision": "fp32"},
        eval={"samples": 0},
        every={"eval": 1.0, "checkpoint": 1.0},
    )
    (found,) = learned(tmp_path / "run", table=table)
    cues = json.loads((tmp_path / "run" / "learned.json").read_text())["cues"]
    assert {cue["name"] for cue in cues[:2]} == set(WORTH), found.says
    assert all(cue["clear"] and np.sign(cue["coefficient"]) == np.sign(WORTH[cue["name"]]) for cue in cues[:2])
    assert abs(cues[2]["coefficient"]) < abs(cues[1]["coefficient"]) / 2
    assert found.figures["share_explained_low"] > 0.1
