"""Tasks of lm-evaluation-harness: tasks of one's own on disk, whose scores are computed here once more."""

import json
import sys
from functools import partial

import pytest
import torch
import yaml

from logratio import train
from logratio.cli.app import main
from logratio.data.prepare import tokenize_prompts
from logratio.errors import ConfigError, MissingExtraError
from logratio.logps.subject import subject_of
from logratio.models.load import load_model
from logratio.rollout.generate import generate, stop_tokens
from small_files import BAD, FILMS, GOOD, write_model, write_pairs

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ tone }} {{ m.content }}"
    "{% else %} the {{ m.content }}</s>{% endif %}{% endfor %}{% if add_generation_prompt %} the{% endif %}"
)
ASKED = [f"Review the plot of {film} :" for film in FILMS]


@pytest.fixture
def subject(request, tmp_path):
    """A model without a template, or a run whose template was given a value."""
    model = write_model(tmp_path / "model")
    if request.param == "model":
        return model
    (model / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    small = {"batch_size": 10, "lr": 1e-2, "epochs": 1}
    how = {"lora": {"r": 2}, "template": {"kwargs": {"tone": "is"}}, "train": small, "eval": {"samples": 0}}
    pairs = write_pairs(tmp_path / "pairs.jsonl", 40)
    return train(model, pairs, objective="dpo", output=tmp_path / "run", on_event=lambda event: None, **how).directory


def answers(own, ids):
    """The likeliest answer to each prompt."""
    stops = stop_tokens(own.model, own.tokenizer)
    drawn = generate(own.model, ids, k=1, max_new_tokens=8, stop_ids=stops, temperature=0.0, seed=0)
    return [own.tokenizer.decode(sample.tokens, skip_special_tokens=True) for (sample,) in drawn]


def preferred(own, prompt, choices):
    """Which choice has the largest log-prob after a prompt's tokens."""
    sums = []
    for choice in choices:
        said = own.tokenizer(f" {choice}", add_special_tokens=False).input_ids
        with torch.no_grad():
            table = own.model(torch.tensor([[*prompt.tolist(), *said]])).logits[0].float().log_softmax(-1)
        sums.append(sum(float(table[len(prompt) - 1 + at, token]) for at, token in enumerate(said)))
    return max(range(len(choices)), key=sums.__getitem__)


def write_task(folder, name, documents, **how):
    """Write a task over documents on disk, and return its file."""
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(own) + "\n" for own in documents), encoding="utf-8")
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / f"{name}.jsonl")}},
        "test_split": "test",
        "doc_to_text": "asked",
        "metadata": {"version": 1.0},
        **how,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    return str(folder / f"{name}.yaml")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the harness and what it imports
@pytest.mark.parametrize("subject", ["model", "run"], indirect=True)
def test_tasks_of_one_s_own_are_scored_as_the_model_was_trained(subject, tmp_path, capfd, monkeypatch):
    """Of choices the likelier; of answers exactly those half that are the policy's own."""
    pytest.importorskip("lm_eval", reason="the extra `tasks` is not installed")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    trained = subject_of(subject)
    own = load_model(trained.source)
    ids = tokenize_prompts(ASKED, tokenizer=own.tokenizer, template=trained.template)
    choices = [[f"plot is {good} .", f"plot is {bad} ."] for good, bad in zip(GOOD * 7, BAD * 7, strict=True)]
    chosen = [
        {"asked": asked, "choices": both, "answer": n % 2}
        for n, (asked, both) in enumerate(zip(ASKED, choices, strict=False))
    ]
    told = [said if n % 2 else f"{said} film3" for n, said in enumerate(answers(own, ids))]
    said = [{"asked": asked, "answer": answer} for asked, answer in zip(ASKED, told, strict=True)]
    write = partial(write_task, tmp_path, doc_to_target="answer")
    choose = write("films", chosen, output_type="multiple_choice", doc_to_choice="choices")
    drawn = {"until": ["\n\n"], "max_gen_toks": 8, "do_sample": False}
    answer = write("answers", said, output_type="generate_until", generation_kwargs=drawn)

    capfd.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["eval", str(subject), "--tasks", f"{choose}, {answer}", "--json"])
    out, err = capfd.readouterr()
    assert caught.value.code == 0, err
    found = json.loads(out)
    right = [preferred(own, *of) == n % 2 for n, of in enumerate(zip(ids, choices, strict=False))]
    assert 0 < sum(right) < len(ASKED), "a task that tells nothing"
    assert found["films/acc"]["mean"] == sum(right) / len(ASKED) and found["films/acc"]["n"] == len(ASKED)
    assert found["films/acc"]["low"] < found["films/acc"]["mean"] < found["films/acc"]["high"]
    assert found["answers/exact_match"]["mean"] == 0.5
    assert (found["about"]["chat_template"] is None) == (trained.config is None)
    if trained.config is not None:
        kept = json.loads((subject / "evaluation.json").read_text())
        assert kept["accuracy"] and kept["films/acc"] == found["films/acc"] and kept["tasks"]["films"]["few_shot"] == 0
        assert "films/acc" in (subject / "report.html").read_text()
        assert "films/acc" in (subject / "model" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_names_may_be_patterns_and_what_cannot_be_read_is_told(tmp_path):
    pytest.importorskip("lm_eval", reason="the extra `tasks` is not installed")
    from logratio.evaluate.tasks import evaluate_tasks

    model = write_model(tmp_path / "model")
    own = {"doc_to_target": "answer", "output_type": "multiple_choice", "doc_to_choice": "choices"}
    document = {"asked": ASKED[0], "choices": ["plot", "film"], "answer": 0}
    file = write_task(tmp_path, "films", [document], **own)
    found = evaluate_tasks(str(model), [file, "film*"])
    assert list(found["about"]["tasks"]) == ["films"] and "films/acc" in found
    with pytest.raises(ConfigError, match="has no task none_such"):
        evaluate_tasks(str(model), ["none_such"])
    (tmp_path / "broken.yaml").write_text("task: [", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.yaml: the file is not valid YAML"):
        evaluate_tasks(str(model), [str(tmp_path / "broken.yaml")])


def test_without_the_extra_one_sentence_says_so(monkeypatch):
    from logratio.evaluate.tasks import evaluate_tasks

    for module in ("lm_eval", "lm_eval.tasks"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'logratio\[tasks\]'"):
        evaluate_tasks("model", ["gsm8k"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model", "--tasks", "gsm8k", "--data", "a.jsonl"], "--data is read only without --tasks"),
        (["model", "--tasks", "gsm8k", "--scores", "s.jsonl"], "--scores is read only without --tasks"),
        (["model", "--data", "a.jsonl", "--limit", "3"], "--limit is read only with --tasks"),
        (["model"], "--data is missing"),
        (["--tasks", "gsm8k"], "RUN_OR_MODEL is missing"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, said, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["eval", *words])
    assert caught.value.code == 2 and said in " ".join(capsys.readouterr().err.split())
