"""The page in a real browser: drawn, silent, harmless, and no wider than a phone."""

import pytest
from report_runs import sample_rows

from logratio.report.page import write_report

pytestmark = pytest.mark.slow

HOSTILE = (
    "<script>window.planted = 1</script><img src=x onerror='window.planted = 2'><svg onload='window.planted = 3'>"
    "<a href='javascript:window.planted=4'>x</a><link rel=stylesheet href='https://planted.example/x.css'>"
    "<img src='https://planted.example/x.png'>\u202etxt.exe \ud800 " + "unbroken" * 80
)


@pytest.fixture
def hostile_page(run_dir):
    manifest = {
        "status": "failed",
        "error": HOSTILE,
        "versions": {HOSTILE: HOSTILE},
        "rows": [HOSTILE],
        "objective": {"name": HOSTILE, "formula": HOSTILE, "source": HOSTILE},
        "reference": {"kind": "start", "identity": HOSTILE, "description": HOSTILE},
    }
    samples = [{**row, "prompt": row["prompt"] + HOSTILE, "text": HOSTILE} for row in sample_rows()]
    return write_report(run_dir(manifest=manifest, samples=samples))


WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"


@pytest.mark.parametrize("width", [390, 1280])
def test_planted_text_runs_nothing_fetches_nothing_and_widens_nothing(browser, hostile_page, width):
    browser.open(hostile_page, width=width)
    browser.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert browser.evaluate("window.planted === undefined")
    assert browser.evaluate("document.querySelectorAll('main img, main link, main a[href^=javascript]').length") == 0
    assert [url for url in browser.requests if not url.startswith("data:")] == [hostile_page.as_uri()]
    scrolled, visible = browser.evaluate(WIDTHS)
    assert visible == width and scrolled <= visible


@pytest.mark.parametrize("dark", [False, True])
def test_curves_are_drawn_without_a_complaint_in_the_colours_of_the_scheme(browser, run_dir, dark):
    browser.open(write_report(run_dir()), width=1280, dark=dark)
    assert browser.complaints == []
    assert browser.evaluate("Bokeh.documents.length && Bokeh.documents[0].roots().length") == 12
    assert browser.evaluate("document.querySelectorAll('.canvas > div').length") == 12
    ink, back = browser.evaluate(
        "[...document.querySelectorAll('h1')].map((e) => getComputedStyle(e).color)"
        ".concat(getComputedStyle(document.body).backgroundColor)"
    )
    light = [sum(int(part) for part in colour[4:-1].split(",")) for colour in (ink, back)]
    assert (light[0] > light[1]) == dark
    painted, wanted = browser.evaluate(
        "(() => { const model = [...Bokeh.documents[0]._all_models.values()]"
        ".find((m) => m.tags.includes('tone:series-2')); const style = getComputedStyle(document.documentElement);"
        " return [model.line_color.value ?? model.line_color, style.getPropertyValue('--series-2').trim()]; })()"
    )
    assert painted == wanted


def test_the_sample_browser_shows_the_chosen_step(browser, run_dir):
    rows = sample_rows(prompts=2)
    browser.open(write_report(run_dir(samples=rows)), width=1280)
    shown = "[...document.querySelectorAll('[data-side=right] .text')].map((e) => e.textContent)"
    wanted = {step: [row for row in rows if row["step"] == step] for step in (200, 600)}
    for step in (600, 200, 600):
        browser.evaluate(
            f"(() => {{ const s = document.querySelector('select[data-choose=right]'); s.value = '{step}';"
            " s.dispatchEvent(new Event('change')); })()"
        )
        texts = browser.evaluate(shown)
        assert [text.startswith(row["text"]) for text, row in zip(texts, wanted[step], strict=True)] == [True, True]
        assert browser.evaluate("document.querySelector('[data-name=right]').textContent") == f"Step {step}"


def test_everything_that_can_be_used_shows_where_the_focus_is(browser, run_dir):
    browser.open(write_report(run_dir()), width=1280)
    for kind in ("nav a", "summary", "select", ".scroll"):
        browser.evaluate(f"document.querySelector('{kind}').focus({{focusVisible: true}})")
        assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", kind
