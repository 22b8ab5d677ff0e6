"""`evaluate`: one model, one data set, one reference → numbers with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..batch.packed import pack
from ..data.adapt import Kind
from ..errors import ConfigError
from ..logps.policy import Policy, choose_path
from ..logps.subject import Subject, compare, opened, subject_of
from ..maths.intervals import Measure
from ..models.dropout import returns_dropout
from ..models.load import Loaded
from ..objectives import load as load_objective
from .calls import run_calibration
from .kl import kl_measures, sample_groups, sample_measures
from .pairs import Rule, length_baseline, pair_measures, text_measures
from .responses import response_measures
from .result import Evaluation, stages
from .retain import retain_measures
from .scores import score_measures
from .texts import Texts, Values, Wanted


@returns_dropout
def evaluate(
    run_or_model: Any,
    *,
    data: Any,
    tokenizer: Any = None,
    reference: Any = None,
    retain: Any = None,
    kind: Kind | None = None,
    beta: float | None = None,
    samples: int | None = None,
    max_new_tokens: int = 128,
    seed: int = 0,
    bin_tokens: int = 1 << 13,
) -> Evaluation:
    """Measure a model on data that it should not have seen.

    A reward model is measured on pairs by its scores; it has no reference and does not generate. The numbers do not
    depend on `bin_tokens`, beyond rounding.

    Args:
        run_or_model: A run directory, a model's folder or hub name, or a loaded model.
        data: File, folder, hub name, a list of these, or an iterable of dicts.
        tokenizer: For a model in memory.
        reference: "start" or "base" of a run, a folder or hub name, or a loaded model; default the run's own, else
            the weights under an adapter. Without one, what is measured against a reference is null.
        retain: Texts on which loss per token is compared before (reference) and after.
        kind: What the data holds; default what the run learned from, else pairs.
        beta: Scales the margin; default the run's β, or IPO's τ, where it is in 1/nat, else 0.1.
        samples: Prompts to which the policy draws a response; 0 leaves out KL and what samples look like; default 128,
            none of a reward model.
        max_new_tokens: Length limit of those responses.
        seed: Of prompts and responses.
        bin_tokens: Tokens a forward pass may hold.

    Returns:
        A dict, JSON-able: measures by name, each {mean, low, high, n, se}, and `about`: model, reference, data and
        settings. A notebook shows it as a table, and while it is measured how far that is.

    Raises:
        LogratioError: What is asked for is missing or contradictory; one sentence each.
    """
    subject = subject_of(run_or_model, tokenizer)
    if subject.head == "score":
        asked = {"reference": reference, "retain": retain, "beta": beta, "samples": samples or None}
        return _of_reward_model(subject, data, kind, asked, bin_tokens)
    kind, samples = kind or _kind(subject), 128 if samples is None else samples
    wanted = Wanted(data, kind, retain, samples, max_new_tokens, seed)
    return _of_policy(subject, wanted, reference, beta if beta is not None else subject.beta, bin_tokens)


def _of_policy(subject: Subject, wanted: Wanted, reference: Any, scale: float, bin_tokens: int) -> Evaluation:
    """Measure a policy against its reference, one of them in memory at a time."""
    tell = stages(4)
    first, before, against = compare(
        subject,
        reference,
        lambda own, policy: _policy_pass(subject, wanted, own, policy, bin_tokens, tell),
        lambda seen, other, policy: _reference_pass(seen, other, policy, bin_tokens, tell),
    )
    tell("measured")
    measures, rule = _judged_measures(wanted.kind, first.texts, first.values, before, scale)
    measures |= _other_measures(first.texts, first.values, before)
    calls, plotted = _calibration(wanted.kind, subject, first, before)
    measures |= calls
    about = {
        "model": subject.name,
        "reference": against,
        "kind": wanted.kind,
        "beta": scale,
        "length_rule": rule,
        "max_new_tokens": wanted.max_new_tokens,
        "seed": wanted.seed,
        **first.about(),
        **plotted,
    }
    return Evaluation({name: measure.to_json() for name, measure in measures.items()}, about=about)


def _of_reward_model(
    subject: Subject, data: Any, kind: Kind | None, asked: Mapping[str, Any], bin_tokens: int
) -> Evaluation:
    """Measure a reward model.

    Raises:
        ConfigError: Something was asked for that a reward model does not have.
    """
    kind = kind or "pairs"
    for name, value in {**asked, "kind": kind if kind not in ("pairs", "rankings") else None}.items():
        if value is not None:
            told = value if isinstance(value, (str, int, float)) else "given"
            raise ConfigError(
                f"{name} is {told}, but {subject.name} is a reward model: it compares responses by its scores, has no "
                "reference and predicts no tokens; leave it out."
            )
    wanted = Wanted(data, kind, None, 0, 0, 0)
    with opened(subject.source, head="score") as (own, policy):
        judged, _, lines = wanted.read(subject, own)
        choose_path(policy, pack(judged[:4]), "score")
        measures = score_measures(policy, judged, bin_tokens=bin_tokens)
        measures["length_baseline"], rule = length_baseline(judged)
        texts = _PolicyPass(Texts(judged, [], [], []), Values([], [], []), policy.reason, lines)
    about = {"model": subject.name, "reference": None, "kind": kind, "head": "score", "length_rule": rule}
    return Evaluation({name: measure.to_json() for name, measure in measures.items()}, about=about | texts.about())


@dataclass(frozen=True)
class _PolicyPass:
    """What the policy leaves behind before it is freed."""

    texts: Texts
    values: Values
    path: str
    lines: list[str]

    def about(self) -> dict[str, Any]:
        """Return what was read and sampled."""
        return {
            "groups": len(self.texts.judged),
            "prompts": len({group.prompt.tobytes() for group in self.texts.judged}),
            "sampled_prompts": len(self.texts.prompts),
            "path": self.path,
            "rows": self.lines,
        }


def _policy_pass(
    subject: Subject, wanted: Wanted, own: Loaded, policy: Policy, bin_tokens: int, tell: Callable[[str], None]
) -> _PolicyPass:
    tell("reading data")
    judged, retained, lines = wanted.read(subject, own)
    choose_path(policy, pack(judged[:4]))
    tell("drawing responses")
    texts = Texts(judged, retained, *wanted.draw(own, judged, lines.append))
    tell("scoring under the policy")
    return _PolicyPass(texts, texts.score(policy, bin_tokens=bin_tokens), policy.reason, lines)


def _reference_pass(
    seen: _PolicyPass, other: Loaded, policy: Policy, bin_tokens: int, tell: Callable[[str], None]
) -> Values:
    tell("scoring under the reference")
    choose_path(policy, pack(seen.texts.judged[:4]))
    return seen.texts.score_reference(policy, other.fingerprint, bin_tokens=bin_tokens, warn=seen.lines.append)


def _judged_measures(
    kind: Kind, texts: Texts, after: Values, before: Values | None, beta: float
) -> tuple[dict[str, Measure], Rule | None]:
    """Return the measures of the evaluation data, and the rule that its length baseline follows."""
    reference = before.judged if before else None
    if kind in ("demonstrations", "labels"):
        return response_measures(texts.judged, after.judged, reference), None
    baseline, rule = length_baseline(texts.judged)
    measures = {
        **pair_measures(texts.judged, after.judged, reference, beta=beta),
        "length_baseline": baseline,
        **text_measures(texts.judged, after.judged),
    }
    return measures, rule


def _calibration(
    kind: Kind, subject: Subject, seen: _PolicyPass, before: Values | None
) -> tuple[dict[str, Measure], dict[str, Any]]:
    """Return measures of calibration on pairs, and under "calibration" what a plot needs or why there is none."""
    if kind not in ("pairs", "rankings"):
        return {}, {}
    reference = before.judged if before else None
    measures, calibration = run_calibration(subject, seen.texts.judged, seen.values.judged, reference)
    return measures, {"calibration": calibration}


def _other_measures(texts: Texts, after: Values, before: Values | None) -> dict[str, Measure]:
    """Return the measures of retained texts and of samples, as far as there are any."""
    measures: dict[str, Measure] = {}
    if texts.retained:
        measures |= retain_measures(before.retained if before else None, after.retained)
    if texts.prompts:
        drawn = sample_groups(texts.prompts, texts.drawn)
        measures |= kl_measures(drawn, after.sampled, before.sampled if before else None)
        measures |= sample_measures(texts.prompts, texts.drawn)
    return measures


def _kind(subject: Subject) -> Kind:
    return load_objective(subject.config.objective["name"]).data if subject.config else "pairs"
