"""Prompts whose responses are judged alike give no pair: they are counted, said once, and never move a weight."""

import pytest
import small_run
import torch
from test_train_rollouts import numbered, world

from logratio.rollout.judge import Comparison, Verdict
from logratio.train.checkpoint import load, name_of
from logratio.train.drawn import read


class Ties:
    """Compares: prefers the longer response to every third prompt, and calls all others' alike."""

    description = "mostly ties"

    def __call__(self, asked):
        return [self.verdict(one.row["n"], one.responses) for one in asked]

    def verdict(self, n, responses):
        share = 0.5 if self.alike(n) else 1.0 if len(responses[0]) > len(responses[1]) else 0.0
        return Verdict(comparisons=(Comparison(0, 1, share),))

    def alike(self, n):
        return bool(n % 3)


class Flat(Ties):
    def alike(self, n):
        return True


def run(folder, judge, **more):
    told = []
    arguments = {
        **world(folder, n=12, rows=numbered),
        "judge": judge,
        "objective": "dpo",
        "rollout": {"k": 2, "max_new_tokens": 6, "every": 2},
        "train.batch_size": 3,
        "eval.holdout": 0,
        "keep.last": 9,
        **more,
    }
    done = small_run.run(**arguments, output=str(folder / "run"), on_event=told.append)
    notes = [event.data["text"] for event in told if event.kind == "note" and "give no pair" in event.data["text"]]
    return done, [row for row in small_run.metrics(done.directory) if row["kind"] == "train"], notes


def test_ties_of_a_comparing_judge_are_counted_and_said_once(tmp_path):
    done, rows, notes = run(tmp_path, Ties())
    drawn = [row for file in sorted(done.directory.glob("rollouts/*")) for row in read(file)]
    alike = [Ties().alike(row["row"]) or len(set(map(tuple, row["tokens"]))) == 1 for row in drawn]
    assert [row["pairless"] for row in rows] == pytest.approx([sum(alike[i : i + 3]) / 3 for i in range(0, 12, 3)])
    assert len(notes) == 1 and notes[0].startswith(f"phase 1: {sum(alike[:6])} of 6 prompts give no pair")


class Within:
    """Prefers among the policy's two responses, which come first, and calls each as good as the reference's."""

    description = "ties with the reference"

    def __call__(self, asked):
        return [Verdict(comparisons=(Comparison(0, 1, 1.0), Comparison(0, 2, 0.5))) for _ in asked]


@pytest.mark.parametrize(("objective", "judge"), [("dpo", Flat()), ("xpo", Flat()), ("xpo", Within())])
def test_a_phase_without_any_pair_says_so_and_moves_no_weight(objective, judge, tmp_path):
    done, rows, notes = run(tmp_path, judge, objective=objective)
    assert done.status == "finished" and len(notes) == 1
    assert notes[0].startswith("phase 1: 6 of 6 prompts give no pair") and "nothing of it is learned from" in notes[0]
    assert [(row["pairless"], row["grad_norm"], "loss" in row) for row in rows] == [(1.0, 0.0, False)] * 4
    first, last = (load(done.directory / "checkpoints" / name_of(step))[0] for step in (1, 4))
    assert all(torch.equal(first[name], last[name]) for name in first)  # moments and counts of steps among them
