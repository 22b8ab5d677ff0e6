"""The errors a person can meet: one sentence each, with value, rule, reason and remedy."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


class LogratioError(Exception):
    """Base of every error that is the person's input or machine, not a fault of this program.

    The command line prints it without a traceback and exits with `exit_code`.
    """

    exit_code = 2


class ConfigError(LogratioError):
    """A recipe or command-line value that breaks a rule; found before a model is loaded."""


class DataError(LogratioError):
    """A file or row that cannot be used; names file, row, field and remedy."""


class TemplateError(DataError):
    """A chat template that is missing, or that does not render a prefix where one is needed."""


class ModelError(LogratioError):
    """A model or tokenizer that is missing, or that lacks what training needs."""


class ReferenceChoiceError(LogratioError):
    """A contradiction about which distribution serves as the reference; lists the choices."""


class RunError(LogratioError):
    """A run directory that is missing, in use, unwritable or already used."""


class PeerError(RunError):
    """Another process of the run stopped; that one says why."""

    def __init__(self) -> None:
        super().__init__("another process of this run stopped; its message says why.")


class CheckpointError(RunError):
    """A checkpoint whose content does not match its recorded hash, or that misses a part."""


class JudgeError(LogratioError):
    """A judge that cannot be opened, fails or answers nonsense; says which and why."""


class EngineError(LogratioError):
    """What draws responses in place of the built-in sampler, and cannot, or draws what was not asked for."""


class HubError(LogratioError):
    """A model hub that cannot be reached or refuses; says what it takes."""


class NonFiniteError(LogratioError):
    """A loss, log-prob or gradient that is NaN or infinite; names step, rows and tensor."""


class MemoryBudgetError(LogratioError):
    """A batch that does not fit; names its token counts and the knob to turn."""


class PreflightError(LogratioError):
    """A check before or in the first steps of a run that found something wrong; names figure, cause and remedy."""


class CollapseError(LogratioError):
    """A run that was to stop when its samples collapse, and whose samples have; says what became of them."""


class MissingExtraError(LogratioError):
    """An optional dependency that is not installed; carries the pip line that adds it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the extra `{extra}`, which is not installed; "
            f"add it with: pip install 'logratio[{extra}]'."
        )


def nearest(word: str, valid: Sequence[str]) -> str:
    """Return a hint such as `did you mean "beta"?`, or the list of what is valid."""
    close = get_close_matches(word, valid, n=1)
    return f'did you mean "{close[0]}"?' if close else f"valid: {', '.join(valid)}"
