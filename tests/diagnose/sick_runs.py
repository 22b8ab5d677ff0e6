"""Runs with one fault each, and healthy ones: what does the diagnosis say of them?

    python tests/diagnose/sick_runs.py run --ground nano --to FOLDER [--only NAME …] [--seeds 10]
    python tests/diagnose/sick_runs.py judge FOLDER

`run` trains and keeps the metrics of every run; `judge` reads them again by the thresholds as they are now, and prints
the table.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from grounds import Ground, nano, stories

from logratio.diagnose.history import About, Digest
from logratio.diagnose.run import diagnose
from logratio.findings import LEVELS
from logratio.maths.counter import stream
from logratio.maths.intervals import mean_interval
from logratio.train import assemble, finish
from logratio.train.api import train


@dataclass(frozen=True)
class Setup:
    """One run.

    Attributes:
        rows, held: Pairs to learn from, pairs to evaluate on.
        objective: Its name and settings.
        lr: Factor on the ground's healthy learning rate.
        epochs: Passes.
        batch_size: Pairs a step.
        lora: Whether an adapter is trained.
        around: What is broken while the run lasts.
    """

    rows: list[dict]
    held: list[dict]
    objective: dict[str, Any] = field(default_factory=lambda: {"name": "dpo", "beta": 0.1})
    lr: float = 1.0
    epochs: float = 1.0
    batch_size: int = 32
    lora: bool = False
    around: Callable[[], Any] = nullcontext


Maker = Callable[[Ground, int], Setup]


def some(rows: list[dict], n: int) -> list[dict]:
    """Return n rows spread over all of them, so that prompts repeat as little as may be."""
    return rows[:: max(1, len(rows) // n)][:n]


def plain(ground: Ground, seed: int) -> Setup:
    return sized(ground, ground.judged("train", seed), ground.judged("held_out", 1000 + seed))


def sized(ground: Ground, rows: list[dict], held: list[dict]) -> Setup:
    return Setup(some(rows, ground.train), some(held, ground.held))


def beta_large(ground: Ground, seed: int) -> Setup:
    return with_beta(plain(ground, seed), 100.0)


def beta_small(ground: Ground, seed: int) -> Setup:
    return with_beta(plain(ground, seed), 0.01)


def with_beta(setup: Setup, factor: float) -> Setup:
    return replace(setup, objective={**setup.objective, "beta": setup.objective["beta"] * factor})


def lr_large(ground: Ground, seed: int) -> Setup:
    return replace(plain(ground, seed), lr=50.0)


def lr_small(ground: Ground, seed: int) -> Setup:
    return replace(plain(ground, seed), lr=1e-4)


def reversed_labels(ground: Ground, seed: int) -> Setup:
    setup = plain(ground, seed)
    return replace(setup, rows=[swapped(row) for row in setup.rows])


def label_noise(ground: Ground, seed: int) -> Setup:
    """40 % of the training labels flipped, and eight passes over a quarter of the pairs."""
    setup = plain(ground, seed)
    return replace(setup, rows=flipped(setup.rows[: len(setup.rows) // 4], 0.4, seed), epochs=8)


def flipped(rows: list[dict], share: float, seed: int) -> list[dict]:
    draw = stream(seed, "flips")
    return [swapped(row) if draw.random() < share else row for row in rows]


def few(setup: Setup, n: int, times: int, seed: int) -> Setup:
    """Return the same with n of its pairs, each there so many times."""
    return replace(setup, rows=[setup.rows[i] for i in stream(seed, "few").permutation(len(setup.rows))[:n]] * times)


def overfitting(ground: Ground, seed: int) -> Setup:
    """48 pairs, each there twenty times, at a high rate."""
    return replace(few(plain(ground, seed), 48, 20, seed), lr=2.0)


def overoptimisation(ground: Ground, seed: int) -> Setup:
    """96 pairs, of which 30 % are flipped, twelve times at a high rate: the margin grows on, the reward does not."""
    setup = plain(ground, seed)
    return replace(setup, rows=flipped(setup.rows[:96], 0.3, seed), epochs=12, lr=4.0)


def saturation(ground: Ground, seed: int) -> Setup:
    """24 pairs, each there forty times, at a high rate and a large β: none has anything left to teach."""
    return with_beta(replace(few(plain(ground, seed), 24, 40, seed), lr=4.0), 5.0)


def calibration(ground: Ground, seed: int) -> Setup:
    """48 pairs, each there twenty times, at a higher rate and a larger β: margins say what they cannot know."""
    return with_beta(replace(few(plain(ground, seed), 48, 20, seed), lr=3.0), 2.0)


def displacement(ground: Ground, seed: int) -> Setup:
    """Rejected responses are the chosen ones but for a word, and the rate is so high that both fall with all else."""
    setup = plain(ground, seed)
    return replace(setup, rows=alike(setup.rows, seed, 1), held=alike(setup.held, seed, 2), lr=25.0)


def alike(rows: list[dict], seed: int, part: int) -> list[dict]:
    """Return the pairs with rejected responses that are the chosen one with a word of the rejected one in it."""
    out = []
    for number, row in enumerate(rows):
        draw, words, others = stream(seed, "alike", part, number), row["chosen"].split(" "), row["rejected"].split(" ")
        words[int(draw.integers(len(words)))] = others[int(draw.integers(len(others)))]
        if " ".join(words) != row["chosen"]:
            out.append({**row, "rejected": " ".join(words)})
    return out


def length(ground: Ground, seed: int) -> Setup:
    """The longer response wins, in training and on held-out pairs."""

    def longer(prompt: str, text: str) -> float:
        return 2.0 * len(text.split())

    train, held = (ground.pairs(split, longer, seed) for split in ("train", "held_out"))
    return sized(ground, train, held)


def no_signal(ground: Ground, seed: int) -> Setup:
    """Labels by a fair coin, on both sides."""
    train, held = (ground.pairs(split, lambda prompt, text: 0.0, seed) for split in ("train", "held_out"))
    return sized(ground, train, held)


def off_support(ground: Ground, seed: int) -> Setup:
    """Words of every response in random order, so that no response is one that the model would write."""
    setup = plain(ground, seed)

    def torn(row: dict, at: int) -> dict:
        draw = stream(seed, "torn", at)
        return {**row, **{side: _shuffled(row[side], draw) for side in ("chosen", "rejected")}}

    return replace(
        setup,
        rows=[torn(row, i) for i, row in enumerate(setup.rows)],
        held=[torn(row, -1 - i) for i, row in enumerate(setup.held)],
    )


def broken_eos(ground: Ground, seed: int) -> Setup:
    """Chosen responses lose their end token in preparation."""
    return replace(plain(ground, seed), around=without_end, lr=2.0)


@contextmanager
def without_end() -> Iterator[None]:
    real = assemble.data_set

    def cut(group):
        won = {int(edge[0]) for edge in group.edges}
        short = [(own[:-1] if i in won and len(own) > 1 else own) for i, own in enumerate(group.responses)]
        return replace(
            group, responses=tuple(short), loss=tuple(m[: len(r)] for m, r in zip(group.loss, short, strict=True))
        )

    def broken(*arguments):
        data = real(*arguments)
        return replace(data, groups=[cut(group) for group in data.groups])

    with patch.object(assemble, "data_set", broken):
        yield


def swapped(row: dict) -> dict:
    return {**row, "chosen": row["rejected"], "rejected": row["chosen"]}


def _shuffled(text: str, draw) -> str:
    words = text.split(" ")
    return " ".join(words[i] for i in draw.permutation(len(words)))


FAULTS: dict[str, tuple[Maker, set[str]]] = {
    "beta_large": (beta_large, {"beta"}),
    "beta_small": (beta_small, {"beta"}),
    "lr_large": (lr_large, {"learning_rate"}),
    "lr_small": (lr_small, {"learning_rate"}),
    "reversed_labels": (reversed_labels, {"reversed_labels"}),
    "label_noise": (label_noise, {"label_noise"}),
    "overfitting": (overfitting, {"overfitting"}),
    "length": (length, {"length"}),
    "no_signal": (no_signal, {"no_signal"}),
    "off_support": (off_support, {"drift"}),
    "broken_eos": (broken_eos, {"collapse"}),
    "overoptimisation": (overoptimisation, {"overoptimisation"}),
    "saturation": (saturation, {"saturation"}),
    "calibration": (calibration, {"calibration"}),
    "displacement": (displacement, {"displacement"}),
}
"""Fault → how it is planted, and the names of the findings that name it."""


MECHANISMS = ("off_support", "overfitting")
"""Faults that do harm in some runs only: a note names them, as it should where no outcome suffers."""


def healthy(ground: Ground, seed: int) -> Setup:
    """One of twenty sound recipes: objectives, β, rates and sizes as people use them."""
    setup = plain(ground, seed)
    recipes = [
        {},
        {"lr": 0.5},
        {"lr": 1.5},
        {"objective": {"name": "dpo", "beta": 0.05}},
        {"objective": {"name": "dpo", "beta": 0.3}},
        {"objective": {"name": "dpo", "beta": 0.1, "label_smoothing": 0.1}},
        {"objective": {"name": "ipo", "tau": 0.1}},
        {"objective": {"name": "robust_dpo", "beta": 0.1}},
        {"batch_size": 16},
        {"epochs": 2},
    ]
    return replace(setup, **recipes[seed % 10], lora=seed % 20 >= 10)


def spelled(objective: dict[str, Any], name: str | None) -> dict[str, Any]:
    """Return plain DPO as another objective, whose β may have another name; what is none stays as it is."""
    if name in (None, "dpo") or set(objective) != {"name", "beta"} or objective["name"] != "dpo":
        return objective
    return {"name": name, "tau" if name == "ipo" else "beta": objective["beta"]}


def trained(ground: Ground, setup: Setup, output: Path, seed: int) -> Path:
    """Train, without a page and without keeping the model's folder, and return the run directory."""
    lr = (ground.lora_lr if setup.lora else ground.lr) * setup.lr
    lora = {"lora": {"r": 8, "alpha": 16}} if setup.lora else {}
    with patch.object(finish, "write_report"), setup.around():
        train(
            ground.model,
            setup.rows,
            setup.objective,
            eval_data=setup.held,
            output=output,
            train={
                "lr": lr,
                "epochs": setup.epochs,
                "batch_size": setup.batch_size,
                "seed": seed,
                "precision": "fp32",
            },
            eval={"max_new_tokens": ground.limit, "samples": 32},
            preflight=False,
            every={"eval": 0.25, "checkpoint": 1.0},
            **lora,
        )
    measure_reward(ground, output)
    return output


def measure_reward(ground: Ground, output: Path) -> None:
    """Judge the samples of each evaluation by the ground's own reward, as a judge during a run does."""
    rewards: dict[str, list[float]] = {}
    for line in (output / "samples.jsonl").read_text().splitlines():
        row = json.loads(line)
        told = row["prompt"].removeprefix("<s>") + (row["text"] or "")
        rewards.setdefault(str(row["step"]), []).append(ground.reward(told))
    measures = {step: mean_interval(own).to_json() for step, own in rewards.items()}
    (output / "rewards.json").write_text(json.dumps(measures))


@dataclass(frozen=True)
class Judged:
    """What a run's diagnosis says: the highest level of each finding at any evaluation, and at the last one."""

    ever: dict[str, str]
    last: dict[str, str]
    said: dict[str, str]

    def at(self, level: str, *, live: bool = True) -> set[str]:
        """Return the findings of at least a level."""
        levels = self.ever if live else self.last
        return {name for name, own in levels.items() if LEVELS.index(own) >= LEVELS.index(level)}


def judge(directory: Path) -> Judged:
    """Diagnose a run after each of its evaluations, as it is done live."""
    import yaml

    config = yaml.safe_load((directory / "config.yaml").read_text())
    steps = json.loads((directory / "manifest.json").read_text())["steps"]
    rewards = json.loads((directory / "rewards.json").read_text())
    digest, ever, last, said = Digest(), {}, {}, {}
    for line in (directory / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["kind"] == "eval" and str(row["step"]) in rewards:
            row["reward"] = rewards[str(row["step"])]
        digest.add(row)
        if row["kind"] == "eval":
            found = diagnose(digest.history(About.of(config, steps)))
            last = {finding.name: finding.level for finding in found}
            for finding in found:
                if LEVELS.index(finding.level) >= LEVELS.index(ever.get(finding.name, "fine")):
                    ever[finding.name], said[finding.name] = finding.level, finding.says
    return Judged(ever, last, said)


def table(folder: Path) -> str:
    """Return a line a fault: how many runs named it as a note, as look or worse, and what else they were called."""
    lines = [f"{'planted':16} {'runs':>4} {'named':>5} {'look+':>5}  other looks"]
    for case in sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."):
        judged = [judge(run) for run in sorted(case.iterdir()) if (run / "evaluation.json").is_file()]
        name = case.name.split(".")[0]
        expected = FAULTS[name][1] if name in FAULTS else set()
        named = sum(bool(one.at("note") & expected) for one in judged)
        looked = sum(bool(one.at("look") & expected) for one in judged)
        others: dict[str, int] = {}
        for one in judged:
            for other in one.at("look") - expected:
                others[other] = others.get(other, 0) + 1
        clean = sum(not one.at("look") for one in judged)
        tail = ", ".join(f"{other} {count}" for other, count in sorted(others.items(), key=lambda item: -item[1]))
        extra = f"  ({clean} without any)" if name not in FAULTS else ""
        lines.append(f"{case.name:16} {len(judged):4} {named:5} {looked:5}  {tail}{extra}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["run", "judge"])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--ground", default="nano")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--objective", default=None)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    given = parser.parse_args()
    if given.verb == "run":
        import torch

        torch.set_num_threads(1)
        os.environ["LOGRATIO_CACHE"] = str(given.folder / ".cache")
        runs(given)
    print(table(given.folder))


def runs(given: argparse.Namespace) -> None:
    root = given.folder / ".grounds"
    makers = {**{name: maker for name, (maker, _) in FAULTS.items()}, "healthy": healthy}
    wanted = given.only or makers
    planned = [(name, seed) for seed in range(given.first, given.first + given.seeds) for name in wanted]
    if "healthy" in wanted:
        planned += [("healthy", seed + given.seeds) for seed in range(given.first, given.first + given.seeds)]
    for name, seed in planned:
        suffix = f".{given.objective}" if given.objective else ""
        output = given.folder / f"{name}{suffix}{'.lora' if given.lora else ''}" / f"{seed:02d}"
        if (output / "evaluation.json").is_file():
            continue
        shutil.rmtree(output, ignore_errors=True)
        if given.ground == "nano":
            ground = nano(seed % 2, root)
        else:
            ground = stories(given.shared, given.ground, root, lr=4e-4, lora_lr=2e-3)
        setup = makers[name](ground, seed)
        setup = replace(setup, objective=spelled(setup.objective, given.objective))
        began = time.process_time()
        trained(ground, replace(setup, lora=setup.lora or given.lora), output, seed)
        print(f"{output.parent.name}/{seed}: {time.process_time() - began:.1f} CPU s", flush=True)


if __name__ == "__main__":
    main()
