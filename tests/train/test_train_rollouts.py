"""Runs on fresh responses: what is drawn, kept, learned from and resumed, and what is refused."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import small_run
import torch

from logratio import objectives
from logratio.batch.needs import Needs
from logratio.config import RolloutConfig
from logratio.data.prompts import Asking, PromptGroups
from logratio.errors import CheckpointError, ConfigError, DataError, JudgeError, MemoryBudgetError
from logratio.files import write_rows
from logratio.logps.policy import Policy
from logratio.logps.reference import score
from logratio.models.load import load_model
from logratio.rollout.judges.function import FunctionJudge
from logratio.train.checkpoint import load, name_of
from logratio.train.distributed import World
from logratio.train.drawn import Choice, read
from logratio.train.gradient import Learner
from logratio.train.phases import Phases, Place
from logratio.train.recipe import resolve
from logratio.train.rollouts import Draw

REWARD = """
def score(prompts, responses, rows):
    return [text.count("good") - 0.1 * len(text.split()) for text in responses]

def wants(prompts, responses, rows):
    return [float(text.count(row["wanted"])) for text, row in zip(responses, rows)]

def fails(prompts, responses, rows):
    raise RuntimeError("the service is away")

def fails_on_good(prompts, responses, rows):
    return [float("nan") if "good" in prompt else float(len(text)) for prompt, text in zip(prompts, responses)]

def some(prompts, responses, rows):
    return [float("nan") if row["n"] % 3 else float(len(text)) for text, row in zip(responses, rows)]

def flat(prompts, responses, rows):
    return [1.0] * len(responses)
"""
DRAWN = {"k": 4, "max_new_tokens": 6, "every": 2, "epochs": 2}
"""Phases of 2 batches and 4 steps."""


def world(folder, *, n=20, rows=small_run.pairs):
    """Arguments of a run of 16 prompts in batches of 4, so of 4 batches in 2 phases of 4 steps."""
    (folder / "rewards.py").write_text(REWARD)
    named = small_run.world(folder, n=n, rows=rows)
    return {
        **named,
        "judge": f"{folder}/rewards.py:score",
        "objective": "grpo",
        "rollout": DRAWN,
        "train.batch_size": 4,
        "eval.samples": 2,
    }


def files(run):
    return {path.name: path.read_bytes() for path in sorted((run / "rollouts").iterdir())}


def trained(run):
    return [row for row in small_run.metrics(run) if row["kind"] == "train"]


def test_phases_divide_the_batches_and_each_is_gone_through_as_often_as_asked():
    phases = Phases.of(5, RolloutConfig(every=2, epochs=2))
    assert [phases.batches(i) for i in range(phases.count)] == [range(2), range(2, 4), range(4, 5)]
    assert phases.steps == 10
    assert [phases.place(i) for i in range(4)] == [Place(0, 0, 0), Place(0, 0, 1), Place(0, 1, 0), Place(0, 1, 1)]
    assert phases.place(8) == Place(2, 0, 0) and phases.place(9) == Place(2, 1, 0)
    assert [i for i in range(10) if phases.place(i).first] == [0, 4, 8]


@pytest.mark.parametrize("batches", range(1, 12))
def test_rounds_are_as_many_as_asked_and_every_batch_is_in_one(batches):
    for rounds in range(1, batches + 1):
        phases = Phases.of(batches, RolloutConfig(rounds=rounds))
        assert phases.count == rounds
        assert [i for n in range(rounds) for i in phases.batches(n)] == list(range(batches))
        assert all(len(phases.batches(n)) for n in range(rounds))
    with pytest.raises(ConfigError, match=f"make {batches} batches"):
        Phases.of(batches, RolloutConfig(rounds=batches + 1))


def row(scores, *, tokens=None, **more):
    tokens = tokens or [[5, 6, k] for k in range(len(scores))]
    return {
        "row": 3,
        "weight": 0.5,
        "prompt_tokens": [1, 2],
        "scores": scores,
        "tokens": tokens,
        "sampled": [[-0.5 - k] * len(own) for k, own in enumerate(tokens)],
        "ended": [True] * len(scores),
        **more,
    }


def test_best_and_worst_make_one_pair_and_the_others_are_left_out():
    group = Choice("pairs").group(row([0.0, 3.0, -1.0, 2.0]))
    assert [own.tolist() for own in group.responses] == [[5, 6, 1], [5, 6, 2]]
    assert group.edges.tolist() == [[0, 1]]
    assert group.columns.edge["margin"].tolist() == [4.0] and group.columns.edge["weight"].tolist() == [0.5]
    assert group.columns.token["sampled"].tolist() == [-1.5] * 3 + [-2.5] * 3
    assert group.columns.response["score"].tolist() == [3.0, -1.0]


def test_all_edges_join_every_two_that_differ():
    group = Choice("pairs", edges="all").group(row([0.0, 3.0, 0.0]))
    assert group.edges.tolist() == [[1, 0], [1, 2]]


def test_who_compares_has_its_own_say_about_every_two():
    compared = [[0, 1, 0.9], [1, 2, 0.7], [0, 2, 0.2]]  # a cycle, which scores cannot hold
    group = Choice("pairs", edges="all").group(row([0.55, 0.4, 0.55], comparisons=compared))
    assert group.edges.tolist() == [[0, 1], [1, 2], [2, 0]]
    assert np.allclose(group.columns.edge["probability"], [0.9, 0.7, 0.8])


@pytest.mark.parametrize("rows", [row([1.0, 1.0]), row([2.0, 1.0], tokens=[[5, 6], [5, 6]])], ids=["equal", "same"])
def test_what_is_judged_alike_or_is_the_same_gives_no_pair(rows):
    group = Choice("pairs").group(rows)
    assert len(group.edges) == 0 and len(group.responses) == 1


def test_a_phase_is_read_back_as_it_was_written_whatever_its_texts_hold(tmp_path):
    rows = [row([1.0, 0.0], responses=["a\u2028b\x85c", "d\r\ne\x1cf"]), row([0.5, 2.0], responses=["", "\u2029"])]
    write_rows(tmp_path / "rollouts" / "phase.jsonl", rows)
    assert read(tmp_path / "rollouts" / "phase.jsonl") == rows


def test_the_best_alone_is_imitated():
    group = Choice("demonstrations", keep="best").group(row([0.0, 3.0, 3.0]))
    assert [own.tolist() for own in group.responses] == [[5, 6, 1]]


@pytest.fixture(scope="module")
def grpo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grpo")
    arguments = {**world(folder), "rollout": {**DRAWN, "temperature": 0.7}}
    return small_run.run(**arguments, output=str(folder / "run")).directory, arguments


def test_a_phase_is_on_disk_as_scored_responses_with_all_that_was_learned_from(grpo):
    run, _ = grpo
    assert list(files(run)) == ["phase-000001.jsonl", "phase-000002.jsonl"]
    rows = [each for path in sorted((run / "rollouts").iterdir()) for each in read(path)]
    assert len(rows) == 16 and len({each["row"] for each in rows}) == 16
    for each in rows:
        assert each["scores"] == [text.count("good") - 0.1 * len(text.split()) for text in each["responses"]]
        assert [len(own) for own in each["sampled"]] == [len(own) for own in each["tokens"]]
        assert all(len(own) == 6 or ended for own, ended in zip(each["tokens"], each["ended"], strict=True))


def test_the_sampler_and_the_trainer_agree_on_what_was_drawn_at_its_temperature(grpo):
    run, _ = grpo
    told = [row["sampler_mismatch"] for row in trained(run)]
    assert max(told) < 1e-5  # at temperature 1 in one of the two, tenths of a nat
    for each in read(run / "rollouts" / "phase-000001.jsonl"):
        assert np.allclose(np.concatenate(each["sampled"]), each["columns"]["old"], atol=1e-4)


def test_the_first_step_of_a_phase_is_on_policy_and_the_others_are_not(grpo):
    run, _ = grpo
    moved = [row["kl_old_k3"] for row in trained(run)]
    assert [value == 0 for value in moved] == [True, False, False, False] * 2


def test_the_reference_of_a_phase_is_the_model_that_the_run_began_with(grpo):
    run, arguments = grpo
    start = Policy(load_model(arguments["model"]).model).eval()
    choice = Choice("prompts")
    rows = read(run / "rollouts" / "phase-000002.jsonl")  # by then the policy has moved
    groups = [choice.group(each) for each in rows]
    known = score(start, groups, bin_tokens=1 << 10, needs=Needs(temperature=0.7))
    for each, own in zip(rows, known, strict=True):
        assert np.allclose(each["columns"]["reference"], own, atol=1e-4)
        assert not np.allclose(each["columns"]["old"], own, atol=1e-3)


def test_where_no_weight_moves_old_log_probs_are_those_of_the_bins_that_are_trained(tmp_path):
    arguments = {**world(tmp_path), "train.lr": 1e-30, "train.bin_tokens": 70}
    run = small_run.run(**arguments, output=str(tmp_path / "run")).directory
    assert [row["kl_old_k3"] for row in trained(run)] == [0.0] * 8  # bit for bit, in bins of a few groups


@pytest.mark.parametrize("after", [3, *(pytest.param(step, marks=pytest.mark.slow) for step in (1, 4, 6))])
def test_a_run_that_stops_anywhere_in_a_phase_goes_on_bit_for_bit(grpo, tmp_path, after):
    run, arguments = grpo
    again = {**arguments, "output": str(tmp_path / "run")}
    assert small_run.run(**again, stop_at=("train", after, ["SIGTERM"])).status == "interrupted"
    assert small_run.run(**again, resume="auto").status == "finished"
    assert files(tmp_path / "run") == files(run)
    assert small_run.metrics(tmp_path / "run") == small_run.metrics(run)
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == (
        run / "model" / "model.safetensors"
    ).read_bytes()


def test_a_phase_that_had_begun_is_not_drawn_anew_from_other_weights(grpo, tmp_path):
    _, arguments = grpo
    again = {**arguments, "output": str(tmp_path / "run")}
    small_run.run(**again, stop_at=("train", 2, ["SIGTERM"]))
    (tmp_path / "run" / "rollouts" / "phase-000001.jsonl").unlink()
    with pytest.raises(CheckpointError, match=r"phase-000001\.jsonl holds what the run was learning from"):
        small_run.run(**again, resume="auto")


def test_the_other_fields_of_a_row_reach_the_judge_and_its_prompt_is_all_that_is_needed(tmp_path):
    def rows(n):
        return [{"prompt": f" the {small_run.WORDS[i % 9]}", "wanted": " film", "answer": 3} for i in range(n)]

    arguments = {**world(tmp_path, n=20, rows=rows), "judge": f"{tmp_path}/rewards.py:wants"}
    run = small_run.run(**arguments, output=str(tmp_path / "run")).directory
    for each in read(run / "rollouts" / "phase-000001.jsonl"):
        assert each["scores"] == [float(text.count(" film")) for text in each["responses"]]


def test_a_judge_that_fails_stops_the_run_with_everything_drawn_on_disk(tmp_path):
    arguments = {**world(tmp_path), "judge": f"{tmp_path}/rewards.py:fails", "eval.samples": 0}
    with pytest.raises(JudgeError, match="the service is away"):
        small_run.run(**arguments, output=str(tmp_path / "run"))
    rows = read(tmp_path / "run" / "rollouts" / "phase-000001.jsonl")
    assert len(rows) == 8 and all(len(each["responses"]) == 4 for each in rows)
    assert all("the service is away" in each["failed"] and "scores" not in each for each in rows)
    assert trained(tmp_path / "run") == []
    mended = (
        (tmp_path / "rewards.py").read_text().replace('raise RuntimeError("the service is away")', "return [1.0] * 16")
    )
    (tmp_path / "rewards.py").write_text(mended.replace("* 16", "* len(responses)"))
    assert small_run.run(**arguments, output=str(tmp_path / "run"), resume="auto").status == "finished"


def test_prompts_without_a_verdict_are_left_out_and_counted(tmp_path):
    judge = {"function": f"{tmp_path}/rewards.py:fails_on_good", "on_failure": "skip"}
    arguments = {**world(tmp_path), "judge": judge}
    run = small_run.run(**arguments, output=str(tmp_path / "run")).directory
    rows = [each for path in sorted((run / "rollouts").iterdir()) for each in read(path)]
    lost = [each for each in rows if "failed" in each]
    assert 0 < len(lost) < len(rows) and {"good" in each["prompt"] for each in lost} == {True}
    assert sum(own["judge_failures"] for own in trained(run)) == 2 * len(lost)  # every phase has two epochs


def numbered(n):
    return [{"prompt": f" the {small_run.WORDS[i % 9]} {small_run.WORDS[i // 9]}", "n": i} for i in range(n)]


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_batch_without_a_verdict_moves_no_weight_and_the_run_goes_on_bit_for_bit(tmp_path, every):
    arguments = {
        **world(tmp_path, n=19, rows=numbered),
        "judge": {"function": f"{tmp_path}/rewards.py:some", "on_failure": "skip"},
        "rollout": {"k": 2, "max_new_tokens": 4, "every": every},
        "train.batch_size": 3,
        "eval.holdout": 0,
        "keep.last": 9,
    }
    run = small_run.run(**arguments, output=str(tmp_path / "whole")).directory
    rows = trained(run)
    lost = [n for n, row in enumerate(rows) if row["judge_failures"] == (3 if n < 6 else 1)]
    assert len(rows) == 7 and lost == [4]
    assert ["loss" not in row and row["grad_norm"] == 0 for row in rows] == [n in lost for n in range(7)]
    before, after, then = (load(run / "checkpoints" / name_of(step))[0] for step in (4, 5, 6))
    assert all(torch.equal(before[name], after[name]) for name in before)  # moments and counts of steps among them
    assert not all(torch.equal(after[name], then[name]) for name in after)
    again = {**arguments, "output": str(tmp_path / "run")}
    assert small_run.run(**again, stop_at=("train", 5, ["SIGTERM"])).status == "interrupted"
    assert small_run.run(**again, resume="auto").status == "finished"
    assert files(tmp_path / "run") == files(run) and small_run.metrics(tmp_path / "run") == small_run.metrics(run)
    weights = [(path / "model" / "model.safetensors").read_bytes() for path in (tmp_path / "run", run)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(("verdicts", "phase", "prompts"), [(1, 5, 30), (0, 4, 16)], ids=["at first", "none"])
def test_a_judge_that_has_fallen_silent_stops_the_run(tmp_path, verdicts, phase, prompts):
    """In phases of four prompts, of which one that is lost as a whole may be chance."""
    phases = []

    def silent(prompts, responses, rows):
        phases.append(len(prompts))
        return [float("nan") if len(phases) > verdicts else float(len(text)) for text in responses]

    given = {"judge": silent, "judge.on_failure": "skip", "rollout": {"k": 2, "max_new_tokens": 3}, "eval.holdout": 0}
    with pytest.raises(JudgeError, match=rf"gives no verdict .*, in phase {phase} because it gave the score nan"):
        small_run.run(**{**world(tmp_path, n=prompts), **given}, output=str(tmp_path / "run"))
    assert len(trained(tmp_path / "run")) == phase - 1


def test_a_prompt_that_a_phase_has_again_is_answered_anew_and_the_same_whenever_it_is_drawn(tmp_path):
    policy = Policy(load_model(str(small_run.start_model(tmp_path))).model).eval()
    objective, rollout = objectives.load("xpo"), RolloutConfig(k=3, max_new_tokens=8)
    settings = objective.settings()
    learner = Learner(policy, objective, settings, World(0, 1, "none", torch.device("cpu")), 256, objective.scope)
    ids = [np.array([5 + i % 5], np.int32) for i in range(12)] * 2  # rows that share a prompt, and two passes
    prompts = PromptGroups(ids, [])[:]
    asking = [Asking("", {}, 1.0)] * len(ids)
    lengths = FunctionJudge(lambda prompts, responses, rows: map(len, responses), "lengths")
    choice = Choice.of(objective, settings, rollout)
    draw = Draw(rollout, choice, lengths, asking, small_run.word_tokenizer(), [], seed=3)

    def tokens(phase, prompts):
        rows, failure = draw.phase(learner, prompts, phase, lambda: nullcontext(policy))
        assert failure is None
        return [[*map(str, each["tokens"])] for each in rows]

    found = tokens(0, prompts)
    for first in range(5):
        for whose in (slice(3), slice(3, None)):  # the policy's own responses, and those of its rival
            own = [said for each in found[first:12:5] + found[12 + first :: 5] for said in each[whose]]
            assert len(set(own)) == len(own) == (18 if first < 2 else 12)
    assert tokens(0, prompts) == found and tokens(0, prompts[:5]) == found[:5] and tokens(1, prompts) != found


def test_responses_judged_alike_teach_nothing_and_are_counted(tmp_path):
    arguments = {**world(tmp_path), "judge": f"{tmp_path}/rewards.py:flat", "objective": {"name": "grpo", "beta": 0}}
    run = small_run.run(**arguments, output=str(tmp_path / "run")).directory
    assert {own["dead_groups"] for own in trained(run)} == {1.0}
    assert {own["grad_norm"] for own in trained(run)} == {0.0}


def test_groups_are_dead_by_what_the_judge_said_whatever_the_objective_adds_to_it(tmp_path):
    """The punishment of length tells responses apart that were judged alike."""
    objective = {"name": "grpo", "beta": 0, "overlong_start": 0, "overlong_end": 6}
    arguments = {**world(tmp_path), "judge": f"{tmp_path}/rewards.py:flat", "objective": objective}
    told = trained(small_run.run(**arguments, output=str(tmp_path / "run")).directory)
    assert {own["dead_groups"] for own in told} == {1.0} and max(own["grad_norm"] for own in told) > 1e-3


@pytest.mark.parametrize(
    ("objective", "rollout"),
    [
        ("dpo", {"k": 2, "max_new_tokens": 5, "temperature": 0.7}),
        pytest.param("ipo", {"k": 3, "edges": "all", "rounds": 2, "max_new_tokens": 5}, marks=pytest.mark.slow),
        pytest.param("simpo", {"k": 2, "rounds": 1, "epochs": 2, "max_new_tokens": 5}, marks=pytest.mark.slow),
        ({"name": "sft"}, {"k": 4, "keep": "best", "rounds": 1, "max_new_tokens": 5}),
    ],
    ids=["per step", "rounds", "one shot", "best of n"],
)
def test_pairwise_objectives_and_imitation_learn_from_fresh_responses(tmp_path, objective, rollout):
    arguments = {**world(tmp_path), "objective": objective, "rollout": rollout}
    run = small_run.run(**arguments, output=str(tmp_path / "run"))
    assert len(files(run.directory)) == rollout.get("rounds", 4)
    rows = trained(run.directory)
    assert len(rows) == 4 * rollout.get("epochs", 1)
    first = [Phases.of(4, RolloutConfig(**rollout)).place(row["step"] - 1).first for row in rows]
    assert ["sampler_mismatch" in row for row in rows] == first
    assert all(row["sampler_mismatch"] < 1e-5 for row in rows if "sampler_mismatch" in row)
    if objective == "dpo":  # of the policy itself, which is the reference before the first step
        assert rows[0]["logratio_chosen"] == 0.0 and rows[1]["logratio_chosen"] != 0.0


def test_a_rivals_responses_stand_behind_the_policys_own_and_are_not_learned_as_its_own(tmp_path):
    arguments = {**world(tmp_path), "objective": "xpo", "rollout": {"k": 2, "max_new_tokens": 5, "every": 2}}
    run = small_run.run(**arguments, output=str(tmp_path / "run")).directory
    choice = Choice("prompts", compares=True)
    for each in read(run / "rollouts" / "phase-000002.jsonl"):  # by then policy and reference differ
        assert each["rival"] == [0, 0, 1, 1]
        group, own = choice.group(each), sum(map(len, each["tokens"][:2]))
        assert group.columns.response["weight"].tolist() == [1, 1, 0, 0]
        sampled, reference = group.columns.token["sampled"], each["columns"]["reference"]
        assert np.allclose(sampled[own:], reference[own:], atol=1e-4)  # XPO's rival is the reference
        assert not np.allclose(sampled[:own], reference[:own], atol=1e-3)


def test_a_reference_that_moves_with_the_phases_is_the_policy_that_draws(tmp_path):
    arguments = {**world(tmp_path), "objective": "dpo", "reference_sync": {"every": "phase"}}
    run = small_run.run(**arguments, output=str(tmp_path / "run")).directory
    assert [row["logratio_chosen"] == 0 for row in trained(run)] == [True, False, False, False] * 2
    for each in read(run / "rollouts" / "phase-000002.jsonl"):
        used = Choice("pairs").group(each).columns.token["sampled"]
        assert np.allclose(each["columns"]["reference"], used, atol=1e-4)
    with pytest.raises(ConfigError, match="there are no phases"):
        resolve({"model": "m", "data": "d", "reference_sync": {"every": "phase"}})


def test_two_that_are_judged_alike_are_a_tie_where_ties_are_read():
    group = Choice("prompts", compares=True, ties=True).group(row([1.0, 0.0, 1.0], rival=[0, 0, 1]))
    assert group.edges.tolist() == [[0, 1], [2, 1], [0, 2]]
    assert group.columns.edge["probability"].tolist() == [1.0, 1.0, 0.5]
    assert group.columns.edge["tie"].tolist() == [0.0, 0.0, 1.0]


def test_the_samples_of_an_evaluation_are_judged(grpo):
    run, _ = grpo
    texts = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    for done in (0, 8):
        own = [each["text"] for each in texts if each["step"] == done]
        (told,) = [row["reward"] for row in small_run.metrics(run) if row["kind"] == "eval" and row["step"] == done]
        expected = np.mean([text.count("good") - 0.1 * len(text.split()) for text in own])
        assert told["n"] == 2 and np.isclose(told["mean"], expected)


def test_the_samples_of_a_run_on_given_responses_are_judged_too(tmp_path):
    named = {name: value for name, value in world(tmp_path).items() if name in ("model", "data", "train.batch_size")}
    judge = {"eval.judge": f"{tmp_path}/rewards.py:score", "eval.samples": 3}
    run = small_run.run(**named, **judge, objective="simpo", output=str(tmp_path / "run"))
    texts = [json.loads(line) for line in (run.directory / "samples.jsonl").read_text().splitlines()]
    last = [each["text"] for each in texts if each["step"] == run.step]
    expected = np.mean([text.count("good") - 0.1 * len(text.split()) for text in last])
    assert len(last) == 3 and np.isclose(run.evaluation["reward"]["mean"], expected)


def test_what_a_run_drew_is_data_for_another_one(grpo, tmp_path):
    run, arguments = grpo
    given = {"model": str(run / "model"), "data": str(run / "rollouts"), "objective": "dpo", "train.batch_size": 4}
    other = small_run.run(**given, output=str(tmp_path / "hybrid"))
    assert other.status == "finished" and other.evaluation["accuracy"]["n"] > 0


def test_a_function_given_from_python_judges_and_the_opening_says_what_the_run_takes(tmp_path):
    asked, told = [], []

    def mine(prompts, responses, rows):
        asked.append((len(prompts), {type(row) for row in rows}))
        return [float(len(text)) for text in responses]

    arguments = {**world(tmp_path), "judge": mine, "rollout": {"k": 2, "max_new_tokens": 5, "rounds": 1}}
    run = small_run.run(**arguments, output=str(tmp_path / "run"), on_event=told.append)
    assert run.status == "finished" and (32, {dict}) in asked  # one call for the whole phase
    lines = "\n".join(next(event.data["lines"] for event in told if event.kind == "open"))
    assert "judge: function mine" in lines and "rollouts: 1 phases; each draws 2 responses" in lines
    assert "second model" in lines and "while responses are drawn, keys and values 4.00 MiB" in lines


def test_a_model_in_memory_is_no_live_reference_of_fresh_responses_and_the_sentence_says_why(tmp_path):
    arguments = world(tmp_path)
    held = load_model(arguments["model"])
    arguments |= {"model": held.model, "tokenizer": small_run.word_tokenizer()}
    with pytest.raises(ConfigError, match="objective grpo reads the reference's log-probs of responses as they are dr"):
        small_run.run(**arguments, output=str(tmp_path / "run"))


def test_drawing_that_does_not_fit_names_what_it_takes(tmp_path):
    arguments = world(tmp_path)
    model = load_model(arguments["model"]).model
    arguments |= {"model": model, "tokenizer": small_run.word_tokenizer(), "objective": {"name": "grpo", "beta": 0}}

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    def fill(event):
        if event.kind == "open":
            model.model.layers[0].register_forward_pre_hook(full)

    with pytest.raises(MemoryBudgetError, match=r"^phase 1: out of memory while 4 responses \(rollout\.k\)") as caught:
        small_run.run(**arguments, **{"eval.holdout": 0}, output=str(tmp_path / "run"), on_event=fill)
    assert "6 tokens (rollout.max_new_tokens)" in str(caught.value) and "(train.bin_tokens)" in str(caught.value)


def test_a_prompt_that_leaves_no_room_for_a_response_is_dropped_or_named(tmp_path):
    def rows(n):
        return [{"prompt": " film" * (60 if i == 7 else 3) + " " + small_run.WORDS[i % 9]} for i in range(n)]

    arguments = world(tmp_path, n=20, rows=rows)
    told = []
    small_run.run(**arguments, output=str(tmp_path / "run"), on_event=lambda event: told.append(event))
    lines = next(event.data["lines"] for event in told if event.kind == "open")
    assert any(line.startswith("1/20 prompts exceed 58 tokens (dropped)") for line in lines)
    with pytest.raises(DataError, match=r"rows\.jsonl, row 8: the prompt is too long"):
        small_run.run(**{**arguments, "tokens.overflow": "error"}, output=str(tmp_path / "other"))


REFUSED = {
    "a judge without rollouts": ({"objective": "dpo", "judge": "a:b"}, "judge is given, but objective dpo learns"),
    "no judge": ({"objective": "dpo", "rollout": {"k": 2}}, "`judge` is missing"),
    "nothing to draw for": (
        {"objective": "kto", "rollout": {"k": 2}, "judge": "a:b"},
        "objective kto learns from labels",
    ),
    "a reward model": ({"objective": "reward", "rollout": {"k": 2}, "judge": "a:b"}, "objective reward learns from"),
    "one response": ({"objective": "dpo", "rollout": {"k": 1}, "judge": "a:b"}, "compares two responses"),
    "best of pairs": ({"objective": "dpo", "rollout": {"keep": "best"}, "judge": "a:b"}, "learns from all responses"),
    "all of sft": ({"objective": "sft", "rollout": {"k": 4}, "judge": "a:b"}, "imitates what it is given"),
    "edges of grpo": ({"objective": "grpo", "rollout": {"edges": "all"}, "judge": "a:b"}, "compares no responses"),
    "two spellings": ({"objective": "grpo", "rollout": {"every": 2, "rounds": 2}, "judge": "a:b"}, "settles the other"),
    "two judges": ({"objective": "grpo", "judge": {"function": "a:b", "url": "http://c"}}, "a run has one judge"),
    "a rubric for nobody": (
        {"objective": "grpo", "judge": {"function": "a:b", "rubric": "c"}},
        "only a judge with a url",
    ),
    "cut responses": (
        {"objective": "grpo", "judge": "a:b", "tokens": {"overflow": "truncate"}},
        "limit them with rollout.max_new_tokens",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_contradicts_fresh_responses_is_refused_before_anything_loads(name):
    recipe, says = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        resolve({"model": "m", "data": "d", **recipe})
    assert says in str(caught.value)


def test_an_option_names_another_judge_in_place_of_the_recipes():
    recipe = {"model": "m", "data": "d", "objective": "grpo", "judge": {"url": "http://a", "on_failure": "skip"}}
    judge = resolve(recipe, {"judge": "rewards.py:score"}).config.judge
    assert (judge.function, judge.url, judge.on_failure) == ("rewards.py:score", None, "skip")
    assert resolve(recipe, {"judge.timeout": 3}).config.judge.url == "http://a"


def test_an_on_policy_objective_draws_by_default_and_shorthands_are_spelled_out():
    resolved = resolve({"model": "m", "data": "d", "objective": "grpo", "judge": "http://localhost:1/v1"})
    assert resolved.config.rollout == RolloutConfig()
    assert resolved.config.judge.url == "http://localhost:1/v1"
    assert (
        resolve({"model": "m", "data": "d", "objective": "grpo", "judge": "folder"}).config.judge.reward_model
        == "folder"
    )
