"""Rows of `metrics.jsonl` by hand: what a run would have written whose metrics are these."""

import math

from logratio.diagnose.history import About, history

PAIRS = 400


def share(mean, n=PAIRS):
    half = 1.96 * math.sqrt(max(mean * (1 - mean), 1e-3) / n)
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": n, "se": half / 1.96}


def value(mean, half=0.0, n=PAIRS):
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": n, "se": half / 1.96}


START = {
    "loss": value(0.693, 0.0),
    "accuracy": {"mean": 0.5, "low": 0.45, "high": 0.55, "n": PAIRS, "se": 0.0},
    "margin": value(0.0),
    "effective_gradient": share(0.5),
    "confidence": share(0.5),
    "saturated": share(0.0),
    "logratio_chosen_per_token": value(0.0),
    "logratio_rejected_per_token": value(0.0),
    "logp_chosen_per_token": value(-1.5, 0.02),
    "logp_rejected_per_token": value(-1.5, 0.02),
    "entropy_per_token": value(1.5, 0.05, 64),
    "ended": share(0.95, 64),
    "repetition": share(0.03, 64),
    "self_overlap": {"mean": 0.1, "low": None, "high": None, "n": 64, "se": None},
    "sample_length": value(20.0, 1.0, 64),
    "margin_quantiles": {"p05": 0.0, "p25": 0.0, "p50": 0.0, "p75": 0.0, "p95": 0.0},
}
"""An evaluation at step 0."""

SOUND = {
    **START,
    "loss": value(0.62, 0.02),
    "accuracy": share(0.66),
    "margin": value(0.4, 0.05),
    "effective_gradient": share(0.38),
    "confidence": share(0.68),
    "overconfidence": value(0.02, 0.04),
    "saturated": share(0.02),
    "logratio_chosen_per_token": value(0.02, 0.01),
    "logratio_rejected_per_token": value(-0.1, 0.01),
    "length_correlation": value(0.1, 0.08),
    "margin_quantiles": {"p05": -1.2, "p25": -0.2, "p50": 0.4, "p75": 1.0, "p95": 2.0},
}
"""The last evaluation of a run that went well."""

TRAIN = {"loss": 0.63, "accuracy": 0.66, "margin": 0.4, "saturated": 0.02, "grad_norm": 1.3, "lr": 1e-6}


def told(*evaluations, train=TRAIN, about=None, every=10):
    """Return the history of a run with an evaluation every ten steps; `train`: a row for all steps, or one a window."""
    rows = []
    windows = [train] * (len(evaluations) - 1) if isinstance(train, dict) else train
    for i, evaluation in enumerate(evaluations):
        for step in range(every) if i else ():
            rows.append({"kind": "train", "step": (i - 1) * every + step + 1, **windows[i - 1]})
        rows.append({"kind": "eval", "step": i * every, **evaluation})
    steps = (len(evaluations) - 1) * every
    return history(rows, about or About(beta=0.1, scale=0.1, lr=1e-6, steps=steps))
