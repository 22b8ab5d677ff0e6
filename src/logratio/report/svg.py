"""A plot of points as an SVG file of its own, for documents: light and dark, text as text, no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from .frame import look
from .kit import Dots, Scatter
from .text import number, visible

WIDTH, HEIGHT = 860, 520
LEFT, TOP, BOTTOM, RIGHT = 64, 28, 56, 210

DASH = {"solid": "", "dashed": "7 5", "dotted": "2 4", "dotdash": "2 4 7 4"}

_STYLE = """
svg { font: 13px system-ui, sans-serif; background: #ffffff; color: #17202b }
text { fill: #17202b } .muted { fill: #56616e } .grid { stroke: #e6e9ee }
.series-1 { --tone: #1d5bb8 } .series-2 { --tone: #b34d00 } .series-3 { --tone: #0b7268 } .series-4 { --tone: #7637c9 }
.line { stroke: var(--tone); fill: none; stroke-width: 2.5 } .thin { stroke-width: 1.2 }
.point { stroke: var(--tone); fill: #ffffff; stroke-width: 1.6 } .bar { stroke: var(--tone); stroke-opacity: .55 }
@media (prefers-color-scheme: dark) {
svg { background: #171d24 } text { fill: #e6ebf0 } .muted { fill: #9ba8b5 } .grid { stroke: #27303a }
.series-1 { --tone: #7db5ff } .series-2 { --tone: #ffab57 } .series-3 { --tone: #58d0c0 } .series-4 { --tone: #c3a3ff }
.point { fill: #171d24 } }
"""


def drawing(plot: Scatter) -> str:
    """Return a plot as SVG, its legend at the right, each point named by its title."""
    scale = _Scale(plot.dots)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{_text(plot.title)}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="none"/>',
        *_axes(plot, scale),
        *(line for dots in plot.dots for line in _dots(dots, scale)),
        *(line for at, dots in enumerate(plot.dots) for line in _key(dots, at)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Scale:
    """From values to pixels."""

    def __init__(self, kinds: Sequence[Dots]) -> None:
        xs = [x for dots in kinds for x in dots.x if math.isfinite(x)] or [0.0, 1.0]
        ys = [
            y for dots in kinds for y in (*dots.y, *(() if dots.bare else (*dots.low, *dots.high))) if math.isfinite(y)
        ]
        self.x_ticks = _ticks(min(0.0, *xs), max(xs))
        ys = ys or [0.0, 1.0]
        self.y_ticks = _ticks(min(ys), max(ys))
        self._x = min(0.0, *xs), max(*xs, self.x_ticks[-1])
        self._y = min(*ys, self.y_ticks[0]), max(*ys, self.y_ticks[-1])

    def x(self, value: float) -> float:
        low, high = self._x
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low or 1)

    def y(self, value: float) -> float:
        low, high = self._y
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low or 1)


def _ticks(low: float, high: float) -> list[float]:
    """Return about six round values that cover a range."""
    span = (high - low) or 1.0
    raw = span / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first = math.floor(low / step)
    return [round(step * at, 10) for at in range(first, math.ceil(high / step) + 1)]


def _axes(plot: Scatter, scale: _Scale) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    lines = []
    for value in scale.y_ticks:
        y = scale.y(value)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text class="muted" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>')
    for value in scale.x_ticks:
        x = scale.x(value)
        lines.append(f'<text class="muted" x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{number(value)}</text>')
    middle = (TOP + bottom) / 2
    lines.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{_text(plot.x_label)}</text>')
    turned = f'transform="rotate(-90 16 {middle})"'
    lines.append(f'<text x="16" y="{middle}" text-anchor="middle" {turned}>{_text(plot.y_label)}</text>')
    return lines


def _dots(dots: Dots, scale: _Scale) -> list[str]:
    tone, dash, marker = look(dots.look)
    kept = [i for i in range(len(dots.x)) if math.isfinite(dots.x[i]) and math.isfinite(dots.y[i])]
    lines = [f'<g class="{tone}">']
    if dots.joined and len(kept) > 1:
        path = " ".join(f"{scale.x(dots.x[i]):.1f},{scale.y(dots.y[i]):.1f}" for i in kept)
        thin = "" if dots.bare else " thin"
        lines.append(f'<polyline class="line{thin}" stroke-dasharray="{DASH[dash]}" points="{path}"/>')
    for i in kept if not dots.bare else ():
        x, y = scale.x(dots.x[i]), scale.y(dots.y[i])
        if dots.low and math.isfinite(dots.low[i]):
            ends = f'y1="{scale.y(dots.low[i]):.1f}" y2="{scale.y(dots.high[i]):.1f}"'
            lines.append(f'<line class="bar" x1="{x:.1f}" x2="{x:.1f}" {ends}/>')
        name = ", ".join(filter(None, [dots.label, dots.names[i] if dots.names else ""]))
        said = f"{name}: KL {number(dots.x[i])}, {number(dots.y[i])}"
        lines.append(f"{_mark(marker, x, y)}<title>{_text(said)}</title></path>")
    return [*lines, "</g>"]


def _mark(marker: str, x: float, y: float) -> str:
    """Return the opening tag of a marker's path."""
    r = 4.2
    shape = {
        "circle": f"M{x - r:.1f},{y:.1f}a{r},{r} 0 1,0 {2 * r},0a{r},{r} 0 1,0 {-2 * r},0z",
        "triangle": f"M{x:.1f},{y - r - 0.6:.1f}l{r + 0.6:.1f},{2 * r:.1f}h{-2 * r - 1.2:.1f}z",
        "square": f"M{x - r + 0.4:.1f},{y - r + 0.4:.1f}h{2 * r - 0.8:.1f}v{2 * r - 0.8:.1f}h{-2 * r + 0.8:.1f}z",
        "diamond": f"M{x:.1f},{y - 5.2:.1f}l5.2,5.2l-5.2,5.2l-5.2,-5.2z",
    }[marker]
    return f'<path class="point" d="{shape}">'


def _key(dots: Dots, at: int) -> list[str]:
    tone, dash, marker = look(dots.look)
    x, y = WIDTH - RIGHT + 18, TOP + 8 + 22 * at
    lines = [f'<g class="{tone}">']
    if dots.joined:
        lines.append(f'<line class="line" stroke-dasharray="{DASH[dash]}" x1="{x}" x2="{x + 30}" y1="{y}" y2="{y}"/>')
    if not dots.bare:
        lines.append(f"{_mark(marker, x + 15, y)}</path>")
    return [*lines, "</g>", f'<text x="{x + 40}" y="{y + 4}">{_text(dots.label)}</text>']


def _text(text: str) -> str:
    return escape(visible(text))
