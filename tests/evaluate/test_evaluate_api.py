import gzip
import json

import numpy as np
import peft
import pytest
import torch
from small_models import made_run, model, nudged, pairs, save, slow_logp, word_tokenizer
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from logratio import evaluate
from logratio.errors import DataError, ModelError, ReferenceChoiceError, RunError, TemplateError
from logratio.evaluate.sample import side_by_side
from logratio.maths.intervals import mean_interval
from logratio.train.api import train

ROWS = pairs(30)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return save(model(), tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    return save(nudged(model(), 0.05), tmp_path_factory.mktemp("moved"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, start, moved):
    return made_run(tmp_path_factory.mktemp("runs") / "run", start, moved)


@pytest.fixture(scope="module")
def measured(start, moved):
    return evaluate(str(moved), data=ROWS, reference=str(start), beta=0.3, samples=20, max_new_tokens=12)


def numbers(result):
    return {
        (name, end): value[end]
        for name, value in result.items()
        if name != "about"
        for end in ("mean", "low", "high")
        if value[end] is not None
    }


def close(result, other, tolerance=1e-4):
    own = numbers(result)
    assert own.keys() == numbers(other).keys()
    assert own == pytest.approx(numbers(other), abs=tolerance)


def test_pair_measures_are_those_of_rows_scored_one_by_one(measured, start, moved):
    policy, reference = (AutoModelForCausalLM.from_pretrained(folder) for folder in (moved, start))
    sides = {}
    for side in ("chosen", "rejected"):
        own = [slow_logp(policy, row["prompt"], row[side]) for row in ROWS]
        other = [slow_logp(reference, row["prompt"], row[side]) for row in ROWS]
        sides[side] = np.array([a.sum() - b.sum() for a, b in zip(own, other, strict=True)])
        tokens = sum(map(len, own))
        assert measured[f"nll_{side}_per_token"]["mean"] == pytest.approx(-sum(a.sum() for a in own) / tokens, abs=1e-4)
        assert measured[f"logratio_{side}"]["mean"] == pytest.approx(sides[side].mean(), abs=1e-4)
        assert measured[f"logratio_{side}_per_token"]["mean"] == pytest.approx(sides[side].sum() / tokens, abs=1e-4)
    margin = mean_interval(0.3 * (sides["chosen"] - sides["rejected"]))
    assert measured["margin"]["mean"] == pytest.approx(margin.mean, abs=1e-4)
    assert (measured["margin"]["low"], measured["margin"]["high"]) == pytest.approx((margin.low, margin.high), abs=1e-4)
    assert measured["accuracy"]["mean"] == (sides["chosen"] > sides["rejected"]).mean()
    assert measured["accuracy"]["n"] == 30
    longer = np.array([np.sign(len(row["chosen"].split()) - len(row["rejected"].split())) for row in ROWS])
    share = ((longer + 1) / 2).mean()
    assert measured["length_baseline"]["mean"] == pytest.approx(max(share, 1 - share))
    assert measured["about"]["length_rule"] == ("longer wins" if share >= 0.5 else "shorter wins")


def test_the_divergence_is_that_of_samples_scored_one_by_one(measured):
    assert 0 < measured["kl"]["low"] < measured["kl"]["mean"] < measured["kl"]["high"]
    assert measured["kl"]["n"] == measured["sample_length"]["n"] == measured["about"]["sampled_prompts"] == 20
    assert 1 <= measured["sample_length"]["mean"] <= 12
    assert 0 <= measured["ended"]["mean"] <= 1


def test_the_answer_is_json_without_nan_and_every_measure_has_its_interval(measured):
    text = json.dumps(measured, allow_nan=False)
    for name, measure in json.loads(text).items():
        if name != "about":
            assert {"mean", "low", "high", "n"} <= measure.keys(), name
    assert {"accuracy", "margin", "kl", "length_baseline"} <= measured.keys()


@pytest.mark.parametrize("bin_tokens", [1, 64])
def test_the_numbers_do_not_depend_on_the_batch(measured, start, moved, bin_tokens):
    settings = {"beta": 0.3, "samples": 20, "max_new_tokens": 12}
    close(evaluate(str(moved), data=ROWS, reference=str(start), bin_tokens=bin_tokens, **settings), measured)


CALIBRATION = ("brier", "ece", "overconfidence")


def but_calibration(result):
    """What a model by itself is measured by: only a run says what its margins imply."""
    return {name: value for name, value in result.items() if name not in CALIBRATION}


def test_a_run_knows_its_reference_and_its_beta(measured, run, start):
    result = evaluate(run, data=ROWS, samples=20, max_new_tokens=12)
    close(but_calibration(result), measured, 1e-9)
    assert result["about"]["beta"] == 0.3
    assert result["about"]["reference"] == f"{start}, with which the run began"
    assert result["brier"]["n"] == 30 and len(result["about"]["calibration"]["bins"]) == 1
    assert "no run says" in measured["about"]["calibration"]["why_not"]


@pytest.mark.parametrize("lora", [None, {"r": 4}])
def test_a_run_that_training_made(tmp_path, start, lora):
    """Trained on these very pairs, at a rate that memorises them: the numbers must say so."""
    recipe = {"train.lr": 1e-2, "train.batch_size": 6, "eval.samples": 2, "eval.max_new_tokens": 8, "every.eval": 1}
    made = train(str(start), ROWS, output=tmp_path / "run", **recipe, **({"lora": lora} if lora else {}))
    result = evaluate(made.directory, data=ROWS, samples=20, max_new_tokens=8)
    assert result["accuracy"]["low"] > 0.5
    assert result["logratio_chosen"]["mean"] > result["logratio_rejected"]["mean"]
    assert result["kl"]["low"] > 0.1
    assert result["about"]["reference"] == f"{start}, with which the run began"
    close(evaluate(made.model, data=ROWS, reference=str(start), samples=20, max_new_tokens=8), but_calibration(result))
    logged = [json.loads(line) for line in (made.directory / "metrics.jsonl").read_text().splitlines()][-1]
    assert set(CALIBRATION) <= logged.keys() and result["brier"]["high"] < 0.25
    assert all(row["policy"] and row["reference"] for row in side_by_side(made.directory, max_new_tokens=5))


def test_a_start_model_that_has_changed_is_no_reference(tmp_path, moved):
    own = save(model(), tmp_path / "start")
    run = made_run(tmp_path / "run", own, moved)
    save(nudged(model(), 0.01), own)
    with pytest.raises(ReferenceChoiceError, match="their hash differs"):
        evaluate(run, data=ROWS, samples=0)
    assert evaluate(run, data=ROWS, samples=0, reference=str(own))["accuracy"]["n"] == 30


def test_a_model_in_memory_is_measured_the_same_and_left_as_it_was(measured, start, moved):
    policy, reference = (AutoModelForCausalLM.from_pretrained(folder) for folder in (moved, start))
    policy.train()
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    tokenizer, settings = word_tokenizer(), {"beta": 0.3, "samples": 20, "max_new_tokens": 12}
    close(evaluate(policy, tokenizer=tokenizer, data=ROWS, reference=reference, **settings), measured, 1e-9)
    assert policy.training and all(parameter.requires_grad for parameter in policy.parameters())
    assert policy.config._attn_implementation == reference.config._attn_implementation == "sdpa"
    assert all(torch.equal(before[name], tensor) for name, tensor in policy.state_dict().items())


def test_dropouts_of_models_in_memory_are_what_they_were_also_after_an_error():
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "bos_token_id": 1, "eos_token_id": 2}
    tokenizer = word_tokenizer()

    def made(seed, **dropouts):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes, **dropouts))

    def state(model):
        layers = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
        return layers, model.config.resid_pdrop, model.config.attn_pdrop

    policy, reference = made(0, resid_pdrop=0.3, attn_pdrop=0.0), made(1)
    policy.transformer.h[1].mlp.dropout.p = 0.7  # one layer apart from the others of its kind
    before = state(policy), state(reference)
    assert 0.7 in before[0][0] and 0.3 in before[0][0] and before[1][1] == 0.1
    off = []
    policy.register_forward_hook(lambda *_: off.append(not any(state(policy)[0])))
    settings = {"tokenizer": tokenizer, "reference": reference}
    evaluate(policy, data=ROWS[:4], samples=0, **settings)
    assert off and all(off) and (state(policy), state(reference)) == before
    side_by_side(policy, [" the film"], max_new_tokens=2, **settings)
    with pytest.raises(DataError):
        evaluate(policy, data=[{"nothing": 1}], **settings)
    assert (state(policy), state(reference)) == before


def test_without_a_reference_what_needs_one_is_null(moved, measured):
    result = evaluate(moved, data=ROWS, samples=20, max_new_tokens=12, retain=[{"text": " the film was good"}] * 2)
    for name in ("accuracy", "margin", "logratio_chosen", "kl", "kl_per_token", "retain_change"):
        assert result[name] == {"mean": None, "low": None, "high": None, "n": 0, "se": None}
    assert result["about"]["reference"] is None
    for name in ("nll_chosen_per_token", "likelihood_accuracy", "length_baseline", "sample_length"):
        assert result[name]["mean"] == pytest.approx(measured[name]["mean"])
    assert result["retain_after"]["mean"] > 0


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft reads transformers' old name
def test_an_adapter_is_measured_against_the_weights_under_it(tmp_path, start):
    base = AutoModelForCausalLM.from_pretrained(start)
    made = peft.get_peft_model(base, peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    made.save_pretrained(tmp_path / "fresh")
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    made.save_pretrained(tmp_path / "trained")
    fresh = evaluate(tmp_path / "fresh", data=ROWS, samples=10, max_new_tokens=8)
    assert fresh["margin"]["mean"] == fresh["kl"]["mean"] == 0 and fresh["accuracy"]["mean"] == 0.5
    trained = evaluate(tmp_path / "trained", data=ROWS, samples=10, max_new_tokens=8)
    assert trained["kl"]["mean"] > 0.01
    assert trained["about"]["reference"] == f"{start}, the weights under the adapter"
    close(evaluate(tmp_path / "trained", data=ROWS, samples=10, max_new_tokens=8, reference=str(start)), trained)


def test_damage_shows_in_retention_and_health_does_not(start, tmp_path):
    texts = [{"text": row["prompt"] + row["chosen"]} for row in pairs(40, seed=5)]
    broken = save(nudged(model(), 0.3), tmp_path)
    hurt = evaluate(broken, data=ROWS, reference=str(start), retain=texts, samples=0)
    same = evaluate(start, data=ROWS, reference=str(start), retain=texts, samples=0)
    assert same["retain_change"]["mean"] == 0 and same["retain_before"]["mean"] == same["retain_after"]["mean"]
    change = hurt["retain_after"]["mean"] - hurt["retain_before"]["mean"]
    assert hurt["retain_change"]["mean"] == pytest.approx(change, abs=1e-5)
    assert hurt["retain_change"]["n"] == 40


def test_demonstrations_and_labels_have_measures_of_their_own(start, moved):
    shown = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in ROWS]
    result = evaluate(moved, data=shown, kind="demonstrations", reference=str(start), samples=0)
    policy, reference = (AutoModelForCausalLM.from_pretrained(folder) for folder in (moved, start))
    own, other = ([slow_logp(m, row["prompt"], row["chosen"]).sum() for row in ROWS] for m in (policy, reference))
    tokens = sum(len(slow_logp(policy, row["prompt"], row["chosen"])) for row in ROWS)
    assert result["nll_per_token"]["mean"] == pytest.approx(-sum(own) / tokens, abs=1e-4)
    assert result["logratio_per_token"]["mean"] == pytest.approx((sum(own) - sum(other)) / tokens, abs=1e-4)
    labelled = [{**row, "label": i % 3 == 0} for i, row in enumerate(shown)]
    result = evaluate(moved, data=labelled, kind="labels", reference=str(start), samples=0)
    ratio = np.subtract(own, other)
    assert result["logratio_desirable"]["mean"] == pytest.approx(ratio[::3].mean(), abs=1e-4)
    assert result["logratio_desirable"]["n"] == 10 and result["logratio_undesirable"]["n"] == 20


def test_what_cannot_be_evaluated_is_refused_with_the_remedy(start, run, tmp_path):
    with pytest.raises(ReferenceChoiceError, match="is no run directory"):
        evaluate(start, data=ROWS, reference="start")
    with pytest.raises(ReferenceChoiceError, match="has none"):
        evaluate(start, data=ROWS, reference="base")
    with pytest.raises(ModelError, match="nowhere"):
        evaluate(start, data=ROWS, reference="nowhere/at-all", samples=0)
    with pytest.raises(RunError, match="tokenizer"):
        evaluate(model(), data=ROWS)
    other = save(model(), tmp_path / "other", word_tokenizer(["other", *"abcdefghijklmnopq"]))
    with pytest.raises(ReferenceChoiceError, match="other tokens"):
        evaluate(start, data=ROWS, reference=str(other), samples=0)
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.yaml").write_text((run / "config.yaml").read_text())
    with pytest.raises(RunError, match="--resume"):
        evaluate(unfinished, data=ROWS)


def test_a_run_is_evaluated_with_the_template_that_it_learned_with(tmp_path, start, moved):
    run = made_run(tmp_path / "run", start, moved)
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "template_hash": "0123456789abcdef"}))
    with pytest.raises(TemplateError, match="learned with chat template 0123456789ab"):
        evaluate(run, data=ROWS, samples=0)


def test_real_preferences_and_a_trained_model(shared_data):
    """A model against itself: no margin, no divergence, and every accuracy but the tie would be noise."""
    folder = str(shared_data / "models" / "stories-260k")
    file = shared_data / "hh-harmless" / "test.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()[:60]]
    rows = sorted(rows, key=lambda row: len(json.dumps(row)))[:12]
    result = evaluate(folder, data=rows, reference=folder, samples=8, max_new_tokens=16, seed=1)
    assert result["margin"]["mean"] == result["kl"]["mean"] == 0
    assert result["accuracy"]["mean"] == 0.5
    assert result["accuracy"]["n"] == result["length_baseline"]["n"] == 12
    assert result["kl"]["n"] == 8
