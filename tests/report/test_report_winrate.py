"""The page of win rates: the answer first, doubts above it, what was lost before what was won."""

import pytest
from report_pages import HOSTILE, Page
from report_winrates import NONE, at, duels, measure, pair, place, result, write_folder

from logratio.errors import RunError
from logratio.report.doubts import doubts, extreme
from logratio.report.winrate import write_winrate


@pytest.fixture
def written(tmp_path):
    def write(document=None, rows=None):
        folder = write_folder(tmp_path / "out", document, rows)
        return Page(write_winrate(folder).read_text(encoding="utf-8"))

    return write


def test_the_page_tells_who_is_preferred_with_all_three_rates_and_the_answers(written):
    page = written()
    for said in (
        "dpo is preferred to start/model: 60.0 % [55.0 %, 65.0 %].",
        "2 won, 1 tied, 1 lost at 4 prompts.",
        "At equal length: 57.0 %",
        "58.0 % [53.0 %, 63.0 %]",
        "prompts.jsonl, row 4",
        "Question 3?",
        "second answer 3",
        "maths",
        "function rewards.py:score",
        "1,200",
    ):
        assert said in page.text, said
    assert page.text.index("1 of 4 pairs where the first model's answer is worse") < page.text.index("2 of 4 pairs")
    assert "Caution" not in page.text


def test_counts_lead_to_their_answers(written):
    page = written()
    ids = {value for _, name, value in page.attributes if name == "id"}
    links = [value for tag, name, value in page.attributes if tag == "a" and name == "href"]
    to_rows = [link for link in links if link.startswith("#t")]
    assert to_rows == ["#t1p0-won", "#t1p0-lost"]
    assert {link[1:] for link in links if link != "#main"} <= ids


@pytest.mark.parametrize(
    ("rate", "headline", "tone"),
    [
        (0.4, "start/model is preferred to dpo, which wins 40.0 %", "bad"),
        (0.52, "dpo and start/model are not told apart", "plain"),
        (0.7, "dpo is preferred to start/model", "good"),
    ],
)
def test_the_headline_follows_the_interval(written, rate, headline, tone):
    names = ("runs/dpo", "start/model")
    page = written(result(at=[at(names, pairs=[pair(*names, rate)])]))
    assert headline in page.text and ("p", "class", f"headline {tone}") in page.attributes


def test_nothing_judged_is_no_answer(written):
    names = ("runs/dpo", "start/model")
    empty = pair(*names, rate=0.5, controlled=None, wins=0, ties=0, losses=0, failed=4, categories={})
    for name in ("rate", "matched", "flips", "shown_first", "longer", "both_bad"):
        empty[name] = NONE
    page = written(result(at=[at(names, pairs=[empty])]), duels(value=None, failed="no answer"))
    assert "Nothing was judged" in page.text and "no verdict on 4 of 4 pairs" in page.text


def test_more_models_are_ranked_and_a_cycle_is_told(written):
    names = ("a", "b", "c")
    own = at(names)
    own["cycles"] = [{"models": ["a", "b", "c"], "sure": True}]
    page = written(result(names, at=[own]), duels(names))
    assert "a ranks first of 3." in page.text and "1,050 [1,020, 1,080]" in page.text
    assert "a beats b beats c beats a, by the intervals too" in page.text
    own["ranking"] = [{**place("a", 1, 1050), "worst": 2}, place("b", 2, 1000), place("c", 3, 950)]
    assert "though not surely: its rank is 1 to 2" in written(result(names, at=[own]), duels(names)).text


def test_temperatures_have_a_curve_and_sections_of_their_own(written):
    rows = [*duels(temperature=0.0), *duels(temperature=0.5)]
    page = written(result(temperatures=(0.0, 0.5)), rows)
    assert page.text.count("Win rate by temperature") >= 1 and page.tags.count("figure") == 1
    assert "dpo against start/model, temperature 0.5" in page.text
    assert "At temperature 0; the others are below." in page.text
    links = [value for tag, name, value in page.attributes if tag == "a" and name == "href"]
    assert "#t0p0-lost" in links and "#t0-5p0-lost" in links


def test_what_speaks_against_a_rate_is_said():
    names = ("a", "b")
    assert doubts(pair(*names)) == []
    assert "no verdict on 2 of 6 pairs" in doubts(pair(*names, failed=2))[0]
    assert "changes with the order in 30.0" in doubts(pair(*names, flips=measure(0.3)))[0]
    assert "longer answer is preferred in 96.0" in doubts(pair(*names, longer=measure(0.96)))[0]
    assert "shorter answer is preferred in 96.0" in doubts(pair(*names, longer=measure(0.04)))[0]
    level = {**pair(*names)["controlled"], "mean": 0.42}
    assert "at equal length the rate is 42.0" in doubts(pair(*names, controlled=level))[0]
    assert "½ by its penalty" in doubts(pair(*names, controlled={**level, "mean": 0.5, "low": None, "high": None}))[0]
    assert doubts(pair(*names, controlled=None)) == []


@pytest.mark.parametrize(
    ("plain", "level", "far"),
    [(0.2, 0.11, False), (0.2, 0.09, True), (0.5, 0.37, True), (0.5, 0.62, False), (0.5, 0.63, True)],
)
def test_a_rate_at_equal_length_is_extreme_where_alpacaeval_warns(plain, level, far):
    assert extreme(plain, level) is far


def test_planted_text_is_text(written):
    rows = [{**row, "prompt": HOSTILE, "answer_a": HOSTILE, "origin": HOSTILE} for row in duels()]
    rows[0]["failed"] = HOSTILE
    page = written(result(judge=HOSTILE), rows)
    assert not {"img", "link", "b"} & set(page.tags[page.tags.index("main") :])
    assert "window.planted = 1" in page.text and "\u202e" not in page.text and "⟨U+202E⟩" in page.text


def test_a_long_list_is_cut_and_counted(written):
    page = written(rows=duels() * 30)
    assert "Shown are the first 40; duels.jsonl has all." in page.text
    assert page.text.count("prompts.jsonl, row 4") == 30 + 30  # lost, and both bad


def test_a_folder_without_win_rates_is_refused(tmp_path):
    with pytest.raises(RunError, match="holds no win rates"):
        write_winrate(tmp_path)
