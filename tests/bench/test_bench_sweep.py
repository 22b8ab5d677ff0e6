"""The sweep's benchmark: its arithmetic, and its commands as they are typed."""

import pytest

from bench import sweep
from bench.workload import Workload


def test_costs_are_in_single_runs_and_a_pass_counts_once():
    took = {"run": 10.0, "run+pass": 14.0, "sweep": 26.0, "sweep+pass": 30.5}
    found = sweep.ratios({case: {"wall": seconds} for case, seconds in took.items()}, "wall")
    assert found == pytest.approx({"pass": 0.4, "cached": 2.6, "paid": 2.65, "further": 0.8})


def test_each_case_is_a_command_over_the_same_recipe(tmp_path):
    given = Workload(tmp_path, tmp_path / "model", "nano", "hh")
    words = {case: sweep.command(case, given, tmp_path / "out") for case in sweep.CASES}
    assert [command[3] for command in words.values()] == ["train", "train", "sweep", "sweep"]
    assert len({tuple(command[-len(sweep.SETTINGS) - 6 :]) for command in words.values()}) == 1
    assert f"objective.beta={sweep.BETAS}" in words["sweep"] and sweep.BETAS.count(",") == sweep.RUNS - 1
