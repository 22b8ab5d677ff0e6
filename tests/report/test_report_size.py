"""A run of 100,000 logged steps: its page stays small, is written in seconds, and opens at once."""

import json
import time

import pytest
from report_beside import write_beside
from report_runs import STEPS, eval_row, train_row, write_run

from logratio.report.page import write_report

pytestmark = pytest.mark.slow

LOGGED = 100_000


@pytest.fixture(scope="module")
def long_page(tmp_path_factory):
    """Return (page, CPU seconds that writing took, bytes of metrics.jsonl)."""
    stretched = [{**train_row(1 + step * STEPS // LOGGED), "step": step + 1} for step in range(LOGGED)]
    evals = [{**eval_row(step), "step": step * LOGGED // STEPS} for step in range(0, STEPS + 1, 60)]
    run = write_beside(write_run(tmp_path_factory.mktemp("long") / "dpo", train=stretched, evals=evals))
    began = time.process_time()
    page = write_report(run)
    return page, time.process_time() - began, (run / "metrics.jsonl").stat().st_size


def test_the_page_of_a_hundred_thousand_steps_is_small_and_written_in_seconds(long_page):
    page, seconds, logged = long_page
    size = page.stat().st_size
    print(json.dumps({"seconds": round(seconds, 2), "page_mb": round(size / 1e6, 2), "log_mb": round(logged / 1e6, 1)}))
    assert size < 5e6 and seconds < 30


def test_it_opens_at_once(browser, long_page):
    browser.send("Performance.enable")
    browser.open(long_page[0], width=1280)
    marks = browser.evaluate(
        "(() => { const n = performance.getEntriesByType('navigation')[0];"
        " const painted = performance.getEntriesByType('paint').at(-1).startTime;"
        " return [painted, n.loadEventEnd, performance.memory.usedJSHeapSize / 1e6]; })()"
    )
    spent = {own["name"]: own["value"] for own in browser.send("Performance.getMetrics")["metrics"]}
    marks.append(1000 * spent["TaskDuration"])
    print(json.dumps(dict(zip(("painted_ms", "loaded_ms", "heap_mb", "all_tasks_ms"), map(round, marks), strict=True))))
    assert browser.complaints == [] and marks[1] < 10_000
