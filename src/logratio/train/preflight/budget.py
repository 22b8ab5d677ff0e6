"""How long the checks before a run may take, and how long the run will be."""

from __future__ import annotations

from dataclasses import dataclass

from ..opening import Opening

MOST = 60.0
"""Seconds that checks take at most, however long the run."""
SHARE = 0.02
"""Share of the planned run that they take at most."""
TIMED = 0.1
"""Share of what is allowed that timing a larger forward pass may take."""
USUAL = 1024
"""Tokens of that pass, at most."""
_GRADIENT = 3
"""Forward passes that a forward and a backward pass take together."""


@dataclass
class Budget:
    """Seconds spent and allowed.

    Attributes:
        full: Whether everything is looked at, whatever it takes.
        least: Seconds allowed however short the run: whoever asks for the checks alone waits for them.
        planned: Seconds that the run will take; None until a forward pass has been timed.
        spent: Seconds that checks took.
    """

    full: bool = False
    least: float = 0.0
    planned: float | None = None
    spent: float = 0.0

    @property
    def most(self) -> float:
        """Seconds allowed: the smaller of `MOST` and `SHARE` of the run, and `least` at the least."""
        return MOST if self.planned is None else max(self.least, min(MOST, SHARE * self.planned))

    def allows(self, seconds: float) -> bool:
        """Whether a check that will take so long may begin."""
        return self.full or self.spent + seconds <= self.most


def planned_seconds(opening: Opening, *, tokens: int, seconds: float, tokens_a_group: float) -> float:
    """Estimate how long a run's steps take, from one forward pass.

    A bin of m tokens takes what the timed pass of n takes, times m/n where m is larger; its gradient takes three times
    as long. Steps × bins of a step × that. Evaluations, samples and the reference pass are not counted. From a pass
    that is much smaller than a bin the figure is too large: every pass takes some time whatever its size.

    Args:
        opening: The run.
        tokens: Packed tokens of the timed pass.
        seconds: What it took.
        tokens_a_group: Packed tokens of a group of the data set, on average.
    """
    train = opening.config.train
    in_step = min(train.batch_size, len(opening.data.train)) * tokens_a_group / opening.world.size
    bins = max(1.0, in_step / max(1, train.bin_tokens or 1))
    return opening.steps * _GRADIENT * seconds * max(bins, in_step / max(1, tokens))


def lasting(seconds: float) -> str:
    """Return seconds for people: 12.3 s, 7 min, 1 h 30 min, 3 d 4 h; no more precise than an estimate is."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    large, small, units = (*divmod(minutes, 60), ("h", "min")) if hours < 24 else (*divmod(hours, 24), ("d", "h"))
    return f"{large} {units[0]}" + (f" {small} {units[1]}" if small else "")
