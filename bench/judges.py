"""Which judge is right more often: a reward model, or the implicit reward of a DPO policy, trained on the same pairs.

In the built-in world the true reward is known. Both judges learn from its 2,000 noisy training pairs and then judge, at
prompts that no training saw: pairs as the world's noisy judge labels them; and pairs of the DPO policy's own samples,
labelled by the true reward without noise, which is what a judge meets when its policy is trained on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from logratio.config import JudgeConfig
from logratio.evaluate.answered import read_answered
from logratio.evaluate.judged import Judged, accuracy_measures, difference, judge_responses
from logratio.files import read_rows
from logratio.maths.intervals import Measure, mean_interval
from logratio.models.load import load_model
from logratio.rollout.judges import open_judge
from logratio.testbed.build import Built, answer, build, finished, text_of
from logratio.testbed.measure import agreement
from logratio.testbed.trial import QUICKSTART
from logratio.train.api import train

SAMPLES = 4
"""Responses that the policy draws to each held-out prompt."""

RATES = {"dpo": QUICKSTART["nano"].lr, "reward": 3e-3}
EPOCHS = {"dpo": 1.0, "reward": 3.0}
"""The reward model has the best of rates 3e-4, 1e-3, 3e-3 and 1 or 3 epochs, by 400 of the training pairs kept out."""


def trained(built: Built, name: str, seed: int, folder: Path) -> Path:
    """Train one judge on the world's pairs; return its run directory."""
    objective = {"name": "dpo", "beta": 0.1} if name == "dpo" else {"name": name}
    settings = {"lr": RATES[name], "epochs": EPOCHS[name], "batch_size": 32, "seed": seed, "precision": "fp32"}
    run = train(
        built.model,
        list(read_rows(built.preferences)),
        objective,
        output=folder / name,
        train=settings,
        eval={"holdout": 0.0, "samples": 0},
        every={"eval": 1.0, "checkpoint": 1.0},
    )
    return finished(run).directory


def sampled_pairs(built: Built, policy: Path, seed: int) -> list[dict[str, str]]:
    """Return every two of a policy's samples whose true rewards differ, the better one chosen."""
    own, reward, rows = load_model(str(policy / "model")), built.world.reward, []
    _, drawn = answer(own.model, own.tokenizer, built.world, built.held_out, k=SAMPLES, seed=seed)
    for prompt, samples in zip(built.held_out, drawn, strict=True):
        texts = dict.fromkeys(text_of(own.tokenizer, sample) for sample in samples)
        for a, b in combinations([text for text in texts if text.strip()], 2):
            gap = reward(prompt + a) - reward(prompt + b)
            if gap:
                rows.append({"prompt": prompt, "chosen": a if gap > 0 else b, "rejected": b if gap > 0 else a})
    return rows


def measured(reward_run: Path, dpo_run: Path, rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return how often both judges, and length alone, are right on the same pairs."""
    answered = list(read_answered(rows, Counter()))
    judges = [open_judge(JudgeConfig(reward_model=str(reward_run))), open_judge(JudgeConfig(implicit=str(dpo_run)))]
    judged: list[list[Judged]] = [judge_responses(judge, answered) for judge in judges]
    first, second = map(accuracy_measures, judged)
    return {
        "reward model": first["accuracy"],
        "implicit reward": second["accuracy"],
        "length alone": first["length_baseline"],
        "difference": difference(*judged),
    }


def main(arguments: list[str]) -> int:
    """Train both judges for some seeds and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench judges", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds of both trainings")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    given = parser.parse_args(arguments)
    built = build("nano")
    found: dict[str, list[dict[str, Any]]] = {"labelled pairs": [], "policy samples": []}
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            runs = {name: trained(built, name, seed, Path(scratch)) for name in ("reward", "dpo")}
            sets: dict[str, Iterable[Any]] = {
                "labelled pairs": read_rows(built.held_out_preferences),
                "policy samples": sampled_pairs(built, runs["dpo"], 1000 * seed + 7),
            }
            for name, rows in sets.items():
                found[name].append(measured(runs["reward"], runs["dpo"], list(rows)))
                if name == "labelled pairs":
                    found[name][-1]["true reward"] = agreement(built)
                print(f"seed {seed}, {name}: {_line(found[name][-1])}", flush=True)
    if given.seeds > 2:  # of two, an interval says nothing
        for name, each in found.items():
            means = {key: mean_interval([one[key].mean for one in each]) for key in each[0]}
            print(f"mean of {given.seeds} seeds, {name}: {_line(means)}")
    if given.out:
        plain = {name: [{k: m.to_json() for k, m in one.items()} for one in each] for name, each in found.items()}
        given.out.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    return 0


def _line(measures: Mapping[str, Measure]) -> str:
    return ", ".join(f"{name} {_figure(measure)}" for name, measure in measures.items())


def _figure(measure: Measure) -> str:
    if measure.mean is None or measure.low is None or measure.high is None:
        return "–"
    return f"{measure.mean:.3f} [{measure.low:.3f}, {measure.high:.3f}] (n {measure.n})"
