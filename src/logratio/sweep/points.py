"""Where a run stood at each of its evaluations: reward and sequence KL of its own samples, one row each."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..batch.group import Group, Ints
from ..config import JudgeConfig
from ..data.prompts import Asking, prepare_prompts
from ..errors import JudgeError, RunError
from ..files import atomic_path, content_hash, write_json
from ..logps.policy import Policy
from ..logps.reference import score
from ..logps.subject import subject_of
from ..maths.intervals import mean_interval
from ..models.load import load_model, stored_fingerprint
from ..rollout.generate import generate, stop_tokens
from ..rollout.judge import Asked, Judge, Verdict, scorable, scores_of
from ..rollout.judges import open_judge
from ..train.rewards import asked_of

POINTS = "points.jsonl"
REFERENCE = "reference.json"

BIN_TOKENS = 1 << 13
"""Tokens of a forward pass of the reference."""

FORMAT = 2
"""Raised whenever rows of `points.jsonl` come to mean something else."""

ASKED = 64
"""Prompts that the judge is asked at once."""

WHOLE = 1 << 31
"""Tokens of a prompt at most where it is looked up: none is too long, whatever a response would need beside it."""


@dataclass(frozen=True)
class Ruler:
    """What every run of a study is measured by.

    Attributes:
        judge: The reward.
        model: The reference, folder or hub name.
        limit: Tokens of a sample at most.
        samples: Samples of the reference a prompt, for its frontier.
    """

    judge: JudgeConfig
    model: str
    limit: int
    samples: int

    @property
    def key(self) -> str:
        """Hash of what decides a run's points, beside its samples."""
        return content_hash(FORMAT, self.judge.model_dump(mode="json"), stored_fingerprint(self.model))


def measure(run: Path, ruler: Ruler) -> Path:
    """Write `points.jsonl` of a finished run: one row an evaluation, from its kept samples, and return its path.

    A row holds `step`, `reward` and `kl` {mean, low, high, n, se}, `length`, the `tokens` trained on and the `seconds`
    gone by then, and each prompt's own `rewards` and `kls` in the order of `prompts`, their names. KL is
    Σ_t log π/π_ref on the policy's own samples at temperature 1. A sample of which a judge that skips has no verdict is
    left out of both means: its reward is None, and `lost` counts it.

    Raises:
        RunError: The run kept no samples, or not of every prompt at every evaluation, or eval.data holds them no more.
        DataError: Those data cannot be read.
        JudgeError: The reward fails, or has no verdict on any sample of an evaluation.
    """
    rows = _lines(run / "samples.jsonl")
    steps: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        steps.setdefault(row["step"], []).append(row)
    prompts = [row["prompt"] for row in next(iter(steps.values()), [])]
    if not prompts or any([row["prompt"] for row in own] != prompts for own in steps.values()):
        raise RunError(f"{run / 'samples.jsonl'} does not hold every prompt at every evaluation; train that run again.")
    made = load_model(ruler.model)
    ids = [_ids(made.tokenizer, prompt) for prompt in prompts]
    drawn = [[np.array(own[i]["ids"], np.int32) for own in steps.values()] for i in range(len(prompts))]
    reference = score(Policy(made.model), _groups(ids, drawn), bin_tokens=BIN_TOKENS)
    texts = [[own[i]["text"] for own in steps.values()] for i in range(len(prompts))]
    asking = _asking(run, prompts, made.tokenizer)
    asked = [asked_of(*one, made.tokenizer) for one in zip(asking, texts, ids, strict=True)]
    rewards_PM = _judged(open_judge(ruler.judge), asked)
    logp_PM = np.array([[own[i]["logp"] for own in steps.values()] for i in range(len(prompts))])
    kls_PM = logp_PM - np.array([_sums(values, own) for values, own in zip(reference, drawn, strict=True)])
    cost, names = _cost(run), _names(prompts)
    known_PM = np.isfinite(rewards_PM)
    if not known_PM.any(0).all():
        raise JudgeError(
            f"the judge has no verdict on any sample of step {list(steps)[int(known_PM.any(0).argmin())]} of {run}, so "
            "nothing is known of it; mend the judge, then run the study again."
        )
    with atomic_path(run / POINTS) as temporary, temporary.open("w", encoding="utf-8") as file:
        for m, (step, own) in enumerate(steps.items()):
            known = known_PM[:, m]
            point = {
                "key": ruler.key,
                "prompts": names,
                "step": step,
                "reward": mean_interval(rewards_PM[known, m]).to_json(),
                "kl": mean_interval(kls_PM[known, m]).to_json(),
                "lost": int((~known).sum()),
                "length": mean_interval([row["tokens"] for row in own]).to_json(),
                **cost.get(step, {"tokens": 0, "seconds": 0.0}),
                "rewards": [round(r, 6) if math.isfinite(r) else None for r in rewards_PM[:, m].tolist()],
                "kls": np.round(kls_PM[:, m], 5).tolist(),
            }
            file.write(json.dumps(point) + "\n")
    return run / POINTS


def measured(run: Path, ruler: Ruler) -> list[dict[str, Any]]:
    """Return the rows of a run's `points.jsonl`; empty where it has none by this reward and reference."""
    rows = _lines(run / POINTS) if (run / POINTS).is_file() else []
    return rows if rows and all(row["key"] == ruler.key for row in rows) else []


def sample_reference(folder: Path, run: Path, ruler: Ruler, *, seed: int = 1) -> Path:
    """Write `reference.json`: rewards of many samples of the reference at the prompts of a run, and return its path.

    Samples of which a judge that skips has no verdict are left out and counted by `lost`: see `_even`.

    Args:
        folder: Of the study.
        run: One of its runs, whose prompts are taken.
        ruler: How many samples, and the reward.
        seed: Of the samples.
    """
    prompts = list(dict.fromkeys(row["prompt"] for row in _lines(run / "samples.jsonl")))
    made = load_model(ruler.model)
    ids = [_ids(made.tokenizer, prompt) for prompt in prompts]
    stops = stop_tokens(made.model, made.tokenizer)
    drawn = generate(made.model, ids, k=ruler.samples, max_new_tokens=ruler.limit, stop_ids=stops, seed=seed)
    texts = [[made.tokenizer.decode(one.tokens.tolist(), skip_special_tokens=True) for one in own] for own in drawn]
    asking = _asking(run, prompts, made.tokenizer)
    asked = [asked_of(*one, made.tokenizer) for one in zip(asking, texts, ids, strict=True)]
    judged = _judged(open_judge(ruler.judge), asked)
    kept, rewards = _even(judged)
    tokens = sum(len(one.tokens) for own in drawn for one in own)
    document = {
        "key": ruler.key,
        "prompts": _names([prompts[i] for i in kept]),
        "samples": ruler.samples,
        "lost": int((~np.isfinite(judged)).sum()),
        "tokens": tokens,
        "rewards": np.round(rewards, 6).tolist(),
    }
    write_json(folder / REFERENCE, document)
    return folder / REFERENCE


def reference_rewards(folder: Path, ruler: Ruler) -> dict[str, Any] | None:
    """Return what `reference.json` holds; None where there is none by this reward and of so many samples."""
    try:
        document: dict[str, Any] = json.loads((folder / REFERENCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if (document["key"], document["samples"]) == (ruler.key, ruler.samples) else None


def _asking(run: Path, prompts: Sequence[str], tokenizer: Any) -> list[Asking]:
    """Return what a judge is told of each prompt of a run, as its row of eval.data has it; samples keep tokens alone.

    Raises:
        RunError: The data hold a prompt no more.
        DataError: They cannot be read.
    """
    subject = subject_of(run)
    config = subject.config
    assert config is not None and config.eval.data is not None  # a study has no runs without
    read = prepare_prompts(
        config.eval.data,
        tokenizer=tokenizer,
        tokens=config.tokens.model_copy(update={"max_length": WHOLE}),
        template=subject.template,
        rows=config.rows,
        room=0,
        date=subject.manifest.get("date"),
    )
    written = (tokenizer.decode(group.prompt.tolist(), skip_special_tokens=False) for group in read.groups)
    told = dict(zip(written, read.asking, strict=True))
    lost = [prompt for prompt in prompts if prompt not in told]
    if lost:
        raise RunError(
            f"{len(lost)} of {len(prompts)} prompts that {run} sampled are not in its eval.data, at first "
            f"`{lost[0][:60]}`, so the judge cannot be told their rows; put those data back as they were, or, where "
            "tokens.overflow cut these prompts, raise tokens.max_length and train again."
        )
    return [told[prompt] for prompt in prompts]


def _judged(judge: Judge, asked: Sequence[Asked]) -> NDArray[np.float64]:
    """Return the score of every response, [prompts, responses]; NaN where a judge that skips has no verdict.

    A verdict is of all of a prompt's responses: where it failed, each is judged by itself, so that only those are lost
    on which the judge fails.
    """

    def verdicts(of: Sequence[Asked]) -> list[Verdict]:
        return [scorable(verdict) for i in range(0, len(of), ASKED) for verdict in judge(of[i : i + ASKED])]

    found = verdicts(asked)
    alone = [
        replace(one, responses=(text,))
        for one, verdict in zip(asked, found, strict=True)
        if verdict.failed
        for text in one.responses
    ]
    again = iter(verdicts(alone))
    scores = [
        [_score(next(again)) for _ in one.responses] if verdict.failed else scores_of(verdict, len(one.responses))
        for verdict, one in zip(found, asked, strict=True)
    ]
    return np.array(scores, np.float64)


def _score(verdict: Verdict) -> float:
    return math.nan if verdict.failed else scores_of(verdict, 1)[0]


def _even(rewards_PN: NDArray[np.float64]) -> tuple[list[int], NDArray[np.float64]]:
    """Return the prompts with a verdict on half of their samples or more, and equally many rewards of each.

    Raises:
        JudgeError: There is no such prompt.
    """
    known = [row[np.isfinite(row)] for row in rewards_PN]
    kept = [i for i, row in enumerate(known) if 2 * len(row) >= rewards_PN.shape[1]]
    if not kept:
        raise JudgeError(
            "the judge has no verdict on half of the reference's samples at any prompt, so that no frontier is known; "
            "mend the judge, then run the study again."
        )
    least = min(len(known[i]) for i in kept)
    return kept, np.array([known[i][:least] for i in kept])


def _cost(run: Path) -> dict[int, dict[str, float]]:
    """Return what a run had cost by each step: tokens trained on, and seconds, evaluations included."""
    rows = _lines(run / "metrics.jsonl")
    train = [row for row in rows if row["kind"] == "train"]
    tokens = dict(zip([row["step"] for row in train], accumulate(row.get("tokens", 0) for row in train), strict=True))
    return {
        row["step"]: {"tokens": tokens.get(row["step"], 0), "seconds": row["time"]}
        for row in rows
        if row["kind"] == "eval"
    }


def _names(prompts: Sequence[str]) -> list[str]:
    """Return a short name of each prompt, the same in every run."""
    return [content_hash(prompt)[:10] for prompt in prompts]


def _groups(prompts: Sequence[Ints], drawn: Sequence[Sequence[Ints]]) -> list[Group]:
    return [
        Group(
            row=i,
            prompt=prompt,
            responses=tuple(own),
            loss=tuple(np.ones(len(ids), np.bool_) for ids in own),
            edges=np.zeros((0, 2), np.int32),
        )
        for i, (prompt, own) in enumerate(zip(prompts, drawn, strict=True))
    ]


def _sums(values: NDArray[np.float32], responses: Sequence[Ints]) -> list[float]:
    ends = np.cumsum([len(ids) for ids in responses])
    return [float(part.sum(dtype=np.float64)) for part in np.split(values, ends[:-1])]


def _ids(tokenizer: Any, prompt: str) -> Ints:
    """Return a prompt's tokens as the run wrote it down, special tokens included."""
    return np.array(tokenizer.backend_tokenizer.encode(prompt, add_special_tokens=False).ids, np.int32)


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:  # splitlines would cut inside a text, at U+2028 and its like
            return [json.loads(line) for line in file]
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); train that run again.") from error
