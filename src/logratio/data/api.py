"""`tokenize`: preference data → groups, for a loop of one's own."""

from __future__ import annotations

from collections.abc import Callable

from ..config import LossOn, Overflow, RowsConfig, TemplateConfig, TokensConfig
from .adapt import Kind
from .prepare import Source, prepare
from .prepared import Groups
from .template import Tokenizer


def tokenize(
    data: Source,
    tokenizer: Tokenizer,
    *,
    kind: Kind = "pairs",
    max_length: int = 2048,
    overflow: Overflow = "drop",
    loss_on: LossOn = "response",
    group_by_prompt: bool = False,
    ties: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Groups:
    """Turn preference data into the groups that `logratio train` learns from, token for token.

    Rows in any of the formats that a run reads. Tokens are kept in the cache, so that the second call reads them.

        >>> rows = [{"prompt": "a", "chosen": " b c", "rejected": " d"}]
        >>> groups = tokenize(rows, tokenizer)
        >>> len(groups), len(groups[0].responses), groups[0].edges.tolist()
        (1, 2, [[0, 1]])
        >>> int(groups[0].responses[0][-1]) == tokenizer.eos_token_id
        True

    Args:
        data: Files, folders, hub names, or an iterable of dicts.
        tokenizer: A transformers tokenizer backed by the tokenizers library.
        kind: What the objective learns from: `objectives.load(NAME).data`.
        max_length: Tokens that a prompt and one response may have together.
        overflow: What happens to longer ones.
        loss_on: Which assistant turns of a chat carry loss.
        group_by_prompt: Whether rows with the same prompt become one group.
        ties: Whether pairs that people called a tie are kept.
        say: Told, line by line, what was read, dropped and cut, and by which template text was rendered.

    Returns:
        A sequence of groups, read from disk when indexed; `.select(indices)` orders and chooses.

    Raises:
        DataError: The data cannot be read, or nothing of it can be used.
        TemplateError: Messages without a template, or with one that cannot tell prompt from response.
        ModelError: The tokenizer lacks EOS, or is not backed by the tokenizers library.
    """
    prepared = prepare(
        data,
        kind=kind,
        tokenizer=tokenizer,
        tokens=TokensConfig(max_length=max_length, overflow=overflow, loss_on=loss_on),
        template=TemplateConfig(),
        rows=RowsConfig(),
        group_by_prompt=group_by_prompt,
        ties=ties,
    )
    for line in prepared.report.lines():
        say(line)
    return prepared.groups
