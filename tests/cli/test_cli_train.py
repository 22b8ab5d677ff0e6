"""`logratio train` and what follows it, run on a tiny model as a person would."""

import json

import pytest
import torch.distributed as dist
import yaml
from commands import called, furnished
from transformers import AutoModelForCausalLM, AutoTokenizer

from logratio import objectives
from logratio.cli.app import main
from logratio.cli.train import _settings
from logratio.config import RunConfig
from logratio.train.keys import keys

QUICK = ["--eval.max_new_tokens", "8", "--eval.samples", "2", "--every.eval", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, pairs, and a finished run."""
    folder = furnished(tmp_path_factory.mktemp("place"), 64)
    given = ["--model", str(folder / "model"), "--data", str(folder / "pairs.jsonl"), "--output", str(folder / "run")]
    with pytest.raises(SystemExit) as caught:
        main(["train", *given, "--batch-size", "16", "--lr", "3e-3", *QUICK])
    assert caught.value.code == 0
    return folder


def test_help_shows_every_key_with_default_rule_and_description(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    code, out, _ = called(capsys, "train", "--help")
    table = keys(RunConfig)
    del table["objective"], table["version"]
    table |= keys(objectives.load("dpo").settings, "objective.")
    for key in table.values():
        line = next(line for line in out.splitlines() if f"--{key.path} " in line)
        assert key.description and key.description in line
        if key.default not in (None, "none", "false"):
            assert f"[default: {key.default}]" in line
        if key.kind in ("integer", "number"):
            assert key.rule in line
        assert all(choice in line for choice in key.choices)
    assert "[default: dpo]" in out and all(name in out for name in objectives.names())


def test_a_setting_of_several_objectives_is_told_once_with_who_has_it_and_who_means_something_else():
    told = {key.path: key.description for key in _settings()}
    assert len(list(_settings())) == len(told)
    for name in objectives.names():
        assert {key.path for key in keys(objectives.load(name).settings, "objective.").values()} <= set(told)
    assert told["objective.beta"].startswith("dpo, ") and "another meaning or default in " in told["objective.beta"]
    assert told["objective.desirable_weight"].endswith("kto: λ_D, weight of responses labelled good")


@pytest.mark.parametrize("width", [80, 120])
def test_help_fits_the_terminal(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    assert max(map(len, called(capsys, "train", "--help")[1].splitlines())) <= width


def test_a_run_leaves_a_model_that_transformers_loads(place):
    model = AutoModelForCausalLM.from_pretrained(place / "run" / "model")
    tokenizer = AutoTokenizer.from_pretrained(place / "run" / "model")
    assert model.config.vocab_size == len(tokenizer)


def test_every_form_of_option_reaches_the_recipe(place, capsys):
    recipe = place / "recipe.yaml"
    recipe.write_text("objective: {name: dpo, beta: 0.5}\ntrain: {lr: 1e-3, epochs: 9}\nkeep: {last: 5}\n")
    data = str(place / "pairs.jsonl")
    words = [recipe, "--model", place / "model", "--data", data, "--data", f"{{path: {data}, weight: 2}}"]
    words += ["--output", place / "run2", "--beta", "0.2", "--train.lr=2e-3", "--epochs", "0.1", "--lora", "4"]
    words += ["--tokens.max-length", "32", "--train.checkpointing", "--map", "chosen=chosen", "--max-bad-rows", "0.5"]
    words += ["--template.kwargs.enable_thinking", "false", "--lora.targets", "[q_proj, v_proj]", *QUICK]
    code, out, _ = called(capsys, "train", *words)
    assert code == 0 and "0.002 (given)" in out
    config = yaml.safe_load((place / "run2" / "config.yaml").read_text())
    assert config["objective"].items() >= {"name": "dpo", "beta": 0.2, "label_smoothing": 0.0}.items()
    assert [part["weight"] for part in config["data"]] == [1.0, 2.0]
    assert (config["train"]["lr"], config["train"]["epochs"], config["train"]["checkpointing"]) == (2e-3, 0.1, True)
    assert config["lora"] == {"r": 4, "alpha": 8.0, "targets": ["q_proj", "v_proj"], "dropout": 0.0}
    assert config["tokens"]["max_length"] == 32 and config["keep"]["last"] == 5
    assert config["rows"]["map"] == {"chosen": "chosen"} and config["rows"]["max_bad_rows"] == 0.5
    assert config["template"]["kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.yaml", "b.yaml"], "b.yaml is a second recipe beside a.yaml"),
        (["pairs.jsonl"], "data is given with --data"),
        (["--per-device-train-batch-size", "4"], "`per_device_train_batch_size` has no counterpart"),
        (["--learning_rate=1e-5"], "write `train.lr: 1e-5`"),
        (["--bf16"], "use train.precision"),
        (["--map", "chosen"], 'has no "="'),
        (["--lora.targets", "[q_proj"], "is not valid YAML"),
        (["--resume", "/nowhere"], "/nowhere holds no run"),
        (["--resume", "/nowhere", "--lr", "1"], "so --train.lr cannot be given"),
        (["--resume", "auto", "--model", "m", "--data", "d"], "--output"),
    ],
)
def test_mistakes_are_answered_before_anything_loads(words, said, capsys):
    code, _, err = called(capsys, "train", *words)
    assert code == 2 and said in err


def test_a_used_directory_is_not_overwritten_and_says_how_to_continue(place, capsys):
    given = ["--model", place / "model", "--data", place / "pairs.jsonl", "--output", place / "run"]
    code, _, err = called(capsys, "train", *given)
    assert code == 2 and f"--resume {place / 'run'}" in err


def test_a_finished_run_is_not_loaded_to_be_continued_and_the_process_group_is_left(place, capsys, tmp_path):
    """NCCL warns at exit of a group that was not left; gloo stands in for it here, with one process."""
    (place / "model").rename(place / "away")
    before = (place / "run" / "model" / "model.safetensors").stat().st_mtime_ns
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        code, out, _ = called(capsys, "train", "--resume", place / "run")
    finally:
        (place / "away").rename(place / "model")
    assert code == 0 and f"{place / 'run'} finished already, after " in out
    assert f"--model {place / 'run' / 'model'}" in out
    assert (place / "run" / "model" / "model.safetensors").stat().st_mtime_ns == before
    assert not dist.is_initialized()


def test_the_model_of_a_run_that_did_not_finish_is_not_exported_but_the_remedy_told(place, capsys, tmp_path):
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "config.yaml").write_text((place / "run" / "config.yaml").read_text())
    code, _, err = called(capsys, "export", tmp_path / "cut", "--output", tmp_path / "out")
    assert code == 2 and f"finish it with: logratio train --resume {tmp_path / 'cut'}" in err
    assert not (tmp_path / "out").exists()


def test_eval_prints_json_alone(place, capsys):
    ask = ["eval", place / "run", "--data", place / "pairs.jsonl", "--samples", "4", "--max-new-tokens", "8"]
    code, out, _ = called(capsys, *ask, "--json")
    result = json.loads(out)
    assert code == 0 and {"accuracy", "margin", "kl", "about"} <= set(result)
    assert {"mean", "low", "high", "n"} <= set(result["accuracy"])
    code, out, _ = called(capsys, *ask)
    assert code == 0 and all(name in out for name in result if name != "about")


def test_eval_without_a_reference_says_how_to_name_one_and_lists_only_what_it_measured(place, capsys):
    ask = ["eval", place / "model", "--data", place / "pairs.jsonl", "--samples", "2", "--max-new-tokens", "4"]
    code, out, _ = called(capsys, *ask)
    assert code == 0 and "name one with --reference" in out
    assert "nll_chosen_per_token" in out and "logratio_chosen" not in out and "kl" not in out.split()


def test_sample_shows_policy_beside_reference(place, capsys):
    code, out, _ = called(
        capsys, "sample", place / "run", "--max-new-tokens", "4", "--prompt", "Review the plot of film3 :"
    )
    assert code == 0 and "film3" in out and "policy" in out and "reference" in out


def test_export_and_report_print_where_they_wrote(place, capsys):
    code, out, _ = called(capsys, "export", place / "run", "--output", place / "out")
    assert code == 0 and (place / "out" / "model.safetensors").is_file() and str(place / "out") in out
    (place / "run" / "report.html").unlink()
    code, out, _ = called(capsys, "report", place / "run")
    assert code == 0 and (place / "run" / "report.html").is_file() and "report.html" in out


def test_an_objective_of_one_s_own_takes_its_settings_from_the_command_line(place, capsys):
    mine = place / "mine.py"
    mine.write_text(
        "from torch.nn.functional import softplus\n"
        "from logratio.objectives.views import PairLogps\n\n\n"
        "def steep(pairs: PairLogps, *, slope: float = 0.1):\n"
        '    """DPO by another name."""\n'
        "    return softplus(-slope * pairs.difference)\n"
    )
    words = ["--model", place / "model", "--data", place / "pairs.jsonl", "--output", place / "own"]
    code, out, _ = called(capsys, "train", *words, "--objective", f"{mine}:steep", "--objective.slope", "0.3", *QUICK)
    assert code == 0 and f"from: {mine}, sha256 " in out and "slope 0.3" in out
    code, _, err = called(capsys, "train", *words, "--objective", f"{mine}:steap")
    assert code == 2 and "defines no steap" in err


def test_an_unknown_objective_is_answered_with_the_nearest(place, capsys):
    words = ["--model", place / "model", "--data", place / "pairs.jsonl"]
    code, _, err = called(capsys, "train", *words, "--objective", "simp0")
    assert code == 2 and 'objective "simp0" does not exist (your own is PATH.py:FUNCTION); did you mean "simpo"?' in err
