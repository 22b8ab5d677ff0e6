"""A run whose one phase is drawn by a completions server that holds the model it starts from."""

import pytest
import small_run

from completions_server import Completions
from logratio.errors import ConfigError, EngineError
from logratio.models.load import load_model
from logratio.train.drawn import read

REWARD = (
    "def score(prompts, responses, rows):\n    return [text.count('good') - 0.1 * len(text) for text in responses]\n"
)


def world(folder, server, **rollout):
    (folder / "rewards.py").write_text(REWARD)
    engine = {"url": server.url, "model": "tiny", "retries": 0}
    return {
        **small_run.world(folder, n=12),
        "judge": f"{folder}/rewards.py:score",
        "objective": "grpo",
        "rollout": {"k": 3, "max_new_tokens": 5, "rounds": 1, "epochs": 2, "engine": engine, **rollout},
        "train.batch_size": 4,
        "eval.samples": 0,
        "output": str(folder / "run"),
    }


@pytest.fixture
def server(tmp_path):
    start = load_model(small_run.world(tmp_path, n=12)["model"])
    with Completions(start.model) as one:
        yield one
        one.shutdown()


def test_a_server_with_the_same_weights_draws_what_the_trainer_expects(tmp_path, server):
    run = small_run.run(**world(tmp_path, server)).directory
    (file,) = (run / "rollouts").iterdir()
    rows = read(file)
    assert len(server.seen) == len(rows) and all(len(row["tokens"]) == 3 for row in rows)
    assert {tuple(body["prompt"]) for body in server.seen} == {tuple(row["prompt_tokens"]) for row in rows}
    trained = [row for row in small_run.metrics(run) if row["kind"] == "train"]
    assert trained and all(row["sampler_mismatch"] < 1e-4 for row in trained)
    assert trained[0]["kl_old_k3"] == 0 and trained[1]["kl_old_k3"] > 0


def test_where_no_log_probs_are_told_no_mismatch_is_claimed(tmp_path, server):
    server.spoil = lambda choice: {**choice, "logprobs": None}
    run = small_run.run(**world(tmp_path, server)).directory
    (file,) = (run / "rollouts").iterdir()
    assert all(row["sampled"] is None for row in read(file))
    trained = [row for row in small_run.metrics(run) if row["kind"] == "train"]
    assert trained and not any("sampler_mismatch" in row for row in trained)


def test_a_server_that_draws_nonsense_stops_the_run_before_anything_is_learned(tmp_path, server):
    server.spoil = lambda choice: {**choice, "token_ids": [5], "finish_reason": "length"}
    with pytest.raises(EngineError, match="cannot be used: it ended a response after 1 tokens"):
        small_run.run(**world(tmp_path, server))


@pytest.mark.parametrize("more", [{"rounds": 2}, {"rounds": None}, {"rounds": None, "every": 2}])
def test_a_server_whose_weights_stay_draws_once_only(tmp_path, server, more):
    with pytest.raises(ConfigError, match="do not follow the policy"):
        small_run.run(**world(tmp_path, server, **more))
    assert not server.seen
