"""From what a row says to what an objective learns from."""

from __future__ import annotations

from typing import Literal

from ..errors import DataError
from ..records import Demonstration, Labelled, Pair, Ranked, Record, Text

Kind = Literal["demonstrations", "pairs", "labels", "rankings", "prompts"]
"""What an objective learns from, as its `data` states."""


def adapt(record: Record, kind: Kind, *, ties: bool = False) -> tuple[Record, ...]:
    """Return the record as records of one kind, with its origin, tools and carried columns.

    | from | demonstrations | pairs | labels | rankings |
    | --- | --- | --- | --- | --- |
    | Pair | the chosen | itself | chosen good, rejected bad | two responses, scores 1 and 0 |
    | Ranked | the best, of equals the first | itself | — | itself |
    | Labelled | itself if good, else nothing | — | itself | — |
    | Demonstration | itself | — | — | — |
    | Prompt | — | — | — | — |

    A tie has no preference and yields nothing, but itself among pairs where `ties` are learned from. One of which both
    are bad yields two bad labels.

    Raises:
        DataError: Where the table has a dash; says which formats serve, and which objective fits the data.
    """
    adapted: tuple[Record, ...] | None = None
    if isinstance(record, Pair):
        adapted = _from_pair(record, kind) if _serves(record, kind, ties) else ()
    elif isinstance(record, Ranked):
        adapted = _from_ranked(record, kind)
    elif isinstance(record, Labelled):
        adapted = _from_labelled(record, kind)
    elif isinstance(record, Demonstration) and kind == "demonstrations":
        adapted = (record,)
    if adapted is None:
        raise DataError(_impossible(record, kind))
    return adapted


def _serves(pair: Pair, kind: Kind, ties: bool) -> bool:
    return pair.tie is None or (ties and kind == "pairs") or (pair.tie == "both_bad" and kind == "labels")


def _from_pair(pair: Pair, kind: Kind) -> tuple[Record, ...]:
    if kind == "pairs":
        return (pair,)
    if kind == "demonstrations":
        return (_demonstration(pair, pair.chosen),)
    if kind == "labels":
        return _labelled(pair, pair.chosen, pair.tie is None), _labelled(pair, pair.rejected, False)
    ranked = Ranked(
        prompt=pair.prompt,
        responses=(pair.chosen, pair.rejected),
        scores=(1.0, 0.0),
        tools=pair.tools,
        carried=pair.carried,
        origin=pair.origin,
    )
    return (ranked,)


def _from_ranked(ranked: Ranked, kind: Kind) -> tuple[Record, ...] | None:
    if kind == "demonstrations":
        return (_demonstration(ranked, ranked.responses[ranked.scores.index(max(ranked.scores))]),)
    return (ranked,) if kind in ("pairs", "rankings") else None


def _from_labelled(labelled: Labelled, kind: Kind) -> tuple[Record, ...] | None:
    if kind == "demonstrations":
        return (_demonstration(labelled, labelled.response),) if labelled.label else ()
    return (labelled,) if kind == "labels" else None


def _demonstration(record: Pair | Ranked | Labelled, response: Text) -> Demonstration:
    return Demonstration(
        prompt=record.prompt, response=response, tools=record.tools, carried=record.carried, origin=record.origin
    )


def _labelled(pair: Pair, response: Text, label: bool) -> Labelled:
    return Labelled(
        prompt=pair.prompt,
        response=response,
        label=label,
        tools=pair.tools,
        carried=pair.carried,
        origin=pair.origin,
    )


_HOLDS = {
    "Pair": "a pair",
    "Ranked": "scored responses",
    "Labelled": "a single labelled response",
    "Demonstration": "a single response without a judgement",
    "Prompt": "a prompt without a response",
}
_LEARNS = {
    "demonstrations": "responses to imitate",
    "pairs": "a chosen and a rejected response",
    "labels": "responses labelled good or bad",
    "rankings": "several scored responses to a prompt",
}
_SERVES = {
    "demonstrations": "prompt/completion, messages, text, or any preference format",
    "pairs": "prompt/chosen/rejected or prompt/responses/scores",
    "labels": "prompt/completion/label or prompt/chosen/rejected",
    "rankings": "prompt/responses/scores or prompt/chosen/rejected",
}
_FITS = {
    "Ranked": "use --objective dpo or sft, which fit this data",
    "Labelled": "use --objective kto, which fits this data",
    "Demonstration": "use --objective sft, which fits this data",
    "Prompt": "draw responses with --rollout.k and --judge, or --objective grpo and --judge",
}


def _impossible(record: Record, kind: Kind) -> str:
    holds = type(record).__name__
    return (
        f"{record.origin}: holds {_HOLDS[holds]}, but the objective learns from {_LEARNS[kind]}; "
        f"bring {_SERVES[kind]}, or {_FITS[holds]}"
    )
