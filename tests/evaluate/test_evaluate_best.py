"""Best of N: the sample that a judge likes best, of those that would have been drawn anyway."""

import json

import pytest
from small_models import WORDS, made_run, model, nudged, save, word_tokenizer

from logratio.cli.app import main
from logratio.data.api import tokenize
from logratio.errors import ConfigError
from logratio.evaluate.best import best
from logratio.evaluate.draw import asked, draw
from logratio.evaluate.worst import scored
from logratio.rollout.judge import Verdict

PROMPTS = [" the film was", " I", " a plot", " so is the music"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    start = save(model(), tmp_path_factory.mktemp("start"))
    moved = save(nudged(model(), 0.2), tmp_path_factory.mktemp("moved"))
    return str(made_run(tmp_path_factory.mktemp("runs") / "run", start, moved))


class Longest:
    """Likes many characters, and says nothing of the second prompt."""

    description = "length"

    def __call__(self, questions):
        return [
            Verdict(failed="no") if one.prompt == PROMPTS[1] else Verdict(scores=tuple(map(len, one.responses)))
            for one in questions
        ]


def test_it_is_the_highest_of_the_samples_and_a_prompt_without_a_verdict_is_left_out(run):
    questions = asked(PROMPTS)
    found = best(run, questions, Longest(), k=5, max_new_tokens=8, seed=3)
    drawn = draw(run, questions, k=5, max_new_tokens=8, seed=3)
    assert [one.question.record.prompt for one in found] == [PROMPTS[i] for i in (0, 2, 3)]
    for one, samples in zip(found, (drawn[0], drawn[2], drawn[3]), strict=True):
        longest = max(len(sample.text) for sample in samples)
        assert one.value == longest == len(one.samples[0].text) and one.samples[0] in samples
        assert min(len(sample.text) for sample in samples) < longest


@pytest.mark.parametrize("settings", [{"k": 1}, {"k": 4, "temperature": 0.0}])
def test_where_nothing_can_be_chosen_it_says_so(run, settings):
    with pytest.raises(ConfigError, match="is no choice"):
        best(run, asked(PROMPTS), Longest(), **settings)


def test_the_command_writes_demonstrations(run, tmp_path, capsys):
    data, out, judge = tmp_path / "prompts.jsonl", tmp_path / "best.jsonl", tmp_path / "judge.py"
    data.write_text("".join(json.dumps({"prompt": text, "topic": n}) + "\n" for n, text in enumerate(PROMPTS)))
    judge.write_text("def score(prompts, responses, rows):\n    return [len(text) for text in responses]\n")
    words = ["--data", str(data), "--output", str(out), "--judge", f"{judge}:score", "--max-new-tokens", "6"]
    with pytest.raises(SystemExit) as caught:
        main(["sample", run, *words, "--best", "--k", "3"])
    said = " ".join(capsys.readouterr().out.split())
    assert caught.value.code == 0 and "the best of 3 samples of 4 prompts" in said
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["topic"] for row in rows] == [0, 1, 2, 3]
    assert all(row["best"] == {"of": 3, "score": len(row["completion"])} for row in rows)
    assert [len(group.edges) for group in tokenize(rows, word_tokenizer(), kind="demonstrations")] == [0] * 4


def test_a_thought_that_the_prompt_opened_and_nothing_closed_is_not_judged():
    tokenizer = word_tokenizer(["<think>" if word == "so" else word for word in WORDS])
    questions = asked([" very <think>", " very good"])
    drawn = draw(model(), questions, tokenizer=tokenizer, k=3, max_new_tokens=6)
    thinking, plain = scored(Longest(), questions, drawn)
    assert thinking == [0, 0, 0] and plain == [len(one.text) for one in drawn[1]] and max(plain) > 0
    assert all(one.text for one in drawn[0])
