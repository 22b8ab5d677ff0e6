"""What a sweep costs, what it leaves, and how it goes on after whatever stopped it."""

import json
import multiprocessing
import os
import shutil
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from logratio import files
from logratio.errors import ConfigError, RunError
from logratio.logps import reference
from logratio.logps.policy import Policy
from logratio.sweep import page as sweep_page
from logratio.sweep.record import Given, given_of
from logratio.sweep.runs import sweep
from logratio.train import api, finish
from train.small_run import metrics, pairs, world, write_rows

BETAS = "objective.beta=0.05,0.1,0.5"
ROWS = 60
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["train.small_run", "transformers.models.llama.modeling_llama", "logratio.sweep.runs"])


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """A cache of the test's own, and blocks of 8 groups."""
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reference, "BLOCK", 8)


@pytest.fixture
def drawn():
    """Asks for the sweep's page."""


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    """Pages take most of the time of runs as small as these: a run's is not drawn here, a sweep's where it is read."""
    monkeypatch.setattr(finish, "write_report", lambda run: None)
    monkeypatch.setattr(api, "write_report", lambda run: None)
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(sweep_page, "write_page", lambda folder, document: None)


def asked(folder, *grids, **overrides):
    """What a sweep over a small model and 60 pairs is asked for; a third of an epoch is two steps."""
    common = {"train.batch_size": 8, "eval.holdout": 0.2, "tokens.max_length": 64, "every.eval": 0.5}
    own = {"train.epochs": 0.3, "eval.samples": 0, **overrides}
    lr = {} if any(grid.startswith("train.lr") for grid in grids) else {"train.lr": 1e-3}
    return Given({}, {**common, **lr, **world(folder, n=ROWS), **own}, list(grids))


def swept(folder, *grids, **overrides):
    return sweep(asked(folder, *grids, **overrides), folder / "out")


def weights(directory):
    return (directory / "model" / "model.safetensors").read_bytes()


def page(folder):
    return (folder / "sweep.html").read_text(encoding="utf-8")


def evaluation(directory):
    found = json.loads((directory / "evaluation.json").read_text())
    found.pop("before")
    return found


@pytest.fixture
def counts(monkeypatch):
    """Tokens that go forward through a model, groups scored to fill the reference's cache, bytes of weights hashed."""
    found = {"tokens": 0, "filled": 0, "hashed": 0}
    forward, score, sha256 = Policy.forward, reference.score, files.sha256_file

    def counted_forward(self, batch, needs):
        found["tokens"] += len(batch.tokens_T)
        return forward(self, batch, needs)

    def counted_score(policy, groups, **settings):
        found["filled"] += len(groups)
        return score(policy, groups, **settings)

    def counted_sha256(path):
        found["hashed"] += path.stat().st_size if path.suffix == ".safetensors" else 0
        return sha256(path)

    monkeypatch.setattr(Policy, "forward", counted_forward)
    monkeypatch.setattr(reference, "score", counted_score)
    monkeypatch.setattr(files, "sha256_file", counted_sha256)
    return found


def test_three_betas_cost_three_runs_and_one_reference_pass(tmp_path, counts):
    """Forward passes decide what a sweep costs; backward passes go with them. Samples would differ from run to run."""
    given = asked(tmp_path, BETAS)
    start = Path(given.overrides["model"])
    for file in start.iterdir():
        os.utime(file, (1e9, 1e9))

    def cost(output, call, *arguments):
        before = dict(counts)
        call(*arguments, tmp_path / output)
        return {name: counts[name] - before[name] for name in counts}

    first = cost("first", sweep, given)
    cached = cost("cached", sweep, given)
    single = cost("single", sweep, Given({}, given.overrides, ["objective.beta=0.2"]))
    changed = {**given.overrides, "train.lr": 1e-4}
    others = cost("others", sweep, Given({}, changed, ["objective=ipo,dpo_norm", "train.seed=7"]))
    assert single["tokens"] > 0 and cached["tokens"] == 3 * single["tokens"]
    assert (
        0 < first["tokens"] - cached["tokens"] < 2 * single["tokens"]
    )  # the reference pass, over rows a run leaves out
    few = 4  # which preflight looks at before the pass, others by another seed
    assert [part["filled"] for part in (first, cached, single, others)] == [ROWS + few, 0, 0, few]
    weights = (start / "model.safetensors").stat().st_size
    assert [part["hashed"] for part in (first, cached, single, others)] == [weights, 0, 0, 0]


def test_the_comparison_holds_the_numbers_of_the_runs_and_says_what_each_paid(tmp_path):
    done = swept(tmp_path, BETAS)
    assert done.status == "finished" and [run["name"] for run in done.runs] == ["beta-0.05", "beta-0.1", "beta-0.5"]
    written = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert written["runs"] == done.runs
    for run in done.runs:
        directory = tmp_path / "out" / run["name"]
        assert run["evaluation"] == evaluation(directory) and run["before"]["loss"]["mean"] == pytest.approx(0.693147)
        assert run["step"] == len([row for row in metrics(directory) if row["kind"] == "train"])
        assert run["seconds"] > 0
    assert [run["reference"] for run in done.runs] == ["computed", "cached", "cached"]
    assert len({run["evaluation"]["margin"]["mean"] for run in done.runs}) == 3


def test_each_run_is_what_the_same_recipe_gives_by_itself(tmp_path):
    done = swept(tmp_path, "objective.beta=0.5", "train.seed=0,1", **{"eval.samples": 1, "eval.max_new_tokens": 6})
    values = {"objective.beta": "0.5", "train.seed": "1"}
    (run,) = [run for run in done.runs if run["values"] == values]
    recipe = {**asked(tmp_path).overrides, **values, "eval.samples": 1, "eval.max_new_tokens": 6}
    alone = api.train(**recipe, output=tmp_path / "alone")
    assert metrics(alone.directory) == metrics(tmp_path / "out" / run["name"])
    assert weights(alone.directory) == weights(tmp_path / "out" / run["name"])


def test_an_objective_without_a_reference_says_so(tmp_path):
    done = swept(tmp_path, "objective=dpo,simpo")
    assert [run["reference"] for run in done.runs] == ["computed", "none"]


def test_finished_runs_are_passed_over_and_new_values_join_them(tmp_path):
    given = asked(tmp_path, "objective.beta=0.05,0.1")
    first = sweep(given, tmp_path / "out")
    wider = Given({}, given.overrides, [BETAS])
    begun = []

    def told(cell, *rest):
        begun.append(cell.name)
        return nullcontext(lambda event: None)

    second = sweep(wider, tmp_path / "out", listening=told)
    assert begun == ["beta-0.5"]
    assert second.runs[:2] == first.runs and second.status == "finished"
    narrow = sweep(given, tmp_path / "out")
    assert narrow.runs == first.runs
    assert [run["name"] for run in json.loads((tmp_path / "out" / "sweep.json").read_text())["others"]] == ["beta-0.5"]
    assert sweep(wider, tmp_path / "out").runs == second.runs


def test_a_changed_recipe_is_refused_with_what_changed_and_before_anything_runs(tmp_path):
    given = asked(tmp_path, "objective.beta=0.05")
    sweep(given, tmp_path / "out")
    other = Given({}, {**given.overrides, "train.epochs": 0.5, "tokens.max_length": 32}, ["objective.beta=0.1,0.05"])
    with pytest.raises(
        RunError, match=r"tokens.max_length was 64, now 32, train.epochs was 0.3, now 0.5\); put it back"
    ):
        sweep(other, tmp_path / "out")
    assert not (tmp_path / "out" / "beta-0.1").exists()
    (tmp_path / "out" / "sweep.json").unlink()
    with pytest.raises(RunError, match="holds a run that is not in .*sweep.json"):
        sweep(given, tmp_path / "out")


def test_a_run_that_fails_is_recorded_with_its_sentence_and_the_others_still_run(tmp_path, drawn):
    """A learning rate of 1e30 makes weights that overflow at the next step."""
    given = asked(tmp_path, "train.lr=1e-3,1e30,2e-3", **{"train.epochs": 0.5})
    done = sweep(given, tmp_path / "out")
    assert done.status == "failed" and [run["status"] for run in done.runs] == ["finished", "failed", "finished"]
    failed = done.runs[1]
    assert "not finite" in failed["error"] and failed["evaluation"] == {}
    manifest = json.loads((tmp_path / "out" / failed["name"] / "manifest.json").read_text())
    assert manifest["status"] == "failed" and manifest["error"] == failed["error"]
    assert f"The run with lr\u00a0{failed['values']['train.lr']} failed: " in page(tmp_path / "out")
    again = sweep(given, tmp_path / "out")
    assert [run["status"] for run in again.runs] == ["finished", "failed", "finished"]


def test_data_that_cannot_be_read_fails_each_run_and_mended_data_lets_them_run(tmp_path):
    given = asked(tmp_path, "objective.beta=0.1,0.2", data=str(tmp_path / "later.jsonl"))
    first = sweep(given, tmp_path / "out")
    assert [run["status"] for run in first.runs] == ["failed", "failed"] and "later.jsonl" in first.runs[0]["error"]
    write_rows(tmp_path / "later.jsonl", pairs(40))
    assert sweep(given, tmp_path / "out").status == "finished"


def stop_at(number, kind, step, name):
    """Listeners of which that of run `number` sends this process a signal at an event."""

    def listening(cell, entry, at, of):
        def listen(event):
            if at == number and event.kind == kind and event.data.get("step") == step:
                os.kill(os.getpid(), getattr(signal, name))

        return nullcontext(listen)

    return listening


def test_ctrl_c_stops_after_the_checkpoint_and_the_same_sweep_goes_on_as_if_nothing_had_happened(tmp_path, drawn):
    given = asked(tmp_path, "objective.beta=0.1,0.5", **{"train.epochs": 0.8})
    whole = sweep(given, tmp_path / "whole")
    shutil.rmtree(tmp_path / "cache")
    stopped = sweep(given, tmp_path / "out", listening=stop_at(1, "train", 3, "SIGINT"))
    assert stopped.status == "interrupted" and [run["status"] for run in stopped.runs] == ["interrupted", "waiting"]
    assert stopped.runs[0]["step"] == 3 and not (tmp_path / "out" / "beta-0.5").exists()
    assert "<code>logratio sweep --resume out</code> goes on from there" in page(tmp_path / "out")
    done = sweep(given_of(tmp_path / "out"), tmp_path / "out")
    assert done.status == "finished"
    assert [run["evaluation"] for run in done.runs] == [run["evaluation"] for run in whole.runs]
    assert [run["reference"] for run in done.runs] == ["computed", "cached"]  # by the attempt that was stopped


def test_a_sweep_in_use_or_of_several_processes_is_refused(tmp_path, monkeypatch):
    given = asked(tmp_path, "objective.beta=0.1,0.5")

    def inside(cell, entry, number, of):
        with pytest.raises(RunError, match="is in use by another process"):
            sweep(given, tmp_path / "out")
        return nullcontext(lambda event: None)

    assert sweep(given, tmp_path / "out", listening=inside).status == "finished"
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="a sweep runs in one process, and there are 2"):
        sweep(given, tmp_path / "out")


def attempt(given, output, cache, kill_at=None):
    """Sweep in a process of its own, which kills itself without warning in the middle of a run."""
    os.environ["LOGRATIO_CACHE"] = str(cache)
    reference.BLOCK = 8
    torch.set_num_threads(1)
    sweep(given, output, **({} if kill_at is None else {"listening": stop_at(*kill_at, "SIGKILL")}))


@pytest.mark.slow
def test_a_killed_sweep_ends_as_an_undisturbed_one(tmp_path):
    given = asked(tmp_path, "objective.beta=0.1,0.5", **{"train.epochs": 1, "eval.samples": 1})
    whole = sweep(given, tmp_path / "whole")
    for kill_at in ((1, "train", 2), (1, "eval", 3), (2, "train", 5), (2, "done", 6)):
        process = FORKS.Process(target=attempt, args=(given, tmp_path / "out", tmp_path / "killed", kill_at))
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL, kill_at
    done = sweep(given_of(tmp_path / "out"), tmp_path / "out")
    assert done.status == "finished"
    for one, other in zip(done.runs, whole.runs, strict=True):
        assert one["evaluation"] == other["evaluation"] and one["reference"] == other["reference"]
        left = [tmp_path / name / one["name"] for name in ("out", "whole")]
        assert metrics(left[0]) == metrics(left[1])
        assert weights(left[0]) == weights(left[1])
