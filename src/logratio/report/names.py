"""What each metric is called, its unit, what it says, and which curves share a plot."""

from __future__ import annotations

from dataclasses import dataclass

from ..metrics import METRICS

ACCURACY = "accuracy"
LENGTH_ONLY = "length_baseline"
KL = "kl"
LOSS = "loss"
NLL = "nll_per_token"
LENGTH = "sample_length"
MARGIN = "margin"
RETAIN = "retain_after"
RETAIN_BEFORE = "retain_before"


@dataclass(frozen=True)
class Metric:
    """How one metric is shown.

    Attributes:
        label: Name for people.
        unit: Its unit, "" for none.
        share: A share in [0, 1].
        about: What it says, one sentence.
    """

    label: str
    unit: str = ""
    share: bool = False
    about: str = ""


_UNITS = {"1": "", "share": "", "of the objective": "", "token": "tokens", "token/s": "tokens/s", "item": "items"}
_UNITS |= {"character": "characters", "of the price": "in the unit of the price"}
_ABOUT = {
    ACCURACY: "share of pairs whose chosen response has the higher log-ratio, or score",
    LENGTH_ONLY: "accuracy of judging by length alone",
    LOSS: "the objective, on average over items",
    NLL: "−log π of the demonstrated tokens",
    MARGIN: "reward of chosen minus that of rejected, implicit or a reward model's",
    "score": "a reward model's number for a response, on average",
    "logratio_chosen": "log π − log π_ref, summed over tokens",
    "logratio_rejected": "log π − log π_ref, summed over tokens",
    KL: "how far the policy's own samples are from the reference",
    LENGTH: "length of the policy's own samples",
    "logratio_desirable": "log π − log π_ref, summed over tokens",
    "logratio_undesirable": "log π − log π_ref, summed over tokens",
    "baseline": "log-ratio of mismatched responses, at least 0",
    RETAIN: "on texts that the preferences are not about",
    "grad_norm": "before clipping",
    "rounded_away": "share of elements that an update left unchanged",
    "ece": "how far implied win probabilities are from the shares that won",
}


@dataclass(frozen=True)
class Panel:
    """One plot of the report.

    Attributes:
        title: Its heading.
        metrics: Metric → its short name in the legend; those present are drawn.
        unit: Unit of the values.
        note: How to read it.
        level: A value to mark by a line.
        smooth: A moving mean helps to see it.
        zero: Drawn where every value is 0 too; of what may go wrong, that is no news.
    """

    title: str
    metrics: dict[str, str]
    unit: str = ""
    note: str = ""
    level: float | None = None
    smooth: bool = True
    zero: bool = True

    @property
    def share(self) -> bool:
        """Whether its values are shares in [0, 1]."""
        return all(metric(name).share for name in self.metrics)


PANELS = (
    Panel("Loss", {LOSS: ""}),
    Panel("Loss per token", {NLL: ""}, "nats/token", "−log π of the demonstrated tokens."),
    Panel("Accuracy", {ACCURACY: ""}, "", "Pairs ranked as the annotators did; the dotted line is chance.", 0.5),
    Panel("Margin", {"margin": ""}, "", "Reward of the chosen response minus that of the rejected one.", 0.0),
    Panel(
        "Score",
        {"score_chosen": "chosen", "score_rejected": "rejected", "score": "all responses"},
        "",
        "A reward model's numbers. Only differences within a prompt are learned from, unless centring pulls them to 0.",
        0.0,
    ),
    Panel(
        "Log-ratio to the reference",
        {
            "logratio_chosen": "chosen",
            "logratio_rejected": "rejected",
            "logratio_desirable": "desirable",
            "logratio_undesirable": "undesirable",
            "baseline": "baseline z₀",
        },
        "nats/response",
        "log π − log π_ref. Where chosen falls too, the policy moves away from both answers.",
        0.0,
    ),
    Panel(
        "Log-ratio per token",
        {"logratio_chosen_per_token": "chosen", "logratio_rejected_per_token": "rejected"},
        "nats/token",
        "The same, divided by the response's length.",
        0.0,
    ),
    Panel("Reward", {"reward": ""}, "", "The judge's score; in training, of the responses that are learned from."),
    Panel(
        "Spread of the reward",
        {"reward_std": ""},
        "",
        "Standard deviation of the scores of one prompt's responses. At 0 they are all judged alike.",
    ),
    Panel("Wins", {"wins": ""}, "", "Of the policy's responses against those that they met; ½ is even.", 0.5),
    Panel("KL(π‖π_ref)", {KL: ""}, "nats/response", "Distance of the policy's own samples from the reference."),
    Panel(
        "Length",
        {LENGTH: "samples", "length_chosen": "chosen", "length_rejected": "rejected"},
        "tokens",
        "Samples that grow longer while the data's responses do not are a warning.",
    ),
    Panel(
        "Thoughts and answers",
        {"thought_length": "thoughts", "answer_length": "answers"},
        "characters",
        "Judges see answers alone, so that nothing but the limit holds thoughts back.",
    ),
    Panel(
        "Form of the samples",
        {"ended": "ended by themselves", "repetition": "repeated 4-grams", "self_overlap": "overlap between samples"},
        "",
        "Samples that no longer end, repeat themselves or become alike are a warning.",
    ),
    Panel(
        "Entropy of the samples",
        {"entropy_per_token": ""},
        "nats/token",
        "Where it falls towards 0, the policy has one answer left.",
    ),
    Panel(
        "Where the gradient comes from",
        {"effective_gradient": "weight of a pair, mean", "saturated": "saturated pairs"},
        "",
        "A pair's weight in the gradient: σ(−margin) of logistic losses, of others the slope of their own loss on the "
        "same scale. A pair near 0 no longer teaches; 50\u202f% is where training starts.",
    ),
    Panel(
        "Share of the gradient that raises",
        {"gradient_raising": ""},
        "",
        "The rest of it lowers the probability of tokens, of rejected responses mostly.",
        0.5,
    ),
    Panel(
        "KL of what was drawn",
        {
            "kl_reference_k1": "from the reference, k1",
            "kl_reference_k3": "from the reference, k3",
            "kl_old_k1": "from the phase's beginning, k1",
            "kl_old_k3": "from the phase's beginning, k3",
        },
        "nats/token",
        "At the tokens of the phase. Where the last one jumps, inner steps go further than their ratios can tell.",
        0.0,
    ),
    Panel(
        "What clipping holds",
        {"clip_low": "below", "clip_high": "above", "value_clipped": "values"},
        "",
        "Shares of tokens, or responses, that had no gradient since they had moved far enough.",
    ),
    Panel(
        "Prompts whose responses are scored alike",
        {"dead_groups": "dead groups", "pairless": "without a pair"},
        "",
        "Too easy, too hard, or all the same; where advantages are of a group, or it takes pairs, they teach nothing.",
    ),
    Panel(
        "Prompts lost and replaced",
        {"judge_failures": "no verdict", "redrawn": "replaced, since judged alike"},
        "prompts",
        "Of a step's. What is lost teaches nothing; what was replaced is not learned from, and another prompt is.",
        zero=False,
    ),
    Panel("Returns and values", {"return": "returns", "value": "values"}, "", "What came, and what was expected."),
    Panel(
        "Explained variance of the values",
        {"explained_variance": ""},
        "",
        "1 is a perfect critic; at 0 it knows no more than the mean, and below it harms.",
        0.0,
    ),
    Panel("Value loss", {"value_loss": ""}, "", "Half a square, of the judge's scores."),
    Panel("Loss of mixed texts", {"text_nll": ""}, "nats/token", "Of the texts that are imitated beside responses."),
    Panel("KL coefficient", {"kl_coefficient": ""}, "1/nat", "Rises while the KL is above its target.", smooth=False),
    Panel("Entropy while learning", {"entropy": ""}, "nats/token", "Of the policy, at the tokens that it drew."),
    Panel(
        "Mismatch with the sampler",
        {"sampler_mismatch": ""},
        "nats/token",
        "Between the log-probs of sampling and of training; rounding is below 0.001 in float32.",
    ),
    Panel(
        "Log-prob of the data",
        {"logp_chosen_per_token": "chosen", "logp_rejected_per_token": "rejected"},
        "nats/token",
        "Under the policy alone. Where both fall, it drifts away from what the data holds.",
    ),
    Panel("KL at the data", {"kl_data": ""}, "nats/token", "To second order, along the data's responses."),
    Panel(
        "Correlation of margin with length",
        {"length_correlation": ""},
        "",
        "With the difference in length, through the origin; far from 0, length is a part of what is rewarded.",
        0.0,
    ),
    Panel("Calibration error", {"ece": ""}, "", "Implied win probabilities against the shares that won."),
    Panel("Loss on retained texts", {RETAIN: ""}, "nats/token", "A rise means that other abilities are being lost."),
    Panel("Gradient norm", {"grad_norm": ""}, "", "Before clipping."),
    Panel("Learning rate", {"lr": ""}, smooth=False),
    Panel("Updates rounded away", {"rounded_away": ""}, "", "Near 100\u202f%, the weights have stopped moving."),
    Panel(
        "Gradient noise scale",
        {"gradient_noise_scale": ""},
        "items",
        "A batch far below it averages away little noise; one far above it is spent in vain.",
    ),
    Panel(
        "Requests to the judge",
        {"judge_calls": "sent", "judge_cached": "answered from the cache", "judge_retries": "sent again"},
        "requests",
        "In the first pass over what a phase drew.",
        zero=False,
    ),
    Panel("Tokens of the judge", {"judge_tokens_in": "read", "judge_tokens_out": "written"}, "tokens", zero=False),
    Panel("Cost of judging", {"judge_cost": ""}, "", "Tokens read and written, times judge.price.", zero=False),
    Panel("Time of judging", {"judge_seconds": ""}, "s", "Of a whole phase, at its first step.", smooth=False),
    Panel("Throughput", {"tokens_per_s": ""}, "tokens/s"),
)


def metric(name: str) -> Metric:
    """Return how a metric is shown; one that the program does not know is shown under its own name."""
    if (own := METRICS.get(name)) is None:
        return Metric(name.replace("_", " "))
    unit = _UNITS.get(own.unit, own.unit.replace("nat", "nats", 1) if own.unit.startswith("nat") else own.unit)
    return Metric(own.label, unit, own.share, _ABOUT.get(name, ""))
