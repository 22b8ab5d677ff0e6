"""Metrics of runs on fresh responses."""

from __future__ import annotations

from .metric import Metric

PHASES = {
    "reward": Metric("Reward", "score that the judge gave, mean over responses", "of the judge", ("step", "samples")),
    "reward_std": Metric(
        "Spread of the reward",
        "standard deviation (÷K) of the scores of a prompt's responses, mean over prompts",
        "of the judge",
    ),
    "text_nll": Metric(
        "Loss of mixed texts", "Σ w·−log π(x_t|x_<t) / Σ w over the tokens of the step's `texts`", "nat/token"
    ),
    "judge_failures": Metric("No verdict", "prompts of the step of which the judge gave none", "prompts"),
    "judge_calls": Metric(
        "Calls to the judge",
        "requests sent to a judge's server, over the prompts of a step (first pass only; the first step has those of "
        "the checks before it too) or of an evaluation",
        "requests",
    ),
    "judge_cached": Metric(
        "Judgements from the cache", "answers of a judge's server that were at hand; first pass only", "answers"
    ),
    "judge_retries": Metric("Retries of the judge", "requests sent once more; first pass only", "requests"),
    "judge_tokens_in": Metric("Tokens the judge read", "as its server counts them; first pass only", "token"),
    "judge_tokens_out": Metric("Tokens the judge wrote", "as its server counts them; first pass only", "token"),
    "judge_cost": Metric("Cost of judging", "tokens read and written × `judge.price`; first pass only", "of the price"),
    "judge_seconds": Metric("Time of judging", "for the whole phase, told with its first step", "s"),
    "redrawn": Metric(
        "Prompts replaced",
        "prompts whose responses were all judged alike, so that `rollout.redraw` drew for a further one in their place",
        "prompts",
    ),
    "pairless": Metric(
        "Prompts without a pair",
        "share of prompts of whose responses no two make a pair: judged alike, or the same text; objectives "
        "all of whose terms are of pairs",
        "share",
    ),
    "dead_groups": Metric(
        "Dead groups",
        "share of prompts whose responses, of which there are two or more, are all judged alike: raw scores within a "
        "millionth of the largest, and every comparison ½; objectives that measure a response against its group learn "
        "nothing of the judge from them",
        "share",
    ),
    "clip_low": Metric(
        "Held below",
        "share of tokens (`gspo`, `rloo`: responses) with A < 0 and ρ < 1 − ε_low, without a gradient",
        "share",
    ),
    "clip_high": Metric(
        "Held above",
        "share of tokens (`gspo`, `rloo`: responses) with A > 0 and ρ > 1 + ε_high, without a gradient",
        "share",
    ),
    "kl_old_k1": Metric(
        "KL from the phase's beginning, k1", "Σ log π_old(y_t)/π(y_t) / Σ 1 over tokens that π_old drew", "nat/token"
    ),
    "kl_old_k3": Metric(
        "KL from the phase's beginning, k3",
        "Σ (ρ − 1 − log ρ) / Σ 1, ρ = π/π_old, over tokens that π_old drew",
        "nat/token",
    ),
    "kl_reference_k1": Metric(
        "KL from the reference, k1", "Σ a / Σ 1, a = log π(y_t)/π_ref(y_t), over the phase's tokens", "nat/token"
    ),
    "kl_reference_k3": Metric(
        "KL from the reference, k3",
        "Σ (e^{−a} − 1 + a) / Σ 1, a = log π(y_t)/π_ref(y_t), over the phase's tokens",
        "nat/token",
    ),
    "wins": Metric(
        "Wins", "P(y ≻ y'), mean over the policy's responses and the rival's that each met: `nash_md`", "probability"
    ),
    "value": Metric("Value", "V(s_t) before each token, mean over the phase's tokens", "of the judge"),
    "return": Metric("Return", "Â_t + V_old(s_t) before whitening, mean over the phase's tokens", "of the judge"),
    "value_loss": Metric(
        "Value loss",
        "½·max((V − R̂)², (V_old + clip(V − V_old, ±ε_v) − R̂)²), mean over the phase's tokens",
        "squared, of the judge",
    ),
    "value_clipped": Metric("Values held", "share of tokens with |V − V_old| > ε_v", "share"),
    "explained_variance": Metric(
        "Explained variance",
        "1 − Var[R̂ − V_old]/Var[R̂] over all tokens of the phase; 1 is a perfect critic, 0 none",
        "1",
    ),
    "kl_coefficient": Metric("KL coefficient", "β of the phase's rewards, as `kl_target` has moved it", "1/nat"),
    "entropy": Metric(
        "Entropy",
        "−Σ ρ·log π(y_t) / Σ 1 over tokens that π_old drew, ρ = π/π_old: unbiased, at the temperature of sampling",
        "nat/token",
    ),
    "sampler_mismatch": Metric(
        "Mismatch with the sampler",
        "Σ |log π(y_t) by the sampler − the same by the trainer| / Σ 1, before the phase's first step",
        "nat/token",
    ),
}
