"""A judge on responses that are there already: verdicts kept as they come, and how often they agree with the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import DataError, RunError
from ..files import content_hash
from ..maths.intervals import Measure, mean_interval, share_interval
from ..records import Text
from ..rollout.judge import Comparison, Judge, Verdict, comparisons_of, scorable, scores_of
from .answered import Answered, read_answered
from .winrate.kept import Kept

BATCH = 32
"""Prompts that a judge is asked between two writes to disk."""


@dataclass(frozen=True)
class Judged:
    """A prompt with its responses and what a judge said of them."""

    answered: Answered
    verdict: Verdict

    def right(self) -> dict[tuple[int, int], float]:
        """Return, for each preference of the data that the judge decides on, 1 if it agrees, 0 if not, ½ for a tie."""
        if self.verdict.failed:
            return {}
        told = {(one.first, one.second): one.probability for one in comparisons_of(self.verdict)}
        told |= {(j, i): 1 - p for (i, j), p in told.items()}
        return {pair: _side(told[pair] - 0.5) for pair in self.answered.preferred if pair in told}


def judge_responses(
    judge: Judge,
    answered: Iterable[Answered],
    scores: Path | None = None,
    *,
    tell: Callable[[int], None] = lambda count: None,
) -> list[Judged]:
    """Ask a judge about every prompt's responses; what `scores` holds already is not asked again.

    The file is JSON Lines with one row a prompt: `prompt`, `responses`, `scores` (of a judge that compares, the share
    of its comparisons that a response wins), `comparisons`, `usage`, `judge` and `key`. It is written as it comes
    about, and a kill loses at most the prompts that were being judged. What failed is not written, and asked again.

    Args:
        judge: The judge.
        answered: Prompts with responses.
        scores: File to keep verdicts in; None keeps none.
        tell: Told how many prompts are judged so far.

    Raises:
        JudgeError: The judge fails and is to stop then; what was judged before is kept.
        RunError: The file holds another judge's verdicts, or cannot be written.
    """
    found: list[Judged] = []
    with ExitStack() as stack:
        kept = None if scores is None else stack.enter_context(Kept(scores, "--scores"))
        _require_own(kept, judge, scores)
        rows = iter(answered)
        while batch := list(islice(rows, BATCH)):
            found += _batch(judge, batch, kept)
            tell(len(found))
    return found


def accuracy_measures(judged: Sequence[Judged]) -> dict[str, Any]:
    """Return how often a judge agrees with the data's preferences, beside what length alone would.

    Returns:
        `accuracy` and `length_baseline` as shares of the same preferences, a tie ½, with intervals over prompts;
        `length_rule`, whichever of longer and shorter is preferred more often (chosen on these, in its favour; lengths
        are characters); `ties`, the share that the judge does not decide; counts of `prompts` and `failed`, and
        `usage` in all.
    """
    values, prompts, longer = [], [], []
    for one in judged:
        for pair, value in one.right().items():
            values.append(value)
            prompts.append(_name(one.answered.asked.prompt))
            longer.append(_longer(one.answered, *pair))
    shorter = sum(longer) < len(longer) / 2
    baseline = [1 - value for value in longer] if shorter else longer
    usage: Counter[str] = Counter()
    for one in judged:
        usage.update(one.verdict.usage)
    return {
        "accuracy": share_interval(values, prompts),
        "length_baseline": share_interval(baseline, prompts),
        "ties": share_interval([float(value == 0.5) for value in values], prompts),
        "length_rule": "shorter wins" if shorter else "longer wins",
        "prompts": len(judged),
        "failed": sum(bool(one.verdict.failed) for one in judged),
        "usage": dict(usage),
    }


def difference(first: Sequence[Judged], second: Sequence[Judged]) -> Measure:
    """Return by how much the first judge agrees with the data more often than the second, on what both judged."""
    values, prompts = [], []
    for one, other in zip(first, second, strict=True):
        own, others = one.right(), other.right()
        shared = [pair for pair in own if pair in others]
        values += [own[pair] - others[pair] for pair in shared]
        prompts += [_name(one.answered.asked.prompt)] * len(shared)
    return mean_interval(values, clusters=prompts)


def evaluate_judges(
    judges: Sequence[Judge],
    data: Any,
    scores: Path | None,
    *,
    tell: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Measure one judge, or two on the same responses.

    Args:
        judges: One or two; the second one's verdicts go to a file beside `scores`, `NAME.beside.jsonl`.
        data: As `read_answered` takes it.
        scores: Where verdicts are kept.
        tell: Told how many prompts a judge has judged so far.

    Returns:
        JSON-able: `judges`, a list of what `accuracy_measures` returns with the judge's `description`; of two also
        `difference`; and `rows`, how many were judged and left out.

    Raises:
        DataError: Nothing in the data can be judged.
        JudgeError: As `judge_responses`.
    """
    left_out: Counter[str] = Counter()
    answered = list(read_answered(data, left_out))
    if not answered:
        raise DataError("no row holds a response to be judged; bring pairs, or prompts with responses.")
    files = [scores, scores and scores.with_name(f"{scores.stem}.beside{scores.suffix}")]
    judged = [judge_responses(one, answered, file, tell=tell) for one, file in zip(judges, files, strict=False)]
    told = [
        {"description": judge.description, **_plain(accuracy_measures(own))}
        for judge, own in zip(judges, judged, strict=True)
    ]
    result: dict[str, Any] = {"judges": told, "rows": {"judged": len(answered), "left_out": dict(left_out)}}
    if len(judged) > 1:
        result["difference"] = difference(*judged).to_json()
    return result


def _batch(judge: Judge, batch: Sequence[Answered], kept: Kept | None) -> list[Judged]:
    """Return verdicts on some prompts, in order: kept ones, and new ones, which are kept at once."""
    keys = [_key(judge, one) for one in batch]
    known = {} if kept is None else {key: kept[key] for key in keys if key in kept}
    new = {key: one for key, one in zip(keys, batch, strict=True) if key not in known}
    said = judge([one.asked for one in new.values()]) if new else ()
    verdicts = dict(zip(new, map(scorable, said), strict=True))
    if kept is not None:
        kept.add(_row(key, new[key], verdict, judge) for key, verdict in verdicts.items() if not verdict.failed)
    return [
        Judged(one, verdicts[key] if key in verdicts else _verdict(known[key]))
        for key, one in zip(keys, batch, strict=True)
    ]


def _key(judge: Judge, one: Answered) -> str:
    row = {name: value for name, value in one.asked.row.items() if not isinstance(value, bytes)}
    return content_hash(
        judge.description, _name(one.asked.prompt), list(one.asked.responses), repr(sorted(row.items()))
    )


def _row(key: str, one: Answered, verdict: Verdict, judge: Judge) -> dict[str, Any]:
    prompt = one.asked.prompt
    return {
        "prompt": prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt],
        "responses": list(one.asked.responses),
        "scores": list(scores_of(verdict, len(one.asked.responses))),
        "comparisons": [[each.first, each.second, each.probability] for each in verdict.comparisons],
        "both_bad": verdict.both_bad,
        "usage": dict(verdict.usage),
        "from": str(one.origin),
        "judge": judge.description,
        "key": key,
    }


def _verdict(row: Mapping[str, Any]) -> Verdict:
    """Return a verdict that was kept; it costs nothing again."""
    compared = tuple(Comparison(int(i), int(j), float(p)) for i, j, p in row["comparisons"])
    scores = None if compared else tuple(map(float, row["scores"]))
    return Verdict(scores, compared, bool(row["both_bad"]))


def _require_own(kept: Kept | None, judge: Judge, scores: Path | None) -> None:
    others = {str(kept[key].get("judge")) for key in kept} - {judge.description} if kept is not None else set()
    if others:
        raise RunError(
            f"{scores} holds verdicts of another judge ({others.pop()}), and those of {judge.description} are not to "
            "be mixed with them; name another file with --scores."
        )


def _name(prompt: Text) -> str:
    return prompt if isinstance(prompt, str) else repr([sorted(turn.items()) for turn in prompt])


def _longer(one: Answered, i: int, j: int) -> float:
    responses = one.asked.responses
    return _side(len(responses[i]) - len(responses[j]))


def _side(difference: float) -> float:
    return (1 + (difference > 0) - (difference < 0)) / 2


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.to_json() if isinstance(value, Measure) else value for name, value in values.items()}
