"""The reference's log-probs: computed once in whole blocks, kept on disk by content, shared between runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..batch.group import Floats, Group
from ..batch.needs import Needs
from ..batch.packed import pack
from ..batch.plan import plan
from ..errors import LogratioError, NonFiniteError
from ..files import cache_root, content_hash, read_shard, write_shard
from ..models.fingerprint import of_weights
from .names import block, block_name, made_names, remembered_names
from .policy import Policy

BLOCK = 1024
"""Groups a block, in data order. A block is on disk whole or not at all, so log-probs never depend on interruptions."""

PLAIN = Needs()

_OPEN = 256  # blocks mapped at once: each holds a file descriptor, beside those of the tokens

_ARRAYS = ("logp", "ends")

NUMERICS = 1
"""Raised whenever a change of code changes log-probs, so that older entries are not mistaken for new ones."""


def score(
    policy: nn.Module, groups: Sequence[Group], *, bin_tokens: int, needs: Needs = PLAIN, least_bins: int = 0
) -> list[Floats]:
    """Return each group's scored log-probs, float32 nats, responses in order, without gradient.

    Args:
        policy: A `Policy`.
        groups: What to score.
        bin_tokens: Tokens a bin may hold.
        needs: Its temperature applies.
        least_bins: Run at least so many forward passes (empty ones at the end), where ranks must keep in step.
    """
    (bins,) = plan([group.tokens for group in groups], world=1, budget=bin_tokens)
    out: list[Floats] = [np.zeros(0, np.float32)] * len(groups)
    with torch.no_grad():
        for members in bins + [[]] * (least_bins - len(bins)):
            own = [groups[i] for i in members]
            logp_R = policy(pack(own), needs).policy_R.float().cpu().numpy()
            ends = np.cumsum([group.scored for group in own])
            for i, part in zip(members, np.split(logp_R, ends[:-1]) if members else [], strict=True):
                out[i] = part
    return out


def require_finite(groups: Sequence[Group], values: Sequence[Floats], what: str) -> None:
    """Check log-probs or scores of groups.

    Raises:
        NonFiniteError: Some are NaN or infinite; names `what` and the data rows.
    """
    rows = [group.row for group, value in zip(groups, values, strict=True) if not np.isfinite(value).all()]
    if rows:
        raise NonFiniteError(
            f"{what} is not finite, data rows {rows[:20]}: the model's weights are not, or they overflow; "
            "lower train.lr, under bf16 use train.precision fp32, or check the model that the run starts from."
        )


class ReferenceValues(Sequence[Floats]):
    """Log-probs of a data set, group by group, read from memory-mapped blocks that are opened when needed."""

    def __init__(self, paths: Sequence[Path], length: int) -> None:
        """Bind `length` groups to their blocks' files, whose checksums are known to hold."""
        self._length = length
        self._block = lru_cache(_OPEN)(lambda number: _read(paths[number], unchecked=_ARRAYS))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._length:
            raise IndexError(index)
        logp, ends = self._block(index // BLOCK)
        at = index % BLOCK
        return np.array(logp[ends[at - 1] if at else 0 : ends[at]])


@dataclass(frozen=True)
class ReferenceCache:
    """Per-token reference log-probs on disk.

        >>> reference = ReferenceCache.of(policy)
        >>> values = reference.fill(policy, groups[:8], bin_tokens=4096)
        >>> values[0].shape == (groups[0].scored,)
        True
        >>> groups[0].with_columns(token={"reference": values[0]}).columns.token["reference"].dtype
        dtype('float32')

    Attributes:
        identity: Hash of the weights, config, adapter, dtype, path and temperature that produced them.
        folder: Where the blocks lie.
    """

    identity: str
    folder: Path

    @classmethod
    def open(cls, **identity: object) -> ReferenceCache:
        """Return the cache of the distribution that `identity` describes; any JSON-able parts."""
        key = content_hash({"numerics": NUMERICS, **identity})
        return cls(key, cache_root() / "reference" / key)

    @classmethod
    def of(
        cls, policy: Policy, weights: str | None = None, *, view: str = "whole", bf16: bool = False
    ) -> ReferenceCache:
        """Return the cache of a reference's log-probs; two uses of the same weights the same way share it.

        Args:
            policy: The reference, its path chosen.
            weights: Its fingerprint, where that is known; default: a hash of the weights as they are.
            view: "whole", or "base" for what lies under an adapter that the fingerprint covers.
            bf16: Whether products are in bfloat16, whatever dtype the weights have now.
        """
        first = next(policy.parameters())
        return cls.open(
            weights=of_weights(policy.model) if weights is None else weights,
            view=view,
            dtype="bf16" if bf16 else str(first.dtype),
            path=policy.path,
            device=first.device.type,
        )

    def block_path(self, groups: Sequence[Group]) -> Path:
        """Return the file of a block: named by the content of its tokens and masks."""
        return self._path(block_name(groups))

    def clear(self) -> None:
        """Remove every block of this reference; `fill` then names them anew, from tokens."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.shard"

    def _look(self, groups: Sequence[Group]) -> tuple[list[Path], list[bool]]:
        """Return the file of every block, and whether it is absent or damaged.

        Remembered names serve only where nothing is to be computed, so that no block is written under a name that is
        not its tokens'.
        """
        known = remembered_names(groups, BLOCK)
        if known is not None:
            paths = [self._path(name) for name in known]
            if all(read_shard(path) is not None for path in paths):
                return paths, [False] * len(paths)
        paths = [self._path(name) for name in made_names(groups, BLOCK)]
        return paths, [read_shard(path) is None for path in paths]

    def fill(
        self,
        policy: nn.Module,
        groups: Sequence[Group],
        *,
        bin_tokens: int,
        ranks: tuple[int, int] = (0, 1),
        any_rank: Callable[[bool], bool] = bool,
        on_block: Callable[[int, int], None] = lambda done, of: None,
        warn: Callable[[str], None] = lambda text: None,
    ) -> ReferenceValues:
        """Return log-probs of all groups, computing the blocks that are not on disk.

        Groups that have an `identity`, as those of a prepared data set, are not read where all their blocks are there.
        Ranks take missing blocks in turn and keep in step, so that sharded weights can be gathered by all of them.

        Args:
            policy: A `Policy` in the reference's state.
            groups: The data set, in its own order.
            bin_tokens: Tokens a bin may hold.
            ranks: This process's rank and their number.
            any_rank: Whether any rank says so; waits for all of them.
            on_block: Told (blocks done, blocks in all) before the first and after each; may raise to stop in between.
            warn: Told which block was damaged, a sentence.

        Raises:
            NonFiniteError: The model yields log-probs that are NaN or infinite; its block is not kept.
        """
        rank, world = ranks
        paths, absent = self._look(groups)
        for path in (path for path, gone in zip(paths, absent, strict=True) if gone and path.exists()):
            warn(f"{path} is damaged (its checksum fails); its log-probs are computed again.")
        # Another run may write a block between two ranks' looks: what is missing is agreed on, or they would part.
        missing = [i for i, gone in enumerate(absent) if any_rank(gone)]
        on_block(len(paths) - len(missing), len(paths))
        for turn in range(0, len(missing), world):
            together = missing[turn : turn + world]
            blocks = [block(groups, i, BLOCK) for i in together]
            most = max(len(plan([group.tokens for group in own], world=1, budget=bin_tokens)[0]) for own in blocks)
            mine = blocks[rank] if rank < len(blocks) else []
            values = score(policy, mine, bin_tokens=bin_tokens, least_bins=most)
            require_finite(mine, values, "reference pass: reference log-prob")
            if mine:
                ends = np.cumsum([len(value) for value in values])
                write_shard(paths[together[rank]], {"logp": np.concatenate(values), "ends": ends})
            any_rank(False)
            on_block(len(paths) - len(missing) + min(turn + world, len(missing)), len(paths))
        for i in missing:  # another rank's too
            _read(paths[i])
        return ReferenceValues(paths, len(groups))


def _read(path: Path, unchecked: Collection[str] = ()) -> tuple[Floats, NDArray[np.int64]]:
    shard = read_shard(path, unchecked=unchecked)
    if shard is None:
        raise LogratioError(f"{path} was damaged or removed while in use; run the same command again to recompute it.")
    return shard[0]["logp"], shard[0]["ends"]
