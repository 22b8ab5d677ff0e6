import pytest
from report_browser import Browser
from report_runs import write_run


@pytest.fixture
def run_dir(tmp_path):
    """Return a writer of run directories."""
    return lambda name="dpo", **parts: write_run(tmp_path / name, **parts)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()
