"""`logratio sweep` as a person meets it."""

import json
import os
import signal

import pytest
from commands import called

from logratio.cli.progress import ProgressLines
from logratio.train import api, finish
from small_files import write_model, write_pairs


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe over small files, with a cache of its own; pages of single runs are drawn in other tests."""
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(finish, "write_report", lambda run: None)
    monkeypatch.setattr(api, "write_report", lambda run: None)
    write_model(tmp_path / "model")
    write_pairs(tmp_path / "pairs.jsonl", 48)
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"model: {tmp_path / 'model'}\ndata: {tmp_path / 'pairs.jsonl'}\nobjective: {{name: dpo, beta: 0.3}}\n"
        "train: {batch_size: 16, lr: 2e-3}\neval: {samples: 0, holdout: 0.2}\nevery: {eval: 1.0}\n"
    )
    return file


def test_a_sweep_prints_each_run_and_then_the_comparison_and_where_it_is(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = called(
        capsys, "sweep", recipe, "--grid", "beta=0.05,0.5", "--output", tmp_path / "out", "--epochs", "0.7"
    )
    assert code == 0
    for number, value in enumerate(("0.05", "0.5"), 1):
        assert f"run {number} of 2: beta\u00a0{value} — {tmp_path / 'out' / f'beta-{value}'}" in out
    found = json.loads((tmp_path / "out" / "sweep.json").read_text())["runs"]
    lines = out.splitlines()
    assert [
        line.split()[-1] for line in lines if line.startswith("0.") and ("computed" in line or "cached" in line)
    ] == [
        "computed",
        "cached",
    ]
    assert max(len(line) for line in lines if line.startswith(("0.05 ", "0.5 ", "beta "))) <= 80
    shown = f"{found[1]['evaluation']['margin']['mean']:.2f}"
    assert any(line.startswith("0.5 ") and shown in line for line in lines)
    assert f"{tmp_path / 'out' / 'sweep.html'} shows the comparison" in out
    assert (tmp_path / "out" / "sweep.html").is_file()
    assert all(run["config"]["train"]["epochs"] == 0.7 for run in found)  # an option, over the recipe


def test_a_mistake_in_any_run_is_told_before_the_first_one_starts(recipe, tmp_path, capsys):
    code, out, err = called(capsys, "sweep", recipe, "--grid", "beta=0.1,0", "--output", tmp_path / "out")
    assert code == 2 and out == "" and not (tmp_path / "out").exists()
    assert err.startswith("logratio: `objective.beta` is 0, but must be a number > 0")
    assert "(at objective.beta=0)" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a sweep needs at least one --grid KEY=VALUE,VALUE"),
        (["--grid", "beta"], "is not KEY=VALUE,VALUE"),
        (["--grid", "beta=0.1,0.2", "--beta", "0.3"], "given both in --grid and by --objective.beta"),
        (["--grid", "beta=0.1,0.2", "--learning_rate", "1"], "write `train.lr: 1`"),
        (["--grid", "beta=0.1,0.1"], "two runs of the grid would be the same"),
    ],
)
def test_mistakes_are_one_message_and_code_2(recipe, words, said, tmp_path, capsys):
    code, _, err = called(capsys, "sweep", recipe, "--output", tmp_path / "out", *words)
    assert code == 2 and said in err and len(err.splitlines()) == 1


def test_resume_takes_nothing_beside_it_and_needs_a_sweep(recipe, tmp_path, capsys):
    code, _, err = called(capsys, "sweep", recipe, "--resume", tmp_path)
    assert code == 2 and "goes on with that sweep as it was asked for" in err
    code, _, err = called(capsys, "sweep", "--resume", tmp_path)
    assert code == 2 and "holds no sweep (sweep.json is missing)" in err


def test_ctrl_c_ends_with_130_and_the_command_that_goes_on_which_does(recipe, tmp_path, capsys, monkeypatch):
    tell = ProgressLines.__call__

    def press(self, event):
        tell(self, event)
        if event.kind == "train" and event.data["step"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ProgressLines, "__call__", press)
    words = ["sweep", recipe, "--grid", "beta=0.05,0.5", "--output", tmp_path / "out"]
    code, out, _ = called(capsys, *words)
    on = f"logratio sweep --resume {tmp_path / 'out'}"
    assert code == 130 and out.splitlines()[-1] == f"go on with: {on}"
    monkeypatch.setattr(ProgressLines, "__call__", tell)
    code, out, _ = called(capsys, *on.split()[1:])
    assert code == 0 and "run 1 of 2" in out
    assert {run["status"] for run in json.loads((tmp_path / "out" / "sweep.json").read_text())["runs"]} == {"finished"}
    code, out, _ = called(capsys, *words)
    assert code == 0 and "run 1 of 2" not in out and "computed" in out


def test_a_failed_run_ends_the_sweep_with_2_and_its_sentence(recipe, tmp_path, capsys):
    """Weights overflow after a step of 1e30."""
    code, out, _ = called(capsys, "sweep", recipe, "--grid", "lr=1e-3,1e30", "--output", tmp_path / "out")
    assert code == 2 and "failed: lr\u00a01e+30: " in out and "not finite" in out.split("failed: ")[1]
    assert f"tried again by: logratio sweep --resume {tmp_path / 'out'}" in out


@pytest.mark.parametrize("key", ["model", "reference"])
def test_a_model_that_is_missing_is_told_before_the_first_run_starts(recipe, tmp_path, capsys, key):
    there = tmp_path / "model"
    words = ["sweep", recipe, "--grid", f"{key}={there},{tmp_path / 'nowhere'}", "--output", tmp_path / "out"]
    code, _, err = called(capsys, *words)
    assert code == 2 and f'model "{tmp_path / "nowhere"}" could not be loaded' in err
    assert not (tmp_path / "out").exists()
