"""Duels before judges: both orders, failures, what is kept and not asked again."""

import json

import pytest

from logratio.errors import JudgeError, RunError
from logratio.evaluate.winrate.answers import Answer
from logratio.evaluate.winrate.judging import PROBE, Duel, duels, outcomes
from logratio.evaluate.winrate.kept import Kept
from logratio.evaluate.winrate.questions import read_questions
from logratio.evaluate.winrate.rates import figures
from logratio.rollout.judge import Comparison, Verdict


class Spoken:
    """A judge that says of each pair what a function says, and counts what it was asked."""

    def __init__(self, say, description="spoken"):
        self.description, self._say, self.asked = description, say, []

    def __call__(self, asked):
        self.asked += asked
        return [self._say(one) for one in asked]


def scores(one):
    return Verdict(scores=tuple(float(len(text)) for text in one.responses))


def compares(one):
    a, b = map(len, one.responses)
    return Verdict(comparisons=(Comparison(0, 1, 0.5 + 0.5 * ((a > b) - (a < b))),))


def first(one):
    return Verdict(comparisons=(Comparison(0, 1, 1.0),))


def made(n=10, models=2):
    """Questions, and answers of which a later model's are longer, and on question 0 all the same."""
    given = [
        [[Answer(text, text)] for text in ("x" * (1 if i == 0 else i + 5 * m) for i in range(n))] for m in range(models)
    ]
    return read_questions([f"prompt {i}" for i in range(n)]), duels(given)


def judged(judge, tmp_path, n=10, models=2, **more):
    questions, own = made(n, models)
    with Kept(tmp_path / "judgements.jsonl") as kept:
        return outcomes(own, questions, judge, kept, **more)


def test_duels_are_of_every_two_models_and_every_answer():
    given = [[[Answer("a", "a")] * k] * 3 for k in (2, 2, 1)]
    own = duels(given)
    assert [(duel.question, duel.a, duel.b, duel.index) for duel in own[:4]] == [
        (0, 0, 1, 0),
        (0, 0, 1, 1),
        (0, 0, 2, 0),
        (0, 1, 2, 0),
    ]
    assert len(own) == 3 * 4


def test_a_judge_that_compares_is_shown_both_orders(tmp_path):
    judge = Spoken(compares)
    found = judged(judge, tmp_path)
    assert [one.value for one in found] == [0.5] + [0.0] * 9
    assert [(one.forward, one.backward, one.flipped) for one in found[1:]] == [(0.0, 0.0, False)] * 9
    assert found[0].duel.same and len(judge.asked) == 18
    shown = {one.responses for one in judge.asked}
    assert {pair[::-1] for pair in shown} == shown


def test_a_judge_that_prefers_what_is_shown_first_gives_a_half_and_flips_always(tmp_path):
    questions, _ = made()
    told = figures(judged(Spoken(first), tmp_path)[1:], [question.key for question in questions])
    assert told["rate"]["mean"] == 0.5 and told["ties"] == 9
    assert told["flips"]["mean"] == 1 and told["shown_first"]["mean"] == 1


def test_a_function_whose_scores_depend_on_the_place_is_found_out(tmp_path):
    n = PROBE + 10
    judge = Spoken(lambda one: Verdict(scores=(1.0, 0.0)))
    found = judged(judge, tmp_path, n)
    assert all(one.value == 0.5 for one in found) and sum(one.flipped is True for one in found) == n - 1
    assert len(judge.asked) == 2 * (n - 1)


def test_scores_that_do_not_depend_on_the_place_are_asked_for_once_after_the_first(tmp_path):
    n = PROBE + 10
    judge = Spoken(scores)
    found = judged(judge, tmp_path, n)
    assert len(judge.asked) == n - 1 + PROBE
    assert [one.value for one in found] == [0.5] + [0.0] * (n - 1)
    assert [one.flipped for one in found[1:]] == [False] * PROBE + [None] * 9


def test_a_judge_that_looks_in_both_orders_itself_is_asked_once(tmp_path):
    both = Spoken(lambda one: Verdict(comparisons=(Comparison(0, 1, 1.0), Comparison(1, 0, 1.0))))
    found = judged(both, tmp_path)
    assert len(both.asked) == 9 and all(one.value == 0.5 and one.flipped for one in found[1:])
    merged = Spoken(lambda one: Verdict(comparisons=(Comparison(0, 1, 0.5),), usage={"flips": 1}), "merged")
    found = judged(merged, tmp_path)
    assert len(merged.asked) == 9 and all(one.value == 0.5 and one.flipped for one in found[1:])


def test_soft_preferences_are_averaged_unless_the_orders_disagree(tmp_path):
    def soft(ahead, back):
        return lambda one: Verdict(comparisons=(Comparison(0, 1, ahead if len(one.responses[0]) < 6 else back),))

    found = judged(Spoken(soft(0.9, 0.3)), tmp_path, n=2)  # answers of 1 and 6 characters: a shown first, then b
    assert found[1].value == pytest.approx((0.9 + 0.7) / 2) and not found[1].flipped
    found = judged(Spoken(soft(0.9, 0.8), "other"), tmp_path, n=2)
    assert found[1].value == 0.5 and found[1].flipped


@pytest.mark.parametrize(("ahead", "back", "told"), [(True, True, True), (True, False, False), (False, True, False)])
def test_both_are_bad_where_both_orders_say_so_as_for_a_chat_judge(tmp_path, ahead, back, told):
    def bad(one):  # answers of 1 and 6 characters: a shown first, then b
        return Verdict(comparisons=(Comparison(0, 1, 0.5),), both_bad=ahead if len(one.responses[0]) < 6 else back)

    assert judged(Spoken(bad), tmp_path, n=2)[1].both_bad is told


def fails(one):
    return Verdict(failed="it says nothing") if one.prompt in ("prompt 3", "prompt 4") else scores(one)


def test_failures_are_left_out_counted_and_asked_again(tmp_path):
    judge = Spoken(fails)
    found = judged(judge, tmp_path)
    questions, _ = made()
    told = figures(found, [question.key for question in questions])
    assert told["failed"] == 2 and told["rate"]["n"] == 8 and told["rate"]["mean"] == 0.5 / 8
    before = len(judge.asked)
    again = judged(judge, tmp_path)
    assert [one.prompt for one in judge.asked[before:]] == ["prompt 3", "prompt 4"]
    assert [one.value for one in again] == [one.value for one in found]


def test_a_verdict_that_makes_no_sense_is_a_failure(tmp_path):
    nonsense = Spoken(lambda one: Verdict(scores=(1.0,)) if one.prompt == "prompt 5" else scores(one))
    found = judged(nonsense, tmp_path)
    assert [one.failed for one in found if one.failed] == ["it gave 1 scores to 2 responses"]


def test_a_failure_in_one_order_is_a_failure(tmp_path):
    half = Spoken(lambda one: Verdict(failed="no") if len(one.responses[0]) > len(one.responses[1]) else compares(one))
    questions, own = made(4)
    short = [Duel(0, 0, 0, 1, Answer("ab", "ab"), Answer("cd", "cd")), *own[1:]]
    with Kept(tmp_path / "j.jsonl") as kept:
        found = outcomes(short, questions, half, kept)
    assert [one.value for one in found] == [0.5, None, None, None]
    assert {one.failed for one in found} == {"", "no"}


def test_stopping_at_a_failure_keeps_what_was_judged(tmp_path):
    with pytest.raises(JudgeError, match="2 of 9"):
        judged(Spoken(fails), tmp_path, stop=True)
    kept = [json.loads(line) for line in (tmp_path / "judgements.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in kept] == [f"prompt {i}" for i in (1, 2, 5, 6, 7, 8, 9)]


def test_a_judge_that_fails_everywhere_stops(tmp_path):
    with pytest.raises(JudgeError, match="failed on all 3 pairs"):
        judged(Spoken(lambda one: Verdict(failed="away")), tmp_path, n=4)  # the fourth says the same


def test_nothing_is_judged_twice_and_another_judge_is_asked_anew(tmp_path):
    one, two = Spoken(compares), Spoken(compares)
    found = judged(one, tmp_path)
    assert judged(two, tmp_path) == found and two.asked == []
    other = Spoken(first, "other")
    assert judged(other, tmp_path) != found and len(other.asked) == 18


def test_a_row_of_the_prompt_is_part_of_what_was_asked(tmp_path):
    judge = Spoken(lambda one: Verdict(scores=tuple(float(text == one.row["answer"]) for text in one.responses)))
    given = [[[Answer(text, text)]] for text in ("4", "5")]
    for answer, value in (("4", 1.0), ("5", 0.0)):
        questions = read_questions([{"prompt": "2 + 2", "answer": answer}])
        with Kept(tmp_path / "j.jsonl") as kept:
            (found,) = outcomes(duels(given), questions, judge, kept)
        assert found.value == value


def test_a_line_cut_by_a_kill_is_judged_again_and_the_file_stays_whole(tmp_path):
    found = judged(Spoken(compares), tmp_path)
    file = tmp_path / "judgements.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    again = Spoken(compares)
    assert judged(again, tmp_path) == found and len(again.asked) == 1
    assert file.read_bytes() == whole


def test_two_processes_do_not_write_to_one_file(tmp_path):
    with Kept(tmp_path / "j.jsonl"), pytest.raises(RunError, match="another process"):
        with Kept(tmp_path / "j.jsonl"):
            pass
