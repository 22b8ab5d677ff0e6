"""Keys of a recipe that nothing would read."""

from __future__ import annotations

from ..batch.needs import Needs
from ..config import RunConfig
from ..errors import ConfigError
from ..objectives.base import Objective


def require_values_read(config: RunConfig, needs: Needs) -> None:
    """Refuse settings of values where none are read.

    Raises:
        ConfigError: The objective needs none.
    """
    if config.value is not None and not needs.value:
        raise ConfigError(
            f"value is given, and {config.objective['name']} reads no values, so that nothing would come of it; leave "
            "it out, or use --objective ppo."
        )


def require_texts_beside(config: RunConfig, objective: Objective) -> None:
    """Refuse texts beside what does not draw, or what draws from another distribution than the texts'.

    Args:
        config: The recipe, with `texts`.
        objective: What it names.

    Raises:
        ConfigError: The objective learns from data that are given, or sampling has another temperature than 1.
    """
    name, rollout = config.objective["name"], config.rollout
    if objective.data != "prompts" or rollout is None:
        raise ConfigError(
            f"texts is given, and objective {name} learns from {objective.data}, beside which no texts are mixed in; "
            "leave it out, or choose an on-policy objective, as ppo."
        )
    if rollout.temperature != 1:
        raise ConfigError(
            f"texts is given and rollout.temperature is {rollout.temperature:g}, at which every log-prob of the run "
            "is, and a likelihood of texts is one at 1; set it to 1, or leave texts out."
        )


def require_samples_judged(config: RunConfig, needs: Needs) -> None:
    """Refuse a judge of evaluations whose samples will never be.

    Raises:
        ConfigError: The model ends in a score, or no samples are asked for.
    """
    if config.eval.judge is None:
        return
    if needs.head == "score":
        raise ConfigError(
            f"eval.judge is given, and objective {config.objective['name']} trains a model that scores and does not "
            "generate, so that it has no samples to judge; leave it out."
        )
    if config.eval.samples == 0:
        raise ConfigError(
            "eval.judge is given, and eval.samples is 0, so that it has no samples to judge; raise eval.samples, or "
            "leave it out."
        )


def require_samples_drawn(config: RunConfig, *, processes: int, given: bool) -> None:
    """Refuse a judge of evaluations where nothing is evaluated, or where each process would ask it.

    Args:
        config: The recipe.
        processes: How many there are.
        given: Whether there is data to evaluate on, by name or as an object.

    Raises:
        ConfigError: Nothing is held out, or there are several processes.
    """
    if config.eval.judge is None:
        return
    if config.eval.holdout == 0 and not given:
        raise ConfigError(
            "eval.judge is given, and eval.holdout is 0 without eval.data, so that there are no prompts to sample and "
            "judge; hold some out, give eval.data, or leave it out."
        )
    if processes > 1:
        raise ConfigError(
            f"eval.judge is given, and there are {processes} processes, of which each would ask it about the same "
            "samples; start one, or leave it out and judge the finished run with `logratio winrate`."
        )
