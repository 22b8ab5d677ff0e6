"""A run directory whose numbers come from formulas."""

import json
import math
from pathlib import Path

STEPS = 600
PAIRS = 480


def half_width(p: float, n: int) -> float:
    return 1.96 * math.sqrt(p * (1 - p) / n)


def margin_at(step: int) -> float:
    """A margin that rises and saturates."""
    return 1.1 * (1 - math.exp(-step / 180))


def wobble(step: int, scale: float) -> float:
    """A deterministic stand-in for the noise of a batch."""
    return 2 * scale * ((math.sin(12.9898 * step) * 43758.5453) % 1.0 - 0.5)


def train_row(step: int) -> dict:
    margin = margin_at(step) + wobble(step, 0.25)
    chosen, rejected = -2.0 * margin - wobble(step, 1.0), -12.0 * margin + wobble(step, 2.0)
    return {
        "kind": "train",
        "step": step,
        "time": 1.7 * step,
        "loss": math.log1p(math.exp(-margin)),
        "accuracy": min(1.0, 0.5 + 0.25 * margin_at(step) + wobble(step, 0.04)),
        "margin": margin,
        "logratio_chosen": chosen,
        "logratio_rejected": rejected,
        "logratio_chosen_per_token": chosen / 42,
        "logratio_rejected_per_token": rejected / 40,
        "length_chosen": 42 + wobble(step, 3),
        "length_rejected": 40 + wobble(step + 1, 3),
        "grad_norm": 3.0 * math.exp(-step / 400) + abs(wobble(step, 0.3)),
        "lr": 1e-6 * min(step / 60, (STEPS - step) / (STEPS - 60)),
        "tokens_per_s": 21_000 + wobble(step, 600),
        "rounded_away": 0.02 + abs(wobble(step, 0.004)),
    }


def spread(mean: float, half: float, n: int) -> dict:
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": n}


def eval_row(step: int) -> dict:
    accuracy = 0.5 + 0.15 * (1 - math.exp(-step / 150))
    margin = margin_at(step) * 0.8
    return {
        "kind": "eval",
        "step": step,
        "loss": spread(math.log1p(math.exp(-margin)), 0.02, PAIRS),
        "accuracy": spread(accuracy, half_width(accuracy, PAIRS), PAIRS),
        "length_baseline": spread(0.541, half_width(0.541, PAIRS), PAIRS),
        "margin": spread(margin, 0.08, PAIRS),
        "logratio_chosen_per_token": spread(-2.0 * margin / 42, 0.004, PAIRS),
        "logratio_rejected_per_token": spread(-12.0 * margin / 40, 0.008, PAIRS),
        "kl": spread(7.5 * (1 - math.exp(-step / 220)), 0.5 * step / STEPS, 128),
        "ended": spread(0.9 - 0.05 * step / STEPS, 0.05, 128),
        "repetition": spread(0.08, 0.02, 128),
        "sample_length": spread(40 + 6 * step / STEPS, 2.2, 128),
    }


MANIFEST = {
    "started": "2026-03-01T09:12:44Z",
    "status": "finished",
    "steps": STEPS,
    "versions": {"python": "3.11.9", "torch": "2.13.0", "transformers": "5.23.0", "logratio": "0.1.0"},
    "data": {"reviews.jsonl": {"sha256": "9c1f" * 16, "rows": 9_700}},
    "template_hash": "5e2d8a7714c0",
    "reference": {
        "kind": "start",
        "identity": "41aa93b20f",
        "description": "the model as loaded, before its first step (cached log-probs)",
    },
    "objective": {
        "name": "dpo",
        "formula": "ℓ = −log σ(β·[log π(y⁺|x)/π_ref(y⁺|x) − log π(y⁻|x)/π_ref(y⁻|x)]), mean over pairs",
        "source": "Rafailov et al. 2023 (arXiv:2305.18290), Eq. 7",
    },
    "lr_source": "default of dpo",
    "rows": ["9,700 rows read", "9,641 pairs kept", "41 dropped: identical responses", "18 dropped: over 2,048 tokens"],
}

CONFIG = """\
model: acme/reviews-small
data:
- path: reviews.jsonl
  weight: 1.0
objective:
  name: dpo
  beta: 0.1
reference: start
train:
  batch_size: 64
  epochs: 1.0
  lr: 1.0e-06
  schedule: linear
"""

STORIES = [
    "The acting carried it: {lead} gave every scene weight, and the story never lost its way.",
    "A thin plot, but {lead} and the music kept me watching. The ending felt rushed and left too much unsaid.",
    "I wanted to like it. The pictures are fine; the dialogue is not, and {lead} looked as tired as I was.",
]


def sample_rows(prompts: int = 6) -> list[dict]:
    leads = ["the daughter", "the old captain", "the narrator", "her brother", "the pilot", "the choir"]
    story = [STORIES[turn % 3] for turn in range(12)]
    return [
        {
            "step": step,
            "prompt": f"Write a short review of a film about {lead}.",
            "index": 0,
            "text": f"{story[turn + step // 300]} {story[turn + step // 150]}".format(lead=lead),
            "ended": (turn + step) % 5 != 1,
        }
        for step in (0, 200, 400, STEPS)
        for turn, lead in enumerate(leads[:prompts])
    ]


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_run(path: Path, *, train=None, evals=None, samples=None, manifest=None, evaluation=None) -> Path:
    """Write a run directory; `None` takes the whole, healthy DPO run."""
    path.mkdir(parents=True, exist_ok=True)
    train = [train_row(step) for step in range(1, STEPS + 1)] if train is None else train
    evals = [eval_row(step) for step in range(0, STEPS + 1, 60)] if evals is None else evals
    if evaluation is None:
        evaluation = {name: value for name, value in eval_row(STEPS).items() if name not in ("kind", "step")}
    write_lines(path / "metrics.jsonl", [*evals[:1], *train, *evals[1:]])
    write_lines(path / "samples.jsonl", sample_rows() if samples is None else samples)
    (path / "manifest.json").write_text(json.dumps({**MANIFEST, **(manifest or {})}), encoding="utf-8")
    (path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    if evaluation:
        (path / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    return path
