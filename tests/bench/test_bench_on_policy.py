"""The benchmark of steps on fresh responses: what it counts is what our side did."""

import pytest

from bench import on_policy
from small_files import write_model


def test_a_step_is_the_median_time_between_ends_the_first_step_left_out():
    assert on_policy._step({"ends": [100.0, 101.0, 104.0, 106.0]}) == 2.0


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["grpo", "ppo"])
def test_our_side_draws_k_responses_a_prompt_of_the_length_asked_for(tmp_path, objective):
    spec = {
        "model": str(write_model(tmp_path / "model")),
        "prompts": [f"Review the cast of film{n} :" for n in range(6)],
        "prompts_a_step": 2,
        "k": 3,
        "tokens": 5,
        "max_length": 256,
        "steps": 3,
        "beta": 0.04,
        "lr": 1e-6,
        "threads": 1,
        "output": str(tmp_path / "run"),
        "objective": objective,
    }
    found = on_policy.run(spec)
    assert len(found["ends"]) == 3 and found["ends"] == sorted(found["ends"])
    assert found["responses"] == 6 * 3 and found["responses"] <= found["tokens"] <= 6 * 3 * 5
