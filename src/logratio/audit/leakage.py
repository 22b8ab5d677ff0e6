"""Evaluation rows whose prompts or responses stand in the training data, exactly or nearly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.tally import counted
from ..findings import Drawing, Example, Figure, Finding, Level
from .judged import percent
from .rows import Rows, cut
from .similar import NEAR, Alike, forms, matches, normal

Ids = NDArray[Any]

SHORTEST = 40
"""Characters below which the same response says nothing: `Yes.` stands everywhere."""

LOOK, STOP = 0.001, 0.01
"""Shares of evaluation rows that leak from which somebody should look, and from which an evaluation means nothing."""

RESPONSE_LOOK, RESPONSE_STOP = 0.05, 0.50
"""The same of evaluation rows with a response that leaks, whatever its prompt: stock phrases are shared honestly."""

EXAMPLES = 6


@dataclass(frozen=True)
class Leaks:
    """What of M evaluation rows stands in the training data.

    Attributes:
        prompt_M: Text of the training data that is the row's prompt or nearly it, int64 [M]; −1 none.
        response_M: The same of one of its responses of some length, int64 [M]; −1 none.
        exact_prompt_M, exact_response_M: Whether it is the same but for case and white space, bool [M].
    """

    prompt_M: NDArray[np.int64]
    response_M: NDArray[np.int64]
    exact_prompt_M: NDArray[np.bool_]
    exact_response_M: NDArray[np.bool_]

    @property
    def both_M(self) -> NDArray[np.bool_]:
        """Whether prompt and a response leak, bool [M]."""
        return (self.prompt_M >= 0) & (self.response_M >= 0)


def leaks(rows: Rows, held: Rows, alike: Alike | None = None, held_alike: Alike | None = None) -> Leaks:
    """Find what of evaluation data stands in training data.

    Args:
        rows: Training data.
        held: Evaluation data, M rows.
        alike: Which texts of the training data are alike; without it only exact matches are looked for.
        held_alike: The same of the evaluation data.
    """
    form = forms(rows.texts) if alike is None else alike.form_T
    own = {normal(rows.texts[text]): int(text) for text in np.unique(form)}
    used = np.unique(np.concatenate([held.prompt_N, held.text_S]))
    exact = {text: own[key] for text in used.tolist() if (key := normal(held.texts[text])) in own}

    def found(texts: list[int], theirs: Ids) -> dict[int, int]:
        """Return each text's match among the training data's; an exact one comes first."""
        there = set(theirs.tolist())
        same = {text: exact[text] for text in texts if exact.get(text) in there}
        rest = np.array([text for text in texts if text not in same], np.int64)
        if alike is None or held_alike is None:
            return same
        near = matches(
            [held.texts[text] for text in rest],
            [rows.texts[text] for text in theirs],
            held_alike.signature_T[rest],
            alike.signature_T[theirs],
        )
        return same | {int(rest[one]): int(theirs[other]) for one, other in near.items()}

    asked = [text for text in np.unique(held.prompt_N).tolist() if held.texts[text].strip()]
    said = [text for text in np.unique(held.text_S).tolist() if len(held.texts[text]) >= SHORTEST]
    prompts = found(asked, np.unique(form[rows.prompt_N]))
    responses = found(said, np.unique(form[rows.text_S]))
    return _by_row(held, prompts, responses, exact)


def _by_row(held: Rows, prompts: Mapping[int, int], responses: Mapping[int, int], exact: Mapping[int, int]) -> Leaks:
    prompt = np.array([prompts.get(text, -1) for text in held.prompt_N.tolist()], np.int64)
    response, exactly = np.full(held.count, -1, np.int64), np.zeros(held.count, bool)
    for text, at in zip(held.text_S.tolist(), held.at_S.tolist(), strict=True):
        if text in responses and (response[at] < 0 or not exactly[at]):
            response[at], exactly[at] = responses[text], exact.get(text) == responses[text]
    same = np.array([prompts.get(text, -1) == exact.get(text, -2) for text in held.prompt_N.tolist()], bool)
    return Leaks(prompt, response, same, exactly)


def leakage(rows: Rows, held: Rows, alike: Alike | None = None, held_alike: Alike | None = None) -> Finding:
    """Say how much of evaluation data stands in training data; arguments as `leaks`."""
    found = leaks(rows, held, alike, held_alike)
    total = held.count
    parts = {
        "prompt, exactly": found.exact_prompt_M,
        "prompt, nearly": (found.prompt_M >= 0) & ~found.exact_prompt_M,
        "response, exactly": found.exact_response_M,
        "response, nearly": (found.response_M >= 0) & ~found.exact_response_M,
        "prompt and response": found.both_M,
    }
    counts = {name: int(flags.sum()) for name, flags in parts.items()}
    figures: dict[str, Figure] = {name.replace(", ", "_").replace(" ", "_"): count for name, count in counts.items()}
    figures |= {"evaluation_rows": total, "threshold": NEAR}
    asked, answered = found.prompt_M >= 0, found.response_M >= 0
    with_prompt, both = float(asked.mean()) if total else 0.0, counts["prompt and response"] / max(1, total)
    near = "" if alike is not None else " Near matches were not looked for."
    if not (asked | answered).any():
        said = f"No prompt and no response of {counted(total)} of evaluation data stands in the training data."
        return Finding("leakage", "fine", said + near, figures=figures)
    said = (
        f"Of {counted(total)} of evaluation data, the prompts of {asked.sum():,} ({counts['prompt, nearly']:,} nearly) "
        f"and responses of {answered.sum():,} ({counts['response, nearly']:,} nearly) stand in the training data; of "
        f"{counts['prompt and response']:,} ({percent(both)}) both do.{near}"
    )
    with_response = float(answered.mean())
    told = both >= LOOK or with_prompt >= STOP
    level: Level = "look" if told or with_response >= RESPONSE_LOOK else "note"
    if both >= STOP or with_response >= RESPONSE_STOP:
        level = "stop"
    return Finding(
        "leakage",
        level,
        said,
        "" if level == "note" else _BY_PROMPT if told else _BY_RESPONSE,
        {**figures, "both_share": both, "prompt_share": with_prompt, "response_share": with_response},
        Drawing(
            "bars",
            "Evaluation rows that stand in the training data",
            "",
            "rows",
            list(counts),
            {"rows": list(counts.values())},
        ),
        list(_examples(rows, held, found)),
    )


_BY_PROMPT = (
    "An evaluation on rows that were learned measures memory: leave the training rows with these prompts out with "
    "--eval-data and --fix, or split by prompt."
)
_BY_RESPONSE = (
    "These responses were learned with other prompts, so their log-probs measure memory: evaluate on responses of "
    "another source, or leave the training rows that hold them out by hand (--fix goes by prompt); harmless where they "
    "are stock phrases."
)


def tainted(rows: Rows, held: Rows, alike: Alike | None = None, held_alike: Alike | None = None) -> NDArray[np.int64]:
    """Return for each training row a text of the evaluation data that is its prompt or nearly it, int64 [N]; −1 none.

    Arguments as `leaks`, which is asked the other way round.
    """
    return leaks(held, rows, held_alike, alike).prompt_M


def _examples(rows: Rows, held: Rows, found: Leaks) -> Sequence[Example]:
    order = [*np.flatnonzero(found.both_M), *np.flatnonzero((found.prompt_M >= 0) & ~found.both_M)]
    order += [*np.flatnonzero((found.response_M >= 0) & (found.prompt_M < 0))]
    shown = []
    for at in order[:EXAMPLES]:
        part = "prompt" if found.prompt_M[at] >= 0 else "response"
        theirs = int(found.prompt_M[at] if part == "prompt" else found.response_M[at])
        texts = {"evaluation prompt": held.texts[held.prompt_N[at]], f"training {part}": rows.texts[theirs]}
        why = f"its {part} stands in the training data"
        shown.append(Example(held.origin_of(int(at)), why, {name: cut(text) for name, text in texts.items()}))
    return shown
