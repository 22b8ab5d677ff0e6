"""Duels: two answers to one prompt, shown to a judge in both orders, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ...errors import JudgeError
from ...files import content_hash
from ...rollout.judge import Asked, Comparison, Judge, Verdict, comparisons_of, settled
from .answers import Answer
from .kept import Kept, Row
from .questions import Question, as_json

PROBE = 32
"""Duels that a judge which scores is shown in both orders, to see whether the order matters to it."""

FLIPS = "flips"
"""Usage of a judge that looks in both orders by itself: of how many pairs they named different winners."""

SHOWN_FIRST = "shown_first"
"""Usage of the same: how often, of twice a pair, it preferred what was shown first, ties ½."""

_BATCH = 32
"""Prompts that a judge is asked between two writes to disk."""


@dataclass(frozen=True)
class Duel:
    """Two answers to one prompt.

    Attributes:
        question: Number of the prompt.
        index: Number of the answer.
        a, b: Numbers of the models, a before b.
        first, second: Their answers.
    """

    question: int
    index: int
    a: int
    b: int
    first: Answer
    second: Answer

    @property
    def same(self) -> bool:
        """Whether both say the same, which is a tie that nobody is asked about."""
        return self.first.text == self.second.text


@dataclass(frozen=True)
class Outcome:
    """What a judge said of a duel.

    Attributes:
        duel: The duel.
        value: That a's answer is preferred, in [0, 1]: the mean over both orders, ½ where they name different winners;
            None where there is no verdict.
        forward: The same when a's answer was shown first; None if that is not known.
        backward: The same when b's was.
        shown_first: Mean preference for the answer shown first, over both orders, in [0, 1]; None if that is not known.
        flipped: Whether the two orders name different winners; None if it was not judged in both.
        both_bad: Neither answer is acceptable, as said in both orders, or in the only one that was shown.
        failed: Why there is no verdict, or "".
    """

    duel: Duel
    value: float | None
    forward: float | None = None
    backward: float | None = None
    shown_first: float | None = None
    flipped: bool | None = None
    both_bad: bool = False
    failed: str = ""


def duels(given: Sequence[Sequence[Sequence[Answer]]]) -> list[Duel]:
    """Return every two models' answers with the same number to the same prompt, prompt by prompt.

    Args:
        given: For each model, for each prompt, its answers; of two models the fewer decide.
    """
    return [
        Duel(question, j, a, b, given[a][question][j], given[b][question][j])
        for question in range(len(given[0]))
        for a, b in combinations(range(len(given)), 2)
        for j in range(min(len(given[a][question]), len(given[b][question])))
    ]


def outcomes(
    own: Sequence[Duel],
    questions: Sequence[Question],
    judge: Judge,
    kept: Kept,
    *,
    stop: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Have duels judged.

    A judge that compares is shown each in both orders. One that scores is, too, on the first `PROBE`; where no score
    depended on the order, the others are shown in one. Verdicts that are kept are not asked for again; failures are.

    Args:
        own: The duels.
        questions: The prompts.
        judge: Who judges.
        kept: Where verdicts are kept.
        stop: Whether a failure stops; otherwise such duels are left out and counted.
        say: Told what is being done.

    Raises:
        JudgeError: A failure, with `stop`; or no duel has a verdict.
    """
    asked = _Asking(judge, questions, kept, stop, say)
    open_ = [i for i, duel in enumerate(own) if not duel.same]
    forward = dict(zip(open_, asked([own[i] for i in open_], False), strict=True))
    compared = [i for i in open_ if _needs_other_order(forward[i])]
    scored = [i for i in open_ if forward[i].scores is not None]
    probe = scored[:PROBE]
    both = [*compared, *probe]
    backward = dict(zip(both, asked([own[i] for i in both], True), strict=True))
    if any(_differ(forward[i], backward[i]) for i in probe):
        rest = scored[PROBE:]
        backward |= dict(zip(rest, asked([own[i] for i in rest], True), strict=True))
    found = [
        Outcome(duel, 0.5) if duel.same else _outcome(duel, forward[i], backward.get(i)) for i, duel in enumerate(own)
    ]
    failures = [one.failed for one in found if one.failed]
    if failures and len(failures) == len(open_):
        raise JudgeError(
            f"{judge.description} failed on all {len(open_)} pairs of answers, at first because {failures[0]}; "
            "mend the judge, then run the same command again: the answers are kept."
        )
    return found


@dataclass(frozen=True)
class _Asking:
    judge: Judge
    questions: Sequence[Question]
    kept: Kept
    stop: bool
    say: Callable[[str], None]

    def __call__(self, own: Sequence[Duel], swapped: bool) -> list[Verdict]:
        """Return a verdict for each duel, b's answer shown first where `swapped`."""
        asked = [self._asked(duel, swapped) for duel in own]
        keys = [self._key(one) for one in asked]
        failures: dict[str, Verdict] = {}
        new = {key: one for key, one in zip(keys, asked, strict=True) if key not in self.kept}
        waiting, done = list(new.items()), 0
        for start in range(0, len(waiting), _BATCH):
            self.say(f"{self.judge.description}: {done} of {len(waiting)} judged{', other order' * swapped}")
            batch = waiting[start : start + _BATCH]
            verdicts = self.judge([one for _, one in batch])
            whole = settled(self.judge.description, [one for _, one in batch], verdicts, "skip")
            told = list(zip(batch, whole, strict=True))
            self.kept.add(self._row(key, one, verdict) for (key, one), verdict in told if not verdict.failed)
            failures |= {key: verdict for (key, _), verdict in told if verdict.failed}
            if self.stop:  # after what was judged is kept
                settled(self.judge.description, [one for _, one in batch], verdicts, "stop")
            done += len(batch)
        return [failures[key] if key in failures else verdict_of(self.kept[key]) for key in keys]

    def _asked(self, duel: Duel, swapped: bool) -> Asked:
        question = self.questions[duel.question]
        texts = (duel.first.text, duel.second.text)
        return Asked(question.prompt.prompt, texts[::-1] if swapped else texts, question.row)

    def _key(self, one: Asked) -> str:
        row = {name: repr(value) for name, value in one.row.items()}
        return content_hash(self.judge.description, as_json(one.prompt), list(one.responses), row)

    def _row(self, key: str, one: Asked, verdict: Verdict) -> dict[str, Any]:
        return {
            "key": key,
            "judge": self.judge.description,
            "prompt": as_json(one.prompt),
            "responses": list(one.responses),
            "scores": None if verdict.scores is None else list(verdict.scores),
            "comparisons": [[each.first, each.second, each.probability] for each in verdict.comparisons],
            "both_bad": verdict.both_bad,
            "usage": dict(verdict.usage),
        }


def verdict_of(row: Row) -> Verdict:
    """Return the verdict that a kept row tells of."""
    scores = row["scores"]
    return Verdict(
        scores=None if scores is None else tuple(scores),
        comparisons=tuple(Comparison(first, second, p) for first, second, p in row["comparisons"]),
        both_bad=row["both_bad"],
        usage=row["usage"],
    )


def _needs_other_order(verdict: Verdict) -> bool:
    """Whether a judge compared, and said what it prefers in one order alone."""
    if verdict.failed or verdict.scores is not None or FLIPS in verdict.usage:
        return False
    return len({(one.first, one.second) for one in verdict.comparisons}) == 1


def _differ(forward: Verdict, backward: Verdict) -> bool:
    return not backward.failed and _winner(forward, False) != _winner(backward, True)


def _winner(verdict: Verdict, swapped: bool) -> float:
    """Return that a's answer is preferred, in [0, 1], by a verdict on one order."""
    values = [one.probability if one.first == 0 else 1 - one.probability for one in comparisons_of(verdict)]
    shown_first = sum(values) / len(values)
    return 1 - shown_first if swapped else shown_first


def _outcome(duel: Duel, forward: Verdict, backward: Verdict | None) -> Outcome:
    failed = forward.failed or (backward.failed if backward is not None else "")
    if failed:
        return Outcome(duel, None, failed=failed)
    both_bad = forward.both_bad and (backward is None or backward.both_bad)
    ahead = _winner(forward, False)
    if FLIPS in forward.usage:  # it looked in both orders, and tells of one value and whether they agreed
        first = forward.usage[SHOWN_FIRST] / 2 if SHOWN_FIRST in forward.usage else None
        return Outcome(duel, ahead, shown_first=first, flipped=forward.usage[FLIPS] > 0, both_bad=both_bad)
    if backward is None and forward.scores is None:  # it looked in both orders, and tells of both
        own = {one.first: one for one in forward.comparisons}
        ahead, back = own[0].probability, 1 - own[1].probability
    elif backward is None:
        return Outcome(duel, ahead, ahead, both_bad=both_bad)
    else:
        back = _winner(backward, True)
    flipped = (ahead - 0.5) * (back - 0.5) < 0
    value = 0.5 if flipped else (ahead + back) / 2
    return Outcome(duel, value, ahead, back, (ahead + 1 - back) / 2, flipped, both_bad)
