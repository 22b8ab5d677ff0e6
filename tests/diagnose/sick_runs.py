"""Runs with one fault each, and healthy ones: what does the diagnosis say of them?

    python tests/diagnose/sick_runs.py run FOLDER [--ground stories-260k] [--only NAME …] [--seeds 10] [--spread]
    python tests/diagnose/sick_runs.py judge FOLDER

`run` trains and keeps the metrics of every run; `judge` reads them again by the thresholds as they are now, and prints
the table.
"""

import argparse
import json
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from grounds import Ground, nano, stories
from sick_faults import FAULTS, Setup, healthy
from sick_signs import SIGNS

from logratio.audit.annotators import lower_tail
from logratio.diagnose.history import About, Digest
from logratio.diagnose.run import diagnose
from logratio.findings import LEVELS
from logratio.maths.intervals import mean_interval
from logratio.train import finish
from logratio.train.api import train


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
            eval={"max_new_tokens": ground.limit, "samples": setup.samples},
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


def most(seen: int, n: int) -> float:
    """Return the exact upper end, 95 % one-sided, of a share of which `seen` of n were seen (Clopper–Pearson)."""
    low, high = seen / n, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if lower_tail(seen, n, middle) > 0.05 else (low, middle)
    return high


def table(folder: Path) -> str:
    """Return a line a fault: in how many runs it is there, and was named as a note, as look or worse; other looks."""
    lines = [f"{'planted':22} {'runs':>4} {'there':>5} {'named':>5} {'look+':>5}  other looks"]
    for case in sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."):
        done = [run for run in sorted(case.iterdir()) if (run / "rewards.json").is_file()]
        judged, name = [judge(run) for run in done], case.name.split(".")[0]
        there = sum(SIGNS[name](run) for run in done) if name in SIGNS else len(done)
        expected = FAULTS[name][1] if name in FAULTS else set()
        named = sum(bool(one.at("note") & expected) for one in judged)
        looked = sum(bool(one.at("look") & expected) for one in judged)
        others: dict[str, int] = {}
        for one in judged:
            for other in one.at("look") - expected:
                others[other] = others.get(other, 0) + 1
        clean = sum(not one.at("look") for one in judged)
        tail = ", ".join(f"{other} {count}" for other, count in sorted(others.items(), key=lambda item: -item[1]))
        alarms = len(judged) - clean
        bound = f"at most {100 * most(alarms, len(judged)):.0f} % of such runs, 95 %" if judged else ""
        extra = f"  (false alarms: {alarms} of {len(judged)}; {bound})" if name not in FAULTS else ""
        lines.append(f"{case.name:22} {len(judged):4} {there:5} {named:5} {looked:5}  {tail}{extra}")
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
    parser.add_argument("--spread", action="store_true", help="seeds over DPO and IPO, each in full and with LoRA")
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
        if (output / "rewards.json").is_file():
            continue
        shutil.rmtree(output, ignore_errors=True)
        if given.ground == "nano":
            ground = nano(0, root)
        else:
            ground = stories(given.shared, given.ground, root)
        setup = makers[name](ground, seed)
        spread = given.spread and name != "healthy"  # whose recipes differ by themselves
        objective = ("dpo", "ipo")[seed % 2] if spread else given.objective
        setup = replace(setup, objective=spelled(setup.objective, objective))
        began = time.process_time()
        trained(ground, replace(setup, lora=setup.lora or given.lora or (spread and seed % 4 > 1)), output, seed)
        print(f"{output.parent.name}/{seed}: {time.process_time() - began:.1f} CPU s", flush=True)


if __name__ == "__main__":
    main()
