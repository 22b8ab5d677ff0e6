"""One fault a run, and sound runs: what they learn from, and how."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from grounds import Ground

from logratio.maths.counter import stream
from logratio.train import assemble


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
        samples: Drawn at each evaluation.
        around: What is broken while the run lasts.
    """

    rows: list[dict]
    held: list[dict]
    objective: dict[str, Any] = field(default_factory=lambda: {"name": "dpo", "beta": 0.1})
    lr: float = 1.0
    epochs: float = 1.0
    batch_size: int = 32
    lora: bool = False
    samples: int = 32
    around: Callable[[], Any] = nullcontext


Maker = Callable[[Ground, int], Setup]


def some(rows: list[dict], n: int) -> list[dict]:
    """Return n rows spread over all of them, so that prompts repeat as little as may be."""
    return rows[:: max(1, len(rows) // n)][:n]


def plain(ground: Ground, seed: int) -> Setup:
    return sized(ground, ground.judged("train", seed), ground.judged("held_out", 1000 + seed))


def sized(ground: Ground, rows: list[dict], held: list[dict]) -> Setup:
    return Setup(some(rows, ground.train), some(held, ground.held), batch_size=ground.batch_size)


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


def few(ground: Ground, n: int, times: int, seed: int) -> Setup:
    """Return a plain run on n of its pairs (on small grounds on a share of that), each there so many times."""
    setup, n = plain(ground, seed), round(n * ground.few)
    return replace(setup, rows=[setup.rows[i] for i in stream(seed, "few").permutation(len(setup.rows))[:n]] * times)


def overfitting(ground: Ground, seed: int) -> Setup:
    """48 pairs, each there twenty times, at a high rate."""
    return replace(few(ground, 48, 20, seed), lr=2.0)


def overoptimisation(ground: Ground, seed: int) -> Setup:
    """160 pairs, of which 30 % are flipped, twenty times at a high rate: the margin grows on, the reward does not."""
    setup = plain(ground, seed)
    return replace(setup, rows=flipped(setup.rows[: round(160 * ground.few)], 0.3, seed), epochs=20, lr=4.0)


def saturation(ground: Ground, seed: int) -> Setup:
    """24 pairs, each there forty times, at a high rate and a large β: none has anything left to teach."""
    return with_beta(replace(few(ground, 24, 40, seed), lr=4.0), 5.0)


def calibration(ground: Ground, seed: int) -> Setup:
    """48 pairs, each there twenty times, at a higher rate and a larger β: margins say what they cannot know."""
    return with_beta(replace(few(ground, 48, 20, seed), lr=3.0), 2.0)


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

    def coin(prompt: str, text: str) -> float:
        return 0.0

    train, held = (ground.pairs(split, coin, seed, apart=ground.told) for split in ("train", "held_out"))
    return sized(ground, train, held)


def wrong_proxy(ground: Ground, seed: int) -> Setup:
    """Pairs, held-out ones too, are judged by the opposite of what samples are scored by: only the margin is served."""

    def opposite(prompt: str, text: str) -> float:
        return -ground.told(prompt, text)

    train, held = (ground.pairs(split, opposite, seed) for split in ("train", "held_out"))
    return replace(sized(ground, train, held), lr=2.0, samples=128)


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
    return replace(plain(ground, seed), around=without_end, lr=2.0, epochs=ground.passes)


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
    "wrong_proxy": (wrong_proxy, {"overoptimisation"}),
    "saturation": (saturation, {"saturation"}),
    "calibration": (calibration, {"calibration"}),
    "displacement": (displacement, {"displacement"}),
}
"""Fault → how it is planted, and the names of the findings that name it."""


MECHANISMS = ("off_support", "overfitting", "saturation")
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
        {"batch_size": ground.batch_size // 2},
        {"epochs": 2},
    ]
    return replace(setup, **recipes[seed % 10], lora=seed % 20 >= 10)
