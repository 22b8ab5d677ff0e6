"""A Python function as a judge: a verifiable reward, or anything else that a person can program."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...errors import ConfigError
from ...pyfile import named
from ...records import Text
from ..judge import Asked, OnFailure, UnusableError, Verdict, settled, together_or_alone

Score = Callable[[list[Text], list[str], list[Mapping[str, Any]]], Iterable[float]]
"""(prompts, responses, rows), three lists of one length, one entry a response → one number a response."""

SHAPE = "def score(prompts, responses, rows) -> list[float]"


def function_named(name: str) -> Score:
    """Return the function `module:name` or `file.py:name`; the module or file is run.

    Raises:
        ConfigError: There is no such module, file or function, or it fails; one sentence.
    """
    found = named(name, "judge")
    if not callable(found):
        raise ConfigError(f"judge {name} is {type(found).__name__}; a judge is a function: {SHAPE}.")
    function: Score = found
    return function


class FunctionJudge:
    """Scores by a function. It is called once for all prompts, which lets it work on batches: `together_or_alone`."""

    def __init__(self, function: Score, name: str, *, on_failure: OnFailure = "stop") -> None:
        """Wrap a function.

        Args:
            function: As `SHAPE`. None or NaN as a number is a failure on that prompt.
            name: How messages call it.
            on_failure: "stop" raises at the first failure, "skip" leaves verdicts that say why there is none.
        """
        self.description = f"function {name}{_source(function)}"
        self._function, self._on_failure = function, on_failure

    def __call__(self, asked: Sequence[Asked]) -> list[Verdict]:
        """Return a verdict for each prompt.

        Raises:
            JudgeError: The function fails, returns another number of scores or one that is not finite, with "stop".
        """
        verdicts = together_or_alone(self._of, asked, self._on_failure)
        return settled(self.description, asked, verdicts, self._on_failure)

    def _of(self, asked: Sequence[Asked]) -> list[Verdict]:
        """Call the function once for all.

        Raises:
            UnusableError: It does not give one number a response.
            Exception: Whatever it raises.
        """
        counts = [len(one.responses) for one in asked]
        prompts = [one.prompt for one in asked for _ in one.responses]
        responses = [text for one in asked for text in one.responses]
        rows = [one.row for one in asked for _ in one.responses]
        numbers = [_number(value) for value in self._function(prompts, responses, rows)]
        if len(numbers) != len(responses):
            raise UnusableError(f"it returned {len(numbers)} numbers for {len(responses)} responses")
        verdicts, at = [], 0
        for count in counts:
            verdicts.append(Verdict(scores=tuple(numbers[at : at + count])))
            at += count
        return verdicts


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _source(function: Any) -> str:
    """Return the hash of the file that defines a function, so that a run's records tell one version from another."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
        with open(file or "", "rb") as code:
            return f" (sha256 {hashlib.sha256(code.read()).hexdigest()[:12]})"
    except (OSError, TypeError):
        return ""
