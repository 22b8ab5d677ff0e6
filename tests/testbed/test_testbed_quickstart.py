"""DPO finds the true reward in the nano world, and the controls tell when it should not."""

import numpy as np
import pytest

from logratio.evaluate.api import evaluate
from logratio.files import read_rows
from logratio.testbed.build import build
from logratio.testbed.measure import agreement, answers, compared
from logratio.testbed.quickstart import controls, main
from logratio.testbed.trial import trial
from logratio.testbed.world import preference


@pytest.fixture(scope="module")
def before(nano):
    return answers(nano, nano.model, seed=1)


def test_the_reference_is_no_better_than_itself(nano, before):
    again = compared(nano, answers(nano, nano.model, seed=2), before)
    assert again["change"].low < 0 < again["change"].high
    assert again["win_rate"].low < 0.5 < again["win_rate"].high
    assert again["kl"].mean == pytest.approx(0, abs=1e-4)
    same = compared(nano, before, before)
    assert same["change"].mean == 0 and same["win_rate"].mean == 0.5


def test_preferences_by_the_true_reward_raise_it_at_prompts_never_seen(nano, before, tmp_path):
    done = trial(nano, before, nano.judged(nano.world.reward), output=tmp_path / "run")
    assert done.measures["change"].low > 0
    assert done.measures["win_rate"].low > 0.5
    assert 0 < done.measures["kl"].low
    accuracy = evaluate(done.run.directory, data=nano.held_out_preferences, samples=0)["accuracy"]
    assert accuracy["low"] > 0.5
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_judge_errs_so_no_accuracy_is_expected_to_reach_one(nano):
    reached, reward = agreement(nano), nano.world.reward
    chances = [
        preference(*(reward(row["prompt"] + row[side]) for side in ("chosen", "rejected")))
        for row in read_rows(nano.held_out_preferences)
    ]
    expected = np.mean([max(p, 1 - p) for p in chances])  # of the better text to be the chosen one
    assert reached.low < expected < reached.high < 0.95


@pytest.mark.slow
def test_every_control_turns_out_as_it_should(nano, before, tmp_path):
    done = trial(nano, before, nano.judged(nano.world.reward), output=tmp_path / "run")
    verdicts = list(controls(nano, before, done.measures["kl"], tmp_path, lambda line: None))
    assert len(verdicts) == 3
    assert all("as it should" in verdict for verdict in verdicts), verdicts


@pytest.mark.slow
def test_another_seed_gives_other_numbers_and_the_same_conclusion(nano, before, tmp_path):
    other = build("nano", 1, root=tmp_path)
    start = answers(other, other.model, seed=1)
    assert start.measures()["reward"] != before.measures()["reward"]
    done = trial(other, start, other.judged(other.world.reward), output=tmp_path / "run")
    assert done.measures["change"].low > 0


@pytest.mark.slow
def test_the_command_prints_a_table_and_its_limits(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(size="nano")
    out = capsys.readouterr().out
    for words in ("true reward", "KL from the reference", "accuracy", "wins over", "distinct", "does not show"):
        assert words in out
    assert (tmp_path / "runs" / "quickstart" / "report.html").is_file()
    main(size="nano")
    assert "found in" in capsys.readouterr().out
    assert (tmp_path / "runs" / "quickstart-2" / "model").is_dir()
