"""What docs/judges.md says is run: its recipes, its function, its commands."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from logratio.cli.app import main
from logratio.config import RolloutConfig, RunConfig
from logratio.models.load import load_model
from logratio.models.save import save_model
from logratio.rollout import http
from logratio.rollout.engines import open_engine
from logratio.rollout.judge import Asked
from logratio.rollout.judges.function import FunctionJudge, function_named
from small_files import write_model, write_pairs

PAGE = (Path(__file__).parents[1] / "docs" / "judges.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def blocks(language):
    return [body for kind, body in BLOCKS if kind == language]


def test_every_recipe_names_a_judge():
    kinds = ("function", "reward_model", "implicit", "url")
    recipes = [RunConfig(model="m", data="d", **yaml.safe_load(block)) for block in blocks("yaml")]
    judges = [recipe.judge for recipe in recipes[:4]]
    assert len(recipes) == 5 and open_engine(recipes[4].rollout.engine).description.startswith("the-model-that")
    assert [next(kind for kind in kinds if getattr(judge, kind)) for judge in judges] == list(kinds)
    assert judges[3].price == (0.5, 1.5) and judges[3].form == "compare"


def test_no_recipe_opens_vllm_in_process_and_a_servers_weights_serve_one_round():
    assert "no key of a recipe opens it" in PAGE and "with `rounds: 1` only" in PAGE
    rollout = yaml.safe_load(blocks("yaml")[4])["rollout"]
    assert type(open_engine(RolloutConfig(**rollout).engine)).__name__ == "CompletionsEngine"
    for wrong in ({"rounds": 2}, {"rounds": None}, {"engine": "vllm"}, {"engine": {"vllm": "m", "model": "m"}}):
        with pytest.raises(ValidationError):
            RolloutConfig(**{**rollout, **wrong})


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with what the page's commands name."""
    (block,) = blocks("python")
    (tmp_path / "rewards.py").write_text(block, encoding="utf-8")
    write_pairs(tmp_path / "pairs.jsonl", 12)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_function_is_a_verifiable_reward_in_ten_lines(place):
    (block,) = blocks("python")
    assert len(block.strip().splitlines()) <= 10
    judge = FunctionJudge(function_named("rewards.py:score"), "rewards.py:score")
    texts = ("It is 4.", "It is 5.", "4", "Four.", "4 is not 5")
    assert judge([Asked("2+2=", texts, {"answer": "4"})])[0].scores == (1.0, 0.0, 1.0, 0.0, 0.0)


def test_the_commands_run(place, capsys):
    fresh = load_model(str(write_model(place / "my-model")), head="score")
    save_model(fresh, fresh.tokenizer, place / "my-reward")
    write_pairs(place / "reference-samples.jsonl", 8, 1)
    rows = [json.loads(line) | {"answer": "4"} for line in (place / "pairs.jsonl").read_text().splitlines()]
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    commands = [shlex.split(line)[1:] for block in blocks("bash") for line in block.splitlines()]
    assert [words[0] for words in commands] == ["eval", "eval"]
    for words in commands:
        with pytest.raises(SystemExit) as end:
            main(words)
        assert not end.value.code, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "now average 0" in said and "length_baseline" in said and "verdicts: verdicts.jsonl" in said
    assert len((place / "verdicts.jsonl").read_text().splitlines()) == 12
    assert json.loads((place / "my-reward" / "reward_offset.json").read_text())["prompts"] == 8


def test_figures_of_the_protocol_are_those_of_the_code():
    said = " ".join(PAGE.split())
    assert f"up to {http.LONGEST_WAIT:.0f} s" in said and f"{http.LARGEST >> 20} MiB" in said
    named = re.search(r"broken answers \(([\d, ]+), 5xx", said)[1]
    assert {int(code) for code in named.split(",")} == {code for code in http._PASSING if code < 500}
    refused = re.search(r"path or model \((\d+)–(\d+)\) stops the run", said)
    assert set(range(int(refused[1]), int(refused[2]) + 1)) == http._HOPELESS
