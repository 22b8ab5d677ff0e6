import numpy as np
import pytest
from planted import SCRIPTS, Writer, recall_precision

from logratio.audit.leakage import leakage, leaks, tainted
from logratio.audit.rows import read_rows
from logratio.audit.similar import alike


def both(train, held):
    rows, other = read_rows(train), read_rows(held)
    return rows, other, alike(rows.texts), alike(other.texts)


@pytest.mark.parametrize("script", SCRIPTS)
def test_planted_leaks_are_found_by_prompt_and_by_response(script):
    writer = Writer(6, script)
    train = [writer.pair(words=60) for _ in range(300)]
    held = [writer.pair(words=60) for _ in range(200)]
    planted = {"prompt": [], "response": []}
    for at in range(0, 100):
        part = ("prompt", "chosen", "rejected")[at % 3]
        text = train[at * 2][part]
        held[at][part] = text if at % 2 else writer.edited(text)
        planted["prompt" if part == "prompt" else "response"].append(at)
    found = leaks(*both(train, held))
    for kind, has in (("prompt", found.prompt_M >= 0), ("response", found.response_M >= 0)):
        recall, precision = recall_precision(np.flatnonzero(has).tolist(), planted[kind])
        assert recall >= 0.95 and precision >= 0.95
    assert np.flatnonzero(found.exact_prompt_M).tolist() == [at for at in planted["prompt"] if at % 2]
    assert np.flatnonzero(found.exact_response_M).tolist() == [at for at in planted["response"] if at % 2]


def test_a_leaked_row_stops_and_a_shared_short_answer_does_not():
    writer = Writer(7)
    train = [writer.pair() for _ in range(50)]
    held = [writer.pair() for _ in range(50)]
    assert leakage(*both(train, held)).level == "fine"
    for row in (*train, *held):
        row["rejected"] = "I do not know."
    assert leakage(*both(train, held)).level == "fine"
    held[3] = dict(train[7])
    finding = leakage(*both(train, held))
    assert finding.level == "stop" and finding.figures["prompt_and_response"] == 1
    assert finding.examples[0].origin == "data, row 4"


def test_without_the_extra_exact_matches_are_found():
    writer = Writer(8)
    train, held = [writer.pair() for _ in range(20)], [writer.pair() for _ in range(20)]
    held[0]["prompt"] = train[5]["prompt"].upper()
    held[1]["prompt"] = writer.edited(train[6]["prompt"])
    rows, other = read_rows(train), read_rows(held)
    found = leaks(rows, other)
    assert np.flatnonzero(found.prompt_M >= 0).tolist() == [0]
    assert "Near matches were not looked for." in leakage(rows, other).says


def test_training_rows_to_leave_out_are_those_with_an_evaluation_prompt():
    writer = Writer(9)
    train, held = [writer.pair() for _ in range(60)], [writer.pair() for _ in range(10)]
    for at in range(10):
        train[at * 3]["prompt"] = held[at]["prompt"] if at % 2 else writer.edited(held[at]["prompt"])
    assert np.flatnonzero(tainted(*both(train, held)) >= 0).tolist() == [at * 3 for at in range(10)]


def test_texts_without_a_prompt_leak_by_response_alone():
    writer = Writer(10)
    texts = [{"text": writer.text()} for _ in range(30)]
    found = leaks(*both(texts[:20], texts[15:]))
    assert (found.prompt_M < 0).all() and np.flatnonzero(found.response_M >= 0).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("shared", "level"), [(1, "note"), (4, "look"), (50, "stop")])
def test_responses_learned_with_other_prompts_have_a_threshold_of_their_own(shared, level):
    writer = Writer(11)
    train, held = ([writer.pair() for _ in range(50)] for _ in range(2))
    for at in range(shared):
        held[at]["chosen"] = train[at]["chosen"]
    finding = leakage(*both(train, held))
    assert finding.level == level and finding.figures["response_share"] == shared / 50
    assert ("other prompts" in finding.remedy) == (level != "note")
