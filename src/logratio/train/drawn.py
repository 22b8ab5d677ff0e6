"""What a phase drew, as rows that anybody can read, and as groups to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..batch.group import Columns, Floats, Group
from ..config import RolloutConfig
from ..data.prompts import Asking
from ..errors import CheckpointError
from ..files import read_rows
from ..maths.advantages import is_dead
from ..objectives.base import Data, Objective
from ..rollout.generate import Sample
from ..rollout.judge import Verdict, scorable, scores_of

Row = dict[str, Any]
"""One prompt of a phase, as its file has it: see `row_of`."""

FOLDER = "rollouts"


def file_of(run: Path, phase: int) -> Path:
    """Return the file of a phase, counted from 0 here and from 1 in its name."""
    return run / FOLDER / f"phase-{phase + 1:06d}.jsonl"


def read(path: Path) -> list[Row]:
    """Return the rows of a phase.

    Raises:
        CheckpointError: The file is gone or no longer what was written.
    """
    try:
        return read_rows(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} holds what the run was learning from when it stopped, and cannot be read ({error}); put it back, "
            "or remove the checkpoints of its phase and resume from the one before."
        ) from error


def row_of(
    index: int,
    prompt: Sequence[int],
    asking: Asking,
    samples: Sequence[Sample],
    texts: Sequence[str],
    verdict: Verdict,
    rivals: int = 0,
    lengths: Sequence[tuple[int, int]] = (),
) -> Row:
    """Return what is known of one prompt's responses.

    `prompt`, `responses` and `scores` make the row a row of scored responses, as `--data` reads it; where a judge
    compared, scores are the shares of comparisons won.

    Args:
        index: Of the prompt, in the data.
        prompt: Its tokens.
        asking: Its text and weight.
        samples: The responses.
        texts: The same as text, special tokens removed.
        verdict: What the judge said.
        rivals: How many of the responses, the last ones, were drawn from a rival.
        lengths: Of each response's thought and answer, in characters; kept where one has a thought.
    """
    row: Row = {"prompt": asking.prompt, "responses": list(texts)}
    verdict = scorable(verdict)
    if verdict.failed:
        row["failed"] = verdict.failed
    else:
        row["scores"] = list(scores_of(verdict, len(samples)))
        if verdict.scores is None:
            row["comparisons"] = [[one.first, one.second, one.probability] for one in verdict.comparisons]
        if verdict.both_bad:
            row["both_bad"] = True
    if rivals:
        row["rival"] = [0] * (len(samples) - rivals) + [1] * rivals
    if any(thought for thought, _ in lengths):
        row["thoughts"] = [list(both) for both in lengths]
    return row | {
        "weight": asking.weight,
        "row": index,
        "ended": [sample.ended for sample in samples],
        "usage": dict(verdict.usage),
        "prompt_tokens": [int(token) for token in prompt],
        "tokens": [sample.tokens.tolist() for sample in samples],
        "sampled": _sampled(samples),
    }


def _sampled(samples: Sequence[Sample]) -> list[list[float]] | None:
    """Return log-probs of the distribution that was sampled; None where an engine does not tell all of them."""
    known = [sample.tempered.tolist() for sample in samples if sample.tempered is not None]
    return known if len(known) == len(samples) else None


@dataclass(frozen=True)
class Choice:
    """What of a prompt's responses is learned from.

    Attributes:
        data: What the objective learns from: "pairs" compares them, others take them one by one.
        keep: "best" keeps the one judged best.
        edges: Which pairs are compared.
        compares: Whether all responses stay and every two are compared: what Nash-MD and XPO read.
        ties: Whether two that are judged alike are a pair too, of probability ½.
        win_rate: Whether each response has its own, see `win_rates`.
    """

    data: Data
    keep: Literal["all", "best"] = "all"
    edges: Literal["best_worst", "all"] = "best_worst"
    compares: bool = False
    ties: bool = False
    win_rate: bool = False

    @classmethod
    def of(cls, objective: Objective, settings: Any, rollout: RolloutConfig) -> Choice:
        """Return the choice of a recipe."""
        needs = objective.needs(settings)
        ties = objective.data == "prompts" and needs.ties
        compares = objective.data == "prompts" and (ties or objective.rivals(settings) > 0)
        return cls(objective.data, rollout.keep, rollout.edges, compares, ties, needs.win_rate)

    def group(self, row: Row) -> Group:
        """Return a prompt with those of its responses that are learned from.

        A prompt whose responses are judged alike, or are the same, gives no pair: it keeps one response, and no edge.
        """
        edges, probabilities = list[tuple[int, int]](), list[float]()
        if self.data == "pairs":
            edges, probabilities = compared(row, self.edges)
            used = sorted({k for edge in edges for k in edge}) or [0]
        elif self.compares:
            edges, probabilities = compared(row, "all", ties=self.ties)
            used = list(range(len(row["tokens"])))
        else:
            best = int(np.argmax(row["scores"]))
            used = [best] if self.keep == "best" else list(range(len(row["tokens"])))
        place = {k: n for n, k in enumerate(used)}
        won = win_rates(row) if self.win_rate else []
        weight = float(row["weight"])
        rival = _floats([row.get("rival", [0] * len(row["tokens"]))[k] for k in used])
        response = {
            "weight": np.float32(weight) * (1 - rival),
            "score": _floats([row["scores"][k] for k in used]),
            "ended": _floats([float(row["ended"][k]) for k in used]),
            **({"win_rate": _floats([won[k] for k in used])} if self.win_rate else {}),
            **({"rival": rival} if "rival" in row else {}),
        }
        edge = {
            "weight": np.full(len(edges), weight, np.float32),
            "margin": _floats([row["scores"][winner] - row["scores"][loser] for winner, loser in edges]),
            "probability": _floats(probabilities),
            "tie": _floats([float(self.ties and share == 0.5) for share in probabilities]),
        }
        tokens = [np.array(row["tokens"][k], np.int32) for k in used]
        return Group(
            row=int(row["row"]),
            prompt=np.array(row["prompt_tokens"], np.int32),
            responses=tuple(tokens),
            loss=tuple(np.ones(len(own), np.bool_) for own in tokens),
            edges=np.array([[place[winner], place[loser]] for winner, loser in edges], np.int32).reshape(-1, 2),
            columns=Columns(
                token={} if row["sampled"] is None else {"sampled": _floats(_joined(row["sampled"], used))},
                response=response,
                edge=edge,
            ),
        )


def compared(
    row: Row, which: Literal["best_worst", "all"], *, ties: bool = False
) -> tuple[list[tuple[int, int]], list[float]]:
    """Return the edges (winner, loser) between a prompt's responses, and the probability that each winner is preferred.

    Best and worst are those of the scores. A judge that compared has its own say about every two that it compared;
    where it contradicts the order of the scores, the probability is ½. Responses of the same tokens are never compared,
    but with `ties`, which adds every two that are judged alike.
    """
    scores, tokens, said = row["scores"], row["tokens"], _said(row)
    if which == "best_worst":
        pairs = [(int(np.argmax(scores)), int(np.argmin(scores)))] if max(scores) > min(scores) else []
    elif said:
        pairs = [pair for pair, share in said.items() if share > 0.5]
    else:
        pairs = [pair for pair in permutations(range(len(scores)), 2) if scores[pair[0]] > scores[pair[1]]]
    edges = sorted((winner, loser) for winner, loser in pairs if ties or tokens[winner] != tokens[loser])
    shares = [max(said.get(edge, 1.0), 0.5) for edge in edges]
    if not ties:
        return edges, shares
    alike = [
        (i, j)
        for i, j in combinations(range(len(scores)), 2)
        if (said.get((i, j)) == 0.5 if said else scores[i] == scores[j])
    ]
    return [*edges, *alike], [*shares, *[0.5] * len(alike)]


def win_rates(row: Row) -> list[float]:
    """Return each response's estimate of P(y ≻ π_old): the mean preference for it over all of its prompt, itself at ½.

    A judge that compared has its own say, of which two that it did not compare are left out; of scores the higher one
    is preferred.
    """
    scores, said = row["scores"], _said(row)
    told = said or {(i, j): (1 + np.sign(scores[i] - scores[j])) / 2 for i, j in permutations(range(len(scores)), 2)}
    own = [[share for (first, _), share in told.items() if first == i] for i in range(len(scores))]
    return [float(np.mean([0.5, *shares])) for shares in own]


def _said(row: Row) -> dict[tuple[int, int], float]:
    """Return the probability that the first is preferred, for every two that a judge compared, either way round."""
    said = {(first, second): share for first, second, share in row.get("comparisons", ())}
    return said | {(second, first): 1 - share for (first, second), share in said.items()}


def judged(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of which there is a verdict."""
    return [row for row in rows if "failed" not in row]


def learned(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that are learned from: of which there is a verdict, and which no further prompt replaced."""
    return [row for row in judged(rows) if "replaced" not in row]


def dead(row: Row) -> bool:
    """Whether the policy's responses to a prompt, two or more, were all judged alike: in scores and every comparison.

    In a cycle, of which each response beats the next, every score is ½ and yet every comparison tells two apart.
    """
    count = _own(row)
    if "failed" in row or count < 2:
        return False
    told = any(max(i, j) < count and share != 0.5 for i, j, share in row.get("comparisons", ()))
    return not told and is_dead(row["scores"][:count])


def _own(row: Row) -> int:
    """Return how many of a row's responses are the policy's; a rival's follow them."""
    return len(row["tokens"]) - sum(row.get("rival", ()))


def paired(group: Group) -> bool:
    """Whether a prompt has a pair that is learned from: a label may leave pairs out by weight 0, as XPO's does."""
    return bool(group.columns.edge["weight"].any())


def pairless(phase: int, without: int, prompts: int) -> str:
    """Return a sentence on a phase, counted from 0, of which so many prompts, one or more, give no pair."""
    lost = "nothing of it is learned from" if without == prompts else "they are not learned from"
    return (
        f"phase {phase + 1}: {without} of {prompts} prompts give no pair, since their responses are judged alike or "
        f"are the same, so {lost}; the metric `pairless` has the share at every step: draw more responses (rollout.k), "
        "or choose a judge that tells them apart."
    )


def measures(rows: Sequence[Row], groups: Sequence[Group], *, pairs: bool = False) -> dict[str, float]:
    """Return what a batch's own responses and their judgement were; formulas in `logratio.metrics`.

    Args:
        rows: At least one.
        groups: What is learned from, labelled, with the column `old` where it is known.
        pairs: Whether that is pairs.
    """
    failures = len(rows) - len(judged(rows))
    replaced = sum("replaced" in row for row in rows)
    rows = [row for row in rows if "replaced" not in row]
    out = {
        "sample_length": float(np.mean([len(tokens) for row in rows for tokens in row["tokens"][: _own(row)]])),
        "ended": float(np.mean([ended for row in rows for ended in row["ended"][: _own(row)]])),
        "judge_failures": float(failures),
        "redrawn": float(replaced),
        **_thoughts(rows),
    }
    if pairs and groups:
        out["pairless"] = float(np.mean([not paired(group) for group in groups]))
    if known := [np.array(row["scores"][: _own(row)], np.float64) for row in judged(rows)]:
        out |= {
            "reward": float(np.mean(np.concatenate(known))),
            "reward_std": float(np.mean([scores.std() for scores in known])),
        }
        if any(len(scores) > 1 for scores in known):
            out["dead_groups"] = float(np.mean([dead(row) for row in judged(rows)]))
    tokens = [group.columns.token for group in groups]
    if tokens and all({"old", "sampled"} <= each.keys() for each in tokens) and not any("rival" in row for row in rows):
        apart = np.concatenate([each["sampled"].astype(np.float64) - each["old"] for each in tokens])
        out["sampler_mismatch"] = float(np.abs(apart).mean())
    return out


def _thoughts(rows: Sequence[Row]) -> dict[str, float]:
    """Return the mean lengths of thoughts and answers, where a response has a thought."""
    if not any("thoughts" in row for row in rows):
        return {}
    lengths = [
        both for row in rows for both in row.get("thoughts", [[0, len(text)] for text in row["responses"]])[: _own(row)]
    ]
    return {
        "thought_length": float(np.mean([thought for thought, _ in lengths])),
        "answer_length": float(np.mean([answer for _, answer in lengths])),
    }


_COSTS = ("calls", "cached", "retries", "tokens_in", "tokens_out", "cost")


def costs(rows: Sequence[Row]) -> dict[str, float]:
    """Return what judging a batch cost, what was replaced or failed with it, as far as the judge tells."""
    told = {name for row in rows for name in row["usage"] if name in _COSTS}
    return {f"judge_{name}": float(sum(row["usage"].get(name, 0.0) for row in rows)) for name in _COSTS if name in told}


def _joined(values: Sequence[Sequence[float]], used: Sequence[int]) -> list[float]:
    return [value for k in used for value in values[k]]


def _floats(values: Sequence[float]) -> Floats:
    return np.array(values, np.float32)
