"""A reward model on the same loop: one gradient on every binning, whole runs, resuming, adapters, several processes."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import process_worker
import pytest
import small_run
import torch
from safetensors.torch import load_file
from test_train_gradient import ALONE, off
from test_train_processes import compare_steps, flat, numbers, together
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from logratio import evaluate, objectives
from logratio.errors import ConfigError, DataError, ModelError, NonFiniteError, RunError
from logratio.evaluate.sample import side_by_side
from logratio.logps.policy import Policy
from logratio.train.gradient import Learner, step_gradient
from logratio.train.recipe import resolve
from logratio.train.source import Step
from worlds import random_groups

SMALL = {"objective": "reward", "eval.holdout": 0.2, "train.batch_size": 8}


def gradient(groups, dtype, *, bin_tokens, scope="item"):
    objective = objectives.load("reward")
    policy = Policy(process_worker.model_of("score", dtype))
    learner = Learner(policy, objective, objective.settings(), ALONE, bin_tokens, scope)
    totals = step_gradient(learner, Step(0, groups))
    return torch.cat([p.grad.flatten() for p in policy.parameters()]), totals


@pytest.mark.parametrize("dtype,bound", [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_every_binning_and_both_routes_give_one_gradient(dtype, bound):
    groups = random_groups(6, k=4, scores=True, weights=True) + random_groups(6, k=2, weights=True, seed=1)
    groups = [g.with_columns(response={"score": np.zeros(len(g.responses), np.float32)}) for g in groups]
    whole, totals = gradient(groups, dtype, bin_tokens=10**6)
    assert whole.norm() > 1e-3
    for bin_tokens, scope in product((1, 60, 10**6), ("item", "step")):
        other, others = gradient(groups, dtype, bin_tokens=bin_tokens, scope=scope)
        assert off(other, whole) <= bound
        assert others.loss.item() == pytest.approx(totals.loss.item(), rel=1e-6)
        for metric, pair in totals.sums.items():
            assert torch.allclose(others.sums[metric], pair, rtol=1e-5), metric


@pytest.mark.parametrize("scope", ["item", "step"])
def test_a_score_that_is_no_number_names_its_row(scope):
    groups = random_groups(4, k=2)
    objective = objectives.load("reward")
    model = process_worker.model_of("score", torch.float32)
    bad = groups[2].responses[1][0]
    assert sum(bad in ids for g in groups for ids in (g.prompt, *g.responses)) < 8
    model.model.embed_tokens.weight.data[int(bad)] = torch.nan
    rows = sorted(g.row for g in groups if any(bad in ids for ids in (g.prompt, *g.responses)))
    learner = Learner(Policy(model), objective, objective.settings(), ALONE, 10**6, scope)
    with pytest.raises(NonFiniteError, match=rf"step 1: score is not finite in torch.float32, data rows \[{rows[0]}"):
        step_gradient(learner, Step(0, groups))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward")
    lines = []

    def hear(event):
        lines.extend(event.data.get("lines", ()))
        lines.extend([f"head {event.data['head']}"] if event.kind == "done" else ())

    run = small_run.run(
        **small_run.world(folder),
        **SMALL,
        output=str(folder / "run"),
        on_event=hear,
    )
    return folder, run, lines


def test_a_run_says_what_it_is_and_leaves_accuracy_with_its_interval_beside_length(done):
    folder, run, lines = done
    said = "\n".join(lines)
    for line in (
        "score head: fresh, drawn from N(0, 1/(D+1)) by seed 0; padding is <pad>, which ends no response",
        "samples: none, since a reward model does not generate",
        "reference: not needed by this objective",
        "responses of the first batch",
        "head score",
    ):
        assert line in said
    evals = [row["step"] for row in small_run.metrics(run.directory) if row["kind"] == "eval"]
    assert evals[0] == 0 and len(evals) > 3
    for name in ("accuracy", "length_baseline"):
        assert run.evaluation[name]["low"] < run.evaluation[name]["mean"] < run.evaluation[name]["high"]
    assert {"score", "score_chosen", "score_rejected", "margin", "loss"} <= run.evaluation.keys()
    assert not (run.directory / "samples.jsonl").read_text()
    manifest = json.loads((run.directory / "manifest.json").read_text())
    assert manifest["objective"]["head"] == "score" and manifest["reference"] is None
    card = (run.model / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card and "AutoModelForSequenceClassification" in card


def test_its_page_has_no_section_about_samples_and_none_that_is_empty(done):
    page = (done[1].directory / "report.html").read_text()
    for absent in (
        "Samples, before and after",
        "No samples were written",
        "(KL) was not measured",
        "No metric was logged",
    ):
        assert absent not in page
    assert "Score of chosen" in page and "A reward model does not generate" in page
    assert "final policy" not in page and "final model" in page


def test_transformers_scores_the_rows_as_the_evaluation_did(done):
    folder, run, _ = done
    rows = small_run.pairs(40, seed=7)
    found = evaluate(run.directory, data=rows)
    tok = AutoTokenizer.from_pretrained(run.model)
    model = AutoModelForSequenceClassification.from_pretrained(run.model).eval()

    def scores(side):
        texts = [tok.bos_token + row["prompt"] + row[side] + tok.eos_token for row in rows]
        batch = tok(texts, add_special_tokens=False, padding=True, return_tensors="pt")
        with torch.no_grad():
            return model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[:, 0].double()

    chosen, rejected = scores("chosen"), scores("rejected")
    assert found["score_chosen"]["mean"] == pytest.approx(chosen.mean().item(), abs=1e-5)
    assert found["margin"]["mean"] == pytest.approx((chosen - rejected).mean().item(), abs=1e-5)
    assert found["accuracy"]["mean"] == (chosen > rejected).double().mean().item()
    assert found["accuracy"]["low"] < found["accuracy"]["mean"] < found["accuracy"]["high"]
    assert found["length_baseline"]["n"] == found["accuracy"]["n"] == 40
    assert found["about"]["head"] == "score" and found["about"]["sampled_prompts"] == 0 and "kl" not in found


@pytest.mark.parametrize(
    "asked", [{"samples": 4}, {"beta": 0.1}, {"reference": "start"}, {"retain": "x"}, {"kind": "labels"}]
)
def test_what_a_reward_model_does_not_have_is_not_measured_in_silence(done, asked):
    with pytest.raises(ConfigError, match=f"{next(iter(asked))} is .* is a reward model"):
        evaluate(done[1].directory, data=small_run.pairs(4), **asked)
    with pytest.raises(RunError, match="does not generate"):
        side_by_side(done[1].directory, ["a film"])


def test_a_reward_model_is_trained_further_from_where_it_was(done, tmp_path):
    folder, run, _ = done
    again = small_run.run(model=str(run.model), data=str(folder / "rows.jsonl"), **SMALL, output=str(tmp_path / "run"))
    first = small_run.metrics(again.directory)[0]
    for name in ("loss", "accuracy", "score"):
        assert first[name]["mean"] == pytest.approx(run.evaluation[name]["mean"], abs=1e-6)


def test_a_reward_model_is_no_policy_and_a_language_model_in_memory_no_reward_model(done, tmp_path):
    folder, run, _ = done
    with pytest.raises(ModelError, match="is a reward model"):
        small_run.run(model=str(run.model), data=str(folder / "rows.jsonl"), output=str(tmp_path / "run"))
    sizes = {"vocab_size": 22, "hidden": 16, "inner": 24, "layers": 2, "heads": 2, "max_positions": 64, "seed": 0}
    made = {"model": small_run.build_llama(**sizes), "tokenizer": small_run.word_tokenizer()}
    with pytest.raises(ModelError, match="LlamaForCausalLM.* has no scalar head, and reward needs one"):
        small_run.run(**made, data=small_run.pairs(40), **SMALL, output=str(tmp_path / "other"))


def test_comparisons_of_one_prompt_are_one_group_unless_it_is_asked_otherwise(tmp_path):
    rows = small_run.pairs(12)
    rows += [{**row, "rejected": row["rejected"] + " bad"} for row in rows]
    world = small_run.world(tmp_path)
    world["data"] = str(small_run.write_rows(tmp_path / "rows.jsonl", rows))
    held = {**SMALL, "eval.holdout": 0.0}
    steps = {}
    for grouped in (None, False):
        own = {} if grouped is None else {"rows.group_by_prompt": grouped}
        run = small_run.run(**world, **held, **own, output=str(tmp_path / f"{grouped}"))
        steps[grouped] = run.step
        said = f"group_by_prompt: {'true' if grouped is None else 'false'}"
        assert said in (run.directory / "config.yaml").read_text()
    assert steps == {None: 2, False: 3}


def test_grouping_is_as_the_objective_wants_where_the_recipe_leaves_it_open():
    def grouped(objective, **rows):
        recipe = {"model": "m", "data": "d.jsonl", "objective": objective, "rows": rows}
        return resolve(recipe).config.rows.group_by_prompt

    assert grouped("reward") and grouped("reward", group_by_prompt=None)
    assert grouped("reward", group_by_prompt=False) is False
    assert not grouped("dpo") and grouped("dpo", group_by_prompt=True)


def test_a_margin_scale_without_margins_is_refused(tmp_path):
    objective = {"name": "reward", "margin_scale": 1.0}
    with pytest.raises(
        DataError, match=r"reward reads that: bring a column `margin`.*leave objective.margin_scale out"
    ):
        small_run.run(**small_run.world(tmp_path), **{**SMALL, "objective": objective}, output=str(tmp_path / "run"))


def test_a_stopped_run_that_is_continued_ends_bit_for_bit_as_if_it_had_not_been(done, tmp_path):
    folder, whole, _ = done
    same_when_stopped(folder, {}, whole, tmp_path / "part")


@pytest.mark.slow
def test_so_does_one_with_an_adapter(done, tmp_path):
    lora = {"lora": {"r": 4, "alpha": 8}}
    whole = small_run.run(**named(done[0]), **SMALL, **lora, output=str(tmp_path / "whole"))
    same_when_stopped(done[0], lora, whole, tmp_path / "part")
    (saved_as,) = whole.model.glob("*.safetensors")
    assert any("score" in name for name in load_file(saved_as))


def named(folder):
    return {"model": str(folder / "start"), "data": str(folder / "rows.jsonl")}


def same_when_stopped(folder, changes, whole, output):
    arguments = {**named(folder), **SMALL, **changes, "output": str(output)}
    part = small_run.run(**arguments, stop_at=("train", 3, ["SIGTERM"]))
    assert part.status == "interrupted" and part.step == 3
    part = small_run.run(**arguments, resume="auto")
    assert small_run.metrics(whole.directory) == small_run.metrics(part.directory)
    (one,), (two,) = (list(run.model.glob("*.safetensors")) for run in (whole, part))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path):
    compare_steps(tmp_path, [("score", "reward"), ("score adapter", "reward")], "float64")


@pytest.mark.slow
def test_whole_runs_of_two_processes_are_those_of_one(tmp_path):
    recipes = {"full": {}, "lora": {"lora": {"r": 4, "alpha": 8}}}
    world = small_run.world(tmp_path)
    small = {**world, **SMALL, "train.bin_tokens": 60, "train.lr": 1e-4}

    def job(name, mode):
        own = {**small, **recipes[name], "train.parallel": mode, "cache": str(tmp_path / f"{name}-{mode}-cache")}
        return ["run", str(tmp_path / f"{name}-{mode}"), own]

    process_worker.work([job(name, "none") for name in recipes])
    together(tmp_path, [job(name, mode) for name in recipes for mode in ("replicate", "shard")])
    for name, mode in product(recipes, ("replicate", "shard")):
        one, two = (tmp_path / f"{name}-{which}" for which in ("none", mode))
        for row, its in zip(small_run.metrics(one), small_run.metrics(two), strict=True):
            assert dict(numbers(its)) == pytest.approx(dict(numbers(row)), rel=1e-5, abs=2e-6)
        weights, its = (saved(run) for run in (one, two))
        assert off(its, weights) <= 1e-6


def saved(run: Path):
    tensors = load_file(next((run / "model").glob("*.safetensors")))
    return flat({f"weight/{name}": value for name, value in tensors.items()}, "weight")
