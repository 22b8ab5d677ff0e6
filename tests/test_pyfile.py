"""Code that a recipe names: found where it lies, run under a name of its own, refused alike for judge and objective."""

import sys

import pytest

from logratio.errors import ConfigError
from logratio.objectives import load
from logratio.pyfile import named
from logratio.rollout.judges.function import function_named

FILES = {
    "own": """
from __future__ import annotations
from dataclasses import dataclass
from math import tau

@dataclass
class Mark:
    value: float = tau

def score(prompts, responses, rows):
    return [Mark().value] * len(responses)
""",
    "broken": "1/0",
    "needy": "import no_such_thing",
    "careless": "open('no-such-table.csv')",
}
REFUSALS = {
    "absent_file.py:score": r"absent_file\.py cannot be read \(No such file or directory\); check the path",
    "own.py:scores": r"own\.py defines no scores; it defines Mark, score\.",
    "broken.py:score": r"broken\.py fails when it is run, ZeroDivisionError: division by zero; mend it",
    "needy.py:score": r"needy\.py imports no_such_thing, which is neither installed nor in .*; install it",
    "careless.py:score": r"careless\.py fails when it is run, FileNotFoundError",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name, code in FILES.items():
        (tmp_path / f"{name}.py").write_text(code)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "own.py").write_text("def score(): return 2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # taken back afterwards


def test_a_file_is_run_as_it_is_now_and_two_of_one_name_are_two(place, tmp_path):
    first, other = named("own.py:score", "judge"), named("other/own.py:score", "judge")
    assert first((), "ab", ()) == [pytest.approx(6.283, abs=1e-3)] * 2 and other() == 2
    assert first.__module__ != other.__module__ and named("own:score", "judge").__module__ == "own"
    (tmp_path / "own.py").write_text("def score(): return 3")
    assert named("own.py:score", "judge")() == 3


def test_a_file_imports_what_lies_beside_it_and_nobody_else_does_afterwards(tmp_path, monkeypatch):
    (tmp_path / "beside_rewards.py").write_text("HALF = 0.5")
    (tmp_path / "rewards.py").write_text("from beside_rewards import HALF\ndef score(): return HALF")
    (tmp_path / "failing.py").write_text("1/0")
    monkeypatch.delitem(sys.modules, "beside_rewards", raising=False)
    path = list(sys.path)
    assert named(f"{tmp_path}/rewards.py:score", "judge")() == 0.5
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        named(f"{tmp_path}/failing.py:score", "judge")
    assert sys.path == path


@pytest.mark.parametrize("name", REFUSALS)
def test_a_judge_and_an_objective_are_refused_in_the_same_words(place, name):
    with pytest.raises(ConfigError, match=f"^judge {name}: {REFUSALS[name]}"):
        function_named(name)
    with pytest.raises(ConfigError, match=f"^objective {name}: {REFUSALS[name]}"):
        load(name)


def test_a_module_that_is_not_there_is_told_from_one_that_it_needs(place, tmp_path):
    with pytest.raises(ConfigError, match=f"no module absent_rewards, neither installed nor in {tmp_path}"):
        named("absent_rewards:score", "judge")
    with pytest.raises(ConfigError, match="needy imports no_such_thing"):
        named("needy:score", "judge")
    with pytest.raises(ConfigError, match='judge "score" names no function; write module:name or file.py:name'):
        named("score", "judge")
