"""docs/ppo.md: each detail names a test that is there, and each setting is one."""

import re
from pathlib import Path

from logratio.config import RunConfig
from logratio.objectives.ppo import PpoSettings
from logratio.train.keys import keys

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "ppo.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and line.rstrip(" |").endswith("`") and "`test_" in line
]


def test_every_named_test_exists():
    written = set(re.findall(r"^def (test_\w+)", "\n".join(p.read_text() for p in TESTS.rglob("test_*.py")), re.M))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 30 and not named - written, named - written


def test_every_setting_of_the_objective_is_on_the_page_and_none_that_is_not_one():
    known = {*PpoSettings.model_fields, *keys(RunConfig)}
    named = {name for row in ROWS for name in re.findall(r"`([a-z_.]+)`", row[2])}
    assert len(ROWS) > 30 and named <= known, named - known
    assert set(PpoSettings.model_fields) <= named, set(PpoSettings.model_fields) - named
