"""All thresholds of the diagnosis, each with its reason. Fixed on runs in the built-in world, then used as they are.

Three are exceptions, set on three runs of models of stories that somebody had ruined on purpose: `FAR_DRIFTED` here,
and `ENTROPY_HIGH` and `ENTROPY_APART` in `logratio.metrics`, since reports use them too.
"""

from __future__ import annotations

Z = 2.5
"""Standard errors beyond which a change counts: a run is judged at some ten evaluations, so 1.96 would cry wolf."""

PAIRS = 50
"""Held-out pairs below which accuracy decides nothing: its interval is then wider than ±14 points."""

HALF = 0.5
"""Share of the run before which nothing is said about a rate that may only be warming up, or labels not yet learned."""

# What counts as a bad outcome

ACCURACY_FALL = 0.05
"""Points of held-out accuracy lost since its best: less is within the wobble of healthy runs with 300 pairs."""

ENDED_FALL = 0.2
"""Share of samples that no longer end by themselves."""

REPETITION_RISE = 0.1
"""Further share of 4-grams that repeat earlier ones: a reader notices."""

RETAIN_RISE = 0.1
"""Nat/token lost on texts to retain: about a tenth more perplexity."""

# Displacement, drift, saturation

DISPLACED = 0.02
"""Nat/token by which chosen responses became less probable: below it, rounding and the last batch decide."""

DISPLACED_RESPONSE = 0.5
"""The same per response, for objectives that measure no log-ratio per token."""

DRIFTED = 0.5
"""Nat/token by which both responses of the data became less probable: their perplexity rose by e^0.5 = 1.6."""

FAR_DRIFTED = 2.0
"""The same from which, where no outcome was measured, nobody may call it harmless: their perplexity rose sevenfold."""

OFF_SUPPORT = 1.0
"""Nat/token by which the data's responses are less probable than the policy's own samples, before any step."""

SATURATED = 0.5
"""Share of pairs without a gradient worth the name: half of each step is then wasted."""

# Fitting

KNOWN = 0.75
"""Training accuracy below which nothing is known by heart."""

MEMORISED = 0.2
"""Training accuracy above held-out accuracy, both shares: after one pass over new pairs the two agree."""

LOSS_RISE = 0.02
"""Rise of the held-out loss over step 0, as a share of it, that is called worse than having learned nothing."""

UNPREDICTABLE = 0.62
"""Accuracy in the first pass, on pairs never seen before, up to which labels look as if nothing predicted them."""

NOISE_FITTED = 0.2
"""Rise of training accuracy from the first pass to the last where held-out accuracy does not follow."""

# Length

LONGER_CORRELATION = 0.45
"""r of margin and length difference from which length explains a fifth of the margin's variance: verbosity."""

LONGER = 0.25
"""Relative growth of the samples that goes with it."""

SHORTER_CORRELATION = -0.75
"""The same for brevity. Further below 0, since a policy that leaves the reference loses some log-prob with each token,
so that in sound runs, too, the margin falls with length (r of −0.4 to −0.7 in the built-in world)."""

SHORTER = 0.6
"""Relative shrinking of the samples that goes with it: sound runs there lost up to 0.4."""

# Collapse

COLLAPSE_REPETITION = 0.3
"""Further share of repeated 4-grams at which samples are no text any more."""

COLLAPSE_ENDED = 0.5
"""Samples end half as often as before, or less."""

ENTROPY_LOW = 0.4
"""Entropy of samples, as a share of that at step 0, which healthy alignment does not reach."""

ENTROPY_GONE = 0.15
"""The same where hardly anything is left to chance."""

OVERLAP_RISE = 0.25
"""Further share of 4-grams that answers to different prompts have in common."""

SHORT = 0.25
"""Length of samples, as a share of that at step 0, at which answers are cut off or empty."""

# Calibration

OVERCONFIDENT = 0.1
"""Accuracy that a policy claims above the one it has."""

FAR_OVERCONFIDENT = 0.2
"""The same where a probability said by the margins is of no use."""

# Learning rate and β

STILL_LOSS = 0.005
"""Change of the held-out loss, as a share of it, that is none."""

STILL = 1.0
"""Nats between the 5 % and 95 % quantiles of h up to which no pair was told from another."""

UNSTABLE = 0.25
"""Rise of the held-out loss over step 0 within the first pass, as a share of it: no pair was seen twice, so this is
no memorising but steps that are too long."""

MOVED = 0.05
"""Nat/token between policy and reference at the data, below which a large loss is the doing of β, not of long steps."""

HELD = 3.0
"""Nats between the 5 % and 95 % quantiles of h, with which a policy cannot express preferences."""

LOUD = 1.0
"""Nats between those of the margin from which pairs are judged firmly all the same."""

UNHEARD = 0.1
"""Nats between those of the margin, up to which the loss has noticed nothing and pulls at its full strength."""

BETAS = {"dpo": 0.1, "robust_dpo": 0.1, "ipo": 0.1}
"""Default β (of IPO τ) of the objectives on which the rules about β were tried: but for a factor, their losses are
functions of β·h. Of others nothing is said: their β has another unit, or another place in the loss."""

# Signal

SURE = 1.96
"""Standard errors above ½ at which accuracy is above chance: the usual 95 %."""

CHANCE = 0.12
"""Half-width of an accuracy's interval above which "chance" would only mean "too few pairs"."""

NEAR_CHANCE = 0.06
"""Accuracy above ½ up to which labels may say nothing; a coin on 300 pairs exceeds it once in fifty."""

BETTER_LOSS = 0.01
"""Fall of the held-out loss, as a share of it, that a policy without anything to learn does not achieve."""

REVERSED_LOSS = 0.04
"""Rise of the held-out loss, as a share of it, that goes with reversed labels; a coin raises it by up to 0.03."""
