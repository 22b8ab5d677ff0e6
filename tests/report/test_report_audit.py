"""The audit's page: the verdict first, the gravest finding first, rows to open, nothing claimed without looking."""

import pytest
from report_beside import AUDIT, document
from report_pages import Page

from logratio.findings import Finding
from logratio.report.audit import write_audit


@pytest.fixture
def written(tmp_path):
    def write(**parts):
        return Page(write_audit(document(**parts), tmp_path / "audit.html").read_text(encoding="utf-8"))

    return write


def test_the_page_says_what_is_wrong_first_with_figures_remedy_and_rows(written):
    page = written()
    for said in (
        "reviews.jsonl",
        "Do not train on this yet: contradictions.",
        "212 of 9,641 pairs are judged both ways.",
        "Drop one side with logratio audit --fix clean.jsonl",
        "1 stop, 1 look, 1 fine",
        "reviews.jsonl, row 17",
        "نص من اليمين",
        "the same pair, judged both ways",
        "故事平静，讲得很好。",
        "How often the longer response wins, by length ratio",
        "4.2 s",
        "9,700",
    ):
        assert said in page.text, said
    assert page.text.index("contradictions") < page.text.index("exact duplicates")


def test_findings_that_matter_are_open_and_their_plots_have_numbers(written):
    page = written()
    opened = [name for tag, name, value in page.attributes if tag == "details" and name == "open"]
    assert len(opened) == 2
    assert page.tags.count("figure") == 1 and "Numbers behind this plot" in page.text
    assert page.tags.count("table") == 1


@pytest.mark.parametrize(
    ("findings", "headline", "tone"),
    [
        ([], "Nothing was looked at", "warn"),
        (AUDIT[:1], "Nothing speaks against training on this data, in 1 things looked at.", "good"),
        ([Finding("language", "note", "Two languages.")], "Nothing speaks against training", "good"),
        (AUDIT[:2], "Look at this before training: length.", "warn"),
        (AUDIT, "Do not train on this yet: contradictions.", "bad"),
    ],
)
def test_the_headline_is_the_gravest_level(written, findings, headline, tone):
    page = written(findings=findings)
    assert headline in page.text
    assert ("p", "class", f"headline {tone}") in page.attributes


def test_whatever_else_the_document_holds_is_listed(written):
    page = written(rows={"pairs": 9_641, "ties": 59}, settings={"shingles": 5}, data="a/b.jsonl")
    assert "Rows, pairs" in page.text and "9,641" in page.text
    assert '"shingles": 5' in page.text and "b.jsonl" in page.text


def test_findings_that_cannot_be_read_are_counted(written):
    page = written(findings=AUDIT[:1], more=1)
    assert "not readable" not in page.text
    broken = {**document(), "findings": [{"name": "x"}]}
    assert "audit.json: 1 of 1 findings are not readable" in Page(write_page(broken)).text


def write_page(document):
    from logratio.report.audit import compose
    from logratio.report.render import render

    return render(compose(document))
