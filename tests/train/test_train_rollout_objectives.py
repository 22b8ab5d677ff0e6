"""Every objective of sampled responses on the real source: a judge that likes one word hears it more often."""

import numpy as np
import pytest
import small_run
from test_train_rollouts import REWARD

from logratio import objectives
from logratio.metrics import METRICS

SAMPLED = [name for name in objectives.names() if objectives.load(name).data == "prompts"]
FAST = ("nash_md",)
PHASES = {"k": 4, "max_new_tokens": 6}


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in SAMPLED])
def test_it_learns_what_the_judge_rewards(name, tmp_path):
    (tmp_path / "rewards.py").write_text(REWARD)
    run = small_run.run(
        **small_run.world(tmp_path, n=24),
        judge=f"{tmp_path}/rewards.py:score",
        objective=name,
        rollout=PHASES,
        output=str(tmp_path / "run"),
        **{"train.batch_size": 8, "train.lr": 1e-2, "train.epochs": 6, "eval.samples": 0, "every.eval": 1.0},
    )
    rows = [row for row in small_run.metrics(run.directory) if row["kind"] == "train"]
    assert {key for row in rows for key in row} - {"kind", "step"} <= set(METRICS)
    for row in rows:
        assert row["kl_old_k1"] == row["kl_old_k3"] == 0 and row["sampler_mismatch"] < 1e-4
        assert 0 <= row["ended"] <= 1 and 1 <= row["sample_length"] <= 6 and row["entropy"] > 0
    reward = [row["reward"] for row in rows]
    third = len(reward) // 3
    assert np.mean(reward[-third:]) > np.mean(reward[:third]) + 0.1, reward
