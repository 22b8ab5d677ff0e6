"""The sweep's page in a real browser: every plot drawn without a complaint, and no wider than a phone."""

import pytest
from test_sweep_page import run

from logratio.report.kit import Page
from logratio.report.render import render
from logratio.sweep.page import compose
from report.report_browser import Browser

pytestmark = pytest.mark.slow


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path / "profile")
    yield browser
    browser.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_every_plot_is_drawn_and_nothing_is_wider_than_the_screen(browser, tmp_path, width):
    grid = [(beta, lr) for beta in ("0.05", "0.1", "0.5") for lr in ("1e-6", "5e-6", "2e-5")]
    runs = [run(0.5 + at / 20, objective__beta=beta, train__lr=lr) for at, (beta, lr) in enumerate(grid)]
    page: Page = compose(tmp_path, {"given": {"grid": ["beta=0.05"]}, "runs": runs})
    file = tmp_path / "sweep.html"
    file.write_text(render(page), encoding="utf-8")
    browser.open(file, width=width)
    assert browser.complaints == []
    drawn = [block for section in page.sections for block in section.blocks if block.kind == "plot"]
    assert len(drawn) == 5 and browser.evaluate("document.querySelectorAll('.canvas > div').length") == 5
    names = browser.evaluate(
        "[...Bokeh.documents[0]._all_models.values()].filter((m) => m.type === 'LinearAxis')"
        ".map((m) => [...(m.major_label_overrides?.values?.() ?? [])].join(' '))"
    )
    assert names.count("0.05 0.1 0.5") == 2 and names.count("1e-6 5e-6 2e-5") == 2
    scrolled, visible = browser.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert visible == width and scrolled <= visible
