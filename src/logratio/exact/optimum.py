"""The minimiser of a population loss over tabular policies, or where the loss leads if it has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .kink import settle
from .world import policy

Loss = Callable[[Tensor], Tensor]
"""Logits [X, Y], float64 → scalar; differentiable."""

Kind = Literal["finite", "boundary", "limit", "unbounded", "stalled"]

_FAR = 1e4
"""Logits this large, in nats, are under way to infinity."""


@dataclass(frozen=True)
class Optimum:
    """What descent from a start arrives at.

    Attributes:
        kind: "finite": the gradient vanishes at a policy. "boundary": the loss has a kink there and no direction
            descends; the policy is found to about 1e-8, since the loss does not tell it better.
            "limit": it falls towards a bound that no policy attains, along a direction in which log-ratios diverge.
            "unbounded": it falls without bound. "stalled": none of these could be established.
        policy_XY: Log-probs of the minimiser; for a limit, of the limiting policy, −∞ where it vanishes.
        vanishing_XY: Whether log π(y|x) goes to −∞, bool; all false where the minimum is attained.
        loss: Its value there, or at the last iterate.
        gradient: Euclidean norm of the gradient in logits, at the last iterate.
        free: Directions beyond the constants of each prompt along which loss and gradient do not change: > 0 where
            comparisons do not determine the policy; the start decides there.
        steps: Newton steps (and quasi-Newton ones, if a kink was met).
    """

    kind: Kind
    policy_XY: Tensor
    vanishing_XY: Tensor
    loss: float
    gradient: float
    free: int
    steps: int

    @property
    def attained(self) -> bool:
        """Whether a policy with all probabilities > 0 attains the minimum."""
        return self.kind in ("finite", "boundary")


def minimise(loss: Loss, start_XY: Tensor, *, tolerance: float = 1e-12, steps: int = 200) -> Optimum:
    """Descend from a policy by damped Newton steps in logits centred for each prompt.

    Curvature is taken by its absolute value, so that steps descend where the loss is not convex: a local minimum. What
    is found in the non-convex case is where descent from the start leads.

    Args:
        loss: Of logits [X, Y]. A detached part (a baseline) counts as constant in each gradient.
        start_XY: Logits or log-probs, usually the reference's; directions without gradient keep its values.
        tolerance: Gradient norm at which a minimum counts as found, relative to max(1, |loss at the start|).
        steps: Most Newton steps.
    """
    path = _Path(loss, start_XY.double(), tolerance)
    path.descend(steps)
    path.iterate(steps)
    if path.gradient > path.tolerance and path.at.abs().max() < _FAR:
        at, taken, kink = settle(path.value_and_gradient, path.at)
        path.jump(at)
        path.others += taken
        if kink:
            vanishing_XY = path.carried_off()
            return path.result("limit" if bool(vanishing_XY.any()) else "boundary", vanishing_XY)
        path.radius = 1.0
        path.descend(steps)
    if path.gradient <= path.tolerance:
        return path.result("limit", path.trend()) if path.diverges() else path.result("finite")
    if path.at.abs().max() >= _FAR:
        return path.result("unbounded" if path.keeps_falling() else "limit", path.trend())
    return path.result("stalled")


def logit_gradient(loss: Loss, logits_XY: Tensor) -> Tensor:
    """Return ∂loss/∂logits, [X, Y], by automatic differentiation.

    The normaliser of a softmax reads every response, but a loss of log-ratio differences within a prompt cancels it: a
    response in no pair then has gradient 0, up to the rounding of that cancellation (1e-17).
    """
    leaf_XY = logits_XY.detach().double().requires_grad_()
    (gradient_XY,) = torch.autograd.grad(loss(leaf_XY), leaf_XY)
    return gradient_XY


class _Path:
    """The iterate z in coordinates that leave out each prompt's constant: logits = start + z·basisᵀ."""

    def __init__(self, loss: Loss, start_XY: Tensor, tolerance: float) -> None:
        self.loss, self.start_XY = loss, policy(start_XY)
        self.basis = _centred_basis(start_XY.shape[1])
        self.at = torch.zeros(len(start_XY) * (start_XY.shape[1] - 1), dtype=torch.float64)
        self.radius = 1.0
        self.moves: list[Tensor] = []
        self.others = 0
        self._evaluate()
        self.scale = max(1.0, abs(self.value))
        self.tolerance = tolerance * self.scale

    def logits(self, z: Tensor) -> Tensor:
        return self.start_XY + z.reshape(len(self.start_XY), -1) @ self.basis.T

    def _evaluate(self) -> None:
        """Take value, gradient and curvature at the iterate."""
        z = self.at.detach().requires_grad_()
        value = self.loss(self.logits(z))
        slope = torch.autograd.grad(value, z, create_graph=True)[0] if value.requires_grad else torch.zeros_like(z)
        curvature = torch.zeros(len(z), len(z), dtype=torch.float64)
        if slope.requires_grad:
            curvature = torch.autograd.grad(
                slope, z, torch.eye(len(z), dtype=z.dtype), is_grads_batched=True, materialize_grads=True
            )[0]
        self.value, self.slope = float(value.detach()), slope.detach()
        self.gradient = float(self.slope.norm())
        self.eigenvalues, self.axes = torch.linalg.eigh((curvature + curvature.T) / 2)

    def value_and_gradient(self, z: Tensor) -> tuple[float, Tensor]:
        leaf = z.detach().requires_grad_()
        value = self.loss(self.logits(leaf))
        slope = torch.autograd.grad(value, leaf)[0] if value.requires_grad else torch.zeros_like(z)
        return float(value.detach()), slope

    def _value(self, z: Tensor) -> float:
        with torch.no_grad():
            return float(self.loss(self.logits(z)))

    def flat(self) -> Tensor:
        """Return which axes have neither curvature nor slope, beyond rounding."""
        along = self.axes.T @ self.slope
        bend = self.eigenvalues.abs()
        flat: Tensor = (bend <= 1e-13 * max(float(bend.max()), 1e-3 * self.scale)) & (along.abs() <= 1e-14 * self.scale)
        return flat

    def newton_move(self) -> Tensor:
        along = self.axes.T @ self.slope
        bend = self.eigenvalues.abs().clamp(min=max(self.gradient, 1e-300) / self.radius)
        move: Tensor = -self.axes @ torch.where(self.flat(), torch.zeros_like(along), along / bend)
        return move

    def descend(self, steps: int) -> None:
        """Step until the gradient vanishes, the iterate is far out, or steps become tiny, as they do at a kink."""
        for _ in range(steps):
            if self.gradient <= self.tolerance or self.at.abs().max() >= _FAR or self.radius < 1e-3:
                break
            if not self.step():
                break
        self.polish()

    def iterate(self, steps: int) -> None:
        """Take undamped steps for as long as the gradient falls.

        Where part of the loss is detached the gradient is not the slope of its value, so that a line search misleads;
        curvature leaves that part out too, and steps then contract linearly.
        """
        for _ in range(steps):
            before, gradient, move = self.at, self.gradient, self.newton_move()
            if gradient <= self.tolerance or self.at.abs().max() >= _FAR:
                break
            self.jump(before + move)
            if not self.gradient < 0.99 * gradient:
                self.jump(before)
                break
            self.moves.append(move)
            self.radius = max(1.0, self.radius)

    def step(self) -> bool:
        """Make one step; return whether one could be made."""
        move, start = self.newton_move(), (self.at, self.gradient)
        length = self._length(move)
        self.jump(self.at + (length or 1.0) * move)
        if not length:  # the loss is all rounding, or not what the gradient belongs to: go by the gradient
            if not self.gradient < 0.9 * start[1]:
                self.jump(start[0])
                return False
            length = 1.0
        self.moves.append(length * move)
        if length < 1:
            self.radius = max(1e-6, length * self.radius)
        elif float(move.norm()) > 0.5 * self.radius:
            self.radius *= 2
        return True

    def _length(self, move: Tensor) -> float:
        """Return the first of 1, ½, ¼, … at which the loss falls as its slope promises; 0 if it falls nowhere."""
        falls = float(self.slope @ move)
        if -falls < 1e-12 * max(1.0, abs(self.value)):
            return 0.0
        for length in (0.5**halvings for halvings in range(30)):
            if self._value(self.at + length * move) <= self.value + 1e-4 * length * falls:
                return length
        return 0.0

    def jump(self, z: Tensor) -> None:
        self.at = z
        self._evaluate()

    def polish(self) -> None:
        """Take up to three more steps while the gradient falls tenfold: the last digits of a minimum."""
        for _ in range(3):
            if self.gradient > self.tolerance or self.diverges() or not self.moves:
                return
            before, norm, move = self.at, self.gradient, self.newton_move()
            self.jump(self.at + move)
            if self.gradient > norm / 10:
                return self.jump(before)

    def diverges(self) -> bool:
        """Return whether Newton's next step is as long as the last one, though the gradient has all but vanished.

        At a minimum the next step is down to rounding. In a tail steps do not shrink: their length is 1/β in an
        exponential one, and grows in a flatter one. A gradient that is 0 to the last bit is a plateau, not a tail.
        """
        if not self.moves or self.gradient == 0:
            return False
        following = float(self.newton_move().norm())
        return following > 1e-3 and following >= 0.5 * min(float(self.moves[-1].norm()), self.radius)

    def keeps_falling(self) -> bool:
        """Return whether the loss falls as fast ten times farther out as it does here."""
        direction = self.at / self.at.norm()
        here = float(self.slope @ direction)
        there = float(self.value_and_gradient(10 * self.at)[1] @ direction)
        return here < -1e-9 and there <= 0.5 * here

    def trend(self) -> Tensor:
        """Return which log-probs the last step carried down, and so will the next, bool [X, Y]."""
        step = self.moves[-1] if self.moves else self.at
        moved_XY = policy(self.logits(self.at + step)) - policy(self.logits(self.at))
        return moved_XY < -0.05 * float(moved_XY.abs().max())

    def carried_off(self) -> Tensor:
        """Return which responses have all but vanished at a kink and may vanish altogether at no loss, bool [X, Y]."""
        policy_XY = policy(self.logits(self.at))
        small_XY = policy_XY - self.start_XY < -10
        with torch.no_grad():
            without = float(self.loss(policy_XY - 20 * small_XY))
        return small_XY & (without <= self.value + 1e-9 * max(1.0, abs(self.value)))

    def result(self, kind: Kind, vanishing_XY: Tensor | None = None) -> Optimum:
        policy_XY = policy(self.logits(self.at))
        gone_XY = torch.zeros_like(policy_XY, dtype=torch.bool) if vanishing_XY is None else vanishing_XY
        return Optimum(
            kind=kind,
            policy_XY=policy(policy_XY.masked_fill(gone_XY, float("-inf"))),
            vanishing_XY=gone_XY,
            loss=self.value,
            gradient=self.gradient,
            free=int(self.flat().sum()),
            steps=len(self.moves) + self.others,
        )


def _centred_basis(responses: int) -> Tensor:
    """Return an orthonormal basis of the vectors [Y] that sum to 0, [Y, Y−1]."""
    full = torch.eye(responses, dtype=torch.float64)
    full[:, 0] = 1
    basis: Tensor = torch.linalg.qr(full)[0][:, 1:]
    return basis
