import json
import math

import numpy as np
import pytest
from small_models import made_run, model, nudged, save

from logratio.cli.app import main
from logratio.config import JudgeConfig
from logratio.errors import ConfigError
from logratio.evaluate.draw import asked
from logratio.evaluate.worst import ranked, worst
from logratio.rollout.judge import Verdict
from logratio.rollout.judges import open_judge

PROMPTS = [" the film was", " I", " a plot", " so is the music", " very good", " it is not"]
NAN = math.nan


def three(values):
    return np.array([values], np.float64)


def test_the_lowest_mean_score_comes_first_equal_texts_or_not():
    value, order = ranked("judge", three([[2, 4], [0, 1], [5, -7], [NAN, NAN]]), [("a", "a")] * 4)
    assert value[:3].tolist() == [3, 0.5, -1] and order == [2, 1, 0]


def test_the_smallest_mean_margin_of_different_samples_comes_first():
    scores = three([[0, 3, 0], [1, 1, 1], [0, 0.5, 9], [0, -1, NAN]])
    texts = [("a", "b", "a"), ("a", "a", "a"), ("a", "b", "b"), ("a", "b", "b")]
    value, order = ranked("margin", scores, texts)
    assert value[0] == 3 and math.isnan(value[1]) and value[2] == (0.5 + 9) / 2
    assert order == [0, 2]


def test_the_most_opposed_come_first_whatever_the_scale_of_a_judge():
    one, other = [[0, 2], [0, 2], [0, 0], [0, 1]], [[5, -5], [-5, 5], [1, 0], [0, -1]]
    texts = [("a", "b")] * 4
    value, order = ranked("disagreement", np.array([one, other], np.float64), texts)
    assert order == [0, 3, 2, 1] and value[0] == -value[1] and value[2] == 0
    scaled, _ = ranked("disagreement", np.array([one, np.array(other) * 100], np.float64), texts)
    np.testing.assert_allclose(scaled, value)
    nothing, none = ranked("disagreement", np.zeros((2, 2, 2)), [("a", "b")] * 2)
    assert nothing.tolist() == [0, 0] and none == [0, 1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    start = save(model(), tmp_path_factory.mktemp("start"))
    moved = save(nudged(model(), 0.2), tmp_path_factory.mktemp("moved"))
    return str(made_run(tmp_path_factory.mktemp("runs") / "run", start, moved))


def test_margins_are_those_of_the_runs_implicit_reward(run):
    judge = open_judge(JudgeConfig(implicit=run))
    found = worst(run, asked(PROMPTS), [judge], by="margin", n=3, max_new_tokens=6, seed=1)
    assert len(found) == 3 and [one.value for one in found] == sorted(one.value for one in found)
    from logratio.rollout.judge import Asked

    for one in found:
        (verdict,) = judge([Asked(one.question.record.prompt, tuple(sample.text for sample in one.samples))])
        assert abs(verdict.scores[0] - verdict.scores[1]) == pytest.approx(one.value, rel=1e-4)
    every = worst(run, asked(PROMPTS), [judge], by="margin", n=99, max_new_tokens=6, seed=1)
    assert [one.value for one in every[:3]] == [one.value for one in found]
    judge.close()


class Short:
    description = "likes what is short, and says nothing of prompts with an I"

    def __call__(self, asked):
        return [
            Verdict(failed="no")
            if "I" in one.prompt
            else Verdict(scores=tuple(-float(len(text)) for text in one.responses))
            for one in asked
        ]


def test_a_prompt_without_a_verdict_is_never_picked(run):
    found = worst(run, asked(PROMPTS), [Short()], by="judge", n=6, max_new_tokens=6)
    assert {one.question.record.prompt for one in found} == set(PROMPTS) - {" I"}
    assert found[0].value == min(one.value for one in found)


def test_a_judge_that_compares_says_nothing_of_one_sample(run):
    assert (
        worst(run, asked(PROMPTS), [lambda asked: [Verdict()] * len(asked)], by="judge", n=6, k=1, max_new_tokens=6)
        == []
    )


def test_what_a_rule_lacks_is_said(run):
    for by, judges, k, said in (
        ("margin", [], 2, "margin takes 1 judge"),
        ("disagreement", [Short()], 2, "disagreement takes 2 judges"),
        ("margin", [Short()], 1, "draw at least 2"),
    ):
        with pytest.raises(ConfigError, match=said):
            worst(run, asked(PROMPTS), judges, by=by, n=1, k=k)


def test_the_command_writes_prompts_that_both_label_and_sample_read(run, tmp_path, capsys):
    data, out = tmp_path / "prompts.jsonl", tmp_path / "next.jsonl"
    data.write_text("".join(json.dumps({"prompt": text, "answer": n}) + "\n" for n, text in enumerate(PROMPTS)))
    (tmp_path / "judge.py").write_text(
        "def score(prompts, responses, rows):\n    return [row['answer'] for row in rows]\n"
    )
    words = ["sample", run, "--data", str(data), "--output", str(out), "--worst", "2", "--max-new-tokens", "6"]
    for by, judges in (("margin", []), ("judge", [f"{tmp_path}/judge.py:score"])):
        with pytest.raises(SystemExit) as caught:
            main([*words, "--by", by, *(word for judge in judges for word in ("--judge", judge))])
        assert caught.value.code == 0, capsys.readouterr().err
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert len(rows) == 2 and all(len(row["responses"]) == 2 and list(row["worst"]) == [by] for row in rows)
    assert [row["answer"] for row in rows] == [0, 1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--worst", "2"], "--worst and --best choose what goes into a file"),
        (["--best", "--judge", "j.py:f"], "--worst and --best choose what goes into a file"),
        (["--best", "--output", "o"], "--best takes one --judge"),
        (["--best", "--worst", "2", "--output", "o"], "keep one of them"),
        (["--worst", "2", "--output", "o"], "give --by margin, judge or disagreement"),
        (["--by", "margin", "--output", "o"], "give --worst N"),
        (["--worst", "2", "--by", "judge", "--output", "o"], "--by judge takes one --judge"),
        (["--worst", "2", "--by", "margin", "--judge", "j.py:f", "--output", "o"], "--by margin takes no --judge"),
        (["--worst", "2", "--by", "disagreement", "--output", "o"], "--by disagreement takes --judge twice, or once"),
    ],
)
def test_the_command_says_what_is_missing(run, words, said, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["sample", run, "--prompt", "p", *words])
    assert caught.value.code == 2 and said in " ".join(capsys.readouterr().err.split())
