"""The built-in world as a study's place: its prompts as files, and its true reward as a judge by name."""

import json

import pytest

from logratio.config import JudgeConfig
from logratio.rollout.judge import Asked
from logratio.rollout.judges import open_judge
from logratio.testbed import frontier
from logratio.testbed.build import Built
from logratio.testbed.world import World


@pytest.mark.parametrize("size", ["nano", "small"])
def test_the_judge_is_the_true_reward_of_prompt_and_response(size):
    world = World(size, 0)
    rows = [row for _, row in zip(range(20), world.demonstrations(20), strict=False)]
    asked = [Asked(row["prompt"], (row["completion"], row["completion"] + " zzz.")) for row in rows]
    verdicts = open_judge(JudgeConfig(function=f"logratio.testbed.frontier:{size}"))(asked)
    for row, verdict in zip(rows, verdicts, strict=True):
        whole = row["prompt"] + row["completion"]
        assert verdict.scores == (world.reward(whole), world.reward(whole + " zzz."))
        assert verdict.scores[1] < verdict.scores[0]  # what cannot be read costs


def test_prompts_stand_in_files_of_their_own(tmp_path, monkeypatch):
    for name, prompts in (("train", ["It was", "A film"]), ("held_out", ["We saw"])):
        lines = [json.dumps({"prompt": prompt, "responses": ["x"]}) + "\n" for prompt in prompts]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    monkeypatch.setattr(frontier, "build", lambda size, seed, say: Built(World(size, seed), tmp_path))
    assert frontier.study_folder("nano", 0) == tmp_path
    kept = (tmp_path / "prompts.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in kept] == [{"prompt": "It was"}, {"prompt": "A film"}]
    assert json.loads((tmp_path / "held_out_prompts.jsonl").read_text()) == {"prompt": "We saw"}
