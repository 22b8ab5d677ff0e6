"""A study from its recipe to its page: points of every run, the frontier above them, and nothing made twice."""

import json
import math

import numpy as np
import pytest

from logratio.config import JudgeConfig
from logratio.errors import ConfigError
from logratio.exact.frontier import gibbs_curve
from logratio.exact.world import random_world
from logratio.files import write_json
from logratio.sweep import frontier
from logratio.sweep.conduct import run_study
from logratio.sweep.frontier import FRONTIER, compose
from logratio.sweep.points import POINTS, REFERENCE, Ruler
from logratio.sweep.record import Given
from logratio.sweep.study import plan, study_of
from sweep.study_files import JUDGE, study

PROMPTS = [f"p{i}" for i in range(5)]
WORLD = random_world(8, prompts=5, responses=6)


def entry(cell):
    return {"name": cell.name, "values": dict(cell.values), "status": "finished", "error": None, "seconds": 3.0}


def row(ruler, step, kls, rewards, prompts=PROMPTS):
    measure = {"low": None, "high": None, "n": 5, "se": None}
    means = {"reward": {"mean": float(np.mean(rewards)), **measure}, "kl": {"mean": float(np.mean(kls)), **measure}}
    other = {"key": ruler.key, "prompts": prompts, "step": step, "tokens": 10 * step, "seconds": 1.0, "length": {}}
    return {**other, **means, "kls": list(map(float, kls)), "rewards": list(map(float, rewards))}


@pytest.fixture
def written(tmp_path):
    """A study whose runs lie on the exact frontier of a finite world, and samples of its reference."""
    document = study(tmp_path)
    planned = plan(document, study_of(document), tmp_path / "out")
    ruler = Ruler(JudgeConfig(function=JUDGE), planned.model, 6, 4_000)
    places = gibbs_curve(WORLD, [1e6, 2.0, 0.5])
    for cell in planned.cells:
        folder = tmp_path / "out" / cell.name
        folder.mkdir(parents=True)
        fall = 0.5 if cell.values["variant"] == "DPO" else 1.0  # DPO falls short of it
        rows = [
            row(ruler, i, [p.kl] * 5, [places[0].reward + fall * (p.reward - places[0].reward)] * 5)
            for i, p in enumerate(places)
        ]
        (folder / POINTS).write_text("".join(json.dumps(one) + "\n" for one in rows))
    draw = np.random.default_rng(0)
    share, reward = WORLD.reference_XY.exp().numpy(), WORLD.reward_XY.numpy()
    counts = np.round(5 * WORLD.weight_X.numpy()).astype(int) + 1  # so many copies of each prompt, about its weight
    rewards = [reward[x][draw.choice(6, 4_000, p=share[x])].tolist() for x in range(5) for _ in range(counts[x])]
    reference = {"key": ruler.key, "prompts": PROMPTS, "samples": 4_000, "tokens": 1, "rewards": rewards}
    write_json(tmp_path / "out" / REFERENCE, reference)
    return planned, tmp_path / "out", [entry(cell) for cell in planned.cells], ruler


def test_what_a_study_found_stands_in_one_document(written):
    planned, folder, entries, ruler = written
    document = compose(planned, folder, entries, ruler)
    assert [(one["variant"], one["setting"], len(one["runs"])) for one in document["settings"]] == [
        ("DPO", "beta 0.1", 2),
        ("DPO", "beta 1", 2),
        ("Preferred-FT", "", 2),
    ]
    assert [run["points"][-1]["tokens"] for run in document["runs"]] == [20] * 6
    best = [one["n"] for one in document["best_of_n"]]
    assert best[0] == 1 and best[-1] <= 4_000 < 2 * best[-1]
    level = next(one for one in document["levels"] if one["kl"] == 0.02)
    dpo, tuned = level["methods"]["DPO"]["reward"]["mean"], level["methods"]["Preferred-FT"]["reward"]["mean"]
    assert dpo < tuned and level["methods"]["DPO"]["runs"] == 2
    assert level["frontier"] is not None
    far = next(one for one in document["levels"] if one["kl"] == 5)
    assert far["methods"]["DPO"]["reward"]["mean"] is None and far["frontier"] is None
    json.dumps(document, allow_nan=False)


def test_runs_are_compared_on_the_prompts_that_they_share(written, monkeypatch):
    planned, folder, entries, ruler = written
    rows = [
        row(ruler, i, [kl, 9, 9, 9, 9], [reward, 7, 7, 7, 7], ["p3", "x", "y", "z", "w"])
        for i, (kl, reward) in enumerate([(0, 0), (1, 1)])
    ]
    (folder / entries[0]["name"] / POINTS).write_text("".join(json.dumps(one) + "\n" for one in rows))
    with pytest.raises(ConfigError, match=r"of up to 5 prompts .* share 1,"):
        compose(planned, folder, entries, ruler)
    monkeypatch.setattr(frontier, "ENOUGH", 0.2)
    alone = compose(planned, folder, entries[:1], ruler)["settings"][0]
    assert [point["reward"]["mean"] for point in alone["points"]] == pytest.approx([28 / 5, 29 / 5])
    both = compose(planned, folder, entries, ruler)["settings"][0]
    other = compose(planned, folder, entries[1:], ruler)["settings"][0]["points"][1]["reward"]["mean"]
    assert both["points"][1]["reward"]["mean"] == pytest.approx((1 + other) / 2)


def test_what_a_judge_skipped_is_said_and_counts_in_no_mean(written):
    planned, folder, entries, ruler = written
    assert compose(planned, folder, entries, ruler)["lost"] == ""
    file = folder / entries[0]["name"] / POINTS
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[1]["rewards"][2], rows[1]["kls"][2], rows[1]["lost"] = None, 1e9, 1
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    document = compose(planned, folder, entries, ruler)
    of = sum(len(run["points"]) for run in document["runs"]) * len(PROMPTS)
    assert document["lost"].startswith(f"The judge had no verdict on 1 of {of} samples of the runs and on 0 of")
    assert frontier.lines(document)[-1] == document["lost"]
    assert max(point["kl"]["mean"] for one in document["settings"] for point in one["points"]) < 10


def test_without_any_points_there_is_a_document_all_the_same(tmp_path):
    document = study(tmp_path)
    planned = plan(document, study_of(document), tmp_path / "out")
    ruler = Ruler(JudgeConfig(function=JUDGE), planned.model, 6, 40)
    found = compose(planned, tmp_path / "out", [entry(cell) for cell in planned.cells], ruler)
    assert found["settings"] == found["tilts"] == [] and found["reference"] is None


@pytest.mark.slow
def test_a_study_runs_two_at_a_time_and_makes_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path / "cache"))
    broken = {
        "name": "broken",
        "recipe": {"objective": "sft", "model": str(tmp_path / "model"), "lora": {"targets": "x"}},
    }
    document = study(tmp_path)
    document["study"]["variants"].append(broken)
    document["study"] |= {"seeds": 1, "shared": [{"name": "scorer", "recipe": {"objective": "reward"}}]}
    folder, said = tmp_path / "out", []

    def conduct():
        return run_study(Given(document, {}, ()), plan(document, study_of(document), folder), folder, say=said.append)

    done = conduct()
    assert done.status == "failed"
    assert {run["name"]: run["status"] for run in done.runs} == {
        "scorer": "finished",
        "dpo_beta-0.1_seed-0": "finished",
        "dpo_beta-1_seed-0": "finished",
        "preferred-ft_seed-0": "finished",
        "broken_seed-0": "failed",
    }
    found = json.loads((folder / FRONTIER).read_text())
    assert all(len(run["points"]) == 3 for run in found["runs"] if run["status"] == "finished")
    assert found["prompts"] == 10 and len(found["tilts"]) > 5
    assert all(math.isfinite(point["kl"]["mean"]) for run in found["runs"] for point in run["points"])
    assert (folder / "frontier.html").is_file()
    kept = {name: (folder / name / "model").stat().st_mtime_ns for name in ("scorer", "dpo_beta-1_seed-0")}
    said.clear()
    assert conduct().status == "failed"
    assert kept == {name: (folder / name / "model").stat().st_mtime_ns for name in kept}
    assert said[0].startswith("5 runs, 4 of them finished already")
    assert json.loads((folder / FRONTIER).read_text())["runs"][:3] == found["runs"][:3]
