"""The benchmark of the start: every phase is found, in order, with and without preflight."""

import json

import pytest

from bench import startup


@pytest.mark.slow
def test_every_phase_of_a_real_start_is_found_in_order(capsys):
    assert startup.main(["--size", "nano", "--repeats", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["phase"] for row in found["phases"]] == list(startup.PHASES)
    reached = [row["reached"] for row in found["phases"]]
    assert reached == sorted(reached)
    begins = found["first step begins"]
    assert 1 < begins["without"] < begins["with"] < 120
    assert found["help"][1] < 2
