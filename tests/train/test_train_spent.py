"""What a training phase tells of its judge's cost, and of thoughts and answers apart."""

import time

import numpy as np
import pytest
import small_run
from test_train_rollouts import world

from logratio.metrics import METRICS
from logratio.rollout.judge import Verdict, answer_of
from logratio.train.drawn import read
from logratio.train.preflight.scene import FEW

WAIT = 0.02


class Costly:
    """Scores an answer by its length, tells what that cost, and fails on prompts about a film."""

    description = "a costly judge"

    def __init__(self):
        self.calls = self.read = 0
        self.seen = set()

    def __call__(self, asked):
        time.sleep(WAIT)
        return [self._of(one) for one in asked]

    def _of(self, one):
        self.calls += len(one.responses)
        self.read += sum(map(len, one.responses))
        self.seen |= set(one.responses)
        usage = {"calls": len(one.responses), "tokens_in": sum(map(len, one.responses)), "flips": 1}
        if "film" in one.prompt:
            return Verdict(failed="it is about a film", usage=usage)
        return Verdict(tuple(float(len(text)) for text in one.responses), usage=usage)


@pytest.fixture
def thinking(monkeypatch):
    """Models whose words are those of the small run, one of them the end of a thought."""
    monkeypatch.setattr(small_run, "WORDS", ["</think>", *small_run.WORDS[1:]])


def test_a_phase_tells_what_judging_cost_once_and_how_long_thoughts_and_answers_were(thinking, tmp_path):
    judge = Costly()
    given = {"judge": judge, "judge.on_failure": "skip", "eval.samples": 0}
    run = small_run.run(**{**world(tmp_path), **given}, output=str(tmp_path / "run")).directory
    rows = [row for row in small_run.metrics(run, times=True) if row["kind"] == "train"]
    drawn = [read(path) for path in sorted((run / "rollouts").iterdir())]
    lost = sum("failed" in row for phase in drawn for row in phase)
    assert 0 < lost < 16 and sum(row["judge_failures"] for row in rows) == 2 * lost
    # two phases of two batches and two passes: what it cost is told in the first pass, its time at the first step
    assert sum(row.get("judge_calls", 0) for row in rows) == judge.calls == 16 * 4
    assert sum(row.get("judge_tokens_in", 0) for row in rows) == judge.read
    assert ["judge_calls" in row for row in rows] == [True, True, False, False] * 2
    assert ["judge_seconds" in row for row in rows] == [True, False, False, False] * 2
    assert all(WAIT <= row["judge_seconds"] < 5 for row in rows if "judge_seconds" in row)
    assert {name for row in rows for name in row if name.startswith("judge")} <= METRICS.keys()
    for number, phase in enumerate(drawn):
        assert judge.seen >= {answer_of(text) for row in phase for text in row["responses"]}
        for batch, (begin, row) in enumerate(zip((0, 4), rows[4 * number :], strict=False)):
            texts = [text for each in phase[begin : begin + 4] for text in each["responses"]]
            thoughts = [text.rpartition("</think>")[0].lstrip() for text in texts]
            assert any(thoughts), f"no thought in phase {number}, batch {batch}: another seed has one"
            assert row["thought_length"] == pytest.approx(np.mean([len(text) for text in thoughts]))
            assert row["answer_length"] == pytest.approx(np.mean([len(answer_of(text)) for text in texts]))


def test_the_sum_over_all_rows_is_what_was_spent_on_checks_phases_and_evaluations(tmp_path):
    judge = Costly()
    given = {"judge": judge, "judge.on_failure": "skip", "preflight": True, "eval.samples": 3, "every.eval": 0.5}
    run = small_run.run(**{**world(tmp_path), **given}, output=str(tmp_path / "run")).directory
    rows = small_run.metrics(run)
    first, *_ = trained = [row for row in rows if row["kind"] == "train"]
    assert [row["judge_calls"] for row in rows if row["kind"] == "eval"] == [3] * 3
    assert sum(row.get("judge_calls", 0) for row in trained) == (16 + FEW) * 4
    assert first["judge_calls"] == (4 + FEW) * 4
    assert sum(row.get("judge_calls", 0) for row in rows) == judge.calls
    assert sum(row.get("judge_tokens_in", 0) for row in rows) == judge.read
