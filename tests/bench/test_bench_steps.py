"""Each step's share of the matrix peak, by hand, and of a real run."""

import json

import pytest

from bench import steps, work, workload
from bench.work import Lengths


def test_a_share_is_the_steps_own_work_over_the_peak_around_it(tmp_path):
    given = workload.Workload(tmp_path, tmp_path / "model", "nano", "hh")
    groups = [{"prompt": [1] * n, "responses": [[2] * 3, [2] * n]} for n in (4, 5, 6, 7)]
    given.tokens.write_text(json.dumps({"groups": groups, "order": [2, 0, 3, 1], "groups_a_step": 2}))
    later = work.training(given.shape, [Lengths(7, (3, 7)), Lengths(5, (3, 5))]).useful
    rows = [((9.0, 9.0, 0.0, 1.0), 1e9), ((2.0, 3.0, 0.5, 7.0), later / 1.5)]
    lines = steps.table(given, rows)
    assert lines[3] == f"| 2 | 2.00 | 3.00 | 0.50 | 7 | {later / 1.5e9:.0f} | 75.0 % |"
    assert lines[-1] == "median share of the steps after the first: 75.0 % [75.0, 75.0]"


def test_every_step_of_a_run_is_watched(shared_data):
    given = workload.write("nano", "hh", 2)
    rows = steps.watched(given, "fp32")
    assert len(rows) == 2
    for (seconds, program, kernel, _), peak in rows:
        assert seconds > 0 and program + kernel > 0 and peak > 1e9
    assert len(steps.table(given, rows)) == 5


def test_an_unknown_size_is_refused(capsys):
    with pytest.raises(SystemExit):
        steps.main(["--size", "1t"])
    assert "invalid choice: '1t'" in capsys.readouterr().err
