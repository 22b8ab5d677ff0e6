"""Reward models in the nano world, where the reward that they should find is known."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from logratio.files import read_rows
from logratio.testbed.build import build
from logratio.train.api import train


def reward_model(built, output, *, lr, epochs, batch_size):
    return train(
        built.model,
        built.preferences,
        "reward",
        eval_data=built.held_out_preferences,
        output=output,
        train={
            "lr": lr,
            "epochs": epochs,
            "batch_size": batch_size,
            "precision": "fp32",
            "seed": built.world.seed,
        },
        every={"eval": 1.0, "checkpoint": 1.0},
    )


def scored(built, folder, *, side="right", more=0):
    """Scores by transformers of all held-out answers, padded on a side, `more` columns wider than need be."""
    tok = AutoTokenizer.from_pretrained(folder, padding_side=side)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = list(read_rows(built.folder / "held_out.jsonl"))
    texts = [row["prompt"] + text for row in rows for text in row["responses"]]
    ids = [tok(text).input_ids + [tok.eos_token_id] for text in texts]
    batch = tok.pad({"input_ids": ids}, padding="max_length", max_length=max(map(len, ids)) + more, return_tensors="pt")
    places = (batch.attention_mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=places).logits
    return texts, logits[:, 0].double().numpy()


def test_a_reward_model_ranks_held_out_pairs_and_padding_does_not_move_its_scores(nano, tmp_path):
    run = reward_model(nano, tmp_path / "run", lr=3e-3, epochs=1, batch_size=32)
    accuracy = run.evaluation["accuracy"]
    assert accuracy["low"] > 0.5, accuracy
    assert run.evaluation["length_baseline"]["n"] == accuracy["n"] > 300
    _, score = scored(nano, run.model)
    for side, more in (("right", 9), ("left", 0)):
        np.testing.assert_allclose(scored(nano, run.model, side=side, more=more)[1], score, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_its_scores_go_with_the_true_reward(seed, nano, tmp_path):
    """Correlation over all held-out answers, the lower end of Fisher's interval with one observation a prompt."""
    built = nano if seed == 0 else build("nano", seed, root=nano.folder.parent)
    run = reward_model(built, tmp_path / "run", lr=1e-3, epochs=4, batch_size=16)
    texts, score = scored(built, run.model)
    truth = np.array([built.world.reward(text) for text in texts])
    correlation = np.corrcoef(score, truth)[0, 1]
    low = np.tanh(np.arctanh(correlation) - 1.96 / np.sqrt(len(built.held_out) - 3))
    print(f"\nseed {seed}: correlation with r* {correlation:.3f}, accuracy {run.evaluation['accuracy']['mean']:.3f}")
    assert low > 0.2 and run.evaluation["accuracy"]["low"] > 0.5
