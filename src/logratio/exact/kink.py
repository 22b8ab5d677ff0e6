"""Descent where the loss has kinks, as hinges do."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..maths.counter import stream

ValueAndGradient = Callable[[Tensor], tuple[float, Tensor]]


def descend(evaluate: ValueAndGradient, start: Tensor, *, steps: int = 500) -> tuple[Tensor, int]:
    """Descend by BFGS with a weak Wolfe line search, which works at kinks as it does elsewhere.

    Lewis and Overton 2013, "Nonsmooth optimization via quasi-Newton methods". Ends where the line search finds no
    point, which at a kink is at the last digits of the loss.

    Args:
        evaluate: z → (value, gradient).
        start: Where to begin, [n].
        steps: Most steps.

    Returns:
        The last point, and the number of steps.
    """
    at, inverse = start, torch.eye(len(start), dtype=start.dtype)
    value, slope = evaluate(at)
    for taken in range(steps):
        move = -inverse @ slope
        if float(move @ slope) >= 0 or float(at.abs().max()) > 1e4:
            return at, taken
        length = _weak_wolfe(evaluate, at, value, slope, move)
        if length == 0:
            return at, taken
        at = at + length * move
        value, after = evaluate(at)
        change, bend = length * move, after - slope
        curvature = float(change @ bend)
        if curvature > 0:
            inverse = torch.eye(len(at), dtype=at.dtype) * curvature / float(bend @ bend) if taken == 0 else inverse
            left = torch.eye(len(at), dtype=at.dtype) - torch.outer(change, bend) / curvature
            inverse = left @ inverse @ left.T + torch.outer(change, change) / curvature
        slope = after
    return at, steps


def settle(evaluate: ValueAndGradient, start: Tensor) -> tuple[Tensor, int, bool]:
    """Descend from points around a start, then from points around the result, until that leads no lower.

    Not from the start itself: another method may have stopped on a kink, where one gradient says little.

    Returns:
        The lowest point, the number of steps, and whether it is the bottom of a kink: the last descent, from 0.1 nat
        away, came no lower, and the gradient turns on the spot.
    """
    draw = stream("starts around a kink", len(start))
    at, total, settled = start, 0, False
    value = evaluate(at)[0]
    for _ in range(8):
        offset = torch.from_numpy(draw.normal(size=len(at)))
        other, taken = descend(evaluate, at + 0.1 * offset / offset.norm())
        total += taken
        reached = evaluate(other)[0]
        settled = reached >= value - 1e-9 * max(1.0, abs(value))
        if reached < value:
            at, value = other, reached
        if settled:
            break
    return at, total, settled and _turns(evaluate, at, torch.from_numpy(draw.normal(size=(10, len(at)))))


def _turns(evaluate: ValueAndGradient, at: Tensor, around: Tensor) -> bool:
    """Return whether the gradient changes by as much within 1e-6 as within 1e-3: at a smooth point by a thousandth."""
    slope = evaluate(at)[1]
    near, far = (
        max(float((evaluate(at + radius * offset)[1] - slope).norm()) for offset in around) for radius in (1e-6, 1e-3)
    )
    return near > 0.1 * far


def _weak_wolfe(evaluate: ValueAndGradient, at: Tensor, value: float, slope: Tensor, move: Tensor) -> float:
    """Return a step that falls by 1e-4 of the slope's promise and leaves less than 0.9 of the slope; 0 if none."""
    falls, low, high, length = float(slope @ move), 0.0, float("inf"), 1.0
    for _ in range(60):
        there, after = evaluate(at + length * move)
        if not there < value + 1e-4 * length * falls:
            high = length
        elif float(after @ move) < 0.9 * falls:
            low = length
        else:
            return length
        length = (low + high) / 2 if high < float("inf") else 2 * length
    return low
