"""What a run shows while it runs: one live line on a terminal, plain lines seldom elsewhere."""

import io

import pytest
from rich.console import Console

from logratio import objectives
from logratio.cli.progress import EVERY, ProgressLines
from logratio.evaluate.measure import measured_names
from logratio.testing.cases import case
from logratio.train.events import Event
from worlds import random_groups

ROW = {"loss": 0.6543, "accuracy": 0.75, "margin": 1.2e-5, "lr": 1e-6, "tokens_per_s": 12345.6, "grad_norm": 1.0}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def train(step, steps=100):
    return Event("train", {"row": {**ROW, "step": step}, "step": step, "steps": steps})


@pytest.fixture
def plain():
    clock, out = Clock(), io.StringIO()
    with ProgressLines(Console(file=out, width=80, soft_wrap=True, highlight=False, markup=False), clock) as told:
        yield clock, out, told


def test_plain_lines_come_at_most_every_thirty_seconds_and_at_the_end(plain):
    clock, out, told = plain
    for step in range(1, 101):
        clock.now += 1.0
        told(train(step))
    lines = out.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["1/100:", "31/100:", "61/100:", "91/100:", "100/100:"]
    assert EVERY == 30.0


def test_a_line_holds_time_left_metrics_rate_and_memory(plain):
    clock, out, told = plain
    for step in (1, 2, 3):
        clock.now += 31.0
        told(train(step))
    last = out.getvalue().splitlines()[-1]
    assert last.startswith("step 3/100: 50:07 left · loss 0.654 · 31.0 s/step · 12,346 tok/s · ")  # 97 · 31 s = 50:07
    assert last.endswith(" GB · accuracy 0.750 · margin 1.2e-5 · lr 1.0e-6")


@pytest.mark.parametrize("name", objectives.names())
def test_of_every_objective_something_is_shown_that_says_more_than_its_loss(plain, name):
    _, out, told = plain
    objective = objectives.load(name)
    labels = objective.data == "labels"
    shape = {"k": 1 if labels else 2, "labels": labels, "mismatched": name == "kto"}
    (group,) = random_groups(1, **shape, scores=objective.data == "rankings")
    if objective.data == "prompts":
        group = case(objective, objective.settings(), n=1).groups[0]
    names = measured_names(objective, objective.settings(), group)
    row = {key: 0.25 for key in names if not key.startswith("loss")} | {"loss": 0.5, "lr": 1e-6, "tokens_per_s": 1.0}
    told(Event("train", {"row": row, "step": 1, "steps": 1}))
    told(Event("eval", {"row": {key: {"mean": 0.25} for key in names}, "step": 1, "steps": 1}))
    trained, judged = out.getvalue().splitlines()
    assert "loss 0.500" in trained and sum(f" {key} 0.250" in trained for key in names) >= 1
    assert all(f" {key} 0.250" in judged for key in names if key.startswith("loss"))
    if labels:
        assert all(
            f"logratio_{kind} 0.250" in line for line in (trained, judged) for kind in ("desirable", "undesirable")
        )
    if "likelihood_accuracy" in names:
        assert all(
            f"{kind}_accuracy 0.250" in line for line in (trained, judged) for kind in ("likelihood", "per_token")
        )


def test_evaluations_notes_and_the_opening_are_always_told(plain):
    _, out, told = plain
    told(Event("open", {"lines": ["loss: [ℓ]", "lr: 1e-6 (given)"], "directory": "runs/x"}))
    told(Event("warning", {"text": "the cache was damaged"}))
    measure = {"mean": 0.6, "low": 0.5, "high": 0.7, "n": 10}
    told(Event("eval", {"row": {"time": 0.1}, "step": 0, "steps": 9}))  # nothing held out: nothing to tell
    told(Event("eval", {"row": {"accuracy": measure, "kl": {**measure, "low": None}}, "step": 0, "steps": 9}))
    assert out.getvalue().splitlines() == [
        "loss: [ℓ]",
        "lr: 1e-6 (given)",
        "run directory: runs/x",
        "",
        "warning: the cache was damaged",
        "step 0/9, held out: accuracy 0.600 [0.500, 0.700] · kl 0.600",
    ]


@pytest.mark.parametrize(("status", "said"), [("interrupted", "--resume runs/x"), ("finished", "runs/x/report.html")])
def test_the_end_says_what_to_do_next(plain, status, said):
    _, out, told = plain
    told(Event("done", {"status": status, "directory": "runs/x", "step": 7, "evaluation": {}}))
    assert said in out.getvalue()


@pytest.mark.parametrize("head,samples", [("lm", True), ("score", False)])
def test_a_reward_model_is_not_asked_to_write(plain, head, samples):
    _, out, told = plain
    told(Event("done", {"status": "finished", "directory": "runs/x", "step": 7, "evaluation": {}, "head": head}))
    assert ("logratio sample runs/x" in out.getvalue()) == samples and "logratio eval runs/x" in out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_live_line_stays_one_line(width):
    clock, out = Clock(), io.StringIO()
    with ProgressLines(
        Console(file=out, width=width, force_terminal=True, soft_wrap=True, legacy_windows=False), clock
    ) as told:
        told(Event("reference", {"done": 1, "of": 4}))
        for step in range(1, 40):
            clock.now += 10.0
            told(train(step))
            told._live.refresh()
    assert "\x1b[1A" not in out.getvalue()  # the cursor never goes up, as it would to redraw a second line
    shown = [line for line in out.getvalue().split("\r") if "step" in line]
    assert shown and all("left · loss 0.654" in line for line in shown[-3:])
