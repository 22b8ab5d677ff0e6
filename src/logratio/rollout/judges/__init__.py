"""Judges: a function, a reward model, an implicit reward, a language model behind an HTTP API."""

from __future__ import annotations

from ...config import JudgeConfig
from ..judge import Judge


def open_judge(config: JudgeConfig, *, bin_tokens: int = 1 << 13) -> Judge:
    """Return the judge that a recipe or command names, ready to be asked.

    Only what it needs is imported and loaded; what `reward_model` names may be a run that trained a language model:
    its implicit reward then is the judge, as the description says.

    Args:
        config: The judge and what to do where it fails.
        bin_tokens: Tokens that a forward pass of a model may hold.

    Raises:
        LogratioError: The judge cannot be opened; one sentence.
    """
    if config.function is not None:
        from .function import FunctionJudge, function_named

        return FunctionJudge(function_named(config.function), config.function, on_failure=config.on_failure)
    if config.url is not None:
        from .chat import chat_judge

        return chat_judge(config)
    from ...logps.subject import subject_of
    from .implicit import ImplicitJudge
    from .reward_model import RewardModelJudge

    subject = subject_of(config.reward_model or config.implicit)
    if config.reward_model is not None and (subject.head == "score" or subject.config is None):
        return RewardModelJudge(subject, on_failure=config.on_failure, bin_tokens=bin_tokens)
    return ImplicitJudge(subject, on_failure=config.on_failure, bin_tokens=bin_tokens)
