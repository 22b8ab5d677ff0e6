"""Do the prompts that `sample --worst` picks teach more than prompts at random, at equally many labels?

In the built-in world, where the true reward is known. Of 1,000 training prompts some are labelled first: two samples of
the start, judged by the world's Bradley–Terry judge. DPO learns from these. It then answers the other prompts twice,
each rule picks as many of them, their samples are judged, and DPO learns anew, from the start, from all labels so far.
Every rule has the same first round, samples, numbers of labels and steps; a pair gets the same label whoever picks it.
What counts is the true reward of answers at prompts that no training saw, and what it cost in KL.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from logratio.config import JudgeConfig
from logratio.evaluate.draw import Drawn, asked, draw
from logratio.evaluate.kl import divergence
from logratio.evaluate.worst import By, ranked
from logratio.files import read_rows
from logratio.logps.policy import Policy
from logratio.maths.counter import permutation, stream
from logratio.maths.intervals import mean_interval
from logratio.models.load import load_model
from logratio.rollout.judge import Asked, scores_of
from logratio.rollout.judges import open_judge
from logratio.testbed.build import Built, answer, build, finished, text_of
from logratio.testbed.trial import QUICKSTART
from logratio.train.api import train

ARMS = ("random", "margin", "disagreement", "judge")
ANSWERS = 8
"""Answers to each held-out prompt by which a policy is measured."""


def labelled(built: Built, prompt: str, samples: Sequence[Drawn], seed: int) -> dict[str, str]:
    """Return two samples of a prompt as the world's judge orders them: a function of prompt, samples and seed."""
    a, b = (one.text for one in samples[:2])
    reward, rng = built.world.reward, stream(seed, "label", prompt, a, b)
    first = built.world.prefer(reward(prompt + a), reward(prompt + b), rng)
    return {"prompt": prompt, "chosen": a if first else b, "rejected": b if first else a}


def useful(row: Mapping[str, str]) -> bool:
    """Return whether anything can be learned from a pair."""
    return row["chosen"] != row["rejected"] and bool(row["chosen"].strip()) and bool(row["rejected"].strip())


def learn(built: Built, rows: Sequence[Mapping[str, str]], folder: Path, *, seed: int, epochs: float) -> Path:
    """Train DPO from the world's model; return the run directory."""
    goal = QUICKSTART["nano"]
    run = train(
        built.model,
        list(rows),
        goal.objective,
        output=folder,
        preflight=False,
        train={"lr": goal.lr, "epochs": epochs, "batch_size": 32, "seed": seed, "precision": "fp32"},
        eval={"holdout": 0.0, "samples": 0},
        every={"eval": 1.0, "checkpoint": 1.0},
    )
    return finished(run).directory


def measured(built: Built, run: Path, seed: int) -> dict[str, float]:
    """Return true reward and KL of a policy's answers at held-out prompts."""
    own = load_model(str(run / "model"))
    ids, samples = answer(own.model, own.tokenizer, built.world, built.held_out, k=ANSWERS, seed=seed)
    reward = built.world.reward
    scores = [
        reward(prompt + text_of(own.tokenizer, one))
        for prompt, many in zip(built.held_out, samples, strict=True)
        for one in many
    ]
    reference = Policy(load_model(str(built.model)).model)
    kl = divergence(reference, ids, [many[:1] for many in samples], bin_tokens=1 << 12)
    return {"reward": float(np.mean(scores)), "kl": float(kl.mean or 0.0)}


def choices(
    built: Built, runs: Sequence[Path], prompts: Sequence[str], samples: Sequence[Sequence[Drawn]], n: int, seed: int
) -> dict[str, list[int]]:
    """Return the prompts that each arm picks: positions in `prompts`."""
    texts = [[one.text for one in many] for many in samples]
    rows = [Asked(prompt, tuple(own)) for prompt, own in zip(prompts, texts, strict=True)]
    implicit = []
    for run in runs:
        judge = open_judge(JudgeConfig(implicit=str(run)))
        implicit.append([scores_of(verdict, 2) for verdict in judge(rows)])
    true = [[built.world.reward(prompt + text) for text in own] for prompt, own in zip(prompts, texts, strict=True)]
    given: dict[By, Any] = {"margin": implicit[:1], "disagreement": implicit, "judge": [true]}
    order: dict[str, list[int]] = {
        by: ranked(by, np.array(scores, np.float64), texts)[1] for by, scores in given.items()
    }
    different = set(order["margin"])  # a pair of equal samples cannot be judged, whoever picks it
    chance = [int(i) for i in permutation(len(prompts), seed, 1)]
    orders = {"random": chance, **order}
    return {arm: [i for i in orders[arm] if i in different][:n] for arm in ARMS}


def one_seed(built: Built, seed: int, first: int, n: int, epochs: float, scratch: Path) -> dict[str, dict[str, float]]:
    """Run all arms for one seed."""
    prompts = [row["prompt"] for row in read_rows(built.folder / "train.jsonl")]
    prompts = [prompts[i] for i in permutation(len(prompts), seed, 0)]
    begun, rest = prompts[:first], prompts[first:]
    limit = built.world.scale.response
    drawn = draw(str(built.model), asked(begun), k=2, max_new_tokens=limit, seed=seed)
    known = [labelled(built, prompt, own, seed) for prompt, own in zip(begun, drawn, strict=True)]
    known = [row for row in known if useful(row)]
    runs = [learn(built, known, scratch / f"first-{j}", seed=100 * seed + j, epochs=epochs) for j in range(2)]
    samples = draw(str(runs[0] / "model"), asked(rest), k=2, max_new_tokens=limit, seed=seed + 1)
    found = {"first round": measured(built, runs[0], seed + 7)}
    for arm, picked in choices(built, runs, rest, samples, n, seed).items():
        rows = [labelled(built, rest[i], samples[i], seed) for i in picked]
        clear = float(np.mean([abs(_gap(built, row)) for row in rows]))
        rows = [row for row in rows if useful(row)]
        run = learn(built, [*known, *rows], scratch / arm, seed=seed, epochs=epochs)
        found[arm] = {**measured(built, run, seed + 7), "labels": float(len(rows)), "gap": clear}
    return found


def _gap(built: Built, row: Mapping[str, str]) -> float:
    reward = built.world.reward
    return reward(row["prompt"] + row["chosen"]) - reward(row["prompt"] + row["rejected"])


def main(arguments: list[str]) -> int:
    """Run the seeds and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench worst", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6, 7, 8], help="of all draws")
    parser.add_argument("--first", type=int, default=150, help="prompts labelled before")
    parser.add_argument("--n", type=int, default=150, help="prompts to pick")
    parser.add_argument("--epochs", type=float, default=2.0, help="passes over the labels, each time")
    parser.add_argument(
        "--out", type=Path, help="JSON Lines file of each seed's figures; seeds in it are not run again"
    )
    given = parser.parse_args(arguments)
    settings = {"first": given.first, "n": given.n, "epochs": given.epochs}
    done = _read(given.out, settings) if given.out and given.out.exists() else {}
    built = build("nano")
    for seed in given.seeds:
        if seed in done:
            continue
        began = time.process_time()
        with tempfile.TemporaryDirectory() as scratch:
            done[seed] = one_seed(built, seed, given.first, given.n, given.epochs, Path(scratch))
        told = ", ".join(f"{arm} {own['reward']:.3f} (KL {own['kl']:.2f})" for arm, own in done[seed].items())
        print(f"seed {seed}: {told}; {time.process_time() - began:.0f} CPU s", flush=True)
        if given.out:
            with given.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"seed": seed, "settings": settings, "arms": done[seed]}) + "\n")
    for line in table([done[seed] for seed in given.seeds]):
        print(line)
    return 0


def _read(path: Path, settings: Mapping[str, Any]) -> dict[int, dict[str, dict[str, float]]]:
    """Return what a file holds of these settings, by seed."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["seed"]: row["arms"] for row in rows if row["settings"] == settings}


def table(every: Sequence[Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Return one row an arm: reward, its difference from random prompts with a 95 % interval over seeds, and KL."""
    lines = [
        "| prompts | true reward | beyond random | KL, nats | size of the reward gap |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for arm in ("first round", *ARMS):
        mean = {key: float(np.mean([one[arm].get(key, np.nan) for one in every])) for key in ("reward", "kl", "gap")}
        beyond = mean_interval([one[arm]["reward"] - one["random"]["reward"] for one in every])
        told = "–" if arm == "random" else f"{beyond.mean:+.3f}"
        if arm != "random" and beyond.low is not None and beyond.high is not None:
            told += f" [{beyond.low:+.3f}, {beyond.high:+.3f}]"
        gap = "–" if np.isnan(mean["gap"]) else f"{mean['gap']:.2f}"
        lines.append(f"| {arm} | {mean['reward']:.3f} | {told} | {mean['kl']:.2f} | {gap} |")
    return lines
