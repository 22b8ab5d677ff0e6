"""Where faults are planted: the built-in world, and small real models that write stories."""

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
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
"""Most tokens of an answer that goes on with a story: twice what a usual one has, so that answers may grow."""
TRAIN, HELD = 600, 300
"""Prompts of stories to learn from, and to be evaluated on."""
SAD = "sad cry cried scared angry mad bad hurt mean lost alone afraid sorry no not".split()


Score = Callable[[str, str], float]


@dataclass(frozen=True)
class Ground:
    """A model, its own answers to prompts, and a reward by which they are judged.

    Attributes:
        name: Of the folder that it lies in.
        model: Start and reference of every run.
        answers: Split ("train" or "held_out") → rows `prompt`, `responses` (whole neighbourhoods).
        reward: A whole text's.
        lr: Peak learning rate of a healthy run in full; LoRA takes `lora_lr`.
        limit: Most tokens of a sample.
        train, held: Pairs that a run learns from and is evaluated on.
        neighbours: Answers of which each pair is made: the two that the judge finds furthest apart.
        batch_size: Pairs a step, so that a pass has some forty steps on every ground.
        few: Pairs of the faults that repeat a few, as a share of those in the nano world.
        passes: Over the data, of the faults that take long to show.
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
    neighbours: int = 2
    batch_size: int = 32
    few: float = 1.0
    passes: float = 1.0

    def pairs(self, split: str, score: Score, seed: int, apart: Score | None = None) -> list[dict]:
        """Judge neighbouring answers as Bradley–Terry says where the judge sees `score(prompt, response)`.

        Args:
            split: "train" or "held_out".
            score: What the judge sees.
            seed: Of the judge.
            apart: By what the two of more neighbours are chosen; by `score` unless given.
        """
        rows = []
        for number, row in enumerate(self.answers[split]):
            draw, texts = stream(seed, "planted judge", split, number), row["responses"]
            for a in range(0, len(texts) - 1, self.neighbours):
                pair = self._far_apart(row["prompt"], texts[a : a + self.neighbours], apart or score)
                if len(pair) < 2:
                    continue
                one, other = (score(row["prompt"], text) for text in pair)
                first = draw.random() < 1 / (1 + np.exp(other - one))
                won, lost = pair if first else pair[::-1]
                if won != lost and won.strip() and lost.strip():
                    rows.append({"prompt": row["prompt"], "chosen": won, "rejected": lost})
        return rows

    def _far_apart(self, prompt: str, texts: list[str], score: Score) -> list[str]:
        """Return two texts as they are; of more those of the least and the highest score, in order, if these differ."""
        if len(texts) == 2:
            return texts
        scores = [score(prompt, text) for text in texts]
        low, high = int(np.argmin(scores)), int(np.argmax(scores))
        return [texts[i] for i in sorted((low, high))] if scores[low] < scores[high] else []

    def judged(self, split: str, seed: int) -> list[dict]:
        """Judge by the reward."""
        return self.pairs(split, self.told, seed)

    def told(self, prompt: str, text: str) -> float:
        """Return the reward of a prompt with its answer."""
        return self.reward(prompt + text)

    def end(self, model: Path) -> tuple[float, float]:
        """Return the share of a model's answers that end and their mean reward, over 800: a run measures 32 a time."""
        prompts = [row["prompt"] for row in self.answers["held_out"]][:200]
        drawn = zip(prompts, answered(model, prompts, k=800 // len(prompts), limit=self.limit), strict=True)
        own = [(ended, self.told(prompt, text)) for prompt, samples in drawn for text, ended in samples]
        return fmean(ended for ended, _ in own), fmean(reward for _, reward in own)


def nano(seed: int, root: Path) -> Ground:
    """The nano world of a seed."""
    built = build("nano", seed, root=root)
    answers = {split: read_rows(built.folder / f"{split}.jsonl") for split in ("train", "held_out")}
    limit = built.world.scale.response
    return Ground(f"nano-{seed}", built.model, answers, built.world.reward, lr=1e-3, lora_lr=4e-3, limit=limit)


def cheer(text: str) -> float:
    """Words of joy less words of sorrow, at most 3 either way, twice: a judge who is seldom wrong."""
    words = re.findall(r"[a-z]+", text.lower())
    return 2 * float(np.clip(sum((word in HAPPY) - (word in SAD) for word in words), -3, 3))


def stories(shared: Path, name: str, root: Path) -> Ground:
    """A real model of stories, taught to go on for a sentence and end; judged by how cheerful that is.

    Each prompt has up to two pairs of its answers, of four neighbours those that the judge finds furthest apart, since
    most pairs of answers are as cheerful as each other and teach nothing.
    """
    folder = root / name
    if not (folder / "answers.json").is_file():
        rows = [row for story in _stories(shared) for row in _neighbours(story["text"])]
        asked = list(dict.fromkeys(row["prompt"] for row in rows))[: TRAIN + HELD]
        taught = train(
            shared / "models" / name,
            [row for row in rows if row["prompt"] not in set(asked)],
            "sft",
            output=folder / "sft",
            train={"lr": 4e-3, "batch_size": 32, "precision": "fp32"},
            eval={"samples": 0},
            every={"eval": 1.0, "checkpoint": 1.0},
        )
        said = [
            {"prompt": prompt, "responses": [text for text, _ in samples]}
            for prompt, samples in zip(asked, answered(taught.model, asked, k=8, limit=STORY), strict=True)
        ]
        (folder / "answers.json").write_text(json.dumps({"held_out": said[:HELD], "train": said[HELD:]}))
    answers = json.loads((folder / "answers.json").read_text())
    sizes = {"limit": STORY, "train": 384, "held": 240, "neighbours": 4, "batch_size": 8, "few": 0.5, "passes": 2.0}
    return Ground(name, folder / "sft" / "model", answers, cheer, lr=4e-4, lora_lr=2e-3, **sizes)


def answered(model: Path, prompts: list[str], *, k: int, limit: int) -> list[list[tuple[str, bool]]]:
    """Return k samples of each prompt: a text, and whether it ended by itself."""
    made = load_model(str(model))
    ids = tokenize_prompts(prompts, tokenizer=made.tokenizer, template=TemplateConfig(), date=None)
    stops = stop_tokens(made.model, made.tokenizer)
    drawn = generate(made.model, ids, k=k, max_new_tokens=limit, stop_ids=stops, seed=0)
    return [[(_text(made.tokenizer, own), own.ended) for own in samples] for samples in drawn]


def _text(tokenizer: Any, sample: Any) -> str:
    return str(tokenizer.decode(sample.tokens.tolist(), skip_special_tokens=True))


def _stories(shared: Path) -> list[dict]:
    with gzip.open(shared / "tinystories" / "stories.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _neighbours(text: str) -> list[dict]:
    """Return a story's first sentences, each second one as a prompt that the next one answers, where both are short."""
    parts = [part.strip() for part in re.findall(r"[^.!?]+[.!?]+[\"']?", text)[:6]]
    return [
        {"prompt": one, "completion": " " + other}
        for one, other in zip(parts[::2], parts[1::2], strict=False)
        if 15 < len(one) < 70 and 15 < len(other) < 50
    ]
