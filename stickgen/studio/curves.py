"""Curves of a run as vector graphics: a metric over the steps, beside the frozen base and the simple guesses."""

import html
import math
from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 360, 190, 58, 22, 10
_MOST_POINTS = 400
_NEAR = 2.0
"""Factor within which a simple guess is drawn beside the curve."""


def chart(
    title: str, points: Sequence[tuple[int, float]], beside: Mapping[str, float], *, logarithmic: bool = False
) -> str:
    """Return a chart with its title and legend as HTML.

    Args:
        title: what is drawn.
        points: step and value.
        beside: name → value of the lines to compare with.
        logarithmic: whether the values' axis is.
    """
    points = [(step, value) for step, value in points if math.isfinite(value) and (value > 0 or not logarithmic)]
    beside = {name: v for name, v in beside.items() if math.isfinite(v) and (v > 0 or not logarithmic)}
    heading = f"<figcaption>{html.escape(title)}</figcaption>"
    if not points:
        return f'<figure class="chart">{heading}<p>no value yet</p></figure>'
    points = points[:: -(-len(points) // _MOST_POINTS)] + points[-1:]
    scale = math.log if logarithmic else float
    values = [scale(value) for _, value in points] + [scale(value) for value in [*beside.values()][:1]]
    # Guesses that are far from the curve would flatten it; the legend has them.
    near = math.log(_NEAR) if logarithmic else math.inf
    values += [at for v in beside.values() if min(values) - near <= (at := scale(v)) <= max(values) + near]
    low, high = min(values), max(values)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    last = max(points[-1][0], 1)

    def x(step: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - 6) * step / last

    def y(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - scale(value)) / (high - low)

    path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
    lines = "".join(
        f'<line class="beside-{number}" x1="{_LEFT}" x2="{_WIDTH - 6}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        for number, value in enumerate(beside.values())
        if low <= scale(value) <= high
    )
    ends = [math.exp(end) if logarithmic else end for end in (high, low)]
    labels = "".join(
        f'<text x="{_LEFT - 5}" y="{at}" text-anchor="end">{end:.3g}</text>'
        for end, at in zip(ends, (_TOP + 8, _HEIGHT - _BOTTOM), strict=True)
    )
    step, value = points[-1]
    said = f"{title}: {value:.3g} at step {step}; " + "; ".join(f"{name} {v:.3g}" for name, v in beside.items())
    numbered = enumerate(beside.items())
    named = "".join(f'<li class="beside-{at}">{html.escape(name)} {v:.3g}</li>' for at, (name, v) in numbered)
    return (
        f'<figure class="chart">{heading}'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(said)}">'
        f'<path class="axis" d="M{_LEFT},{_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - 6}"/>{labels}'
        f'<text x="{_WIDTH - 6}" y="{_HEIGHT - 6}" text-anchor="end">step {last}</text>{lines}'
        f'<polyline class="own" points="{path}"/>'
        f'<circle class="own" cx="{x(step):.1f}" cy="{y(value):.1f}" r="3"/></svg>'
        f'<ul><li class="own">model {value:.3g}</li>{named}</ul></figure>'
    )
