"""What became no record, and characters that reading or copying has damaged."""

from __future__ import annotations

import codecs
import gzip
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..data.problems import BOTH_BAD, NO_LABEL, NO_WINNER, TIE
from ..data.tally import counted
from ..errors import MissingExtraError
from ..findings import Drawing, Example, Finding, Level
from .judged import percent
from .rows import Problem, Rows, cut

LIMIT = 0.01
"""Share of rows from which training refuses data, unless it is told to leave them out."""

EXAMPLES = 5

_UNDECIDED = (TIE, BOTH_BAD, NO_WINNER, NO_LABEL)

# What the UTF-8 of a character becomes when its bytes are read as Latin-1 or Windows-1252: a lead byte as Â … ô,
# then a following byte as a C1 control, a sign, or one of Windows-1252's letters and quotes.
_MISREAD = re.compile(
    "[\u00c2-\u00f4][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013\u2014\u2018-\u201e"
    "\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122]"
)
_KINDS: Mapping[str, re.Pattern[str]] = {
    "replacement characters": re.compile("\ufffd"),
    "control characters": re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"),
    "byte order marks": re.compile("\ufeff"),
    "direction overrides": re.compile("[\u202a-\u202e\u2066-\u2069]"),
    "HTML left over": re.compile(r"(?i:<(?:br|p|div|span)\s*/?>|&(?:amp|lt|gt|quot|nbsp|#\d{1,6});)"),
}
# One class of characters, without one of which none of the above is there: the search that most texts end with.
_PERHAPS = re.compile("[<&\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00c2-\u00f4\u202a-\u202e\u2066-\u2069\ufeff\ufffd]")
_C1 = re.compile("[\x80-\x9f]")
_REMOVED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff]")

MOJIBAKE = "mojibake"
_MILD = ("direction overrides", "HTML left over")


def unusable(rows: Rows) -> Finding:
    """Say how many rows became no record, by kind."""
    counts, read = rows.unusable, rows.count + len(rows.problems)
    undecided = sum(counts.get(reason, 0) for reason in _UNDECIDED)
    bad = len(rows.problems) - undecided
    figures = {"rows": read, "records": rows.count, "unusable": bad, "without_preference": undecided}
    if not rows.problems:
        return Finding("rows", "fine", f"All {counted(read)} can be read.", figures=figures)
    refused = rows.report.unreadable.count > 0 or bad > LIMIT * (read - undecided)
    level: Level = "stop" if 2 * bad > read else "look" if refused else "note"
    listed = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items(), key=lambda item: -item[1]))
    remedies = ["Rows without a preference are left out of training."] if undecided else []
    if bad:
        remedies.append("--fix leaves out what cannot be used.")
    if refused:
        remedies.append("Training refuses this data until they are left out, as --skip-bad-rows does too.")
    return Finding(
        "rows",
        level,
        f"{bad:,} of {counted(read)} ({percent(bad / read)}) cannot be used, {undecided:,} have no verdict: {listed}.",
        " ".join(remedies),
        {**figures, **{reason.replace(" ", "_"): count for reason, count in counts.items()}},
        Drawing("bars", "Rows that become no record", "", "rows", list(counts), {"rows": list(counts.values())}),
        [Example(str(problem.origin), problem.reason, {}) for problem in _varied(rows)],
    )


def _varied(rows: Rows) -> list[Problem]:
    """Return the first two problems of each of the first reasons."""
    by_reason: dict[str, list[Problem]] = {}
    for problem in rows.problems:
        by_reason.setdefault(problem.reason, []).append(problem)
    return [problem for problems in list(by_reason.values())[:EXAMPLES] for problem in problems[:2]]


def encoding(rows: Rows) -> Finding:
    """Say how many texts hold damaged characters, by kind.

    Mojibake is text that ftfy can decode a second time; where the extra `audit` is missing, what has its look counts.
    """
    found: dict[str, list[int]] = {kind: [] for kind in (MOJIBAKE, *_KINDS)}
    for at, text in enumerate(rows.texts):
        for kind in defects(text):
            found[kind].append(at)
    counts = {kind: len(texts) for kind, texts in found.items() if texts}
    marked = [name for name in rows.files if _begins_with_mark(Path(name))]
    figures = {kind.replace(" ", "_"): len(texts) for kind, texts in found.items()} | {"files_with_bom": len(marked)}
    total = len(rows.texts)
    damaged = len({at for kind, texts in found.items() if kind not in _MILD for at in texts})
    share = damaged / max(1, total)
    said = f"No damaged characters in {total:,} distinct texts"
    if counts:
        listed = ", ".join(f"{kind} in {count:,}" for kind, count in counts.items())
        head = f"Of {total:,} distinct texts {damaged:,} ({percent(share)}) are damaged" if damaged else said
        said = f"{head}: {listed}"
    said += "."
    if marked:
        said += f" {len(marked)} of {len(rows.files)} files begin with a byte order mark, which is passed over."
    level: Level = "look" if share >= LIMIT else "note" if counts or marked else "fine"
    remedy = (
        "--fix repairs mojibake and takes control characters out; what a replacement character stood for is lost, so "
        "take such texts from their source again."
    )
    bars = Drawing("bars", "Texts with unusual characters", "", "texts", list(counts), {"texts": list(counts.values())})
    examples = [
        Example(_place(rows, at), f"holds {kind}", {"text": _around(rows.texts[at], kind)})
        for kind, texts in found.items()
        for at in texts[:2]
    ]
    return Finding(
        "encoding", level, said, remedy if damaged else "", figures, drawing=bars if counts else None, examples=examples
    )


def defects(text: str) -> list[str]:
    """Return the kinds of unusual characters in a text."""
    if not _PERHAPS.search(text):
        return []
    kinds = [kind for kind, pattern in _KINDS.items() if pattern.search(text)]
    return [MOJIBAKE, *kinds] if is_mojibake(text) else kinds


def is_mojibake(text: str) -> bool:
    """Return whether a text was UTF-8 that something read as another encoding."""
    if not _MISREAD.search(text):
        return False
    try:
        return decoded_again(text) != text
    except MissingExtraError:
        return True


def decoded_again(text: str) -> str:
    """Return a text with its mojibake undone.

    Raises:
        MissingExtraError: The extra `audit`, which brings ftfy, is not installed.
    """
    try:
        from ftfy import fix_encoding
    except ImportError as error:
        raise MissingExtraError("repairing mojibake", "audit") from error
    return str(fix_encoding(text))


def repaired(text: str) -> tuple[str, list[str]]:
    """Return a text with what can be repaired undone, and what that was.

    C1 controls are what Windows-1252 uses for quotes and dashes, and become those; other controls are taken out.

    Raises:
        MissingExtraError: There is something to repair, and the extra `audit` is not installed.
    """
    done = []
    if is_mojibake(text):
        text, done = decoded_again(text), ["mojibake decoded again"]
    if _C1.search(text):
        text = _without_c1(text)
        done.append("signs of Windows-1252 restored")
    clean = _REMOVED.sub("", text)
    if clean != text:
        done.append("control characters and byte order marks taken out")
    return clean, done


def _without_c1(text: str) -> str:
    try:
        from ftfy.fixes import fix_c1_controls
    except ImportError as error:
        raise MissingExtraError("repairing mojibake", "audit") from error
    return str(fix_c1_controls(text))


def _begins_with_mark(path: Path) -> bool:
    with suppress(OSError, EOFError):
        if path.is_file():
            with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
                return file.read(3) == codecs.BOM_UTF8
    return False


def _place(rows: Rows, text: int) -> str:
    holders = (rows.prompt_N == text).nonzero()[0]
    at = holders[0] if len(holders) else rows.at_S[(rows.text_S == text).argmax()]
    return rows.origin_of(int(at))


def _around(text: str, kind: str) -> str:
    found = (_MISREAD if kind == MOJIBAKE else _KINDS[kind]).search(text)
    begin = max(0, (found.start() if found else 0) - 100)
    return ("… " if begin else "") + cut(text[begin:], 300)
