"""The checks before a run: what they say of a healthy one, what they cost and change."""

import json
from dataclasses import replace

import pytest
import small_run
import torch
from preflight_runs import BEFORE, DURING, KINDS, checked, during, ill, own, world_of
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from logratio.errors import PreflightError
from logratio.findings import Finding, finding
from logratio.models.build import SPECIAL, save_built
from logratio.train import gradient
from logratio.train.preflight.budget import Budget, lasting, planned_seconds
from logratio.train.preflight.plan import _fits
from logratio.train.preflight.scene import difference
from logratio.train.preflight.subject import check
from logratio.train.recipe import resolve
from logratio.train.setup import Inputs


@pytest.fixture
def everything(monkeypatch):
    """Make every check of a run, however short it is."""
    monkeypatch.setattr(Budget, "most", property(lambda self: 1e9))


@pytest.mark.parametrize("kind", KINDS)
def test_a_healthy_run_is_found_healthy_whatever_it_trains(kind, tmp_path):
    found = checked(world_of(kind, tmp_path))
    assert own(found) == BEFORE and "audit_exact_duplicates" in found
    assert not ill(found)
    for each in found.values():
        assert each.says.endswith(".") and not each.says.endswith("..")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gradient_that_depends_on_how_a_step_is_divided_is_found_in_both_precisions(precision, tmp_path, monkeypatch):
    """In bfloat16 all gradients lie in one memory, so that one could be compared with itself."""
    unplanted = gradient.weighted

    def scaled(learner, losses, batch, totals):
        return unplanted(learner, losses, batch, totals) * len(batch.spans.group_S)

    monkeypatch.setattr(gradient, "weighted", scaled)
    found = checked({**small_run.world(tmp_path), "train.precision": precision})
    assert found["micro_batches"].level == "stop"


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("lora", "bco", "moving", "divergence", "plain")]


@pytest.mark.parametrize("kind", ["kto", "bf16", *SLOW])
def test_a_run_has_the_same_bits_with_its_checks_and_without(kind, tmp_path, everything):
    (tmp_path / "world").mkdir()
    arguments = {**world_of(kind, tmp_path / "world"), "eval.samples": 0, "every.eval": 1}
    runs = [
        small_run.run(**arguments, output=tmp_path / name, preflight=name == "with") for name in ("without", "with")
    ]
    one, two = (run.directory for run in runs)
    assert small_run.metrics(one) == small_run.metrics(two)
    weights, others = (load_file(next((path / "model").glob("*.safetensors"))) for path in (one, two))
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    told = json.loads((two / "preflight.json").read_text())
    assert {*own(each["name"] for each in told)} == {*BEFORE} | DURING
    assert not (one / "preflight.json").exists()
    manifests = [json.loads((path / "manifest.json").read_text())["preflight"] for path in (one, two)]
    assert manifests[0] == {"ran": False}
    assert manifests[1]["ran"] and manifests[1]["level"] in ("fine", "note", "look") and not manifests[1]["skipped"]
    assert not ill({each["name"]: finding(each) for each in told})


def test_what_was_found_is_told_timed_and_kept(tmp_path, everything):
    events = []
    run = small_run.run(**small_run.world(tmp_path), output=tmp_path / "run", preflight=True, on_event=events.append)
    told = [event.data for event in events if event.kind == "preflight"]
    kept = json.loads((run.directory / "preflight.json").read_text())
    assert [each["finding"] for each in told] == kept
    assert all(finding(each).as_json() == each for each in kept)
    said = {"fine": "pass", "note": "note", "look": "warn"}
    assert all(each["verdict"] == said[each["finding"]["level"]] for each in told)
    assert {each["finding"]["name"] for each in told if each["verdict"] == "warn"} <= {"held_out"}
    assert all(each["seconds"] >= 0 for each in kept if each["name"] != "budget")
    first = [event.kind for event in events].index("train")
    before = [event.data["finding"]["name"] for event in events[:first] if event.kind == "preflight"]
    assert own(before) == [*BEFORE, "reference_pass"]


def test_a_model_that_is_wrong_is_found_before_the_reference_pass(tmp_path, monkeypatch):
    """The pass takes long; only the few groups that are looked at are scored before it."""
    from logratio.logps import reference
    from logratio.train.preflight import forwards

    unplanted, scored = reference.score, []

    def counted(policy, groups, **how):
        scored.append(len(groups))
        return unplanted(policy, groups, **how)

    def wrong(scene):
        return Finding("two_forwards", "stop", "They differ.", "Mend it.")

    monkeypatch.setattr(reference, "score", counted)
    monkeypatch.setattr(forwards, "two_forwards", wrong)
    with pytest.raises(PreflightError, match="^preflight, two_forwards"):
        small_run.run(**small_run.world(tmp_path), output=tmp_path / "run", preflight=True, cache=tmp_path / "cache")
    assert max(scored) == 4


def test_a_pass_that_gives_other_log_probs_than_before_stops_the_run(tmp_path, monkeypatch):
    from logratio.train import assemble

    unplanted = assemble.ReferencePass.values

    def wrong(self, groups):
        values = unplanted(self, groups)
        return values if len(groups) == 4 else [value + 1 for value in values]

    monkeypatch.setattr(assemble.ReferencePass, "values", wrong)
    found, stopped = during(tmp_path)
    assert found["reference_pass"]["level"] == "stop" and stopped.startswith("preflight, reference_pass: ")


def test_examples_show_every_span_with_whether_it_is_trained_on(tmp_path):
    shown = checked(small_run.world(tmp_path))["tokens_shown"].examples
    rows = small_run.pairs(60)
    assert len(shown) == 2 and "rows.jsonl, row " in shown[0].origin
    for example in shown:
        row = rows[int(example.origin.rpartition("row ")[2]) - 1]
        texts = dict(example.texts)
        assert texts["prompt, read only"].endswith(row["prompt"])
        assert texts["chosen, trained on"].startswith(row["chosen"]) and texts["chosen, trained on"] != row["chosen"]
        assert texts["rejected, trained on"].startswith(row["rejected"])


def test_tolerances_come_from_measured_noise_and_only_float32_asks_for_exactly_0(tmp_path):
    exact, rough = (checked(small_run.world(tmp_path), **KINDS[kind]) for kind in ("dpo", "bf16"))
    assert exact["two_forwards"].figures["tolerance_nat"] == 0.0 < rough["two_forwards"].figures["tolerance_nat"]
    for found, bound in ((exact, 2e-4), (rough, 0.1)):
        noise = found["packing"].figures["noise_nat"]
        expected = min(bound, max(bound / 4, 8 * noise))
        assert found["packing"].figures["tolerance_nat"] == pytest.approx(expected, rel=1e-6)
        assert f"{expected:.2g}" in found["packing"].says


def test_checks_take_a_share_of_the_run_and_say_what_they_left_out(tmp_path):
    run = small_run.run(**small_run.world(tmp_path), output=tmp_path / "run", preflight=True)
    kept = {each["name"]: each for each in json.loads((run.directory / "preflight.json").read_text())}
    figures = kept["budget"]["figures"]
    assert figures["allowed_s"] == pytest.approx(0.02 * figures["planned_s"]) and figures["allowed_s"] < 1
    left = figures["skipped"].split(", ")
    assert "micro_batches" in left and not set(left) & set(kept)
    assert json.loads((run.directory / "manifest.json").read_text())["preflight"]["skipped"] == left
    assert "Left out: " in kept["budget"]["says"] and "check --full" in kept["budget"]["remedy"]


def test_a_budget_is_2_percent_of_the_run_and_at_most_a_minute():
    budget = Budget()
    assert budget.allows(59) and not budget.allows(61)
    budget.planned, budget.spent = 100.0, 1.5
    assert budget.allows(0.4) and not budget.allows(0.6)
    budget.planned = 1e6
    assert budget.allows(58) and not budget.allows(59)
    assert replace(budget, full=True).allows(1e9)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.01234, "0.0123 s"),
        (119, "119 s"),
        (400, "7 min"),
        (3599, "1 h"),
        (5370, "1 h 30 min"),
        (86_399, "1 d"),
        (1e6, "11 d 14 h"),
    ],
)
def test_a_planned_time_is_told_as_people_tell_it(seconds, told):
    assert lasting(seconds) == told


class Planned:
    """As much of an opening as its planned time depends on."""

    def __init__(self, steps, batch_size, bin_tokens, size=1):
        self.steps = steps
        self.config = resolve(
            {"model": "m", "data": "d"}, {"train.batch_size": batch_size, "train.bin_tokens": bin_tokens}
        ).config
        self.data = type("Data", (), {"train": range(1000)})
        self.world = type("World", (), {"size": size})


@pytest.mark.parametrize(
    ("opening", "expected"),
    [
        (Planned(100, 8, 1000), 100 * 3 * 0.1 * 8 * 100 / 40),  # tokens decide
        (Planned(100, 8, 20), 100 * 3 * 0.1 * 40),  # bins of a group each: 8 × 100 / 20 of them
        (Planned(100, 8, 1000, size=4), 100 * 3 * 0.1 * 8 * 100 / 40 / 4),
    ],
)
def test_the_planned_time_is_steps_times_bins_times_three_forward_passes(opening, expected):
    assert planned_seconds(opening, tokens=40, seconds=0.1, tokens_a_group=100) == pytest.approx(expected)


def test_a_fail_before_loading_stops_before_a_model_is_loaded(tmp_path, monkeypatch):
    from logratio.data.tokenize import Encoder

    arguments = small_run.world(tmp_path)
    small_run.start_model(tmp_path / "start").joinpath("model.safetensors").unlink()
    unplanted = Encoder._ended
    monkeypatch.setattr(Encoder, "_ended", lambda self, *given: unplanted(self, *given)[:-1])
    with pytest.raises(PreflightError, match=r"^preflight, sequence_ends: .* do not end with an end token.*--no-pre"):
        small_run.run(**arguments, output=tmp_path / "run", cache=tmp_path / "cache", preflight=True)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["preflight"]["level"] == "stop" and manifest["status"] == "failed"


def test_rows_are_audited_in_brief_and_what_is_wrong_with_them_warns(tmp_path, monkeypatch):
    rows = small_run.pairs(60)
    rows += [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    (tmp_path / "start").mkdir()
    small_run.start_model(tmp_path / "start")
    data = small_run.write_rows(tmp_path / "rows.jsonl", rows)
    arguments = {"model": str(tmp_path / "start"), "data": str(data)}
    found = checked(arguments)["audit_contradictions"]
    assert found.level == "look" and "60" in found.says and found.seconds is not None
    monkeypatch.setattr("logratio.train.preflight.subject.ALONE", 0.0)
    audited = [name for name in checked(arguments, full=False) if name.startswith("audit")]
    assert not audited  # such a short run leaves no time for it
    used = check(resolve({}, {**small_run.RECIPE, **arguments}), full=True, inputs=Inputs(data=(row for row in rows)))
    assert [each.says for each in used if each.name == "audit"][0].startswith("The rows came from an iterator")


def test_an_audit_that_fails_is_told_and_ends_no_training(tmp_path, monkeypatch):
    def broken(*given, **named):
        return {}["no such column"]

    monkeypatch.setattr("logratio.audit.brief.brief", broken)
    found = checked(small_run.world(tmp_path))
    assert own(found) == BEFORE and found["audit"].level == "look"
    assert "could not be decided" in found["audit"].says and "KeyError: 'no such column'" in found["audit"].says


def test_a_rate_far_above_the_suggestion_is_warned_of_and_trained_with(tmp_path):
    found = checked(small_run.world(tmp_path), **{"train.lr": 30.0})["learning_rate"]
    assert found.level == "look" and "suggested for dpo with a model of" in found.says and "--lr" in found.remedy
    assert checked(small_run.world(tmp_path), **{"train.lr": 1e-12})["learning_rate"].level == "look"


def test_ten_times_the_suggested_rate_is_the_last_that_is_not_warned_of(tmp_path):
    arguments = small_run.world(tmp_path)
    allowed = checked(arguments)["learning_rate"].figures["suggested"]
    levels = [checked(arguments, **{"train.lr": allowed * times})["learning_rate"].level for times in (9.99, 10.01)]
    assert levels == ["fine", "look"]


def test_rows_that_are_left_out_are_counted_and_many_are_warned_of(tmp_path):
    rows = small_run.pairs(60)
    some, many = (
        [{**row, "rejected": row["chosen"]} if i < lost else row for i, row in enumerate(rows)] for lost in (3, 12)
    )
    arguments, levels = small_run.world(tmp_path), []
    for name, given in (("some", some), ("many", many)):
        data = str(small_run.write_rows(tmp_path / f"{name}.jsonl", given))
        found = checked({**arguments, "data": data}, **{"rows.max_bad_rows": 0.5})["rows_lost"]
        levels.append(found.level)
        assert found.figures["given"] == 60 and "say nothing to learn from" in found.says
    assert levels == ["note", "look"] and found.figures["lost_share"] == 0.2 and found.says.startswith("20.0% of 60")
    short = checked(arguments, **{"tokens.max_length": 12})["rows_lost"]
    assert short.figures["too_long"] > 0 and "exceed tokens.max_length 12" in short.says
    assert checked(arguments)["rows_lost"].level == "fine"


def test_few_held_out_pairs_are_told_with_what_they_can_show(tmp_path):
    few = checked(small_run.world(tmp_path))["held_out"]
    assert few.level == "look" and few.figures["pairs"] < 50 and "±" in few.says and "eval.holdout" in few.remedy
    many = small_run.write_rows(tmp_path / "held.jsonl", small_run.pairs(50, seed=1))
    assert checked(small_run.world(tmp_path), **{"eval.data": str(many)})["held_out"].level == "fine"
    assert checked(small_run.world(tmp_path), **{"eval.holdout": 0})["held_out"].level == "note"


@pytest.mark.parametrize(("every", "level"), [(60, "note"), (1, "look")])
def test_text_that_the_tokenizer_does_not_know_is_counted(every, level, tmp_path):
    rows = [
        {**row, "chosen": f"{row['chosen']} 猫"} if i % every == 0 else row for i, row in enumerate(small_run.pairs(60))
    ]
    data = str(small_run.write_rows(tmp_path / "own.jsonl", rows))
    found = checked({**small_run.world(tmp_path), "data": data})["unknown_tokens"]
    assert found.level == level and "<unk>" in found.says and found.figures["unknown"] > 0
    assert checked(small_run.world(tmp_path))["unknown_tokens"].level == "fine"


def test_the_longest_bin_is_itemised_with_the_knob_to_turn(tmp_path):
    found = checked(small_run.world(tmp_path))["longest_batch"]
    figures = found.figures
    listed = sum(value for name, value in figures.items() if name.endswith("_bytes") and name != "free_bytes")
    assert listed > figures["weights_bytes"] > 0 and figures["tokens"] >= 64
    from logratio.train.memory import Estimate

    small = Estimate(weights=10, gathered=0, gradients=4, moments=8, per_token=1, head=0, free=100)
    assert _fits(small, 50, 20).level == "fine"
    assert _fits(small, 95, 20).level == "look" and "train.bin_tokens to 47" in _fits(small, 95, 20).remedy
    assert _fits(small, 500, 20).level == "stop"
    assert _fits(small, 50, 400).level == "stop" and "ower tokens.max_length" in _fits(small, 50, 400).remedy


def test_another_reference_may_differ_and_one_that_should_not_be_the_policy_is_told(tmp_path):
    arguments = small_run.world(tmp_path)
    other = small_run.start_model(tmp_path / "other", seed=1)
    assert checked(arguments, reference=str(other))["reference_at_start"].level == "fine"
    same = checked(arguments, reference=arguments["model"])["reference_at_start"]
    assert same.level == "look" and "equals the policy" in same.says


@pytest.mark.slow
def test_a_loaded_adapter_and_its_frozen_copy_are_told_apart(tmp_path):
    arguments = small_run.world(tmp_path)
    run = small_run.run(**arguments, output=tmp_path / "run", lora={"r": 4, "alpha": 8})
    found = checked({**arguments, "model": str(run.model)})
    assert not ill(found)
    assert found["reference_storage"].figures["held"] > 0


def test_differences_are_relative_and_what_is_no_number_is_never_equal():
    import numpy as np

    assert difference(np.array([-10.0]), np.array([-11.0])) == pytest.approx(1 / 11)
    assert difference(np.array([-0.1]), np.array([-0.2])) == pytest.approx(0.1)
    assert not difference(np.array([np.nan]), np.array([1.0])) <= 1e9
    assert not difference(np.zeros(2), np.zeros(3)) <= 1e9


def gpt2_world(folder, n=60):
    """A model with three kinds of dropout, and pairs."""
    arguments = small_run.world(folder, n=n)
    torch.manual_seed(0)
    sizes = {
        "vocab_size": len(small_run.WORDS) + len(SPECIAL),
        "n_positions": 64,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
    }
    save_built(GPT2LMHeadModel(GPT2Config(**sizes)), small_run.word_tokenizer(), folder / "start")
    return arguments


def test_learned_positions_and_projections_that_are_shared_pass_too(tmp_path):
    assert not ill(checked(gpt2_world(tmp_path)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_healthy_bf16_run_passes_on_every_seed(seed, tmp_path, everything):
    small_run.start_model(tmp_path / "start", seed=seed)
    rows = small_run.write_rows(tmp_path / "rows.jsonl", small_run.pairs(60, seed=seed))
    arguments = {"model": str(tmp_path / "start"), "data": str(rows), "train.precision": "bf16", "train.seed": seed}
    run = small_run.run(**arguments, output=tmp_path / "run", preflight=True)
    kept = json.loads((run.directory / "preflight.json").read_text())
    kept = [each for each in kept if not each["name"].startswith("audit")]  # chance rows may be lopsided
    assert {each["name"] for each in kept} == {*BEFORE} | DURING
    assert not ill({each["name"]: finding(each) for each in kept})


@pytest.mark.slow
def test_two_processes_make_the_checks_together_and_agree(tmp_path):
    """All take part in every forward pass and gradient; one of them prints."""
    from test_train_processes import torchrun

    arguments = small_run.world(tmp_path)
    given = [word for name in ("model", "data") for word in (f"--{name}", arguments[name])]
    options = ["--batch-size", "8", "--lr", "1e-3", "--full"]
    for more in ([], ["--lora", "4"], ["--train.parallel", "replicate"]):
        code, said = torchrun("-m", "logratio", "check", *given, *options, *more, LOGRATIO_CACHE=tmp_path / "cache")
        assert code == 0, said
        lines = [line for line in said.splitlines() if line[:6] in ("pass  ", "note  ", "warn  ", "fail  ")]
        assert own(line.split()[1].rstrip(":") for line in lines) == BEFORE
        assert {line[:4] for line in lines if "held_out: " not in line} == {"pass"}


@pytest.mark.slow
def test_runs_of_two_processes_have_the_same_bits_with_checks_and_without(tmp_path):
    from test_train_processes import together

    arguments = {**small_run.world(tmp_path), "cache": str(tmp_path / "cache")}
    together(
        tmp_path,
        [["run", str(tmp_path / name), {**arguments, "preflight": name == "with"}] for name in ("without", "with")],
    )
    assert small_run.metrics(tmp_path / "without") == small_run.metrics(tmp_path / "with")
    kept = json.loads((tmp_path / "with" / "preflight.json").read_text())
    assert DURING <= {each["name"] for each in kept} and not ill({each["name"]: finding(each) for each in kept})
