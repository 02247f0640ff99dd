"""A line chart as SVG text: both axes logarithmic, readable in light and in dark."""

import math
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 84, 190, 44, 58
COLOURS = ("#4f46e5", "#d97706", "#059669", "#db2777", "#0891b2", "#6b7280")
CSS = """
text { font: 13px sans-serif; fill: #1f2937 }
.title { font-size: 15px; font-weight: 600 } .small { font-size: 11px; fill: #6b7280 }
.grid { stroke: #d1d5db; stroke-width: 1 } .paper { fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e5e7eb } .small { fill: #9ca3af } .grid { stroke: #374151 }
  .paper { fill: #111827 }
}
"""

Points = list[tuple[float, float]]  # (x, y), both above 0


class Axis(NamedTuple):
    """A logarithmic axis from pixel `start` to pixel `stop`."""

    low: float  # exponent of ten
    high: float
    start: float
    stop: float

    def at(self, value: float) -> float:
        """The pixel of a value."""
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Powers of ten on the axis; on a short one also their doubles and fives."""
        is_short = self.high - self.low < 2
        digits = (1, 2, 5) if is_short else (1,)
        exponents = range(math.floor(self.low), math.ceil(self.high) + 1)
        found = [d * 10.0**e for e in exponents for d in digits]
        return [v for v in found if self.low - 1e-9 <= math.log10(v) <= self.high + 1e-9]


def axis(values: list[float], start: float, stop: float) -> Axis:
    """The axis of these values, with a margin."""
    low, high = math.log10(min(values)), math.log10(max(values))
    margin = max(0.06 * (high - low), 0.08)
    return Axis(low - margin, high + margin, start, stop)


def short(value: float) -> str:
    """A number of few letters: 5k, 2M, 0.01."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:g}{unit}"
    return f"{value:.6g}"


def grid(x: Axis, y: Axis) -> list[str]:
    """Lines and numbers of both axes."""
    found = []
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for v in x.ticks():
        at = f"{x.at(v):.1f}"
        found.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{TOP}" y2="{bottom}"/>')
        found.append(
            f'<text class="small" x="{at}" y="{bottom + 18}" text-anchor="middle">{short(v)}</text>'
        )
    for v in y.ticks():
        at = f"{y.at(v):.1f}"
        found.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{at}" y2="{at}"/>')
        found.append(
            f'<text class="small" x="{LEFT - 8}" y="{y.at(v) + 4:.1f}" '
            f'text-anchor="end">{short(v)}</text>'
        )
    return found


def series(name: str, points: Points, colour: str, x: Axis, y: Axis, label: float) -> list[str]:
    """One line with its points, and its name at the right."""
    at = [(x.at(a), y.at(b)) for a, b in points]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in at)
    found = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for (a, b), (value, cost) in zip(at, points):
        told = f"<title>{escape(name)}: {short(cost)} at {short(value)}</title>"
        found.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}">{told}</circle>')
    left = WIDTH - RIGHT + 12
    found.append(f'<rect x="{left}" y="{label - 9:.1f}" width="10" height="10" fill="{colour}"/>')
    found.append(f'<text x="{left + 16}" y="{label:.1f}">{escape(name)}</text>')
    return found


def chart(title: str, x_name: str, y_name: str, lines: dict[str, Points]) -> str:
    """The whole picture."""
    points = [p for line in lines.values() for p in line]
    x = axis([a for a, _ in points], LEFT, WIDTH - RIGHT)
    y = axis([b for _, b in points], HEIGHT - BOTTOM, TOP)
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
        f"<style>{CSS}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
        *grid(x, y),
        f'<text x="{middle}" y="{HEIGHT - 14}" text-anchor="middle">{escape(x_name)}</text>',
        f'<text transform="translate(20,{HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_name)}</text>",
    ]
    for k, (name, line) in enumerate(lines.items()):
        parts += series(name, line, COLOURS[k % len(COLOURS)], x, y, TOP + 16 + 24 * k)
    return "\n".join([*parts, "</svg>"]) + "\n"
