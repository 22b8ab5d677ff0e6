"""How much of the data arrives: rows that are lost on the way, held-out pairs, and text that no token stands for."""

from __future__ import annotations

import math

from ...data.summary import noun
from ...data.tally import kept_of
from ...findings import Finding, Level
from .tokens import Tokenised

MANY_LOST = 0.1
"""Share of the rows lost from which what is left may be other data than what was given."""
FEW_PAIRS = 50
"""Held-out pairs below which accuracy decides nothing: its interval is wider than ±14 points."""
UNKNOWN = 0.01
"""Share of response tokens that are the unknown one from which a tokenizer does not fit the data."""
_Z = 1.96

Figures = dict[str, float | int | str | None]


def rows_lost(scene: Tokenised) -> Finding:
    """Say which share of the rows is left out, and why."""
    report = scene.data.prepared.report
    kept, read = kept_of(report.source) or (0, 0)
    long, bad, unread = report.rows - report.kept, sum(report.dropped.values()), read - kept
    given = report.rows + bad + unread
    lost = long + bad + unread
    share = lost / max(1, given)
    figures: Figures = {"given": given, "kept": given - lost, "too_long": long, "lost_share": share}
    if not lost:
        return Finding("rows_lost", "fine", f"All {given:,} {noun(report.kind)} are kept.", figures=figures)
    why = [f"{long:,} exceed tokens.max_length {report.max_length:,}"] if long else []
    why += [f"{unread:,} cannot be read or say nothing to learn from (the lines above give reasons)"] if unread else []
    why += [f"{count:,} {reason}" for reason, count in report.dropped.items()]
    says = f"{share:.1%} of {given:,} {noun(report.kind)} are left out: {'; '.join(why)}."
    if share <= MANY_LOST:
        return Finding("rows_lost", "note", says, figures=figures)
    remedy = (
        "Look whether those that are left out are of a kind, as long answers are; raise tokens.max_length as far as "
        "the model's positions go, choose another tokens.overflow, or mend the rows."
    )
    return Finding("rows_lost", "look", says, remedy, figures)


def held_out(scene: Tokenised) -> Finding:
    """Say how finely accuracy on held-out pairs can be told."""
    data = scene.data
    count = len(data.held_out) if data.evaluation is None else len(data.evaluation)
    if count and data.prepared.report.kind not in ("pairs", "rankings"):
        says = f"{count:,} {noun(data.prepared.report.kind)} are held out."
        return Finding("held_out", "fine", says, figures={"groups": count})
    some = range(min(FEW_PAIRS, count))
    first = [data.groups[int(data.held_out[i])] if data.evaluation is None else data.evaluation[i] for i in some]
    pairs = sum(len(group.edges) for group in first)
    if not count or not pairs:
        says = "Nothing is held out: whether the run does good or harm will not be seen, only what it trains on."
        return Finding("held_out", "note", says, "Set eval.holdout, or give eval.data.", {"groups": count})
    if pairs >= FEW_PAIRS:
        says = f"{count:,} groups are held out, with at least {FEW_PAIRS} pairs."
        return Finding("held_out", "fine", says, figures={"groups": count})
    half = _Z * 0.5 / math.sqrt(pairs)
    says = (
        f"{pairs} pairs are held out: accuracy on them is known to ±{100 * half:.0f} points, so that neither success "
        f"nor harm can be seen in it, and the diagnosis leaves it out below {FEW_PAIRS}."
    )
    remedy = "Raise eval.holdout, or give more rows with eval.data."
    return Finding("held_out", "look", says, remedy, {"pairs": pairs, "half_width_share": half})


def unknown_tokens(scene: Tokenised) -> Finding:
    """Count tokens of responses that stand for text which the tokenizer does not know."""
    tokenizer = scene.tokenizer
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown in (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id):
        return Finding("unknown_tokens", "fine", "The tokenizer has no token for text that it does not know.")
    tokens = sum(len(own) for group in scene.counted for own in group.responses)
    found = sum(int((own == unknown).sum()) for group in scene.counted for own in group.responses)
    rows = [group.row for group in scene.counted if any((own == unknown).any() for own in group.responses)]
    share = found / max(1, tokens)
    figures: Figures = {"tokens": tokens, "unknown": found, "unknown_share": share}
    if not found:
        says = f"None of {tokens:,} response tokens is {tokenizer.unk_token!r}."
        return Finding("unknown_tokens", "fine", says, figures=figures)
    says = (
        f"{share:.1%} of {tokens:,} response tokens are {tokenizer.unk_token!r} (first: data row {rows[0]}): text that "
        "the tokenizer does not know, which the model learns to write as that."
    )
    level: Level = "look" if share > UNKNOWN else "note"
    return Finding(
        "unknown_tokens", level, says, "Use a model whose tokenizer knows this script or these signs.", figures
    )
