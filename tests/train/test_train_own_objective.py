"""A run with an objective from a person's own file."""

import json
import os
import signal

import pytest
import small_run

from logratio import objectives

MINE = '''
import torch
from torch import Tensor
from logratio.objectives.views import PairLogps


def cubic(pairs: PairLogps, *, beta: float = 0.2, power: float = 3.0) -> Tensor:
    """A soft hinge to a power."""
    return torch.nn.functional.softplus(-beta * pairs.difference) ** power
'''


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def lines(tmp_path, *, stop_at=None, **arguments):
    """Run, and return what was printed and warned of; stopped at a step if asked."""
    said = []

    def listen(event):
        said.extend(event.data.get("lines", ()))
        said.extend([event.data["text"]] if event.kind == "warning" else [])
        if event.kind == "train" and event.data["step"] == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    small_run.run(output=str(tmp_path / "run"), cache=tmp_path / "cache", on_event=listen, **arguments)
    return said


def test_its_file_and_hash_are_printed_and_recorded_and_a_change_is_told(mine, tmp_path):
    recipe = {**small_run.world(tmp_path), "objective": {"name": f"{mine}:cubic", "power": 2.0}}
    origin = objectives.load(f"{mine}:cubic").origin
    said = lines(tmp_path, **recipe, stop_at=3)
    assert f"from: {origin}" in said
    manifest = tmp_path / "run" / "manifest.json"
    assert json.loads(manifest.read_text())["objective"]["origin"] == origin
    mine.write_text(MINE.replace("0.2", "0.3"))
    again = lines(tmp_path, resume=str(tmp_path / "run"), **recipe)
    assert any("the objective is not what this run began with" in line for line in again)


def test_a_run_without_a_name_is_called_after_the_function_not_the_path(mine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_run.run(**small_run.world(tmp_path), objective=f"{mine}:cubic", cache=tmp_path / "cache")
    (made,) = (tmp_path / "runs").iterdir()
    assert made.name.endswith("start-mine-cubic") and (made / "model").is_dir()
