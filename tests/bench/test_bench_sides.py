"""Both sides are given the same tokens in the same order, and compute the same losses."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from bench import environment, peer, process, rounds, texts, vs_trl, workload
from bench.peer import KEPT, VARIANTS
from bench.process import RunFailed
from bench.shapes import SHAPES

HOME = environment.default()  # before the tests' own cache hides the person's


@pytest.fixture(scope="module")
def nano(shared_data):
    return {form: workload.write("nano", form, 2) for form in texts.FORMS}


@pytest.mark.parametrize("form", ["hh", "k8", "long"])
def test_the_peer_gets_the_rows_of_our_steps(nano, form):
    """What the loop would take, step by step, is what the peer's rows hold: each edge a pair."""
    from bench.ours import recipe
    from logratio.train.recipe import resolve
    from logratio.train.setup import Inputs, data_set, tokenizer_of
    from logratio.train.source import FileSource

    given = nano[form]
    spec = {**rounds.SETTINGS, "groups_a_step": texts.GROUPS_A_STEP[form], "output": "x", "precision": "fp32"}
    document = {"model": str(given.model), "data": str(given.data), "objective": {"name": "dpo", "beta": 0.1}}
    resolved = resolve(document, recipe(spec))
    data = data_set(resolved, tokenizer_of(resolved.config, Inputs()), Inputs(), "2026-01-01")
    source = FileSource(data.groups, data.train, spec["groups_a_step"], 1, spec["seed"])
    ours = [
        {
            "prompt_ids": group.prompt.tolist(),
            "chosen_ids": group.responses[winner].tolist(),
            "rejected_ids": group.responses[loser].tolist(),
        }
        for index in range(source.steps)
        for group in source.step(index).groups
        for winner, loser in group.edges
    ]
    held = json.loads(given.tokens.read_text())
    assert source.steps == given.facts()["steps"] == 2
    assert peer.pairs(held, 2) == ours
    assert peer.pairs(held, 1) == ours[: texts.PAIRS_A_STEP[form]]
    assert len(ours) == 2 * texts.PAIRS_A_STEP[form]


def test_workloads_are_what_they_say(nano):
    facts = {form: given.facts() for form, given in nano.items()}
    assert (facts["hh"]["pairs"], facts["k8"]["pairs"], facts["k8"]["groups"]) == (16, 14, 2)
    held = json.loads(nano["k8"].tokens.read_text())["groups"]
    assert all(group["edges"] == [[0, loser] for loser in range(1, 8)] for group in held)
    long = nano["long"].lengths
    assert all(group.prompt <= texts.LONG and max(group.responses) <= texts.SHORT for group in long)
    assert facts["long"]["prompt_mean"] > 0.75 * texts.LONG
    # every response ends in the token that ends it, once
    end = 2
    responses = [response for group in held for response in group["responses"]]
    assert all(response[-1] == end and response.count(end) == 1 for response in responses)


def test_weights_come_from_the_seed_alone(nano, shared_data, tmp_path, monkeypatch):
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path))
    again = workload.write("nano", "hh", 2)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (again.model / name).read_bytes() == (nano["hh"].model / name).read_bytes()
    assert json.loads((again.model / "config.json").read_text())["vocab_size"] == SHAPES["nano"].vocabulary


def walls(phases):
    return {name: clocks["wall"] for name, clocks in phases.items()}


def test_our_phases_lie_between_events():
    marks = {"open": [107.0, 5.0], "ready": [110.0, 9.0], "trained": [130.0, 40.0], "left": [131.0, 41.0]}
    phases = process.our_phases(marks, 100.0, 132.0)
    assert walls(phases) == {"setup": 7, "reference": 3, "training": 20, "saving": 2}
    assert [clocks["cpu"] for clocks in phases.values()] == [5, 4, 31, 1]


@pytest.mark.parametrize(
    ("inside", "setup", "training"), [(False, 10 - 4, 20), (True, 10, 20 - 4)], ids=["precomputed", "live"]
)
def test_the_peers_reference_is_taken_out_of_what_holds_it(inside, setup, training):
    marks = {"begin": [110.0, 8.0], "trained": [130.0, 40.0], "left": [131.0, 41.0]}
    phases = process.peer_phases({"marks": marks, "reference": [4.0, 6.0], "reference_inside": inside}, 100.0, 133.0)
    assert walls(phases) == {"setup": setup, "reference": 4, "training": training, "saving": 3}
    assert sum(clocks["cpu"] for clocks in phases.values()) == 41


@pytest.mark.parametrize("pairs", ["8", "20", "0"])
def test_pairs_are_whole_steps_and_two_at_least(pairs, capsys, tmp_path):
    arguments = ["--sizes", "nano", "--pairs", pairs, "--ours-only", "--out", str(tmp_path)]
    assert vs_trl.main(arguments) == 1
    assert "multiple of 8" in capsys.readouterr().err


def test_a_variant_that_does_not_exist_is_refused(capsys):
    assert vs_trl.main(["--variants", "fast"]) == 1
    assert "no variant 'fast'" in capsys.readouterr().err


@pytest.mark.slow
def test_both_sides_end_to_end(shared_data, tmp_path, capsys):
    """The whole benchmark at nano size, on a TRL that is installed already: losses agree, phases add up."""
    if not environment.usable(HOME):
        pytest.skip(f"TRL's environment is absent: {HOME} (python -m bench vs-trl makes it)")
    arguments = ["--sizes", "nano", "--data", "hh", "k8", "--pairs", "16", "--repeats", "1", "--threads", "1"]
    assert vs_trl.main([*arguments, "--trl-env", str(HOME), "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.count("Losses agree step by step") == 2
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["versions"]["trl"]["torch"] == version("torch")
    for case in results["cases"]:
        assert case["agreement"]["agree"] and len(case["runs"][0]["losses"]) == 2
        assert (
            abs(case["runs"][0]["losses"][0] - case["runs"][0]["losses"][1]) > 1e-3
        )  # so that agreeing means something
        for run in case["runs"]:
            spent = [phase["wall"] for phase in run["phases"].values()]
            assert min(spent) > 0 and abs(sum(spent) - run["wall"]) < 0.05
    assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_a_planted_difference_is_found(shared_data, tmp_path, capsys, monkeypatch):
    """With a rate that is a tenth higher on one side alone, no ratio is printed."""
    if not environment.usable(HOME):
        pytest.skip(f"TRL's environment is absent: {HOME} (python -m bench vs-trl makes it)")
    honest = process.peer
    monkeypatch.setattr(process, "peer", lambda spec, python: honest({**spec, "lr": 1.1e-4}, python))
    arguments = ["--sizes", "nano", "--pairs", "16", "--repeats", "1", "--threads", "1", "--variants", "precomputed"]
    assert vs_trl.main([*arguments, "--trl-env", str(HOME), "--out", str(tmp_path)]) == 1
    assert "LOSSES DISAGREE" in capsys.readouterr().out


def test_a_peer_that_gets_through_with_no_settings_is_told(nano, tmp_path):
    """A variant that fails is passed over, all of them failing is an error; a real process that fails at once."""
    said = []
    plan = rounds.Plan(1, 1, "fp32", Path("/bin/false"), ("live", "precomputed"), said.append)
    with pytest.raises(RunFailed, match="no variant of TRL gets through the first step"):
        rounds.measure(nano["hh"], plan)
    assert [line.partition(" (")[0] for line in said] == [
        "    trial of TRL, live: failed",
        "    trial of TRL, precomputed: failed",
    ]
    assert all("ended with 1" in line for line in said)


STAND_IN = """#!{python}
import json, os, sys
marks = {{name: [0.0, 0.0] for name in ("begin", "trained", "warm", "left")}}
told = {{"marks": marks, "reference": [0.0, 0.0], "reference_inside": False, "losses": [], "peak_memory": 1}}
told["path"] = [os.environ.get(name, "") for name in {names!r}]
json.dump(told, open(sys.argv[-1], "w"))
"""


def test_a_variant_with_memory_kept_is_given_it_by_the_environment(tmp_path, monkeypatch):
    """A stand-in for the peer's interpreter tells what it was given."""
    for name in KEPT:
        monkeypatch.delenv(name, raising=False)
    python = tmp_path / "python"
    python.write_text(STAND_IN.format(python=sys.executable, names=tuple(KEPT)), encoding="utf-8")
    python.chmod(0o755)
    for variant in VARIANTS:
        given = process.peer({"variant": variant, "threads": 1}, python)["path"]
        assert given == (list(KEPT.values()) if variant.endswith("memory kept") else [""] * len(KEPT))


def test_a_folder_that_holds_something_else_is_not_emptied(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(environment.EnvironmentMissing, match="is not empty and holds no TRL"):
        environment.ensure(tmp_path)
    assert (tmp_path / "thesis.tex").is_file()


def test_settings_near_the_fastest_are_tried_twice_and_count_with_their_better_time(monkeypatch):
    took = {"live": [4.0], "precomputed": [2.0, 1.9], "precomputed, 1 pair at once": [2.9, 1.5]}

    def run(spec, _):
        clock = {"wall": took[spec["variant"]].pop(0)}
        return {
            "variant": spec["variant"],
            "phases": {"reference": {"wall": 0.0}, "training": clock},
            "peak_memory": 1,
        }

    monkeypatch.setattr(process, "peer", run)
    plan = rounds.Plan(1, 1, "fp32", Path("python"), tuple(took), lambda _: None)
    trials, best = rounds._choose({}, plan)
    assert (len(trials), best) == (5, "precomputed, 1 pair at once") and not any(took.values())
