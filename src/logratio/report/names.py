"""What each metric is called, its unit, and which curves share a plot."""

from __future__ import annotations

from dataclasses import dataclass

ACCURACY = "accuracy"
LENGTH_ONLY = "length_baseline"
KL = "kl"
LOSS = "loss"
NLL = "nll_per_token"
LENGTH = "sample_length"
RETAIN = "retain_after"


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


_METRICS = {
    ACCURACY: Metric(
        "Pair accuracy", "", True, "share of pairs whose chosen response has the higher log-ratio, or score"
    ),
    LENGTH_ONLY: Metric("Length-only baseline", "", True, "accuracy of judging by length alone"),
    LOSS: Metric("Loss", "", False, "the objective, on average over items"),
    NLL: Metric("Loss per token", "nats/token", False, "−log π of the demonstrated tokens"),
    "margin": Metric("Margin", "", False, "reward of chosen minus that of rejected, implicit or a reward model's"),
    "score": Metric("Score", "", False, "a reward model's number for a response, on average"),
    "score_chosen": Metric("Score of chosen"),
    "score_rejected": Metric("Score of rejected"),
    "logratio_chosen": Metric("Log-ratio of chosen", "nats", False, "log π − log π_ref, summed over tokens"),
    "logratio_rejected": Metric("Log-ratio of rejected", "nats", False, "log π − log π_ref, summed over tokens"),
    "logratio_chosen_per_token": Metric("Log-ratio of chosen, per token", "nats/token"),
    "logratio_rejected_per_token": Metric("Log-ratio of rejected, per token", "nats/token"),
    KL: Metric("KL(π‖π_ref)", "nats/response", False, "how far the policy's own samples are from the reference"),
    LENGTH: Metric("Sample length", "tokens", False, "length of the policy's own samples"),
    "logratio_desirable": Metric("Log-ratio of desirable", "nats", False, "log π − log π_ref, summed over tokens"),
    "logratio_undesirable": Metric("Log-ratio of undesirable", "nats", False, "log π − log π_ref, summed over tokens"),
    "baseline": Metric("Baseline z₀", "nats", False, "log-ratio of mismatched responses, at least 0"),
    "length_chosen": Metric("Length of chosen", "tokens"),
    "length_rejected": Metric("Length of rejected", "tokens"),
    "ended": Metric("Samples that ended by themselves", "", True),
    "repetition": Metric("Repeated 4-grams in samples", "", True),
    "distinct_2": Metric("Distinct bigrams in samples", "", True),
    "kl_per_token": Metric("KL(π‖π_ref), per token", "nats/token"),
    "likelihood_accuracy": Metric("Accuracy of the plain log-prob", "", True),
    "nll_chosen_per_token": Metric("Loss on chosen", "nats/token"),
    "nll_rejected_per_token": Metric("Loss on rejected", "nats/token"),
    "logratio_per_token": Metric("Log-ratio, per token", "nats/token"),
    "retain_before": Metric("Loss on retained texts, reference", "nats/token"),
    RETAIN: Metric("Loss on retained texts", "nats/token", False, "on texts that the preferences are not about"),
    "retain_change": Metric("Change of loss on retained texts", "nats/token"),
    "lr": Metric("Learning rate"),
    "grad_norm": Metric("Gradient norm", "", False, "before clipping"),
    "rounded_away": Metric("Updates rounded away", "", True, "share of elements that an update left unchanged"),
    "tokens_per_s": Metric("Throughput", "tokens/s"),
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
    """

    title: str
    metrics: dict[str, str]
    unit: str = ""
    note: str = ""
    level: float | None = None
    smooth: bool = True

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
    Panel("KL(π‖π_ref)", {KL: ""}, "nats/response", "Distance of the policy's own samples from the reference."),
    Panel(
        "Length",
        {LENGTH: "samples", "length_chosen": "chosen", "length_rejected": "rejected"},
        "tokens",
        "Samples that grow longer while the data's responses do not are a warning.",
    ),
    Panel(
        "Form of the samples",
        {"ended": "ended by themselves", "repetition": "repeated 4-grams"},
        "",
        "Samples that no longer end, or that repeat themselves, are a warning.",
    ),
    Panel("Loss on retained texts", {RETAIN: ""}, "nats/token", "A rise means that other abilities are being lost."),
    Panel("Gradient norm", {"grad_norm": ""}, "", "Before clipping."),
    Panel("Learning rate", {"lr": ""}, smooth=False),
    Panel("Updates rounded away", {"rounded_away": ""}, "", "Near 100\u202f%, the weights have stopped moving."),
    Panel("Throughput", {"tokens_per_s": ""}, "tokens/s"),
)


def metric(name: str) -> Metric:
    """Return how a metric is shown; one without an entry is shown under its own name."""
    return _METRICS.get(name, Metric(name.replace("_", " ")))
