"""Make a world: teach a small model to write reviews, let it answer prompts, and have its answers judged."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..batch.group import Ints
from ..config import TemplateConfig
from ..data.prepare import tokenize_prompts
from ..files import cache_root, content_hash, read_rows, write_json, write_rows
from ..maths.counter import stream
from ..models.build import build_llama, save_built, wrap_tokenizer
from ..models.load import load_model
from ..rollout.generate import Sample, generate
from ..train.api import Run, train
from ..train.events import Event, Listener
from .lexicon import Size
from .world import LONGEST, PREFERENCE_SCALE, Split, World, preference_rows

Say = Callable[[str], None]


@dataclass(frozen=True)
class Lesson:
    """How a size is taught to write and how much it is then asked.

    Attributes:
        demonstrations: Reviews to imitate, each seen once.
        batch_size: Reviews a step.
        lr: Peak learning rate.
        prompts: Prompts of the preference file.
        held_out: Prompts kept for evaluation.
        samples: Answers a prompt, judged in pairs: even.
    """

    demonstrations: int
    batch_size: int
    lr: float
    prompts: int
    held_out: int
    samples: int = 4


LESSONS: dict[Size, Lesson] = {
    "nano": Lesson(demonstrations=10_000, batch_size=32, lr=1.5e-2, prompts=1_000, held_out=200),
    "small": Lesson(demonstrations=36_000, batch_size=32, lr=5e-3, prompts=2_500, held_out=500),
}


@dataclass(frozen=True)
class Built:
    """A world on disk.

    Attributes:
        world: Its texts, reward and judge.
        folder: Where it lies: `model/`, `train.jsonl`, `held_out.jsonl` (prompt, responses), `preferences.jsonl`,
            `eval.jsonl` (prompt, chosen, rejected).
    """

    world: World
    folder: Path

    @property
    def model(self) -> Path:
        """The model that wrote all responses: start and reference of every run."""
        return self.folder / "model"

    @property
    def preferences(self) -> Path:
        """Pairs to learn from, judged by the true reward."""
        return self.folder / "preferences.jsonl"

    @property
    def held_out_preferences(self) -> Path:
        """Pairs at prompts that no training saw, judged by the true reward."""
        return self.folder / "eval.jsonl"

    @cached_property
    def held_out(self) -> list[str]:
        """Prompts that no training saw."""
        return [row["prompt"] for row in read_rows(self.folder / "held_out.jsonl")]

    def judged(self, score: Callable[[str], float], split: Split = "train") -> Iterator[dict[str, str]]:
        """Yield preference rows as the world's judge draws them where it sees `score` in place of the true reward."""
        rows = read_rows(self.folder / f"{split}.jsonl")
        scores = [[score(row["prompt"] + text) for text in row["responses"]] for row in rows]
        return preference_rows(self.world, [row["prompt"] for row in rows], [row["responses"] for row in rows], scores)

    def ranked(self, split: Split = "train") -> Iterator[dict[str, Any]]:
        """Yield rows `prompt`, `responses`, `scores`: whole rankings as Plackett–Luce draws them on the true reward.

        A score is r*/scale plus a draw from Gumbel's distribution, so that any two responses are ordered as the world's
        judge orders them. Of identical responses the first stays, and empty ones are left out.
        """
        for number, row in enumerate(read_rows(self.folder / f"{split}.jsonl")):
            texts = [text for text in dict.fromkeys(row["responses"]) if text.strip()]
            noise = stream(self.world.seed, "rankings", split, number).gumbel(size=len(texts))
            rewards = [self.world.reward(row["prompt"] + text) / PREFERENCE_SCALE for text in texts]
            if len(texts) > 1:
                scores = [float(reward + extra) for reward, extra in zip(rewards, noise, strict=True)]
                yield {"prompt": row["prompt"], "responses": texts, "scores": scores}


def build(size: Size, seed: int = 0, *, root: Path | None = None, say: Say = lambda line: None) -> Built:
    """Return the world of a size and seed, from the cache if it is there, else made now.

    Builders of one world wait for each other; what is half made is never seen.

    Args:
        size: `nano` or `small`.
        seed: Seed of texts, weights, samples and judgements.
        root: Folder of worlds; default `worlds` in the cache.
        say: Told what is being done, a line at a time.
    """
    world = World(size, seed)
    folder = (root or cache_root() / "worlds") / f"{size}-{seed}-{_key(world)[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_suffix(".lock")):
        if folder.is_dir():
            say(f"world {size}, seed {seed}: found in {folder}")
            return Built(world, folder)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as making:
            _make(Built(world, Path(making)), say)
            os.rename(making, folder)
            Path(making).mkdir()  # for the context to remove
    return Built(world, folder)


def new_model(world: World) -> Any:
    """Return the world's Llama with random weights."""
    scale = world.scale
    return build_llama(
        vocab_size=world.tokenizer.get_vocab_size(),
        hidden=scale.hidden,
        inner=scale.inner,
        layers=scale.layers,
        heads=scale.heads,
        max_positions=_positions(world),
        seed=world.seed,
    )


def answer(
    model: Any, tokenizer: Any, world: World, prompts: Sequence[str], *, k: int = 1, seed: int = 0
) -> tuple[list[Ints], list[list[Sample]]]:
    """Sample k responses to every prompt; return the prompts' token ids and the samples."""
    ids = tokenize_prompts(prompts, tokenizer=tokenizer, template=TemplateConfig(), date=None)
    stops = [tokenizer.eos_token_id]
    return ids, generate(model, ids, k=k, max_new_tokens=world.scale.response, stop_ids=stops, seed=seed)


def text_of(tokenizer: Any, sample: Sample) -> str:
    """Return a sample as text, without its end token."""
    return str(tokenizer.decode(sample.tokens.tolist(), skip_special_tokens=True))


def _make(built: Built, say: Say) -> None:
    world, lesson = built.world, LESSONS[built.world.size]
    say(f"world {world.size}, seed {world.seed}: writing {lesson.demonstrations:,} reviews")
    with tempfile.TemporaryDirectory(dir=built.folder) as scratch:
        blank, run = Path(scratch) / "blank", Path(scratch) / "run"
        save_built(new_model(world), wrap_tokenizer(world.tokenizer, max_length=_positions(world)), blank)
        made_run = train(
            blank,
            list(world.demonstrations(lesson.demonstrations)),
            "sft",
            output=run,
            on_event=progress(say),
            train={"lr": lesson.lr, "batch_size": lesson.batch_size, "seed": world.seed, "precision": "fp32"},
            eval={"holdout": 0.0},
            every={"eval": 1.0, "checkpoint": 1.0},
        )
        shutil.move(finished(made_run).model, built.model)
    say(f"sampling {lesson.samples} answers to each of {lesson.prompts + lesson.held_out:,} prompts")
    made = load_model(str(built.model))
    asked: dict[Split, int] = {"train": lesson.prompts, "held_out": lesson.held_out}
    for split, n in asked.items():
        prompts = world.prompts(split, n)
        _, drawn = answer(made.model, made.tokenizer, world, prompts, k=lesson.samples, seed=world.seed)
        texts = [[text_of(made.tokenizer, sample) for sample in samples] for samples in drawn]
        rows = ({"prompt": p, "responses": t} for p, t in zip(prompts, texts, strict=True))
        write_rows(built.folder / f"{split}.jsonl", rows)
    write_rows(built.preferences, built.judged(world.reward))
    write_rows(built.held_out_preferences, built.judged(world.reward, "held_out"))
    write_json(built.folder / "world.json", {"size": world.size, "seed": world.seed, "key": _key(world)})


def finished(run: Run) -> Run:
    """Return a run that reached its end.

    Raises:
        KeyboardInterrupt: It was asked to stop, and what follows needs all of it.
    """
    if run.status == "interrupted":
        raise KeyboardInterrupt
    return run


def progress(say: Say) -> Listener:
    """Return a listener that tells of a run at every quarter."""

    def listen(event: Event) -> None:
        if event.kind == "train" and event.data["step"] % max(1, event.data["steps"] // 4) == 0:
            say(f"  step {event.data['step']} of {event.data['steps']}, loss {event.data['row']['loss']:.3f}")

    return listen


def _positions(world: World) -> int:
    """Longest sequence: BOS, prompt and response, rounded up."""
    return -(-(1 + LONGEST + world.scale.response) // 32) * 32


def _key(world: World) -> str:
    """Hash of everything that decides a world: its code, constants, lesson and seed."""
    sources = sorted(path for path in Path(__file__).parent.glob("*.py") if path.stem in _DECIDES)
    code = [path.read_text(encoding="utf-8") for path in sources]
    return content_hash(world.size, world.seed, asdict(world.scale), asdict(LESSONS[world.size]), code)


_DECIDES = ("lexicon", "grammar", "review", "reward", "world")


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a lock that other builders of the same world wait for."""
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
