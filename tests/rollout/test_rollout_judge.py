import math

import pytest

from logratio.errors import ConfigError, JudgeError
from logratio.rollout.judge import (
    Asked,
    Comparison,
    Verdict,
    answer_of,
    comparisons_of,
    scorable,
    scores_of,
    settled,
    thought_and_answer,
    thought_and_answer_lengths,
    together_or_alone,
)
from logratio.rollout.judges.function import FunctionJudge, function_named

ASKED = [Asked("2+2=", ("4", "5"), {"answer": "4"}), Asked("3+3=", ("7", "6", "6"), {"answer": "6"})]


def exact(prompts, responses, rows):
    assert len(prompts) == len(responses) == len(rows)
    return [response == row["answer"] for response, row in zip(responses, rows, strict=True)]


def test_the_answer_is_what_follows_the_thought():
    assert answer_of("<think>\n2 and 2\n</think>\n\n4") == "4"
    assert answer_of("2 and 2</think>4") == "4"  # the template has opened it
    assert answer_of(" 4, I say") == " 4, I say"
    assert answer_of("<think>no end") == ""
    assert answer_of("no end", opened=True) == ""
    assert answer_of("<think>a</think>b<think>c</think> d") == "d"
    assert thought_and_answer("<think>ab</think>\n\ncde") == ("ab", "cde")
    assert thought_and_answer_lengths("<think>ab</think>\n\ncde") == (2, 3)
    assert thought_and_answer_lengths("cde") == (0, 3)


def test_scores_become_comparisons_of_every_two():
    verdict = Verdict(scores=(1.0, 3.0, 1.0))
    assert comparisons_of(verdict) == (Comparison(0, 1, 0.0), Comparison(0, 2, 0.5), Comparison(1, 2, 1.0))
    soft = comparisons_of(Verdict(scores=(math.log(3), 0.0, 1e4)), soft=True)
    assert soft[0].probability == pytest.approx(0.75, abs=1e-15)  # odds of 3 to 1
    assert soft[2].probability == 0.0


def test_comparisons_become_the_share_of_wins():
    verdict = Verdict(comparisons=(Comparison(0, 1, 1.0), Comparison(2, 0, 0.5), Comparison(1, 2, 0.25)))
    assert scores_of(verdict) == (0.75, 0.125, 0.625)
    assert scores_of(Verdict(comparisons=(Comparison(1, 0, 1.0),)), 3) == (0.0, 1.0, 0.5)


def test_a_judges_own_words_are_left_as_they_are():
    assert scores_of(Verdict(scores=(2.0, -1.0))) == (2.0, -1.0)
    own = (Comparison(1, 0, 0.7),)
    assert comparisons_of(Verdict(comparisons=own), soft=True) == own


@pytest.mark.parametrize("convert", [scores_of, comparisons_of])
def test_no_verdict_is_no_number(convert):
    with pytest.raises(JudgeError, match="because it fell asleep"):
        convert(Verdict(failed="it fell asleep"))


def test_one_response_that_nothing_was_compared_with_has_no_score_and_no_comparison():
    (alone,) = settled("judge", [Asked("p", ("a",))], [Verdict(usage={"calls": 0})], "stop")
    assert not alone.failed and comparisons_of(alone) == ()  # a judge that compares has done all that it was asked for
    assert "neither scored nor compared" in scorable(alone).failed and scorable(alone).usage == {"calls": 0}
    with pytest.raises(JudgeError, match="neither scored nor compared"):
        scores_of(alone, 1)
    for verdict in (Verdict(scores=(0.0,)), Verdict(comparisons=(Comparison(0, 1, 0.5),)), Verdict(failed="no")):
        assert scorable(verdict) is verdict


@pytest.mark.parametrize(
    ("verdict", "why"),
    [
        (Verdict(scores=(1.0,)), "1 scores to 2 responses"),
        (Verdict(scores=(1.0, float("inf"))), "the score inf"),
        (Verdict(), "neither scored nor compared"),
        (Verdict(comparisons=(Comparison(0, 2, 1.0),)), "responses 0 and 2 of 2"),
        (Verdict(comparisons=(Comparison(1, 1, 1.0),)), "responses 1 and 1"),
        (Verdict(comparisons=(Comparison(0, 1, 1.5),)), "the probability 1.5"),
        (Verdict(comparisons=(Comparison(0, 1, float("nan")),)), "the probability nan"),
    ],
)
def test_nonsense_is_a_failure(verdict, why):
    asked = [Asked("p", ("a", "b"))]
    (found,) = settled("judge", asked, [verdict], "skip")
    assert why in found.failed and found.scores is None and not found.comparisons
    with pytest.raises(JudgeError, match=f"failed on 1 of 1 prompts, at first because .*{why}"):
        settled("judge", asked, [verdict], "stop")


@pytest.mark.parametrize("on_failure", ["stop", "skip"])
def test_verdicts_that_cannot_be_told_apart_are_no_verdicts(on_failure):
    with pytest.raises(JudgeError, match="answered 2 prompts with 1 verdicts"):
        settled("judge", ASKED, [Verdict(scores=(1.0, 2.0))], on_failure)


def test_a_function_scores_each_response_beside_its_row():
    assert [verdict.scores for verdict in FunctionJudge(exact, "exact")(ASKED)] == [(1.0, 0.0), (0.0, 1.0, 1.0)]
    assert "sha256" in FunctionJudge(exact, "exact").description


def test_a_function_that_raises_stops_or_costs_the_prompt_that_it_fails_on():
    def picky(prompts, responses, rows):
        if "7" in responses:
            raise ZeroDivisionError("seven\nis not divided")
        return [1.0] * len(responses)

    with pytest.raises(JudgeError, match="failed on 2 of 2 prompts.*raised ZeroDivisionError: seven is not divided;"):
        FunctionJudge(picky, "picky")(ASKED)
    first, second = FunctionJudge(picky, "picky", on_failure="skip")(ASKED)
    assert first.scores == (1.0, 1.0)
    assert second.scores is None and "ZeroDivisionError" in second.failed


@pytest.mark.parametrize(
    ("numbers", "why"),
    [([1.0], "1 numbers for 5 responses"), ([1.0, None, 1, 1, 1], "score nan"), (["x"] * 5, "ValueError"), (3, "Type")],
)
def test_nonsense_of_a_function_is_an_error(numbers, why):
    with pytest.raises(JudgeError, match=why):
        FunctionJudge(lambda prompts, responses, rows: numbers, "odd")(ASKED)


def test_none_of_a_function_costs_its_own_prompt_alone():
    judge = FunctionJudge(lambda *lists: [1.0, None, 1, 1, 1], "odd", on_failure="skip")
    first, second = judge(ASKED)
    assert first.failed and second.scores == (1.0, 1.0, 1.0)


def test_a_function_is_found_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "my_own_rewards.py").write_text(
        "def score(prompts, responses, rows):\n    return map(len, responses)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # taken back afterwards
    for name in ("my_own_rewards:score", "my_own_rewards.py:score"):
        assert FunctionJudge(function_named(name), name)([Asked("", ("ab", ""))])[0].scores == (2.0, 0.0)
    with pytest.raises(ConfigError, match="is str; a judge is a function: def score"):
        function_named("my_own_rewards.py:__name__")


def test_a_judge_of_single_prompts_that_gives_none_or_two_verdicts_loses_that_prompt_alone():
    """Verdicts that are one short and one over add up, and would go to each other's prompts."""
    given = {"a": [], "b": [Verdict(scores=(9.0,)), Verdict(scores=(8.0,))], "c": [Verdict(scores=(7.0,))]}

    def ask(asked):
        if len(asked) > 1:
            raise RuntimeError("one at a time")
        return given[asked[0].prompt]

    first, second, third = together_or_alone(ask, [Asked(prompt, ("x",)) for prompt in given], "skip")
    assert first.failed == "it returned 0 verdicts for one prompt"
    assert second.failed == "it returned 2 verdicts for one prompt" and third.scores == (7.0,)
