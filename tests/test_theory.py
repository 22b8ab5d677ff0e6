"""docs/theory.md is run as it stands: each step of the argument, in order, in one namespace."""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "docs" / "theory.md").read_text(encoding="utf-8")
STEPS = ["Gibbs", "Inversion", "Cancellation", "Loss", "Gradient"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def sections():
    """Return (heading, text) of each section, in order."""
    parts = re.split(r"^## (.+)\n", TEXT, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def test_the_steps_come_in_order():
    headings = [heading.partition(":")[0] for heading, _ in sections()]
    assert [heading for heading in headings if heading in STEPS] == STEPS


@pytest.mark.parametrize("section", sections(), ids=lambda section: section[0])
def test_every_step_asserts_what_it_says(section):
    blocks = FENCE.findall(section[1])
    assert blocks and all(kind == "python" and "assert " in body for kind, body in blocks)


def test_every_block_holds():
    names = {}
    for kind, body in FENCE.findall(TEXT):
        assert kind == "python"
        exec(compile(body, "docs/theory.md", "exec"), names)
