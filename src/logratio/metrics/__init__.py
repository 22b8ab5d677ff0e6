"""Every metric that the program writes: its name for people, its formula, its unit. The one place that says so.

`python -m logratio.metrics > docs/metrics.md` writes the table.
"""

from __future__ import annotations

from .metric import Metric, Where
from .phases import PHASES

EQUAL = 1e-4
"""Log-ratios this close, in nats, count as equal: one sequence's log-prob differs between bins by up to 6e-5."""

SATURATED = 0.05
"""A pair counts as saturated below this effective gradient, a tenth of what it is at the reference."""

ENTROPY_HIGH = 1.6
"""Entropy of samples, as a multiple of that at step 0, above which they fall apart; alignment narrows what is said."""

ENTROPY_APART = 1.0
"""Nat/token by which it must have risen, too: a model that was all but certain may well double what it had."""

KL_FAR = 1.0
"""Nat/token of KL to the reference that no sound run reaches: those of the built-in world are at 0.05."""

PER_TOKEN = ("dpo_norm", "ipo_mean", "simpo", "alphapo")
"""Objectives whose β or τ is in token/nat: it multiplies log-probs per token, not their sums."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Which quantiles of the held-out margins an evaluation keeps, as p05, p25, …"""

_BOTH: tuple[Where, ...] = ("step", "held out")

_PAIRS = {
    "accuracy": Metric(
        "Pair accuracy",
        "share of pairs with chosen log-ratio (reward model: score) above the rejected one, ½ where they differ by at "
        f"most {EQUAL:g} nat",
        "share",
        _BOTH,
    ),
    "margin": Metric(
        "Margin",
        "β·(chosen log-ratio − rejected log-ratio); reward model: r⁺ − r⁻; `dpo_norm`: β·difference of log-ratios per "
        "token; `ipo`, `ipo_mean`: τ·h; another divergence: its difference of f'",
        "nat",
        _BOTH,
    ),
    "logratio_chosen": Metric("Log-ratio of chosen", "log π(y⁺|x)/π_ref(y⁺|x), summed over the response", "nat", _BOTH),
    "logratio_rejected": Metric(
        "Log-ratio of rejected", "log π(y⁻|x)/π_ref(y⁻|x), summed over the response", "nat", _BOTH
    ),
    "logratio_chosen_per_token": Metric(
        "Log-ratio of chosen, per token", "Σ chosen log-ratios / Σ chosen tokens", "nat/token", _BOTH
    ),
    "logratio_rejected_per_token": Metric(
        "Log-ratio of rejected, per token", "Σ rejected log-ratios / Σ rejected tokens", "nat/token", _BOTH
    ),
    "logp_chosen_per_token": Metric(
        "Log-prob of chosen, per token", "Σ log π(y⁺|x) / Σ chosen tokens", "nat/token", _BOTH
    ),
    "logp_rejected_per_token": Metric(
        "Log-prob of rejected, per token", "Σ log π(y⁻|x) / Σ rejected tokens", "nat/token", _BOTH
    ),
    "effective_gradient": Metric(
        "Effective gradient",
        "σ(−margin), mean over pairs: the weight of a pair's gradient in DPO; where the loss adds an offset to the "
        "margin, with it; `ipo`, `ipo_mean`: |½ − τ·h|",
        "probability",
        _BOTH,
    ),
    "saturated": Metric(
        "Saturated pairs", f"share of pairs whose effective gradient is < {SATURATED:g}", "share", _BOTH
    ),
    "confidence": Metric(
        "Implied accuracy", "σ(|margin|), mean over pairs: the accuracy that the margins claim", "probability", _BOTH
    ),
    "likelihood_accuracy": Metric(
        "Accuracy of the plain log-prob", "share of pairs with log π(y⁺|x) > log π(y⁻|x), ½ where equal", "share", _BOTH
    ),
    "per_token_accuracy": Metric(
        "Accuracy of the log-prob per token",
        "share of pairs with log π(y⁺|x)/|y⁺| > log π(y⁻|x)/|y⁻|, ½ where equal",
        "share",
        _BOTH,
    ),
    "margin_quantiles": Metric(
        "Distribution of margins",
        f"{', '.join(f'{100 * level:g}' for level in QUANTILES)} % quantiles of the margin over held-out pairs",
        "nat",
        ("held out",),
    ),
    "length_correlation": Metric(
        "Correlation of margin with length difference",
        "Σ m·d / √(Σm²·Σd²), d = |y⁺| − |y⁻|, over held-out pairs: Pearson's r of the pairs in both orders; interval "
        "by Fisher's z, one observation a prompt",
        "1",
        ("held out",),
    ),
    "length_baseline": Metric(
        "Length-only baseline", "accuracy of judging by length alone, by the better of the two rules", "share", ("end",)
    ),
    "ece": Metric(
        "Calibration error",
        "Σ_b n_b/n·|mean confidence − share right| over bins of equal mass, less its bias (arXiv:1909.10155); "
        "confidence is max(p, 1 − p), p the implied win probability",
        "share",
        ("held out",),
    ),
    "brier": Metric(
        "Brier score",
        "mean (p − y)² over pairs, p the implied win probability of the winner, y its label's (1, if plain); a coin: ¼",
        "1",
        ("held out",),
    ),
    "overconfidence": Metric(
        "Overconfidence",
        "mean of max(p, 1 − p) − whether the response that p favours is the preferred one; above 0: surer than right",
        "1",
        ("held out",),
    ),
}

_OBJECTIVES = {
    "loss": Metric("Loss", "Σ_k c_k Σ_i w_i ℓ_ki / Σ_i w_i over the step", "of the objective", _BOTH),
    "nll_per_token": Metric("Loss per token", "−Σ log π(y_t) / Σ 1 over scored tokens", "nat/token", _BOTH),
    "score": Metric("Score", "mean of the reward model's r over responses", "nat", _BOTH),
    "score_chosen": Metric("Score of chosen", "r of the chosen response, mean over pairs", "nat", _BOTH),
    "score_rejected": Metric("Score of rejected", "r of the rejected response, mean over pairs", "nat", _BOTH),
    "logratio_desirable": Metric(
        "Log-ratio of desirable", "log π(y|x)/π_ref(y|x) over responses labelled good", "nat", _BOTH
    ),
    "logratio_undesirable": Metric(
        "Log-ratio of undesirable", "log π(y|x)/π_ref(y|x) over responses labelled bad", "nat", _BOTH
    ),
    "logratio_per_token": Metric("Log-ratio, per token", "Σ log π(y_t)/π_ref(y_t) / Σ 1", "nat/token", ("end",)),
    "baseline_raw": Metric("Raw baseline", "mean log π(y'|x)/π_ref(y'|x) over mismatched responses y'", "nat", _BOTH),
    "baseline": Metric("Baseline z₀", "max(0, baseline_raw): KTO's z₀", "nat", _BOTH),
    "reward_shift": Metric("Reward shift δ", "½·(E₊ + E₋) of β·log π/π_ref, running: BCO's δ", "nat", _BOTH),
    "pair_weight": Metric(
        "Pair weight", "min(1, Π over both responses of exp mean_t[log π(y_t) − log Σ_v π(v)²]): WPO's w", "1", _BOTH
    ),
    "beta": Metric(
        "β of the step",
        "β₀·(1 + α·(mean margin of kept pairs − running mean)), at least 10⁻³: the step's β",
        "1/nat",
        _BOTH,
    ),
    "clipped": Metric("Clipped margins", "share of pairs whose margin was clipped at ±2R_max: χPO", "share", _BOTH),
    "drift_chosen": Metric(
        "Drift along chosen", "Σ_t KL(π_ref ‖ π) over the vocabulary along the chosen response", "nat", _BOTH
    ),
    "drift_rejected": Metric(
        "Drift along rejected", "Σ_t KL(π_ref ‖ π) over the vocabulary along the rejected response", "nat", _BOTH
    ),
    "held": Metric("Held exponents", "share of pairs in which an exponent was held at its limit", "share", _BOTH),
    "kl_data": Metric(
        "KL at the data",
        "Σ_t ½(log π(y_t)/π_ref(y_t))² / Σ 1 over scored tokens: KL to second order, never below 0",
        "nat/token",
        _BOTH,
    ),
}

_SAMPLES = {
    "kl": Metric("KL(π‖π_ref)", "mean over y ~ π(·|x) of log π(y|x)/π_ref(y|x)", "nat/response", ("samples",)),
    "kl_per_token": Metric(
        "KL(π‖π_ref), per token", "Σ log π(y|x)/π_ref(y|x) over samples / Σ tokens", "nat/token", ("samples",)
    ),
    "entropy_per_token": Metric(
        "Entropy of samples", "−Σ log π(y_t) / Σ 1 over sampled tokens, at temperature 1", "nat/token", ("samples",)
    ),
    "sample_length": Metric(
        "Sample length", "tokens of a sample, the stop token included", "token", ("step", "samples")
    ),
    "thought_length": Metric(
        "Length of thoughts",
        "characters of the thought in a sample, where samples think",
        "character",
        ("step", "samples"),
    ),
    "answer_length": Metric(
        "Length of answers",
        "characters of a sample after its thought, which judges see, where samples think",
        "character",
        ("step", "samples"),
    ),
    "ended": Metric(
        "Samples that ended by themselves",
        "share of samples that reached a stop token (EOS) before the length limit",
        "share",
        ("step", "samples"),
    ),
    "repetition": Metric(
        "Repeated 4-grams in samples",
        "share of a sample's 4-grams that occurred in it before, mean over samples of 4 tokens or more",
        "share",
        ("samples",),
    ),
    "self_overlap": Metric(
        "Overlap between samples",
        "share of a sample's different 4-grams that the sample of another prompt has too, mean over all such couples",
        "share",
        ("samples",),
    ),
    "distinct_2": Metric(
        "Distinct bigrams in samples", "distinct bigrams / bigrams over all samples", "share", ("samples",)
    ),
}

_STEP = {
    "gradient_raising": Metric(
        "Gradient that raises",
        "Σ |∂loss/∂log π(y_t)|·(1 − π(y_t)) over tokens that the step makes more probable / the same over all tokens: "
        "the rest of the pull on the tokens' own logits lowers",
        "share",
    ),
    "grad_norm": Metric("Gradient norm", "‖∇loss‖₂ over all trainable parameters before clipping", "1"),
    "gradient_signal": Metric(
        "Gradient signal",
        "estimate of ‖G‖² from a gradient of a quarter of the step's groups and the whole one; may be below 0",
        "1",
    ),
    "gradient_noise": Metric(
        "Gradient noise", "estimate of tr Σ, the summed variances of one group's gradient, from the same two", "1"
    ),
    "gradient_noise_scale": Metric(
        "Gradient noise scale",
        "mean gradient noise / mean gradient signal over the probed steps, tr Σ / ‖G‖² (arXiv:1812.06162); interval by "
        "Fieller",
        "group",
        ("end",),
    ),
    "lr": Metric("Learning rate", "learning rate of the step", "1"),
    "rounded_away": Metric(
        "Updates rounded away", "share of sampled elements with a gradient whose stored weight did not change", "share"
    ),
    "tokens": Metric("Tokens", "packed tokens of the step, prompts counted once", "token"),
    "tokens_per_s": Metric("Throughput", "packed tokens of the step / its seconds, prompts counted once", "token/s"),
}

_END = {
    "nll_chosen_per_token": Metric("Loss on chosen", "−Σ log π(y⁺|x) / Σ chosen tokens", "nat/token", ("end",)),
    "nll_rejected_per_token": Metric("Loss on rejected", "−Σ log π(y⁻|x) / Σ rejected tokens", "nat/token", ("end",)),
    "retain_before": Metric(
        "Loss on retained texts, reference", "−Σ log π_ref(y_t) / Σ 1 over texts to retain", "nat/token", ("texts",)
    ),
    "retain_after": Metric(
        "Loss on retained texts", "−Σ log π(y_t) / Σ 1 over texts to retain", "nat/token", ("texts",)
    ),
    "retain_change": Metric(
        "Change of loss on retained texts", "retain_after − retain_before, text by text", "nat/token", ("texts",)
    ),
}

METRICS: dict[str, Metric] = {**_OBJECTIVES, **_PAIRS, **PHASES, **_SAMPLES, **_STEP, **_END}
"""Every metric by the name that it has in `metrics.jsonl`, `evaluation.json` and `logratio eval --json`."""

_INTRODUCTION = """\
# Metrics

Written by `python -m logratio.metrics`, not by hand. π is the policy, π_ref the reference, y⁺ the chosen and y⁻ the
rejected response, σ the logistic function; sums over a response are over its scored tokens, the end-of-turn token
among them, and |y| is their number. A mean over items is Σ w·v / Σ w over the whole step or the whole held-out set,
whatever the micro-batches and processes. A loss of several terms is measured as `loss_NAME` each."""

_TITLES: dict[str, dict[str, Metric]] = {
    "The objective and its own metrics": _OBJECTIVES,
    "Pairs": _PAIRS,
    "Phases of sampled responses": PHASES,
    "Samples": _SAMPLES,
    "The step": _STEP,
    "Evaluation of a finished run": _END,
}


def page() -> str:
    """Return the table of all metrics as a Markdown page."""
    parts = [_INTRODUCTION]
    for title, metrics in _TITLES.items():
        lines = [
            f"## {title}",
            "",
            "| metric | what it is | formula | unit | measured on |",
            "| --- | --- | --- | --- | --- |",
        ]
        for name, metric in metrics.items():
            formula = metric.formula.replace("|", "\\|")
            cells = (f"`{name}`", metric.label.replace("|", "\\|"), formula, metric.unit, ", ".join(metric.where))
            lines.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
