"""Preferences that go in a circle, and whether noise alone would make as many of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..findings import Drawing, Example, Figure, Finding, Level
from ..maths.counter import stream
from .judged import percent, several
from .rows import Rows, cut
from .tournaments import Counts, Tournaments, majority, on_cycles, tournaments, triads

Ids = NDArray[Any]

DRAWS = 200
"""Data sets drawn from the model of noise."""

SCALES = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Standard deviations of strengths, in nats, among which the likeliest is taken."""

EXAMPLES = 5
_SURE = 0.05  # such p-values lean to ½: of 180 sets with noise alone 1 in 180 was below it
_STEPS = 12
_CELLS = 1_000_000  # of all tournaments that are compared with noise


@dataclass(frozen=True)
class Noise:
    """What Bradley–Terry noise would give.

    Attributes:
        scale: Standard deviation of the strengths of one prompt's responses, nats.
        cyclic_D: Triads that go in a circle in each of D drawn data sets, float64 [D].
        cyclic: Triads that do in the data.
        closed: Triads of which all pairs are decided in the data.
        p: Share of drawn data sets with at least as many as the data, (1 + count) / (1 + D).
        prompts: Prompts that were compared.
    """

    scale: float
    cyclic_D: Counts
    cyclic: float
    closed: float
    p: float
    prompts: int


def intransitivity(rows: Rows, form_T: Ids, *, seed: int = 0) -> Finding:
    """Count circles among the judgements of each prompt, and compare their number with what noise would give.

    Noise is Bradley–Terry: P(i beats j) = σ(θ_i − θ_j), with strengths θ ~ N(0, s²) within a prompt. The scale s is
    the one with the greatest marginal likelihood (Laplace's approximation); data sets of the same design are then drawn
    from the posterior of θ, and their triads counted as the data's are (a posterior predictive check; Gelman, Meng and
    Stern 1996). With single judgements of three pairs per prompt, up to a quarter of the triads can always be noise.

    Args:
        rows: E judged pairs.
        form_T: First text that differs from each in case and white space at most.
        seed: Of the drawn data sets.
    """
    blocks = list(tournaments(rows, form_T))
    ahead = [majority(block.wins_GKK) for block in blocks]
    found = [triads(matrix) for matrix in ahead]
    cyclic, total = (sum(float(part[at].sum()) for part in found) for at in (0, 1))
    cycles = [on_cycles(matrix) for matrix in ahead]
    prompts = sum(len(block.prompt_G) for block in blocks)
    with_cycles = sum(int(matrix.any((1, 2)).sum()) for matrix in cycles)
    figures: dict[str, Figure] = {
        "prompts_looked_at": prompts,
        "prompts_with_cycles": with_cycles,
        "triads": int(round(total)),
        "cyclic_triads": int(round(cyclic)),
        "pairs_on_cycles": sum(int(matrix.sum()) for matrix in cycles),
    }
    if not prompts:
        said = "No prompt has three responses that were compared with each other, so nothing can go in a circle."
        return Finding("intransitivity", "fine", said, figures=figures)
    if not with_cycles:
        said = f"No preferences go in a circle in {several(prompts, 'prompt')} ({several(int(round(total)), 'triad')})."
        return Finding("intransitivity", "fine", said, figures=figures)
    examples = [
        example for block, matrix in zip(blocks, cycles, strict=True) for example in _examples(rows, block, matrix)
    ][:EXAMPLES]
    head = f"Preferences go in a circle in {with_cycles:,} of {several(prompts, 'prompt')}"
    if not cyclic:
        said = f"{head}, but in no triad, so that their number cannot be compared with noise."
        return Finding("intransitivity", "note", said, "", figures, examples=examples)
    return _compared(head, compare(blocks, seed=seed), cyclic, total, figures, examples)


def _compared(
    head: str, noise: Noise, cyclic: float, total: float, figures: dict[str, Figure], examples: list[Example]
) -> Finding:
    """Return the finding on circles of three, beside what noise would give."""
    share, expected = cyclic / total, float(noise.cyclic_D.mean()) / noise.closed * total
    figures = figures | {
        "share_of_triads": share,
        "expected_by_noise": expected,
        "p": noise.p,
        "strength_scale_nats": noise.scale,
        "flips_that_explain_it": flips(share),
        "prompts_compared_with_noise": noise.prompts,
    }
    level: Level = "look" if noise.p <= _SURE else "note"
    verdict = "more than noise gives" if level == "look" else "no more than noise gives"
    return Finding(
        "intransitivity",
        level,
        f"{head}; {int(round(cyclic)):,} of {several(int(round(total)), 'triad')} ({percent(share)}) do, {verdict}: "
        f"{expected:,.0f} are expected of Bradley–Terry noise (p = {noise.p:.2g}).",
        "No single reward can hold these preferences: part them by criterion or annotator, or learn from them with an "
        "objective that needs no reward, and judge by win rate."
        if level == "look"
        else "",
        figures,
        _histogram(noise.cyclic_D, noise.cyclic),
        examples,
    )


def flips(share: float) -> float | None:
    """Return the share of flipped judgements that turns an order into this share of cyclic triads; None above ¼.

    Three pairs of an order, each flipped with probability ε, go in a circle with probability ε(1 − ε).
    """
    return None if share > 0.25 else (1 - math.sqrt(1 - 4 * share)) / 2


def compare(blocks: Sequence[Tournaments], *, seed: int = 0) -> Noise:
    """Return what Bradley–Terry noise would give in tournaments of this design, or in a sample of many."""
    sample = _sampled([block.wins_GKK for block in blocks])
    scale = max(SCALES, key=lambda scale: sum(float(fit(wins, scale)[2].sum()) for wins in sample))
    seen = [triads(majority(wins)) for wins in sample]
    drawn = np.zeros(DRAWS)
    for number, wins in enumerate(sample):
        mean, root, _ = fit(wins, scale)
        games, rng = wins + wins.swapaxes(1, 2), stream(seed, "intransitivity", number)
        for at in range(DRAWS):
            drawn[at] += triads(majority(_drawn(rng, games, mean, root)))[0].sum()
    cyclic, closed = (sum(float(found[part].sum()) for found in seen) for part in (0, 1))
    p = float((1 + (drawn >= cyclic - 1e-6).sum()) / (1 + DRAWS))
    return Noise(scale, drawn, cyclic, closed, p, sum(len(wins) for wins in sample))


def _sampled(wins: Sequence[Counts]) -> list[Counts]:
    """Return the tournaments, or every so many-th where there are more than a minute would do."""
    step = max(1, math.ceil(sum(own.size for own in wins) / _CELLS))
    return [own[::step] for own in wins]


def fit(wins: Counts, scale: float) -> tuple[Counts, Counts, Counts]:
    """Return (strengths at the mode [G, K], a root of their covariance [G, K, K], log marginal likelihood [G]).

    Newton's method on Σ w_ij log σ(θ_i − θ_j) − Σ θ_i² / 2s²; the marginal likelihood is Laplace's approximation.

    Args:
        wins: How often i beat j, [G, K, K].
        scale: s ≥ 0, standard deviation of the strengths; 0: all are equal.
    """
    groups, size = wins.shape[:2]
    if scale == 0:
        none = np.zeros((groups, size))
        return none, np.zeros((groups, size, size)), -math.log(2) * wins.sum((1, 2))
    theta = np.zeros((groups, size))
    games, own = wins + wins.swapaxes(1, 2), np.arange(size)
    for _ in range(_STEPS):
        chance = _chance(theta)
        slope = (wins - games * chance).sum(2) - theta / scale**2
        bend = -games * chance * (1 - chance)
        bend[:, own, own] = -bend.sum(2) + 1 / scale**2
        theta = theta + np.clip(np.linalg.solve(bend, slope[:, :, None])[:, :, 0], -2.0, 2.0)
    chance = _chance(theta)
    bend = -games * chance * (1 - chance)
    bend[:, own, own] = -bend.sum(2) + 1 / scale**2
    lower = np.linalg.cholesky(bend)
    log_det = 2 * np.log(lower[:, own, own]).sum(1)
    fitted = (wins * np.log(np.maximum(chance, 1e-300))).sum((1, 2)) - (theta**2).sum(1) / (2 * scale**2)
    root = np.linalg.inv(lower).swapaxes(1, 2)  # root · rootᵀ = bend⁻¹
    return theta, root, fitted - size * math.log(scale) - log_det / 2


def _chance(theta: Counts) -> Counts:
    chance: Counts = 1 / (1 + np.exp(np.clip(theta[:, None, :] - theta[:, :, None], -50, 50)))
    return chance


def _drawn(rng: np.random.Generator, games: Counts, mean: Counts, root: Counts) -> Counts:
    """Return wins of one data set of the same design, with strengths from their posterior."""
    theta = mean + (root @ rng.standard_normal((*mean.shape, 1)))[:, :, 0]
    upper = np.triu(np.ones(games.shape[1:]), 1)
    won = rng.binomial((games * upper).astype(np.int64), _chance(theta)).astype(np.float64)
    return won + ((games * upper) - won).swapaxes(1, 2)


def _histogram(drawn: Counts, seen: float) -> Drawing:
    low, high = min(float(drawn.min()), seen), max(float(drawn.max()), seen)
    edges = np.linspace(low, max(high, low + 1), 21)
    counts = np.histogram(drawn, edges)[0].tolist()
    here = [None] * len(counts)
    marks: list[float | None] = list(here)
    marks[min(int(np.searchsorted(edges, seen, "right")) - 1, len(counts) - 1)] = float(max(counts))
    names = [f"{edge:,.0f}" for edge in edges[:-1]]
    return Drawing(
        "bars",
        "Triads that go in a circle: the data, and data sets with noise alone",
        "cyclic triads from",
        "data sets",
        names,
        {"noise alone": counts, "the data": marks},
        "The data far to the right of the noise means that no single reward explains them.",
    )


def _examples(rows: Rows, block: Tournaments, found: NDArray[np.bool_]) -> Iterator[Example]:
    """Yield the shortest circle of each prompt that has one."""
    for at in np.flatnonzero(found.any((1, 2)))[:EXAMPLES]:
        circle = _shortest(found[at])
        texts = [int(block.text_GK[at, node]) for node in circle]
        names = {f"{number} beats {number % len(texts) + 1}": text for number, text in enumerate(texts, 1)}
        edge = int(np.flatnonzero(rows.prompt_E == block.prompt_G[at])[0])
        named = {"prompt": int(block.prompt_G[at]), **names}
        yield Example(
            rows.origin(edge),
            f"{len(texts)} responses that beat each other in a circle",
            {name: cut(rows.texts[text]) for name, text in named.items()},
        )


def _shortest(edges: NDArray[np.bool_]) -> list[int]:
    """Return the responses of a shortest circle through the first pair that lies on one."""
    start, first = (int(number) for number in np.argwhere(edges)[0])
    before = {first: start}
    waiting = [first]
    while start not in before:
        at = waiting.pop(0)
        for following in np.flatnonzero(edges[at]).tolist():
            if following not in before:
                before[following] = at
                waiting.append(following)
    path, at = [start], before[start]
    while at != start:
        path.append(at)
        at = before[at]
    return [start, *reversed(path[1:])]
