"""Charts as SVG in the page's own colours, so that they follow light and dark and print sharply."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from unlabeled.report.content import Atlas, Projection
from unlabeled.report.markup import Markup, join, tag

MOST_POINTS = 160
"""Points of a curve; longer ones show the means of as many windows."""
DISTINCT = 10
"""Class colours that are easy to tell apart; more classes share a colour circle."""


@dataclass(frozen=True)
class Line:
    """A curve of one run: ``run`` is the run's number, which fixes its colour."""

    name: str
    run: int
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Bar:
    """An accuracy with its interval, all in [0, 1]; ``run`` is None for a baseline."""

    name: str
    value: float
    low: float
    high: float
    run: int | None = None


def number(value: float) -> str:
    """A number with three or four significant digits, without needless zeros."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 100_000 or size < 1e-3:
        return f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e")
    if size >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.{max(0, 3 - len(str(int(size))))}f}" if size >= 1 else f"{value:.3g}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers from ``low`` to ``high``, about ``count`` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def thinned(line: Line) -> Line:
    """At most :data:`MOST_POINTS` points, each the mean of a window."""
    if len(line.x) <= MOST_POINTS:
        return line
    parts = np.array_split(np.arange(len(line.x)), MOST_POINTS)
    x, y = np.asarray(line.x, dtype=float), np.asarray(line.y, dtype=float)
    return Line(line.name, line.run, [float(x[p].mean()) for p in parts], [float(y[p].mean()) for p in parts])


def line_chart(lines: Sequence[Line], x_name: str = "epoch", width: int = 340, height: int = 190) -> Markup:
    """Curves over a common axis; points that are not finite are left out."""
    lines = [
        thinned(Line(line.name, line.run, *_finite(line.x, line.y)))
        for line in lines
        if any(map(math.isfinite, line.y))
    ]
    if not lines:
        return Markup("")
    left, right, top, bottom = 46, 12, 8, 30
    xs, ys = [x for line in lines for x in line.x], [y for line in lines for y in line.y]
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    if x0 == x1:
        x0, x1 = x0 - 0.5, x1 + 0.5
    margin = (y1 - y0) * 0.06 or abs(y1) * 0.1 or 1.0
    y0, y1 = (0.0 if 0 <= y0 < 0.25 * (y1 - y0) else y0 - margin), y1 + margin

    def px(x: float) -> float:
        return round(left + (x - x0) / (x1 - x0) * (width - left - right), 1)

    def py(y: float) -> float:
        return round(height - bottom - (y - y0) / (y1 - y0) * (height - top - bottom), 1)

    grid = [
        (
            tag("line", class_="grid", x1=left, x2=width - right, y1=py(y), y2=py(y)),
            tag("text", number(y), class_="tick", x=left - 6, y=py(y) + 4, text_anchor="end"),
        )
        for y in ticks(y0, y1)
    ]
    below = [
        tag("text", number(x), class_="tick", x=px(x), y=height - bottom + 15, text_anchor="middle")
        for x in ticks(x0, x1, 5)
    ]
    axis = tag("text", x_name, class_="tick", x=width - right, y=height - 2, text_anchor="end")
    drawn = [_curve(line, [(px(x), py(y)) for x, y in zip(line.x, line.y, strict=True)], x_name) for line in lines]
    name = ", ".join(line.name for line in lines)
    return tag("svg", grid, below, axis, drawn, viewBox=f"0 0 {width} {height}", role="img", aria_label=name)


def _finite(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def _curve(line: Line, points: Sequence[tuple[float, float]], x_name: str) -> Markup:
    colour = f"r{line.run % 6}"
    path = " ".join(f"{x},{y}" for x, y in points)
    spots = [
        tag("circle", class_="spot", cx=x, cy=y, r=5, data_tip=f"{line.name}: {number(b)} at {x_name} {number(a)}")
        for (x, y), a, b in zip(points, line.x, line.y, strict=True)
    ]
    last = tag("circle", class_="end", cx=points[-1][0], cy=points[-1][1], r=2.5)
    return tag("g", tag("polyline", points=path), last, spots, class_=f"curve {colour}")


def bar_chart(groups: Sequence[tuple[str, Sequence[Bar]]], width: int = 560) -> Markup:
    """Horizontal bars with interval whiskers, grouped (one group a probe), on a common axis in percent.

    Where every group has one bar, the bars carry the groups' names.
    """
    bars = [bar for _, group in groups for bar in group]
    if not bars:
        return Markup("")
    single = all(len(group) == 1 for _, group in groups)
    if single:
        groups = [("", [replace(bar, name=name)]) for name, (bar,) in groups]
    label, right, row, head, gap = (150, 60, 26, 6, 0) if single else (200, 60, 20, 24, 12)
    high = min(1.0, max(bar.high for bar in bars) * 1.02)
    scale = (width - label - right) / high
    height = sum(head + len(group) * row + gap for _, group in groups) + 18
    parts: list[Markup] = []
    steps = [step for step in ticks(0, high * 100, 4) if step <= high * 100]
    for step in steps:
        x = round(label + step / 100 * scale, 1)
        parts.append(tag("line", class_="grid", x1=x, x2=x, y1=4, y2=height - 18))
        text = f"{number(step)} %" if step == steps[-1] else number(step)
        parts.append(tag("text", text, class_="tick", x=x, y=height - 4, text_anchor="middle"))
    y = 0.0
    for name, group in groups:
        if name:
            parts.append(tag("text", name, class_="group", x=0, y=y + head - 8))
        y += head
        for bar in group:
            parts.append(_bar(bar, y, row, label, scale))
            y += row
        y += gap
    return tag("svg", parts, viewBox=f"0 0 {width} {height}", role="img", aria_label="accuracy of the probes")


def _bar(bar: Bar, y: float, row: int, label: int, scale: float) -> Markup:
    middle = y + row / 2
    start, end, value = (round(label + v * scale, 1) for v in (bar.low, bar.high, bar.value))
    tip = f"{bar.name}: {100 * bar.value:.1f} % (95 % interval {100 * bar.low:.1f} to {100 * bar.high:.1f})"
    shown = bar.name if len(bar.name) <= 30 else "…" + bar.name[-29:]
    return tag(
        "g",
        tag("text", shown, class_="label", x=label - 8, y=middle + 4, text_anchor="end"),
        tag("rect", x=label, y=y + 3, width=max(value - label, 0), height=row - 6, rx=2),
        tag("path", class_="whisker", d=f"M{start} {middle}H{end}M{start} {middle - 3}v6M{end} {middle - 3}v6"),
        tag("text", f"{100 * bar.value:.1f}", class_="value", x=end + 6, y=middle + 4),
        class_=f"bar {'base' if bar.run is None else f'r{bar.run % 6}'}",
        data_tip=tip,
    )


def class_colour(label: int, count: int) -> str:
    """The CSS colour of a class."""
    if count <= DISTINCT:
        return f"var(--k{label % DISTINCT})"
    return f"hsl({label * 360 // count} {65 if label % 2 else 55}% {58 if label % 2 else 45}%)"


def scatter(projection: Projection, atlas: Atlas, side: int = 440, kinds: Sequence[str] | None = None) -> Markup:
    """Points that show their image under the pointer (``data-i`` is the image's number, ``kinds`` the CSS classes)."""
    points = projection.points.astype(np.float64)
    low, high = points.min(0), points.max(0)
    spread = np.where(high > low, high - low, 1.0)
    places = (points - low) / spread * (side - 20) + 10
    count = len(atlas.classes) if atlas.classes else int(atlas.labels.max()) + 1 if atlas.labels is not None else 0
    circles = [
        tag(
            "circle",
            cx=f"{x:.1f}",
            cy=f"{side - y:.1f}",
            r=3.2,
            class_=kinds[i] if kinds else None,
            data_i=i,
            data_c=None if atlas.labels is None else int(atlas.labels[i]),
            style=None if atlas.labels is None else f"fill:{class_colour(int(atlas.labels[i]), count)}",
        )
        for i, (x, y) in enumerate(places)
    ]
    return tag("svg", join(circles), class_="scatter", viewBox=f"0 0 {side} {side}", role="img")
