"""Methods that are known by a name and are no loss of their own: an objective, and where its data comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """An objective with a source.

    Attributes:
        about: What it is, a phrase.
        options: What `logratio train` is given for it, beside model, data and judge.
        recipe: The recipe that shows it, from the repository's root.
    """

    about: str
    options: str
    recipe: str

    @property
    def command(self) -> str:
        """What to type, with the recipe or without."""
        return f"logratio train {self.recipe}, or give train {self.options}"


METHODS = {
    "online_dpo": Method(
        "dpo, or any objective of pairs, on two fresh responses a prompt at every step",
        "--objective dpo --rollout.k 2",
        "recipes/on-policy/online-dpo.yaml",
    ),
    "iterative_dpo": Method(
        "dpo in rounds, each on pairs of the policy that the one before left, which becomes the reference",
        "--objective dpo --rollout.k 8 --rollout.rounds 3 --train.epochs 3 --reference_sync.every phase",
        "recipes/on-policy/iterative-dpo.yaml",
    ),
    "best_of_n": Method(
        "sft on the one of n fresh responses that the judge likes best",
        "--objective sft --rollout.k 16 --rollout.keep best --rollout.rounds 1",
        "recipes/on-policy/best-of-n.yaml",
    ),
    "hybrid": Method(
        "dpo on what a ppo run drew, from that run's policy",
        "--objective dpo --model RUN/model --data RUN/rollouts",
        "recipes/on-policy/hybrid.yaml",
    ),
    "sppo": Method(
        "in rounds, objective sppo on fresh responses that a judge compares",
        "--objective sppo --rollout.k 5 --rollout.rounds 3 --train.epochs 3 --reference_sync.every phase",
        "recipes/on-policy/sppo.yaml",
    ),
    "dapo": Method(
        "grpo with a token mean, a higher upper bound, no KL, a soft punishment of length, and further prompts in "
        "place of those judged alike",
        "--objective grpo --objective.denominator token --objective.clip_high 0.28 --objective.beta 0 "
        "--objective.overlong_start 16384 --objective.overlong_end 20480 --rollout.k 16 --rollout.max_new_tokens 20480 "
        "--rollout.redraw 8",
        "recipes/on-policy/dapo.yaml",
    ),
}
"""By name; sppo is an objective too, of which one round is what a file of pairs gives."""


def method(name: str) -> Method | None:
    """Return the method of that name, however its words are joined; None where there is none."""
    return METHODS.get(name.lower().replace("-", "_"))
