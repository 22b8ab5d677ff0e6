"""Where faults are planted: the built-in world, and small real models that write stories."""

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from logratio.config import TemplateConfig
from logratio.data.prepare import tokenize_prompts
from logratio.files import read_rows
from logratio.maths.counter import stream
from logratio.models.load import load_model
from logratio.rollout.generate import generate, stop_tokens
from logratio.testbed.build import build
from logratio.train.api import train

HAPPY = "happy love loved fun play played smile smiled nice good laughed friend friends hug hugged kind best".split()
STORY = 40
"""Most tokens of an answer that goes on with a story."""
SAD = "sad cry cried scared angry mad bad hurt mean lost alone afraid sorry no not".split()


@dataclass(frozen=True)
class Ground:
    """A model, its own answers to prompts, and a reward by which they are judged.

    Attributes:
        name: Of the folder that it lies in.
        model: Start and reference of every run.
        answers: Split ("train" or "held_out") → rows `prompt`, `responses` (an even number each).
        reward: A whole text's.
        lr: Peak learning rate of a healthy run in full; LoRA takes `lora_lr`.
        limit: Most tokens of a sample.
        train, held: Pairs that a run learns from and is evaluated on.
    """

    name: str
    model: Path
    answers: dict[str, list[dict]]
    reward: Callable[[str], float]
    lr: float
    lora_lr: float
    limit: int
    train: int = 1280
    held: int = 320

    def pairs(self, split: str, score: Callable[[str, str], float], seed: int) -> list[dict]:
        """Judge neighbouring answers as Bradley–Terry says where the judge sees `score(prompt, response)`."""
        rows = []
        for number, row in enumerate(self.answers[split]):
            draw, texts = stream(seed, "planted judge", split, number), row["responses"]
            for a in range(0, len(texts) - 1, 2):
                one, other = (score(row["prompt"], text) for text in texts[a : a + 2])
                first = draw.random() < 1 / (1 + np.exp(other - one))
                won, lost = (a, a + 1) if first else (a + 1, a)
                if texts[won] != texts[lost] and texts[won].strip() and texts[lost].strip():
                    rows.append({"prompt": row["prompt"], "chosen": texts[won], "rejected": texts[lost]})
        return rows

    def judged(self, split: str, seed: int) -> list[dict]:
        """Judge by the reward."""
        return self.pairs(split, lambda prompt, text: self.reward(prompt + text), seed)


def nano(seed: int, root: Path) -> Ground:
    """The nano world of a seed."""
    built = build("nano", seed, root=root)
    answers = {split: read_rows(built.folder / f"{split}.jsonl") for split in ("train", "held_out")}
    limit = built.world.scale.response
    return Ground(f"nano-{seed}", built.model, answers, built.world.reward, lr=1e-3, lora_lr=1e-2, limit=limit)


def cheer(text: str) -> float:
    """Words of joy less words of sorrow, at most 3 either way, twice: a judge who is seldom wrong."""
    words = re.findall(r"[a-z]+", text.lower())
    return 2 * float(np.clip(sum((word in HAPPY) - (word in SAD) for word in words), -3, 3))


def stories(shared: Path, name: str, root: Path, *, lr: float, lora_lr: float, prompts: int = 800) -> Ground:
    """A real model of stories, taught to go on for a sentence and end; judged by how cheerful that is.

    Each prompt has up to two pairs of its answers, the most and the least cheerful of four neighbours, since most pairs
    of answers are as cheerful as each other and teach nothing.
    """
    folder = root / name
    if not (folder / "answers.json").is_file():
        rows = [row for story in _stories(shared) if (row := _one_sentence(story["text"])) is not None]
        taught = train(
            shared / "models" / name,
            rows[prompts + 200 :][:3000],
            "sft",
            output=folder / "sft",
            train={"lr": 4e-3, "batch_size": 32, "precision": "fp32"},
            eval={"samples": 0},
            every={"eval": 1.0, "checkpoint": 1.0},
        )
        asked = list(dict.fromkeys(row["prompt"] for row in rows))[: prompts + 200]
        made = load_model(str(taught.model))
        ids = tokenize_prompts(asked, tokenizer=made.tokenizer, template=TemplateConfig(), date=None)
        stops = stop_tokens(made.model, made.tokenizer)
        drawn = generate(made.model, ids, k=8, max_new_tokens=STORY, stop_ids=stops, seed=0)
        said = [
            {"prompt": prompt, "responses": _far_apart([_text(made.tokenizer, own) for own in samples])}
            for prompt, samples in zip(asked, drawn, strict=True)
        ]
        (folder / "answers.json").write_text(json.dumps({"held_out": said[:200], "train": said[200:]}))
    answers = json.loads((folder / "answers.json").read_text())
    return Ground(
        name, folder / "sft" / "model", answers, cheer, lr=lr, lora_lr=lora_lr, limit=STORY, train=384, held=120
    )


def _text(tokenizer: Any, sample: Any) -> str:
    return str(tokenizer.decode(sample.tokens.tolist(), skip_special_tokens=True))


def _far_apart(texts: list[str]) -> list[str]:
    """Return the most and the least cheerful of each four texts, in the order in which they were drawn."""
    out = []
    for four in (texts[:4], texts[4:]):
        order = sorted(range(4), key=lambda i: cheer(four[i]))
        if cheer(four[order[0]]) < cheer(four[order[-1]]):
            out += [four[i] for i in sorted((order[0], order[-1]))]
    return out


def _stories(shared: Path) -> list[dict]:
    with gzip.open(shared / "tinystories" / "stories.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _one_sentence(text: str) -> dict | None:
    """Cut a story into its first sentence and the next one."""
    parts = re.findall(r"[^.!?]+[.!?]+[\"']?", text)
    if len(parts) < 2 or not 20 < len(parts[0]) < 100 or not 20 < len(parts[1]) < 100:
        return None
    return {"prompt": parts[0].strip(), "completion": parts[1]}
