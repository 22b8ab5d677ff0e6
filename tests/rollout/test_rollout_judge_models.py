"""Reward models and implicit rewards as judges, against transformers run on each response by itself."""

import gc
import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from logratio.config import JudgeConfig, LoraConfig
from logratio.errors import JudgeError, ModelError, ReferenceChoiceError
from logratio.logps.subject import subject_of
from logratio.models.load import load_model
from logratio.models.save import save_model
from logratio.rollout.judge import Asked
from logratio.rollout.judges import open_judge
from logratio.rollout.judges.reward_model import OFFSET, RewardModelJudge

sys.path.append(str(Path(__file__).parents[1] / "evaluate"))
small = import_module("small_models")
made_run, model, nudged, save = small.made_run, small.model, small.nudged, small.save
slow_logp, word_tokenizer = small.slow_logp, small.word_tokenizer

ASKED = [
    Asked(" the film was", (" good", " not good but so very bad", " good", "", " a a a a a a a a a")),
    Asked(" I", (" it you", " you")),
]
CHAT = (
    "{% for m in messages %}{% if m.role == 'user' %} you{{ m.content }}{% else %}"
    " I{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %} I{% endif %}"
)


def scorer(seed=0, labels=1):
    config = model(seed).config
    config.num_labels = labels
    torch.manual_seed(seed)
    return AutoModelForSequenceClassification.from_config(config).eval()


def save_scorer(folder, tokenizer=None, **options):
    scorer(**options).save_pretrained(folder)
    (tokenizer or word_tokenizer()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reward_folder(tmp_path_factory):
    return save_scorer(tmp_path_factory.mktemp("reward"))


def judge_of(folder, **more):
    return open_judge(JudgeConfig(reward_model=str(folder), **more))


def slow_scores(folder, asked, side="right"):
    """Scores of transformers, all responses of all prompts in one padded batch."""
    own = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = word_tokenizer()
    texts = [one.prompt + response + tokenizer.eos_token for one in asked for response in one.responses]
    batch = tokenizer(texts, add_special_tokens=False, padding=True, padding_side=side, return_tensors="pt")
    with torch.no_grad():
        flat = own(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=(batch.attention_mask.cumsum(1) - 1).clamp(min=0),
        ).logits[:, 0]
    return [part.tolist() for part in flat.split([len(one.responses) for one in asked])]


@pytest.mark.parametrize("side", ["right", "left"])
def test_scores_are_those_of_transformers_however_it_pads(reward_folder, side):
    found = judge_of(reward_folder)(ASKED)
    for verdict, slow in zip(found, slow_scores(reward_folder, ASKED, side), strict=True):
        assert verdict.scores == pytest.approx(slow, abs=2e-6)
    assert len(set(found[0].scores)) == 4  # the two equal responses have equal scores, and no others do


def test_a_score_does_not_depend_on_its_company(reward_folder):
    judge = judge_of(reward_folder)
    together = judge(ASKED)
    for i, one in enumerate(ASKED):
        for j, response in enumerate(one.responses):
            (alone,) = judge([Asked(one.prompt, (response,))])
            assert alone.scores[0] == pytest.approx(together[i].scores[j], abs=5e-6)
    small = RewardModelJudge(subject_of(str(reward_folder)), bin_tokens=8)
    assert [v.scores for v in small(ASKED)] == [pytest.approx(v.scores, abs=5e-6) for v in together]
    assert judge([]) == []


def test_a_prompt_is_encoded_once_for_its_responses(reward_folder):
    from logratio.config import TemplateConfig
    from logratio.rollout.judges.tokens import Reader

    laid = Reader(word_tokenizer(), TemplateConfig(), None, None).lay(ASKED)
    assert [(len(group.prompt), [len(r) for r in group.responses]) for group in laid.groups] == [
        (3, [2, 7, 1, 10]),
        (1, [3, 2]),
    ]
    assert laid.places[0] == [(0, 0), (0, 1), (0, 0), (0, 2), (0, 3)]
    judge = judge_of(reward_folder)
    judge(ASKED)
    assert judge._policy.path == "shared"


def test_a_reward_model_reads_through_its_own_template(tmp_path):
    tokenizer = word_tokenizer()
    tokenizer.chat_template = CHAT
    folder = save_scorer(tmp_path / "chat", tokenizer)
    messages = ({"role": "user", "content": " was it good"},)
    (found,) = judge_of(folder)([Asked(messages, (" not", " very"))])
    plain = [Asked(" you was it good I", (" not", " very"))]  # the same text, without a template
    assert found.scores == pytest.approx(slow_scores(folder, plain)[0], abs=2e-6)
    (as_text,) = judge_of(folder)([Asked(" was it good", (" not", " very"))])
    assert as_text.scores == found.scores


def test_normalised_responses_of_the_reference_average_0(tmp_path):
    folder = save_scorer(tmp_path / "reward", seed=3)
    judge = judge_of(folder)
    before = [verdict.scores for verdict in judge(ASKED)]
    offset = judge.normalise(ASKED, "reference.jsonl")
    assert offset == pytest.approx(np.mean([np.mean(scores) for scores in before]), abs=1e-12)
    again = judge_of(folder)
    assert f"{offset:.4g}" in again.description
    after = [verdict.scores for verdict in again(ASKED)]
    assert np.mean([np.mean(scores) for scores in after]) == pytest.approx(0, abs=1e-7)
    assert after[1][0] - after[1][1] == pytest.approx(before[1][0] - before[1][1], abs=1e-6)
    assert json.loads((folder / OFFSET).read_text())["data"] == "reference.jsonl"
    scorer(seed=4).save_pretrained(folder)  # trained further
    with pytest.raises(JudgeError, match="belongs to other weights"):
        judge_of(folder)
    (folder / OFFSET).write_text("{}")
    with pytest.raises(JudgeError, match="cannot be read"):
        judge_of(folder)


def test_what_is_too_long_for_the_model_has_no_verdict(reward_folder):
    long = Asked(" the", (" good", " so" * 200))
    with pytest.raises(JudgeError, match="failed on 1 of 3 prompts.*202 tokens and the judge's model knows 128"):
        judge_of(reward_folder)([*ASKED, long])
    found = judge_of(reward_folder, on_failure="skip")([long, *ASKED])
    assert [bool(verdict.failed) for verdict in found] == [True, False, False]
    assert [v.scores for v in found[1:]] == [pytest.approx(v.scores, abs=5e-6) for v in judge_of(reward_folder)(ASKED)]


def test_a_model_whose_weights_are_not_numbers_gives_no_scores(tmp_path):
    own = scorer()
    own.score.weight.data[:] = float("nan")
    own.save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(JudgeError, match="failed on 2 of 2 prompts.*the score nan"):
        judge_of(tmp_path)(ASKED)


def test_a_classifier_of_several_labels_is_refused(tmp_path):
    with pytest.raises(ModelError, match="3 labels"):
        judge_of(save_scorer(tmp_path, labels=3))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    start, trained = save(model(1), root / "start"), save(nudged(model(1), 0.05), root / "trained")
    return made_run(root / "run", start, trained)


@pytest.mark.parametrize("key", ["implicit", "reward_model"])
def test_the_implicit_reward_is_beta_times_the_log_ratio(run, key):
    judge = open_judge(JudgeConfig(**{key: str(run)}))
    assert "implicit reward" in judge.description and "β = 0.3" in judge.description
    after, before = nudged(model(1), 0.05), model(1)
    for one, verdict in zip(ASKED, judge(ASKED), strict=True):
        slow = [
            0.3 * (slow_logp(after, one.prompt, text) - slow_logp(before, one.prompt, text)).sum()
            for text in one.responses
        ]
        assert verdict.scores == pytest.approx(slow, abs=1e-5)
    assert len(set(verdict.scores)) == 2


def test_a_judge_of_other_weights_under_the_same_name_describes_itself_otherwise(tmp_path):
    """What it said is kept under its description."""
    start, trained = save(model(1), tmp_path / "start"), save(nudged(model(1), 0.05), tmp_path / "trained")
    other, told = save(model(2), tmp_path / "other"), []
    made = made_run(tmp_path / "run", start, trained, reference=str(other))

    def description(**judge):
        return open_judge(JudgeConfig(**judge)).description

    told += [description(implicit=str(made)), description(implicit=str(made))]
    save(nudged(model(1), 0.06), made / "model")
    told.append(description(implicit=str(made)))
    save(model(3), other)
    told.append(description(implicit=str(made)))
    assert told[0] == told[1] and len(set(told)) == 3
    assert len({text.split(" (weights ")[0] for text in told}) == 1
    scored = save_scorer(tmp_path / "reward")
    before = description(reward_model=str(scored))
    scorer(seed=4).save_pretrained(scored)
    assert description(reward_model=str(scored)) != before


def test_under_an_adapter_lies_its_reference(tmp_path):
    start = save(model(1), tmp_path / "start")
    own = load_model(str(start), lora=LoraConfig(r=2, alpha=4), seed=3)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in own.model.named_parameters():
            if "lora_B" in name:
                weight += 0.05 * torch.randn(weight.shape, generator=draw)
    adapter = save_model(own, own.tokenizer, tmp_path / "adapter")
    made = made_run(tmp_path / "run", start, adapter, reference="base")
    judge = open_judge(JudgeConfig(implicit=str(made)))
    assert "under the adapter" in judge.description
    merged = own.model.merge_and_unload()
    for one, verdict in zip(ASKED, judge(ASKED), strict=True):
        slow = [
            0.3 * (slow_logp(merged, one.prompt, text) - slow_logp(model(1), one.prompt, text)).sum()
            for text in one.responses
        ]
        assert verdict.scores == pytest.approx(slow, abs=1e-5) and max(map(abs, slow)) > 0.01


@pytest.mark.parametrize("key", ["implicit", "reward_model"])
def test_models_are_let_go_with_the_judge_and_before_the_interpreter_ends(run, reward_folder, key):
    judge = open_judge(JudgeConfig(**{key: str(run if key == "implicit" else reward_folder)}))
    policy, closing = judge._policy, judge._closing
    assert closing.alive and closing.atexit and policy.reason != "closed"
    del judge
    gc.collect()
    assert not closing.alive and policy.reason == "closed"


def test_an_implicit_reward_needs_its_reference(run, tmp_path):
    with pytest.raises(JudgeError, match="has no reference"):
        open_judge(JudgeConfig(implicit=str(run / "model")))
    other = save(model(2), tmp_path / "other")
    moved = made_run(tmp_path / "moved", other, run / "model")
    save(model(5), other)
    with pytest.raises(ReferenceChoiceError, match="hash differs"):
        open_judge(JudgeConfig(implicit=str(moved)))
