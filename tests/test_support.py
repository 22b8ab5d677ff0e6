"""What docs/support.md says of itself: the tests it leans on exist, and nothing is said to have run on a GPU."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "support.md").read_text(encoding="utf-8")


def test_every_test_it_names_is_there():
    named = set(re.findall(r"`(?:pytest )?(tests/[\w/]+\.py)`", PAGE))
    assert len(named) > 8 and all((ROOT / path).is_file() for path in named)


def test_nothing_is_said_to_have_run_on_a_gpu():
    features = PAGE.partition("## By architecture")[0].splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in features if line.startswith("| ")]
    on_gpu = [row[3] for row in rows[2:]]
    assert "never run by us on a GPU" in PAGE and len(on_gpu) > 10
    assert all(cell.startswith(("written", "counted on a CPU", "no")) for cell in on_gpu)
