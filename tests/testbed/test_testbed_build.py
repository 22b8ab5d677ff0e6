"""A world on disk: whole, found again, and judged as it says."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from logratio.testbed import build as building
from logratio.testbed.build import LESSONS, build, new_model
from logratio.testbed.world import World, preference, split_of


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def short(monkeypatch):
    """A lesson too short to learn anything from."""
    lesson = replace(LESSONS["nano"], demonstrations=96, prompts=4, held_out=3)
    monkeypatch.setitem(LESSONS, "nano", lesson)


@pytest.mark.parametrize(("size", "most"), [("nano", 200_000), ("small", 1_000_000)])
def test_the_models_keep_to_their_size(size, most):
    assert sum(p.numel() for p in new_model(World(size, 0)).parameters()) <= most


def test_the_model_writes_what_the_grammar_reads_and_has_room_to_improve(nano):
    reward = nano.world.reward
    held = rows(nano.folder / "held_out.jsonl")
    texts = [[row["prompt"] + text for text in row["responses"]] for row in held]
    parsed = np.mean([reward.parsed_share(text) for own in texts for text in own])
    scores = np.array([[reward(text) for text in own] for own in texts])
    assert parsed > 0.8
    assert reward.low / 2 < scores.mean() < reward.high / 2
    assert scores.std(axis=1).mean() > 0.7, "answers to one prompt differ in reward"
    assert len({text for own in texts for text in own}) > 0.9 * scores.size


def test_it_loads_in_transformers(nano):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (kind.from_pretrained(nano.model) for kind in (AutoModelForCausalLM, AutoTokenizer))
    assert model.config.vocab_size == len(tokenizer) <= 512
    assert tokenizer("I saw").input_ids[0] == tokenizer.bos_token_id


def test_held_out_prompts_are_in_no_training_row(nano):
    learned = {row["prompt"] for row in rows(nano.preferences)}
    learned |= {row["prompt"] for row in nano.world.demonstrations(1000)}
    assert len(nano.held_out) == LESSONS["nano"].held_out
    assert not learned & set(nano.held_out)
    assert {row["prompt"] for row in rows(nano.held_out_preferences)} <= set(nano.held_out)
    assert {split_of(prompt) for prompt in learned} == {"train"}


def test_labels_follow_the_true_reward_as_often_as_bradley_terry_says(nano):
    reward = nano.world.reward
    pairs = [(reward(r["prompt"] + r["chosen"]), reward(r["prompt"] + r["rejected"])) for r in rows(nano.preferences)]
    assert len(pairs) > 1.8 * LESSONS["nano"].prompts
    decided = [(chosen, rejected) for chosen, rejected in pairs if chosen != rejected]
    likely = np.array([preference(max(pair), min(pair)) for pair in decided])
    agreed = sum(chosen > rejected for chosen, rejected in decided)
    assert abs(agreed - likely.sum()) < 4 * np.sqrt((likely * (1 - likely)).sum())


def test_the_judge_may_see_another_score(nano):
    judged = list(nano.judged(lambda text: 50.0 * len(text)))
    assert len(judged) == len(rows(nano.preferences))
    longer = [len(row["chosen"]) > len(row["rejected"]) for row in judged if len(row["chosen"]) != len(row["rejected"])]
    assert all(longer)


def test_it_is_found_again_and_made_anew_where_anything_differs(short, tmp_path, monkeypatch):
    told = []
    first = build("nano", 0, root=tmp_path, say=told.append)
    made = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")}
    again = build("nano", 0, root=tmp_path, say=told.append)
    assert "found" in told[-1] and again.folder == first.folder
    assert {path: path.stat().st_mtime_ns for path in again.folder.rglob("*")} == made
    other = build("nano", 1, root=tmp_path)
    monkeypatch.setitem(LESSONS, "nano", replace(LESSONS["nano"], lr=2e-3))
    changed = build("nano", 0, root=tmp_path)
    assert len({first.folder, other.folder, changed.folder}) == 3
    assert other.held_out != first.held_out == changed.held_out


def test_what_fails_half_way_leaves_nothing(short, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(building, "answer", fail)
        build("nano", 0, root=tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    assert build("nano", 0, root=tmp_path).preferences.is_file()


_BUILDER = """
import sys
from dataclasses import replace
from pathlib import Path
from logratio.testbed.build import LESSONS, build
LESSONS["nano"] = replace(LESSONS["nano"], demonstrations=96, prompts=4, held_out=3)
build("nano", 0, root=Path(sys.argv[1]), say=print)
"""


@pytest.mark.slow
def test_two_builders_at_once_make_one_world(tmp_path):
    command = [sys.executable, "-c", _BUILDER, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) for _ in range(2)]
    out = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted("found" in text for text in out) == [False, True]
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1
