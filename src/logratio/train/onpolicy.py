"""`rollout` and `judge`: what they need of a recipe, and what contradicts them."""

from __future__ import annotations

from typing import Any

from ..config import RolloutConfig, RunConfig
from ..errors import ConfigError
from ..objectives.base import Objective

_USES = ("prompts", "pairs", "demonstrations")
"""What an objective learns from that can learn from fresh responses."""


def with_rollout(config: RunConfig, objective: Objective, settings: Any) -> RunConfig:
    """Return the recipe with a `rollout` where its objective needs one.

    Args:
        config: The recipe.
        objective: What it names.
        settings: The objective's.

    Raises:
        ConfigError: `rollout` or a judge is given to what does not use them, is missing, or contradicts another key.
    """
    name = config.objective["name"]
    if objective.data == "prompts" and config.rollout is None:
        config = config.model_copy(update={"rollout": RolloutConfig()})
    rollout = config.rollout
    if rollout is None:
        _refuse_judge(config, name)
        return config
    if objective.data not in _USES or objective.needs(settings).head == "score":
        raise ConfigError(
            f"rollout is given, but objective {name} learns from {objective.data} that are given, not from fresh "
            "responses; leave rollout out, or choose an on-policy objective, one of pairs, or sft."
        )
    for wrong in (_of_pairs, _of_best, _of_others):
        if says := wrong(config, rollout, objective, name):
            raise ConfigError(says)
    for wrong_settings in (_of_few, _of_redraw, _of_offload):
        if says := wrong_settings(config, rollout, objective, settings):
            raise ConfigError(says)
    return config


def _refuse_judge(config: RunConfig, name: str) -> None:
    if config.judge is not None:
        raise ConfigError(
            f"judge is given, but objective {name} learns from the data as it is and nothing is drawn; draw fresh "
            "responses with rollout: {k: 4}, or name it as eval.judge, which scores the samples of evaluations."
        )


def _of_pairs(config: RunConfig, rollout: RolloutConfig, objective: Objective, name: str) -> str:
    pairs = objective.data == "pairs"
    if pairs and rollout.k < 2:
        return f"rollout.k is {rollout.k}, but objective {name} compares two responses to a prompt; draw 2 or more."
    if rollout.edges != "best_worst" and not pairs:
        return f"rollout.edges is {rollout.edges}, but objective {name} compares no responses; leave it out."
    return ""


def _of_few(config: RunConfig, rollout: RolloutConfig, objective: Objective, settings: Any) -> str:
    name, judge = config.objective["name"], config.judge
    if rollout.k < (least := objective.responses(settings)):
        return (
            f"rollout.k is {rollout.k}, but objective {name}, as it is set, measures each response against the others "
            f"of its prompt, so that every advantage would be 0; set rollout.k to {least} or more."
        )
    compares = judge is not None and judge.url is not None and judge.form == "compare"
    if rollout.k < 2 and compares and not objective.rivals(settings):
        return (
            f"rollout.k is {rollout.k}, but judge.url names a server that compares responses, so that one alone has no "
            "score; set rollout.k to 2 or more, or judge.form to score."
        )
    return ""


def _of_redraw(config: RunConfig, rollout: RolloutConfig, objective: Objective, settings: Any) -> str:
    """Offer it where the judge teaches nothing by judging alike; a KL does still, of which docs/on-policy.md tells."""
    ties = objective.data == "prompts" and objective.needs(settings).ties
    compares = objective.data == "pairs" or objective.responses(settings) > 1
    if rollout.redraw and (ties or not compares):
        return (
            f"rollout.redraw is {rollout.redraw}, but objective {config.objective['name']}, as it is set, learns from "
            "responses that are all judged alike too; leave it out."
        )
    return ""


def model_judges(config: RunConfig) -> bool:
    """Return whether a model on this machine judges, what is learned from or what is measured."""
    judges = (config.judge, config.eval.judge)
    return any(judge is not None and bool(judge.reward_model or judge.implicit) for judge in judges)


def _of_offload(config: RunConfig, rollout: RolloutConfig, objective: Objective, settings: Any) -> str:
    if not rollout.offload:
        return ""
    needs = objective.needs(settings)
    if needs.divergence:
        return (
            f"rollout.offload is true, but objective {config.objective['name']} reads the reference at every step, so "
            "that it cannot leave memory; leave it out."
        )
    switched = config.lora is not None and config.reference in ("start", "base")
    second = needs.reference and config.reference_sync.every is None and not switched
    if not second and not model_judges(config):
        return (
            "rollout.offload is true, but there is nothing to take out of memory: no model judges, and the reference "
            "is none, the policy without its adapter, or one that moves; leave it out."
        )
    return ""


def _of_best(config: RunConfig, rollout: RolloutConfig, objective: Objective, name: str) -> str:
    imitates = objective.data == "demonstrations"
    if rollout.keep == "best" and not imitates:
        return (
            f"rollout.keep is best, but objective {name} learns from all responses to a prompt; leave it out, or "
            "imitate the best with objective sft."
        )
    if imitates and (rollout.keep != "best" or rollout.k < 2):
        return (
            f"rollout.k is {rollout.k} and rollout.keep is {rollout.keep}, but objective {name} imitates what it is "
            "given, and gains nothing from its own responses unless the best of several is kept; set rollout.keep to "
            "best and rollout.k to 2 or more."
        )
    return ""


def _of_others(config: RunConfig, rollout: RolloutConfig, objective: Objective, name: str) -> str:
    if config.judge is None:
        return (
            f"`judge` is missing: objective {name} learns from what a judge says of fresh responses; add "
            "`judge: module:function`, a reward model's folder, or a server's URL."
        )
    if config.keep.best is not None and (says := _of_choosing(config, config.keep.best)):
        return says
    if config.tokens.overflow == "truncate":
        return (
            "tokens.overflow is truncate, which cuts responses, and those are drawn; limit them with "
            "rollout.max_new_tokens, and choose drop, error or left_prompt for the prompts."
        )
    if config.rows.group_by_prompt:
        return "rows.group_by_prompt is true, but prompts are drawn for row by row; leave it out."
    return ""


def _of_choosing(config: RunConfig, best: str) -> str:
    judge = config.eval.judge or config.judge
    if best.removeprefix("eval/") != "reward":
        return (
            f"keep.best is {best}, but a run on fresh responses holds out prompts, whose samples are judged; choose "
            "eval/reward, or leave it out."
        )
    if judge is not None and judge.url is not None and judge.form == "compare":
        return (
            "keep.best is eval/reward, but the judge of samples compares responses, and of one a prompt it says "
            "nothing; set judge.form to score, give eval.judge, or leave keep.best out."
        )
    return ""
