"""The three questions at the top of a report: did it get better, at what cost, and can it be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..metrics import ENTROPY_APART, ENTROPY_HIGH, KL_FAR
from .beside import Beside
from .found import PASSING, counted, worst_first
from .kit import Answer, Answers, Interval, Notice
from .names import ACCURACY, KL, LENGTH, RETAIN, RETAIN_BEFORE, metric
from .summary import Measured, Verdict, mean, whole

_WORSE_UP = ("repetition", "self_overlap")
_ENTROPY, _KL_PER_TOKEN = "entropy_per_token", "kl_per_token"
_WORSE_DOWN = ("ended", _ENTROPY)


def answers(verdict: Verdict, measured: Measured, beside: Beside, notices: Sequence[Notice]) -> Answers:
    """Return the answers to the three questions."""
    better = Answer("Did it get better?", verdict.tone, verdict.short, verdict.support or verdict.headline)
    return Answers([better, cost(measured), trust(beside, notices)])


def cost(measured: Measured) -> Answer:
    """Return what was paid: the distance from the reference, what samples look like, and what was retained."""
    question, after = "At what cost?", measured.after
    if not measured.generates:
        return Answer(question, "plain", "Nothing is generated", "A reward model writes no text that could get worse.")
    effects = [told for name in (*_WORSE_UP, *_WORSE_DOWN) if (told := _side_effect(name, measured))]
    lost = _lost(measured)
    effects += [told for told in (_apart(measured), _far(measured), lost) if told is not None]
    said = list(effects)
    if KL in after:
        said.append(f"Its samples lie {whole(after[KL], 'nats a response')} from the reference (KL).")
    elif ACCURACY in after:
        said.append("How far it moved from the reference (KL) was not measured.")
    if LENGTH in after and LENGTH in measured.before:
        said.append(f"They are {mean(after[LENGTH])} tokens long, {mean(measured.before[LENGTH])} at step 0.")
    if RETAIN in after and lost is None:
        said.append("The loss on retained texts is not shown to have risen.")
    elif RETAIN not in after:
        said.append("Whether other abilities were kept was not measured.")
    if effects:
        return Answer(question, "warn", "Side effects", " ".join(said))
    watched = any(name in after and name in measured.before for name in (*_WORSE_UP, *_WORSE_DOWN))
    if not watched:
        return Answer(question, "warn", "Not known", " ".join(said))
    return Answer(question, "good", "No side effect seen", " ".join(said))


def _side_effect(name: str, measured: Measured) -> str | None:
    """Return a sentence where a property of samples got worse and its intervals lie apart."""
    before, after = measured.before.get(name), measured.after.get(name)
    if before is None or after is None or before.ends is None or after.ends is None:
        return None
    rose, fell = after.ends[0] > before.ends[1], after.ends[1] < before.ends[0]
    if not (rose if name in _WORSE_UP else fell):
        return None
    return f"{metric(name).label} {'rose' if rose else 'fell'} from {mean(before)} to {mean(after)}."


def _apart(measured: Measured) -> str | None:
    """Return a sentence where samples became far more random than before, by the rule that the diagnosis has."""
    before, after = measured.before.get(_ENTROPY), measured.after.get(_ENTROPY)
    if before is None or after is None or not _above(after, before):
        return None
    if after.mean <= ENTROPY_HIGH * before.mean or after.mean - before.mean <= ENTROPY_APART:
        return None
    return f"{metric(_ENTROPY).label} rose from {mean(before)} to {mean(after)}: they fall apart."


def _far(measured: Measured) -> str | None:
    """Return a sentence where samples are so far from the reference that it would hardly write them."""
    found = measured.after.get(_KL_PER_TOKEN)
    if found is None or found.mean < KL_FAR:
        return None
    return (
        f"The reference finds a token of them {math.exp(min(found.mean, 99)):,.0f} times less likely than the policy."
    )


def _lost(measured: Measured) -> str | None:
    """Return a sentence where the loss on retained texts rose by more than chance."""
    change = measured.after.get("retain_change")
    before = measured.before.get(RETAIN) or measured.after.get(RETAIN_BEFORE)
    after = measured.after.get(RETAIN)
    if change is not None and change.ends is not None:
        rose = change.ends[0] > 0
    else:
        rose = after is not None and before is not None and _above(after, before)
    if not rose or after is None:
        return None
    path = f"from {mean(before)} to {mean(after)}" if before is not None else f"to {mean(after)}"
    return f"The loss on retained texts rose {path} nats a token."


def _above(after: Interval, before: Interval) -> bool:
    return after.ends is not None and before.ends is not None and after.ends[0] > before.ends[1]


def trust(beside: Beside, notices: Sequence[Notice]) -> Answer:
    """Return whether anything speaks against the numbers: how the run ended, and what was found about it."""
    question = "Can I trust it?"
    said = [
        f"{name}: {counted(found, PASSING if name == 'Preflight' else None) or 'nothing'}."
        for name, found in beside.looked
    ]
    missing = [name for name in ("Preflight", "Audit of the data", "Diagnosis") if name not in dict(beside.looked)]
    if missing:
        listed = ", ".join(missing).lower() if said else "preflight, audit or diagnosis"
        said.append(f"Not there: {listed}.")
    left = _left_out(beside)
    if left:
        said.append(f"Left out by preflight: {', '.join(name.replace('_', ' ') for name in left)}.")
    every = worst_first(own for _, found in beside.looked for own in found)
    if ill := [(own.name.replace("_", " "), own.past) for own in every if own.past is not None]:
        was = ", ".join(f"{name} ({past.level} at step {past.step})" for name, past in ill)
        said.append(f"Graver in the course of the run than at its end: {was}.")
    sick = [notice for notice in notices if notice.tone == "bad"]
    if sick:
        return Answer(question, "bad", "No: see the problem above", " ".join(said))
    if every and every[0].level in ("look", "stop"):
        named = ", ".join(dict.fromkeys(own.name.replace("_", " ") for own in every if own.level == every[0].level))
        told = [f"To look at first: {named}.", *said]
        if every[0].level == "stop":
            return Answer(question, "bad", "No, not as it stands", " ".join(told))
        return Answer(question, "warn", "With care", " ".join(told))
    if len(missing) == 3:
        return Answer(question, "warn", "Nobody looked", " ".join(said))
    if missing or left:
        return Answer(question, "plain", "Nothing found, but not all looked at", " ".join(said))
    return Answer(question, "good", "Nothing speaks against it", " ".join(said))


def _left_out(beside: Beside) -> list[str]:
    """Return the names of the checks that preflight had no time for; an audit that was made since is none of them."""
    told = [own.figures.get("skipped") for own in beside.preflight or () if own.name == "budget"]
    names = [name for each in told if isinstance(each, str) for name in each.split(", ") if name]
    return [name for name in names if name != "audit" or beside.audited is None]
