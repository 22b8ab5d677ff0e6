"""Win rates of models on disk: drawn, judged, kept and taken up again."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from small_models import model, nudged, pairs, save, word_tokenizer

from logratio.errors import ConfigError, DataError, RunError
from logratio.evaluate.winrate import answers as drawing
from logratio.evaluate.winrate.answers import Settings, answers, contenders
from logratio.evaluate.winrate.api import winrate
from logratio.evaluate.winrate.kept import Kept
from logratio.evaluate.winrate.questions import read_questions
from logratio.rollout.generate import Sample, generate, stop_tokens
from logratio.rollout.judge import Comparison, Verdict

PROMPTS = [
    {"prompt": row["prompt"], "category": "odd" if i % 2 else "even", "level": i / 30}
    for i, row in enumerate(pairs(40))
]


class Longer:
    """Prefers the longer answer."""

    description = "the longer one"

    def __init__(self):
        self.asked = 0

    def __call__(self, asked):
        self.asked += len(asked)
        lengths = [tuple(map(len, one.responses)) for one in asked]
        return [Verdict(comparisons=(Comparison(0, 1, 0.5 + 0.5 * ((a > b) - (a < b))),)) for a, b in lengths]


class Refuses:
    description = "the longer one"

    def __call__(self, asked):
        raise AssertionError("asked again")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return save(model(), tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    return save(nudged(model(), 0.3), tmp_path_factory.mktemp("moved"))


@pytest.fixture(scope="module")
def told(tmp_path_factory, start, moved):
    """A contest, its folder and its prompts."""
    folder = tmp_path_factory.mktemp("contest")
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))
    result = winrate([str(moved), str(start)], str(file), Longer(), out=folder / "out", max_new_tokens=12)
    return result, folder / "out", file


def rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_rate_is_what_the_kept_answers_say(told, start, moved):
    result, out, _ = told
    said = {name: {} for name in result["models"]}
    for row in rows(out / "answers.jsonl"):
        said[row["model"]][row["prompt"]] = row["text"]
    assert result["models"] == [str(moved), str(start)]
    gaps = [len(text) - len(said[str(start)][prompt]) for prompt, text in said[str(moved)].items()]
    (pair,) = result["at"][0]["pairs"]
    assert pair["rate"]["mean"] == pytest.approx(np.mean([(gap > 0) + 0.5 * (gap == 0) for gap in gaps]))
    assert pair["rate"]["low"] < pair["rate"]["mean"] < pair["rate"]["high"]
    assert pair["longer"]["mean"] == 1 and pair["flips"]["mean"] == 0
    assert set(pair["categories"]) == {"odd", "even"} and result["category"] == "category"
    assert pair["wins"] + pair["ties"] + pair["losses"] == len(gaps)
    assert json.loads((out / "winrate.json").read_text()) == result


def test_a_judge_of_length_wins_nothing_at_equal_length(told):
    (pair,) = told[0]["at"][0]["pairs"]
    own = pair["controlled"]
    assert own["length"] > 2 and own["low"] <= 0.5 <= own["high"]


def test_answers_are_what_the_model_generates_alone(tmp_path, start):
    questions = read_questions([row["prompt"] for row in PROMPTS[:3]])
    (entrant,) = contenders([str(start)])
    with Kept(tmp_path / "a.jsonl") as kept:
        given = answers(entrant, questions, Settings(k=2, max_new_tokens=9, seed=4), kept)
    own, tokenizer = model(), word_tokenizer()
    own.generation_config.eos_token_id = 2
    ids = [np.array(tokenizer(one.prompt.prompt, add_special_tokens=False).input_ids, np.int32) for one in questions]
    seed = int(drawing.content_hash(4, drawing._weights(entrant.source))[:12], 16)
    drawn = generate(own, ids, k=2, max_new_tokens=9, stop_ids=stop_tokens(own, tokenizer), seed=seed)
    assert [[one.text for one in some] for some in given] == [
        [tokenizer.decode(sample.tokens, skip_special_tokens=True) for sample in samples] for samples in drawn
    ]
    assert [[one.ended for one in some] for some in given] == [[one.ended for one in some] for some in drawn]


def test_the_same_command_again_draws_and_asks_nothing(told, moved, start, monkeypatch):
    result, out, file = told
    monkeypatch.setattr(drawing, "opened", None)  # any attempt to load a model fails
    again = winrate([str(moved), str(start)], str(file), Refuses(), out=out, max_new_tokens=12)
    assert again == result


def test_what_a_kill_left_is_taken_up(told, moved, start, tmp_path):
    result, out, file = told
    for name in ("answers.jsonl", "judgements.jsonl"):
        content = (out / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    judge = Longer()
    again = winrate([str(moved), str(start)], str(file), judge, out=tmp_path, max_new_tokens=12)
    assert {**again, "date": ""} == {**result, "date": ""}
    assert 0 < judge.asked < len(rows(out / "judgements.jsonl"))


def test_who_comes_first_does_not_matter_and_a_model_against_itself_has_a_half(told, moved, start, tmp_path):
    result, _, file = told
    back = winrate([str(start), str(moved)], str(file), Longer(), out=tmp_path, max_new_tokens=12)
    (pair,), (other,) = result["at"][0]["pairs"], back["at"][0]["pairs"]
    for name in ("rate", "matched", "controlled"):
        assert other[name]["mean"] == pytest.approx(1 - pair[name]["mean"], abs=1e-9)
    both = winrate([str(start), str(start)], str(file), Longer(), out=tmp_path, max_new_tokens=12)
    (pair,) = both["at"][0]["pairs"]
    assert both["models"] == [str(start), f"{start} (2)"]
    assert pair["rate"]["mean"] == pair["controlled"]["mean"] == 0.5 and pair["same"] == pair["prompts"]


def test_three_models_at_two_temperatures(moved, start, tmp_path):
    given = tmp_path / "given.jsonl"
    given.write_text(
        "".join(json.dumps({"prompt": row["prompt"], "output": " the film" * 9}) + "\n" for row in PROMPTS)
    )
    result = winrate(
        [str(moved), str(start), str(given)],
        PROMPTS[:15],
        Longer(),
        out=tmp_path / "out",
        temperature=[0, 1],
        max_new_tokens=6,
        k=2,
        by="level",
        difficulty="level",
    )
    assert [own["temperature"] for own in result["at"]] == [0, 1]
    for own in result["at"]:
        assert [(pair["a"], pair["b"]) for pair in own["pairs"]] == [
            (str(moved), str(start)),
            (str(moved), str(given)),
            (str(start), str(given)),
        ]
        assert own["ranking"][0]["model"] == str(given) and own["ranking"][0]["best"] == 1
        assert own["cycles"] == []
        assert own["pairs"][0]["controlled"]["difficulty"] is not None
    greedy, drawn = ([model["tokens"]["n"] for model in own["models"]] for own in result["at"])
    assert (greedy, drawn) == ([15, 15, 0], [30, 30, 0])  # at temperature 0 two answers would be one
    assert result["at"][1]["pairs"][0]["rate"]["n"] == 30 and result["at"][1]["pairs"][1]["rate"]["n"] == 15
    shown = rows(tmp_path / "out" / "duels.jsonl")
    assert len(shown) == 15 * 3 + 30 + 2 * 15


def test_answers_of_several_models_are_not_taken_for_one(told, tmp_path):
    result, out, file = told
    with pytest.raises(DataError, match="is of .*start.* 1.0 and rows before it of .*moved"):
        winrate([out / "answers.jsonl", out / "answers.jsonl"], file, Longer(), out=tmp_path)
    files = []
    for name in result["models"]:
        own = [row for row in rows(out / "answers.jsonl") if row["model"] == name]
        files.append(tmp_path / f"{len(files)}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in own))
    again = winrate(files, file, Longer(), out=tmp_path / "again")
    for name in ("rate", "matched", "controlled", "wins", "categories", "length_a"):
        assert again["at"][0]["pairs"][0][name] == result["at"][0]["pairs"][0][name]


def test_an_answer_is_without_the_token_that_ended_it_though_that_be_ordinary_text():
    said = ["Ask. <think>\n", "4", "\n\nQuestion:"]
    words = SimpleNamespace(decode=lambda ids, skip_special_tokens=False: "".join(said[i] for i in ids))
    tokens = np.array([1, 2], np.int32)
    kept = [
        drawing._row(SimpleNamespace(tokenizer=words), tokens[:1] - 1, Sample(tokens, np.zeros(2, np.float32), ended))
        for ended in (True, False)
    ]
    assert [row["text"] for row in kept] == ["4", "4\n\nQuestion:"] and all(row["thought_opened"] for row in kept)
    assert [row["tokens"] for row in kept] == [2, 2]


def test_a_judge_sees_what_follows_the_thought(tmp_path):
    files = []
    for name, text in (("a", "<think>long thought</think> yes"), ("b", "no indeed")):
        files.append(tmp_path / f"{name}.jsonl")
        files[-1].write_text(json.dumps({"prompt": "p", "response": text}) + "\n")
    result = winrate(files, ["p"], Longer(), out=tmp_path / "out")
    (row,) = rows(tmp_path / "out" / "duels.jsonl")
    assert (row["answer_a"], row["answer_b"], row["value"]) == ("yes", "no indeed", 0.0)
    assert result["at"][0]["models"][0]["thought_characters"]["mean"] == 28
    assert result["at"][0]["models"][1]["thought_characters"] is None


def test_what_cannot_be_compared_is_refused_before_a_model_is_loaded(tmp_path, start):
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="two or more"):
        winrate([str(start)], PROMPTS, Longer(), out=out)
    with pytest.raises(DataError, match='no field|field "topic"'):
        winrate([str(start), str(start)], PROMPTS, Longer(), out=out, by="topic")
    with pytest.raises(DataError, match="must be a number"):
        winrate([str(start), str(start)], PROMPTS, Longer(), out=out, difficulty="category")
    with pytest.raises(ConfigError, match="once"):
        winrate([str(start), str(start)], PROMPTS, Longer(), out=out, temperature=[1, 1.0])
    given = tmp_path / "few.jsonl"
    given.write_text(json.dumps({"prompt": PROMPTS[0]["prompt"], "text": "x"}) + "\n")
    with pytest.raises(DataError, match="answers 1 of 40 prompts"):
        winrate([given, given], PROMPTS, Longer(), out=out)
    with pytest.raises(ConfigError, match="2 temperatures"):
        winrate([given, given], PROMPTS, Longer(), out=out, temperature=[0, 1])
    given.write_text(json.dumps({"prompt": PROMPTS[0]["prompt"], "score": 2}) + "\n")
    with pytest.raises(DataError, match="no answer"):
        winrate([given, given], PROMPTS[:1], Longer(), out=out)
    assert not list(out.glob("duels*"))


def test_a_reward_model_does_not_answer(tmp_path, monkeypatch, start):
    monkeypatch.setattr("logratio.logps.subject.stored_head", lambda source: "score")
    with pytest.raises(RunError, match="can be the judge"):
        winrate([str(start), str(start)], PROMPTS, Longer(), out=tmp_path)


def test_models_in_memory_are_compared_and_left_as_they_were(tmp_path):
    own, other = model(), nudged(model(), 0.3)
    for each in (own, other):
        each.generation_config.eos_token_id = 2
    own.train()
    own.config.attention_dropout = own.model.layers[0].self_attn.attention_dropout = 0.25
    told = winrate([other, own], PROMPTS[:12], Longer(), out=tmp_path, tokenizer=word_tokenizer(), max_new_tokens=6)
    assert told["models"] == ["in memory", "in memory (2)"] and told["at"][0]["pairs"][0]["same"] < 12
    assert own.training and own.model.layers[0].self_attn.attention_dropout == 0.25


def test_a_prompt_without_room_for_an_answer_is_named_by_its_row(tmp_path, start):
    rows = [*PROMPTS, {"prompt": " the film" * 60}]
    with pytest.raises(DataError, match=f"row {len(rows)}: the prompt has 120 tokens .* positions"):
        winrate([str(start), str(start)], rows, Longer(), out=tmp_path, max_new_tokens=12)


def test_prompts_are_read_from_preference_data_too_and_equal_ones_once():
    told = [{"prompt": "p", "chosen": " a", "rejected": " b"}, {"prompt": "p", "chosen": " c", "rejected": " b"}]
    (question,) = read_questions(told)
    assert question.prompt.prompt == "p" and question.row == {"chosen": " a", "rejected": " b"}
    chats = [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}]
    assert read_questions(chats)[0].prompt.prompt == ({"role": "user", "content": "hi"},)
    assert len(read_questions(["a", "b", "c"], limit=2)) == 2
    with pytest.raises(DataError, match="holds no prompt"):
        read_questions([])
