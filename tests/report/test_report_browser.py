"""The pages in a real browser: drawn, silent, harmless, by keyboard alone, and no wider than a phone."""

import json

import pytest
from report_beside import AUDIT, FINDINGS, PREFLIGHT, TEXTS, document, pair_rows, write_beside, write_rounds
from report_pages import HOSTILE
from report_runs import sample_rows, write_run

from logratio.findings import Drawing, Example, Finding
from logratio.report.audit import write_audit
from logratio.report.compare import write_comparison
from logratio.report.page import write_report

pytestmark = pytest.mark.slow

HOSTILE = f"{HOSTILE} {'unbroken' * 80}"

WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
UNFOLD = "document.querySelectorAll('details').forEach((part) => { part.open = true; })"


def hostile_finding(level, kind):
    values = [1.0, -2.0]
    drawing = Drawing(
        kind, HOSTILE, HOSTILE, HOSTILE, values if kind in ("lines", "points") else [HOSTILE, "a"], {}, HOSTILE
    )
    drawing = Drawing(**{**vars(drawing), "series": {HOSTILE: values, f"{HOSTILE}2": [0.5, None]}})
    examples = [Example(HOSTILE, HOSTILE, {HOSTILE: HOSTILE})]
    return Finding(f"{HOSTILE}{kind}", level, HOSTILE, HOSTILE, {HOSTILE: HOSTILE, "n": 3}, drawing, examples, 0.1)


KINDS = {"lines": "fine", "points": "note", "bars": "look", "heat": "stop"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Every kind of page, each as it comes and with planted text in whatever it shows, by name."""
    root = tmp_path_factory.mktemp("<script>window.planted=7<")  # file names are data too
    sound = write_rounds(write_beside(write_run(root / "dpo", samples=mixed_samples())), ["the start"] * 3)
    other = write_beside(write_run(root / "dpo <b onclick=1>"))
    manifest = {
        "status": "failed",
        "error": HOSTILE,
        "versions": {HOSTILE: HOSTILE},
        "rows": [HOSTILE],
        "objective": {"name": HOSTILE, "formula": HOSTILE, "source": HOSTILE},
        "reference": {"kind": "start", "identity": HOSTILE, "description": HOSTILE},
    }
    samples = [{**row, "prompt": row["prompt"] + HOSTILE, "text": HOSTILE} for row in sample_rows()]
    found = [hostile_finding(level, kind) for kind, level in KINDS.items()]
    pairs = [{**row, "prompt": HOSTILE, "chosen": HOSTILE, "rejected": HOSTILE} for row in pair_rows()]
    planted = write_run(root / "planted", manifest=manifest, samples=samples, train=[], evals=[])
    write_rounds(planted, [HOSTILE, "the same"])
    write_beside(planted, preflight=found, audit=found, findings=found, where=found, pairs=pairs)
    audited = {**document(found), "data": HOSTILE, "date": HOSTILE, HOSTILE: HOSTILE}
    return {
        "run": write_report(sound),
        "audit": write_audit(json.loads(json.dumps(document())), root / "audit.html"),
        "comparison": write_comparison([sound, other], root / "comparison.html"),
        "hostile run": write_report(planted),
        "hostile audit": write_audit(json.loads(json.dumps(audited)), root / "hostile audit.html"),
        "hostile comparison": write_comparison([sound, planted], root / "hostile comparison.html"),
    }


def mixed_samples():
    """Samples in several scripts, of the prompts that held-out pairs have."""
    return [
        {"step": step, "prompt": row["prompt"], "index": 0, "text": text, "ended": True}
        for row in pair_rows()[:5]
        for step, text in ((0, row["rejected"]), (300, f"{row['chosen']} {row['rejected']}"), (600, row["chosen"]))
    ]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["hostile run", "hostile audit", "hostile comparison"])
def test_planted_text_runs_nothing_fetches_nothing_and_widens_nothing(browser, pages, name, width):
    page = pages[name]
    browser.open(page, width=width)
    browser.evaluate(UNFOLD)
    browser.settle()
    assert browser.evaluate("window.planted === undefined")
    assert browser.evaluate("document.querySelectorAll('main img, main link, main a[href^=javascript]').length") == 0
    assert browser.evaluate("document.querySelectorAll('main script, main [onfocus], main b').length") == 0
    assert [url for url in browser.requests if not url.startswith("data:")] == [page.as_uri()]
    assert not [said for said in browser.complaints if "Bokeh" in said]
    assert browser.evaluate("/[\\u202a-\\u202e\\u2066-\\u2069]/.test(document.documentElement.textContent)") is False
    scrolled, visible = browser.evaluate(WIDTHS)
    assert visible == width and scrolled <= visible


@pytest.mark.parametrize("name", ["run", "audit", "comparison"])
@pytest.mark.parametrize("dark", [False, True])
def test_pages_are_drawn_without_a_complaint_on_a_phone_too(browser, pages, name, dark):
    browser.open(pages[name], width=390, dark=dark)
    browser.evaluate(UNFOLD)
    browser.settle()
    assert browser.complaints == []
    assert browser.evaluate(
        "[...document.querySelectorAll('.canvas')].every((e) => e.querySelector('div') && e.clientHeight > 100)"
    )
    scrolled, visible = browser.evaluate(WIDTHS)
    assert scrolled <= visible == 390
    narrow = "[...document.querySelectorAll('.bk-Figure')].filter((e) => e.getBoundingClientRect().width < 200).length"
    assert browser.evaluate(narrow) == 0  # those that were folded away when the page came, too


@pytest.mark.parametrize("dark", [False, True])
def test_curves_have_the_colours_of_the_scheme(browser, pages, dark):
    browser.open(pages["run"], width=1280, dark=dark)
    drawn = browser.evaluate("document.querySelectorAll('.canvas').length")
    assert browser.evaluate("Bokeh.documents[0].roots().length") == drawn > 15
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


CONTRAST = """
(() => {
  const rgba = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const part = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = (c) => 0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2]);
  const behind = (e) => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const e = node.parentElement;
    if (!node.textContent.trim() || !e.checkVisibility() || e.closest("script, style, .canvas, .skip")) continue;
    const style = getComputedStyle(e);
    const back = behind(e);
    const ink = over(rgba(style.color), back);
    const [high, low] = [light(ink), light(back)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    count += 1;
    if (ratio < (large ? 3 : 4.5)) bad.push([e.className || e.tagName, node.textContent.slice(0, 40), ratio]);
  }
  return [count, bad];
})()
"""


@pytest.mark.parametrize("name", ["run", "audit", "comparison"])
@pytest.mark.parametrize("dark", [False, True])
def test_every_visible_word_has_contrast(browser, pages, name, dark):
    browser.open(pages[name], width=1280, dark=dark)
    browser.evaluate(UNFOLD)
    count, bad = browser.evaluate(CONTRAST)
    assert count > 60 and bad == []


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


ORDER = "[...document.querySelectorAll('.sample')].filter((e) => !e.hidden).map((e) => Number(e.dataset.change))"


def test_prompts_are_found_and_put_in_order_by_keyboard_alone(browser, pages):
    browser.open(pages["run"], width=1280)
    browser.tab_to("input[data-search]")
    browser.type("电影")
    shown = browser.evaluate(
        "[...document.querySelectorAll('.sample')].filter((e) => !e.hidden).map((e) => e.textContent)"
    )
    assert shown and all("电影" in text for text in shown)
    holding = browser.evaluate(
        "[...document.querySelectorAll('.sample')].filter((e) => e.textContent.includes('电影')).length"
    )
    assert browser.evaluate(COUNT) == f"{len(shown)} shown of {holding} found in {browser.evaluate(ALL)} prompts"
    browser.evaluate("document.querySelector('input[data-search]').select()")
    browser.press("Backspace")
    assert browser.evaluate(COUNT) == f"8 shown of {browser.evaluate(ALL)} prompts"
    browser.tab_to("select[data-order]")
    browser.type("margin fell")
    every = browser.evaluate("[...document.querySelectorAll('[data-change]')].map((e) => Number(e.dataset.change))")
    assert browser.evaluate(ORDER) == sorted(every)[:8]
    browser.tab_to("button[data-more]")
    browser.press("Enter")
    assert browser.evaluate(ORDER) == sorted(every)[:16]
    assert browser.evaluate("document.activeElement.closest('.sample')?.dataset.change") is not None


ALL = "document.querySelectorAll('.sample').length"
COUNT = "document.querySelector('[data-count]').textContent"


def test_findings_and_their_rows_open_by_keyboard_alone(browser, pages):
    browser.open(pages["audit"], width=1280)
    opened = "document.activeElement.parentElement.open"
    for place in (".finding.warn > summary", ".finding.warn .example > summary"):
        assert browser.tab_to(place)
        before = browser.evaluate(opened)
        browser.press("Enter")
        assert browser.evaluate(opened) is not before
        browser.press("Enter")
        assert browser.evaluate(opened) is before
    browser.press("Enter")
    shown = "document.activeElement.parentElement.querySelector('.text').checkVisibility()"
    assert browser.evaluate(shown)


@pytest.mark.parametrize("name", ["run", "audit", "comparison"])
def test_everything_that_can_be_used_is_reached_by_tab_and_shows_the_focus(browser, pages, name):
    browser.open(pages[name], width=1280)
    usable = "a[href], summary, select, input, [tabindex='0']"
    wanted = browser.evaluate(f"[...document.querySelectorAll(`{usable}`)].filter((e) => e.checkVisibility()).length")
    seen, unmarked = browser.walk(wanted + 40)
    assert seen >= wanted and unmarked == []


def test_texts_take_their_own_direction(browser, pages):
    browser.open(pages["run"], width=1280)
    directions = browser.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.sample .said')].slice(0, 5)"
        ".map((e) => [e.textContent, getComputedStyle(e).direction]))"
    )
    expected = ["ltr", "rtl", "ltr", "rtl", "ltr"]
    assert [directions[f"{prompt} ({i})"] for i, (prompt, _, _) in enumerate(TEXTS)] == expected


MOVING = """
[...document.querySelectorAll("*")].map((e) => getComputedStyle(e)).filter((own) =>
  parseFloat(own.transitionDuration) > 0 || own.animationName !== "none" || own.scrollBehavior === "smooth").length
"""


@pytest.mark.parametrize("name", ["run", "audit"])
def test_nothing_moves_by_itself(browser, pages, name):
    browser.open(pages[name], width=1280, still=True)
    assert browser.evaluate("document.getAnimations().length") == 0
    assert browser.evaluate(MOVING) == 0


def test_levels_are_told_by_word_and_sign(browser, pages):
    browser.open(pages["run"], width=1280)
    told = browser.evaluate(
        "[...document.querySelectorAll('.finding .level')].map((e) => e.textContent.trim().replace(/\\s+/g, ' '))"
    )
    assert len(told) == len([*PREFLIGHT, *AUDIT, *FINDINGS]) + 1
    assert set(told) == {"✕stop", "!look", "–note", "✓fine", "✓pass", "!warn"}


def test_hovering_tells_values(browser, pages):
    browser.open(pages["run"], width=1280)
    assert browser.hover("Loss", 0.5, 0.5).strip().startswith("step ")
    assert "median" in browser.hover("Margins of held-out pairs", 0.5, 0.5)
