"""Judges: a function, a reward model, an implicit reward, a language model behind an HTTP API."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from ...config import JudgeConfig, judge_of
from ...errors import ConfigError
from ..judge import Judge


def judge_named(text: str) -> JudgeConfig:
    """Return the judge that a command line names: a YAML file with the keys of `judge`, or their shorthand.

    Raises:
        ConfigError: The file cannot be read, or its keys make no judge.
    """
    try:
        told = yaml.safe_load(Path(text).read_text(encoding="utf-8")) if text.endswith((".yaml", ".yml")) else text
        return JudgeConfig.model_validate(judge_of(told))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"judge {text} cannot be read ({' '.join(str(error).split())}); check the file.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise ConfigError(f"judge {text}: {f'{where}: ' if where else ''}{said}; see docs/judges.md.") from None


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
