import json

import numpy as np
import pytest
from small_models import model, nudged, save, word_tokenizer
from transformers import AutoModelForCausalLM

from logratio.cli.app import main
from logratio.config import DataPart
from logratio.errors import DataError
from logratio.evaluate.draw import asked, draw, read_questions, rows_of
from logratio.label.items import read_tasks
from logratio.rollout.generate import generate, stop_tokens

PROMPTS = [" the film was", " I"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(nudged(model(), 0.2), tmp_path_factory.mktemp("drawn"))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [DataPart(path=str(path))]


def test_samples_are_those_that_the_model_generates(folder):
    drawn = draw(str(folder), asked(PROMPTS), k=3, max_new_tokens=8, seed=4)
    own, tokenizer = AutoModelForCausalLM.from_pretrained(folder), word_tokenizer()
    ids = [np.array(tokenizer(text, add_special_tokens=False).input_ids, np.int32) for text in PROMPTS]
    expected = generate(own, ids, k=3, max_new_tokens=8, stop_ids=stop_tokens(own, tokenizer), seed=4)
    for samples, wanted in zip(drawn, expected, strict=True):
        assert [(one.text, one.tokens, one.ended) for one in samples] == [
            (tokenizer.decode(one.tokens, skip_special_tokens=True), len(one.tokens), one.ended) for one in wanted
        ]


def test_prompts_are_read_once_each_from_any_format_and_keep_their_other_fields(tmp_path):
    turn = [{"role": "user", "content": "Hi"}]
    (tmp_path / "data").mkdir()
    rows = [
        {"prompt": "p", "chosen": "x", "rejected": "y", "answer": 7},
        {"prompt": "q", "chosen": "x", "rejected": "y", "answer": 8},
        {"prompt": "p", "chosen": "y", "rejected": "z", "answer": 7},
    ]
    found = read_questions(write(tmp_path / "pairs.jsonl", rows))
    assert [question.row for question in found] == [{"prompt": "p", "answer": 7}, {"prompt": "q", "answer": 8}]
    chat = [[*turn, {"role": "assistant", "content": text}] for text in ("a", "b")]
    (found,) = read_questions(write(tmp_path / "chats.jsonl", [{"chosen": chat[0], "rejected": chat[1]}]))
    assert found.row == {"prompt": turn}
    (found,) = read_questions(write(tmp_path / "ours.jsonl", [{"prompt": "p", "responses": ["x"], "ended": [True]}]))
    assert found.row == {"prompt": "p"}
    judged = {"prompt": "p", "response_a": "x", "response_b": "y", "winner": "a", "annotator": "ada", "answer": 7}
    (found,) = read_questions(write(tmp_path / "labels.jsonl", [judged]))
    assert found.row == {"prompt": "p", "answer": 7}
    with pytest.raises(DataError, match="row 2: "):
        read_questions(write(tmp_path / "bad.jsonl", [{"prompt": "p"}, {"prompt": 3}]))


def test_rows_say_what_wrote_each_response(folder):
    questions = asked(PROMPTS)
    drawn = [draw(str(folder), questions, max_new_tokens=4, seed=seed) for seed in (1, 2)]
    first = rows_of(questions, ["one", "two"], drawn)[0]
    assert first["prompt"] == PROMPTS[0] and first["models"] == ["one", "two"]
    assert first["responses"] == [drawn[0][0][0].text, drawn[1][0][0].text]
    assert first["tokens"] == [drawn[0][0][0].tokens, drawn[1][0][0].tokens]


def test_sample_writes_what_label_reads(folder, tmp_path, capsys):
    write(tmp_path / "prompts.jsonl", [{"prompt": text, "source": "here"} for text in PROMPTS])
    out = tmp_path / "samples.jsonl"
    words = ["sample", str(folder), "--data", str(tmp_path / "prompts.jsonl"), "--output", str(out), "--k", "2"]
    with pytest.raises(SystemExit) as caught:
        main([*words, "--max-new-tokens", "8", "--seed", "3"])
    assert caught.value.code == 0 and f"logratio label {out}" in capsys.readouterr().out
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["prompt"] for row in rows] == PROMPTS and {row["source"] for row in rows} == {"here"}
    tasks = read_tasks([DataPart(path=str(out))])
    assert {task.prompt for task in tasks} <= set(PROMPTS)
    assert {one.source for task in tasks for one in task.responses} == {str(folder)}


def test_sample_says_what_does_not_go_together(folder, tmp_path, capsys):
    for words, said in (
        (["--prompt", "p", "--data", "d.jsonl"], "prompts are named twice"),
        (["--output", "o.jsonl"], "--output needs prompts"),
        (["--output", "o.jsonl", "--prompt", "p", "--reference", "start"], "--reference says nothing there"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["sample", str(folder), *words])
        assert caught.value.code == 2 and said in capsys.readouterr().err
