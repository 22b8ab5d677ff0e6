"""What a run tells while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["note", "warning", "open", "preflight", "reference", "train", "eval", "checkpoint", "done"]


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: note and warning carry `text`; open `lines`, `steps`, `directory` and `config`; preflight
            `finding` and its `verdict` (pass, warn or fail); reference blocks `done` and `of`; train and eval `row`,
            `step` (completed) and `steps`; checkpoint `path`; done `status`, `directory`, `evaluation` and `head` (lm,
            or score of a reward model).
        data: As the kind says; plain numbers, texts, lists and dicts.
    """

    kind: Kind
    data: Mapping[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]


def tell(listeners: Sequence[Listener]) -> Callable[..., None]:
    """Return a function `emit(kind, **data)` that tells every listener."""

    def emit(kind: Kind, **data: Any) -> None:
        for listener in listeners:
            listener(Event(kind, data))

    return emit
