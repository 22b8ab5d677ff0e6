"""Every silent bug of offline training is caught, by what the page in docs says, and that page leaves none out."""

import re
from pathlib import Path

import page
import pytest
from bugs import FAULTS

PLANTED = [
    pytest.param(
        fault,
        id=f"{fault.number}-{fault.what[:50].replace(' ', '_')}",
        marks=[pytest.mark.slow] if fault.slow else [],
    )
    for fault in FAULTS
]
DOCS = Path(__file__).parents[2] / "docs" / "faults.md"


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path, monkeypatch):
    """Wrong tokens and log-probs must not reach another test."""
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("fault", PLANTED)
def test_it_is_caught_and_named(fault, request, monkeypatch):
    fault.catcher.ready()
    fault.plant(monkeypatch)
    message = fault.catcher.caught(request)
    assert fault.says in message
    assert fault.says or fault.catcher.told.startswith("test: ")


@pytest.mark.parametrize("fault", PLANTED)
def test_without_it_nothing_is_found(fault, request):
    fault.catcher.healthy(request)


def test_the_page_lists_every_bug_with_what_catches_it():
    text = DOCS.read_text(encoding="utf-8")
    assert text == page.text()
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]
    assert set(numbers) >= {*range(1, 25), 27} and numbers == sorted(numbers)
