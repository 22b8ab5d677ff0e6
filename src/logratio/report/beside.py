"""What stands in a run directory beside its logs: what checks found, and each held-out pair."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..findings import Finding
from .found import findings_of, read_findings
from .read import Row, as_number, json_lines
from .text import plain


@dataclass(frozen=True)
class Pair:
    """A held-out pair: its row in the data, its texts, and the scored tokens of both responses."""

    row: int
    prompt: str
    chosen: str
    rejected: str
    length_chosen: int
    length_rejected: int


@dataclass(frozen=True)
class Held:
    """Held-out pairs through the run.

    Attributes:
        steps: The E evaluations.
        margins: Margin of each of P pairs at each of them, E rows of P, nats; NaN where not known.
        pairs: The P pairs; empty where their texts were not kept.
    """

    steps: Sequence[int] = ()
    margins: Sequence[Sequence[float]] = ()
    pairs: Sequence[Pair] = ()


@dataclass(frozen=True)
class Round:
    """What a round left: its number of how many, its first and last step, its reference and what it measured."""

    number: int
    of: int
    steps: tuple[int, int]
    reference: str
    evaluation: Row


@dataclass(frozen=True)
class Beside:
    """What was found about a run; None where nobody looked.

    Attributes:
        preflight: What the checks before and at its start found.
        audit: The document of an audit of its data.
        audited: What that audit found.
        findings: What its diagnosis found.
        learned: What its implicit reward was found to have learned.
        where: Where its weights were found to have changed.
        held: Its held-out pairs.
        rounds: Its rounds, in order; empty where there are none.
        problems: A sentence for everything that is not readable.
    """

    preflight: tuple[Finding, ...] | None = None
    audit: Row | None = None
    audited: tuple[Finding, ...] | None = None
    findings: tuple[Finding, ...] | None = None
    learned: tuple[Finding, ...] | None = None
    where: tuple[Finding, ...] | None = None
    held: Held = Held()
    rounds: tuple[Round, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def looked(self) -> list[tuple[str, tuple[Finding, ...]]]:
        """Who looked, and what they found, in the order in which it comes about.

        Without an audit, what preflight found of the data in brief, by names that begin with `audit_`, stands for it.
        """
        checks = self.preflight or ()
        brief = tuple(own for own in checks if own.name.startswith("audit_")) if self.audited is None else ()
        preflight = None if self.preflight is None else tuple(own for own in checks if own not in brief)
        audited = self.audited if self.audited is not None else brief or None
        named = (("Preflight", preflight), ("Audit of the data", audited), ("Diagnosis", self.findings))
        return [(name, found) for name, found in named if found is not None]


def read_beside(path: Path) -> Beside:
    """Read what was found about a run, from its directory; what is absent stays None."""
    problems: list[str] = []
    audit = _document(path / "audit.json", problems)
    return Beside(
        preflight=read_findings(path / "preflight.json", problems),
        audit=audit,
        audited=None if audit is None else findings_of(audit, problems, "audit.json"),
        findings=read_findings(path / "findings.json", problems),
        learned=read_findings(path / "learned.json", problems),
        where=read_findings(path / "where.json", problems),
        held=_held(path, problems),
        rounds=tuple(_rounds(path, problems)),
        problems=tuple(problems),
    )


def _document(file: Path, problems: list[str]) -> Row | None:
    if not file.exists():
        return None
    try:
        value = json.loads(file.read_text(encoding="utf-8", errors="replace"))
    except ValueError:
        value = None
    if isinstance(value, list):
        return {"findings": value}
    if not isinstance(value, dict):
        problems.append(f"{file.name} is not readable as a JSON object and is left out.")
        return None
    return value


def _held(path: Path, problems: list[str]) -> Held:
    """Read margins of all evaluations, those with as many pairs as the last one, and the pairs' texts."""
    margins, texts = path / "margins.jsonl", path / "pairs.jsonl"
    rows = json_lines(margins, problems) if margins.exists() else []
    rows = [row for row in rows if isinstance(row.get("step"), int) and isinstance(row.get("margin"), list)]
    rows = sorted((row for row in rows if row["margin"]), key=lambda row: int(row["step"]))
    if not rows:
        return Held()
    count = len(rows[-1]["margin"])
    alike = [row for row in rows if len(row["margin"]) == count]
    if len(alike) < len(rows):
        problems.append(f"{margins.name}: {len(rows) - len(alike)} evaluations of other pairs are left out.")
    pairs = [_pair(row) for row in json_lines(texts, problems)] if texts.exists() else []
    if len(pairs) not in (0, count):
        problems.append(f"{texts.name} holds {len(pairs)} pairs and {margins.name} {count}, so no text is shown.")
    return Held(
        steps=[row["step"] for row in alike],
        margins=[[_value(value) for value in row["margin"]] for row in alike],
        pairs=pairs if len(pairs) == count else (),
    )


def _rounds(path: Path, problems: list[str]) -> Iterator[Round]:
    """Read the folders that rounds left; one without readable numbers is left out, and said to be."""
    for folder in sorted(path.glob("rounds/*/")):
        about, found = (_document(folder / name, problems) for name in ("round.json", "evaluation.json"))
        try:
            first, last = map(int, (about or {})["steps"])
            number, of = int((about or {})["round"]), int((about or {})["of"])
        except (KeyError, TypeError, ValueError):
            problems.append(f"rounds/{folder.name} says nothing readable of its round and is left out.")
            continue
        yield Round(number, of, (first, last), plain((about or {}).get("reference") or "none"), found or {})


def _pair(row: Row) -> Pair:
    lengths = (as_number(row.get(f"length_{side}")) for side in ("chosen", "rejected"))
    prompt, chosen, rejected = (plain(row.get(name, "")) for name in ("prompt", "chosen", "rejected"))
    return Pair(int(as_number(row.get("row")) or 0), prompt, chosen, rejected, *(int(n or 0) for n in lengths))


def _value(value: object) -> float:
    known = as_number(value)
    return math.nan if known is None else known
