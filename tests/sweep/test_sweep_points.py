"""A run's points are what the run itself measured, and what its texts are worth."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest

from logratio.config import JudgeConfig
from logratio.errors import JudgeError, RunError
from logratio.sweep.points import Ruler, measure, measured, reference_rewards, sample_reference
from logratio.sweep.study import plan, study_of
from logratio.train import api, finish
from sweep.study_files import ANSWER, JUDGE, PICKY, goods, opening_thoughts, picky, study
from train.small_run import pairs, write_rows


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of two evaluations, and what measures it."""
    folder = tmp_path_factory.mktemp("points")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGRATIO_CACHE", str(folder / "cache"))
        patch.setattr(finish, "write_report", lambda run: None)
        document = study(folder)
        planned = plan(document, study_of(document), folder / "out")
        api.run(planned.cells[0].resolved, preflight=False)
        yield folder / "out" / planned.cells[0].name, Ruler(JudgeConfig(function=JUDGE), planned.model, 6, 30)


def lines_of(path):
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_kl_is_the_runs_own_and_reward_that_of_its_texts(made):
    run, ruler = made
    points = lines_of(measure(run, ruler))
    logged = [row for row in lines_of(run / "metrics.jsonl") if row["kind"] == "eval"]
    samples = lines_of(run / "samples.jsonl")
    assert [point["step"] for point in points] == [row["step"] for row in logged] == [0, 3, 5]
    for point, row in zip(points, logged, strict=True):
        assert point["kl"]["mean"] == pytest.approx(row["kl"]["mean"], abs=2e-5)
        texts = [sample["text"] for sample in samples if sample["step"] == point["step"]]
        assert point["rewards"] == goods(None, texts, None)
        assert point["reward"]["mean"] == pytest.approx(np.mean(point["rewards"]))
    assert abs(points[-1]["kl"]["mean"]) > 0.01
    trained = sum(row["tokens"] for row in lines_of(run / "metrics.jsonl") if row["kind"] == "train")
    assert [point["tokens"] for point in points][::2] == [0, trained]


def test_points_by_another_reward_or_reference_do_not_count(made, tmp_path):
    run, ruler = made
    measure(run, ruler)
    assert measured(run, ruler)
    assert not measured(run, Ruler(JudgeConfig(function="other:reward"), ruler.model, 6, 30))


def test_samples_on_which_a_judge_that_skips_fails_are_left_out_alone_and_counted(made, tmp_path):
    run, whole = made
    known = lines_of(measure(run, whole))
    ruler = replace(whole, judge=JudgeConfig(function=PICKY, on_failure="skip"))
    points, samples = lines_of(measure(run, ruler)), lines_of(run / "samples.jsonl")
    assert sum(point["lost"] for point in points) > 0
    for point, every in zip(points, known, strict=True):
        wanted = picky(None, [one["text"] for one in samples if one["step"] == point["step"]], None)
        assert point["rewards"] == wanted and point["lost"] == wanted.count(None) < 10
        kept = [i for i, reward in enumerate(wanted) if reward is not None]
        for name in ("reward", "kl"):
            assert point[name]["n"] == len(kept)
            assert point[name]["mean"] == pytest.approx(np.mean([every[f"{name}s"][i] for i in kept]), abs=1e-5)
    document = json.loads(sample_reference(tmp_path, run, ruler).read_text())
    shape = np.shape(document["rewards"])
    assert 0 < document["lost"] <= 10 * 30 - np.prod(shape) and len(document["prompts"]) == shape[0] and shape[1] >= 15
    with pytest.raises(JudgeError, match="failed on .*judge.on_failure: skip"):
        measure(run, replace(ruler, judge=JudgeConfig(function=PICKY)))
    silent = tmp_path / "silent.py"
    silent.write_text("def score(prompts, responses, rows):\n    return [None] * len(responses)\n")
    with pytest.raises(JudgeError, match="no verdict on any sample of step 0"):
        measure(run, replace(ruler, judge=JudgeConfig(function=f"{silent}:score", on_failure="skip")))


def test_the_reference_is_sampled_at_the_same_prompts(made, tmp_path):
    run, ruler = made
    sample_reference(tmp_path, run, ruler)
    document = reference_rewards(tmp_path, ruler)
    assert np.shape(document["rewards"]) == (10, 30)
    assert document["prompts"] == lines_of(measure(run, ruler))[0]["prompts"]
    # step 0 of the run is the reference too: one sample a prompt of the same distribution
    start = np.mean(lines_of(run / "points.jsonl")[0]["rewards"])
    spread = np.std(document["rewards"]) / math.sqrt(10)
    assert abs(start - np.mean(document["rewards"])) < 5 * spread + 1e-9
    assert reference_rewards(tmp_path, Ruler(ruler.judge, ruler.model, 6, 31)) is None


def test_a_text_with_a_line_separator_is_one_row(made, tmp_path):
    run, ruler = made
    rows = lines_of(run / "samples.jsonl")
    rows[0]["text"] = " good\u2028good\x85"
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    points = lines_of(measure(tmp_path, ruler))
    assert points[0]["rewards"][0] == 2 and points[0]["rewards"][1:] == lines_of(run / "points.jsonl")[0]["rewards"][1:]


def test_samples_that_are_not_whole_are_refused(made, tmp_path):
    run, ruler = made
    (tmp_path / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text())
    (tmp_path / "samples.jsonl").write_text("".join((run / "samples.jsonl").read_text().splitlines(True)[:-1]))
    with pytest.raises(RunError, match="every prompt at every evaluation"):
        measure(tmp_path, ruler)


def test_the_reward_is_told_rows_and_messages_and_sees_no_thought_that_the_template_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(finish, "write_report", lambda run: None)
    document = opening_thoughts(study(tmp_path, judge=ANSWER))
    planned = plan(document, study_of(document), tmp_path / "out")
    api.run(planned.cells[0].resolved, preflight=False)
    run, ruler = tmp_path / "out" / planned.cells[0].name, Ruler(JudgeConfig(function=ANSWER), planned.model, 6, 3)
    samples = lines_of(run / "samples.jsonl")
    assert all(sample["prompt"].endswith("<think>") for sample in samples) and any(one["text"] for one in samples)
    points = lines_of(measure(run, ruler))
    wanted = [float(sample["index"]) for sample in samples if sample["step"] == 0]
    assert [point["rewards"] for point in points] == [wanted] * len(points)  # each row's own answer, nothing else
    document = json.loads(sample_reference(tmp_path, run, ruler).read_text())
    assert document["rewards"] == [[value] * 3 for value in wanted]


def test_a_run_whose_prompts_are_gone_from_its_data_is_refused(made, tmp_path):
    run, ruler = made
    shutil.copytree(run, tmp_path / "run")
    config = (run / "config.yaml").read_text()
    other = write_rows(tmp_path / "other.jsonl", pairs(12, seed=2))
    before = next(line for line in config.splitlines() if "eval.jsonl" in line).split()[-1]
    (tmp_path / "run" / "config.yaml").write_text(config.replace(before, str(other)))
    with pytest.raises(RunError, match=r"\d+ of 10 prompts .* are not in its eval\.data"):
        measure(tmp_path / "run", ruler)
