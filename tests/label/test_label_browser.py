"""The page in a real browser: clicked, typed into, and given texts that try to run something."""

import json

import pytest
from label_desk import judged, serving

from logratio.config import DataPart
from logratio.label.desk import Desk
from logratio.label.items import read_tasks
from logratio.label.store import Store
from report.report_browser import Browser

pytestmark = pytest.mark.slow

ATTACKS = [
    "<script>window.ran = 1</script>",
    "<img src=x onerror='window.ran=1'><svg onload=window.ran=1>",
    "</div></section><iframe srcdoc='<script>parent.ran=1</script>'></iframe>",
    "<a href='javascript:window.ran=1'>click</a> <form action=/answer><input autofocus onfocus=window.ran=1></form>",
    "{{script}} ${window.ran=1} `${window.ran=1}` </script><script>window.ran=1</script>",
    "\u202etxet desrever\u202c \x1b[31m \u200b hidden",
    "<style>*{display:none}</style><meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "<link rel=stylesheet href=http://127.0.0.1:9/x><base href=http://127.0.0.1:9/>",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    own = Browser(tmp_path_factory.mktemp("profile"))
    yield own
    own.close()


def opened(tmp_path, rows, **settings):
    samples = tmp_path / "samples.jsonl"
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Desk(read_tasks([DataPart(path=str(samples))]), Store(tmp_path / "labels.jsonl"), **settings)


def samples(count):
    return [{"prompt": f"Question {n}?", "responses": [f"first {n}", f"second {n}"]} for n in range(count)]


def wait(browser, expression):
    done = (
        f"new Promise((done) => {{ const look = () => ({expression}) ? done(true) : setTimeout(look, 20); look(); }})"
    )
    assert browser.evaluate(f"Promise.race([{done}, new Promise((done) => setTimeout(() => done(false), 30000))])")


def click(browser, selector):
    x, y = browser.evaluate(
        f"(() => {{ const e = [...document.querySelectorAll(`{selector}`)].find((e) => e.offsetParent);"
        " e.scrollIntoView({ block: 'center' }); const b = e.getBoundingClientRect();"
        " return [b.left + b.width / 2, b.top + b.height / 2]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def key(browser, name, repeat=False):
    browser.send(
        "Input.dispatchKeyEvent", type="keyDown", key=name, text=name if len(name) == 1 else "", autoRepeat=repeat
    )
    browser.send("Input.dispatchKeyEvent", type="keyUp", key=name)


def text(browser, selector):
    return browser.evaluate(f"document.querySelector(`{selector}`).textContent")


def at(browser, count):
    wait(browser, f"document.getElementById('count').textContent.startsWith('{count} of')")
    wait(browser, "!document.body.hasAttribute('aria-busy')")


def begin(browser, server, name, width=1200):
    browser.open(server.address, width=width)
    browser.evaluate("sessionStorage.clear()")
    browser.open(server.address, width=width)
    assert browser.evaluate("document.activeElement.id") == "name"
    browser.type(name)
    browser.press("Enter")
    wait(browser, "!document.getElementById('work').hidden")


def test_every_key_and_button_does_what_it_says(browser, tmp_path):
    with serving(opened(tmp_path, samples(9))) as server:
        begin(browser, server, "ada")
        for count, name in enumerate(("a", "b", "ArrowLeft", "ArrowRight", "t", "N"), 1):
            key(browser, name)
            at(browser, count)
        assert [row["winner"] for row in judged(tmp_path)] == ["a", "b", "a", "b", "tie", "both_bad"]
        key(browser, "u")
        at(browser, 5)
        assert len(judged(tmp_path)) == 5
        shown = text(browser, "#prompt")
        key(browser, "s")
        wait(browser, "document.getElementById('count').textContent.endsWith('1 skipped')")
        assert text(browser, "#prompt") != shown
        for count, verdict in ((6, "a"), (7, "tie"), (8, "both_bad")):
            before = text(browser, "#a")
            click(browser, f'[data-verdict="{verdict}"]')
            at(browser, count)
            assert judged(tmp_path)[-1]["winner"] == verdict and judged(tmp_path)[-1]["response_a"] == before
        wait(browser, "!document.getElementById('end').hidden")
        assert "what you skipped" in text(browser, "#end-head")
        click(browser, '[data-action="again"]')
        wait(browser, "!document.getElementById('work').hidden")
        assert text(browser, "#prompt") == shown
        click(browser, '[data-action="undo"]')
        at(browser, 7)
        click(browser, '[data-verdict="b"]')
        at(browser, 8)
        click(browser, '[data-verdict="b"]')
        at(browser, 9)
        assert "All done" in text(browser, "#end-head") and "9 judgements of 9 pairs" in text(browser, "#figures")
        assert browser.complaints == []
        assert all(url.startswith(server.address.split("?")[0]) for url in browser.requests)


def test_a_key_held_down_or_pressed_with_others_or_in_a_field_judges_nothing(browser, tmp_path):
    with serving(opened(tmp_path, samples(3))) as server:
        begin(browser, server, "annabel")  # has an a, n and b in it
        assert judged(tmp_path) == []
        key(browser, "a", repeat=True)
        browser.send("Input.dispatchKeyEvent", type="keyDown", key="a", modifiers=2)
        browser.send("Input.dispatchKeyEvent", type="keyUp", key="a", modifiers=2)
        key(browser, "x")
        key(browser, "ArrowDown")
        browser.settle()
        assert judged(tmp_path) == []
        browser.evaluate(
            "['a', 'a', 'a'].forEach((key) => document.dispatchEvent(new KeyboardEvent('keydown', { key })))"
        )
        browser.settle()
        assert len(judged(tmp_path)) == 1  # one question at a time


def test_a_reload_goes_on_where_it_was_and_a_server_that_is_gone_is_said(browser, tmp_path):
    with serving(opened(tmp_path, samples(3))) as server:
        begin(browser, server, "ada")
        key(browser, "b")
        at(browser, 1)
        browser.open(server.address, width=1200)
        at(browser, 1)
        prompt = text(browser, "#prompt")
    key(browser, "a")
    wait(browser, "!document.getElementById('problem').hidden")
    assert "does not count" in text(browser, "#problem") and text(browser, "#prompt") == prompt
    assert len(judged(tmp_path)) == 1


def test_planted_texts_are_shown_and_run_nothing(browser, tmp_path):
    rows = [
        {
            "prompt": [{"role": "<b>user</b>", "content": attack}] if n % 2 else attack,
            "responses": [attack + " 1", attack],
        }
        for n, attack in enumerate(ATTACKS)
    ]
    for row in rows:
        if isinstance(row["prompt"], list):
            row["prompt"][0]["role"] = "user"
    with serving(opened(tmp_path, rows)) as server:
        begin(browser, server, "<i>eve")
        for count, attack in enumerate(ATTACKS, 1):
            wait(browser, "document.getElementById('a').textContent.length > 0")
            shown = text(browser, "#a")
            if "\u202e" in attack:
                assert "⟨U+202E⟩" in shown and "⟨U+001B⟩" in shown and "⟨U+200B⟩" in shown
            else:
                assert shown.removesuffix(" 1") == attack
            assert (
                browser.evaluate(
                    "document.querySelectorAll('main img, main iframe, main script, main a, main svg').length"
                )
                == 0
            )
            assert browser.evaluate("window.ran") is None
            key(browser, "t")
            at(browser, count)
        assert text(browser, "#people tbody td") == "<i>eve"
        assert browser.evaluate("window.ran") is None
        assert all(url.startswith(server.address.split("?")[0]) for url in browser.requests)
        assert browser.complaints == []


def test_the_policy_would_stop_a_script_that_got_through(browser, tmp_path):
    with serving(opened(tmp_path, samples(1))) as server:
        begin(browser, server, "ada")
        browser.evaluate(
            "(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
            " document.body.append(s);"
            " const i = new Image(); i.src = 'http://127.0.0.1:9/leak'; document.body.append(i);"
            " document.body.insertAdjacentHTML('beforeend', '<b onclick=\"window.ran=1\" id=planted>x</b>');"
            " document.getElementById('planted').click(); })()"
        )
        browser.settle()
        assert browser.evaluate("window.ran") is None
        assert sum("Content Security Policy" in said for said in browser.complaints) >= 3
        with pytest.raises(AssertionError):
            browser.evaluate("fetch('http://127.0.0.1:9/leak')")


@pytest.mark.parametrize("width", [360, 1200])
def test_it_fits_and_its_controls_are_big_and_reachable(browser, tmp_path, width):
    long = "A long answer. " * 200 + "x" * 300
    with serving(opened(tmp_path, [{"prompt": "Why? " * 300, "responses": [long, "short"]}])) as server:
        begin(browser, server, "ada", width=width)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        sizes = browser.evaluate(
            "[...document.querySelectorAll('#work button')].filter((b) => b.offsetParent)"
            ".map((b) => [b.offsetWidth, b.offsetHeight])"
        )
        assert len(sizes) == 6 and all(wide >= 60 and high >= 44 for wide, high in sizes)
        assert browser.evaluate("parseFloat(getComputedStyle(document.getElementById('a')).fontSize)") >= 16
        if width < 600:  # the verdicts are at hand wherever one reads
            low = "document.querySelector('.verdicts').getBoundingClientRect().bottom <= innerHeight + 1"
            assert browser.evaluate(low)
            browser.evaluate("window.scrollTo(0, document.body.scrollHeight)")
            assert browser.evaluate(low)
            edge = "document.querySelector(`{}`).getBoundingClientRect().{}"
            assert browser.evaluate(f"{edge.format('#b', 'bottom')} <= {edge.format('.verdicts', 'top')}")
        _, unmarked = browser.walk(14)
        assert unmarked == []


def test_named_people_choose_themselves_and_two_windows_are_two_people(browser, tmp_path):
    with serving(opened(tmp_path, samples(2), people=("ada", "bob"))) as server:
        browser.open(server.address, width=1200)
        browser.evaluate("sessionStorage.clear()")
        for who in ("ada", "bob"):
            browser.open(server.address, width=1200)
            browser.evaluate("document.getElementById('change').click()")
            assert browser.evaluate("[...document.querySelectorAll('#names button')].map((b) => b.textContent)") == [
                "ada",
                "bob",
            ]
            click(browser, f"#names button:nth-child({['ada', 'bob'].index(who) + 1})")
            at(browser, 0)
            key(browser, "a")
            at(browser, 1)
        assert [row["annotator"] for row in judged(tmp_path)] == ["ada", "bob"]
