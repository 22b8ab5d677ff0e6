"""The page of win rates in a real browser: drawn, harmless, no wider than a phone, its answers opened by keyboard."""

import pytest
from report_pages import HOSTILE
from report_winrates import at, duels, result, write_folder

from logratio.report.winrate import write_winrate

pytestmark = pytest.mark.slow

LONG = f"{HOSTILE} {'unbroken' * 80}"
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
UNFOLD = "document.querySelectorAll('details').forEach((part) => { part.open = true; })"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    root = tmp_path_factory.mktemp("<script>window.planted=7<")
    names = ("runs/dpo", "start/model", "runs/ipo")
    sound = result(names, (0.0, 0.5, 1.0))
    rows = [row for heat in (0.0, 0.5, 1.0) for row in duels(names, heat)]
    planted = result((LONG, "b", "c"), judge=LONG, category=LONG)
    planted["at"] = [at((LONG, "b", "c"))]
    for pair in planted["at"][0]["pairs"]:
        pair["categories"] = {LONG: pair["rate"], f"{LONG}2": pair["rate"]}
    texts = {"prompt": LONG, "origin": LONG, "answer_a": LONG, "answer_b": LONG, "category": LONG}
    return {
        "sound": write_winrate(write_folder(root / "sound", sound, rows)),
        "hostile": write_winrate(
            write_folder(root / "hostile", planted, duels((LONG, "b", "c"), failed=LONG, **texts))
        ),
    }


@pytest.mark.parametrize("width", [390, 1280])
def test_planted_text_runs_nothing_fetches_nothing_and_widens_nothing(browser, pages, width):
    browser.open(pages["hostile"], width=width)
    browser.evaluate(UNFOLD)
    browser.settle()
    assert browser.evaluate("window.planted === undefined")
    assert browser.evaluate("document.querySelectorAll('main script, main img, main link, main [onfocus]').length") == 0
    assert [url for url in browser.requests if not url.startswith("data:")] == [pages["hostile"].as_uri()]
    assert browser.evaluate("/[\\u202a-\\u202e\\u2066-\\u2069]/.test(document.documentElement.textContent)") is False
    scrolled, visible = browser.evaluate(WIDTHS)
    assert visible == width and scrolled <= visible


@pytest.mark.parametrize("dark", [False, True])
def test_curves_and_tables_are_drawn_without_a_complaint_on_a_phone_too(browser, pages, dark):
    browser.open(pages["sound"], width=390, dark=dark)
    browser.evaluate(UNFOLD)
    browser.settle()
    assert browser.complaints == []
    assert browser.evaluate("document.querySelectorAll('.canvas').length") == 4  # by temperature, and a ranking at each
    assert browser.evaluate(
        "[...document.querySelectorAll('.canvas')].every((e) => e.querySelector('div') && e.clientHeight > 100)"
    )
    scrolled, visible = browser.evaluate(WIDTHS)
    assert scrolled <= visible == 390


def test_a_lost_answer_is_opened_by_keyboard_and_shows_both_texts(browser, pages):
    browser.open(pages["sound"], width=1280)
    assert browser.tab_to(".finding.bad .example > summary")
    shown = "[...document.activeElement.parentElement.querySelectorAll('.text')].filter((e) => e.checkVisibility())"
    assert browser.evaluate(f"{shown}.length") == 0
    browser.press("Enter")
    assert browser.evaluate(f"{shown}.map((e) => e.textContent)") == [
        "Question 3?",
        "first answer 3",
        "second answer 3",
    ]


def test_a_count_in_the_table_leads_to_its_answers(browser, pages):
    browser.open(pages["sound"], width=1280)
    browser.evaluate("document.querySelector('a[href$=\"-lost\"]').click()")
    browser.settle()
    assert browser.evaluate("document.querySelector(':target .what strong').textContent") == "Lost"
    assert 0 <= browser.evaluate("document.querySelector(':target').getBoundingClientRect().top") < 700
