"""A measurement as a picture: latency over time, and where the time went. SVG, written by hand."""

from __future__ import annotations

from xml.sax.saxutils import escape

import numpy as np

from .measurement import Measurement

WIDTH, HEIGHT = 960, 560  # of the whole picture
LEFT, RIGHT = 64, 24
TOP, PLOT_HEIGHT = 64, 250  # of latency over time
STAGES_TOP, BAR_HEIGHT = 386, 26  # of the stages' bars
LEGEND_TOP, LEGEND_STEP, LEGEND_COLUMNS = 472, 20, 5
COLUMNS = 480  # of latency over time; each shows the least and the most of its frames
INK, SOFT, LINE, STALE = "#1d2430", "#667085", "#d8dde6", "#d6455d"
COLOURS = (
    "#9aa5b8",
    "#3f6fd1",
    "#5b8def",
    "#22a699",
    "#5cb85c",
    "#f0a23b",
    "#e0705c",
    "#8b6fd6",
    "#b565c4",
    "#c9b037",
    "#4fb3d9",
    "#7d8a5c",
    "#ad7b5a",
    "#45556b",
)


def svg(m: Measurement, title: str = "") -> str:
    """The text of an SVG file: latency of each frame or tick in order, those that were stale marked, p50 and p99;
    below it the stages' means over all, and over the slowest hundredth."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 26, title or m.scenario, size=16, weight=600),
        _text(LEFT, 46, m.includes, colour=SOFT, size=11),
        *_over_time(m),
        *_stages(m),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(
    x: float, y: float, text: str, *, colour: str = INK, size: int = 12, weight: int = 400, anchor="start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


def _line(x0: float, y0: float, x1: float, y1: float, colour: str = LINE, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}"{dashes}/>'


def nice_steps(most: float, count: int = 5) -> list[float]:
    """0, and multiples of 1, 2 or 5 times a power of ten until at least `most`, about `count` of them."""
    step = 10.0 ** np.floor(np.log10(max(most, 1e-6) / count))
    step *= next(m for m in (1, 2, 5, 10) if step * m * count >= most)
    return [step * i for i in range(int(np.ceil(most / step - 1e-9)) + 1)]


def _over_time(m: Measurement) -> list[str]:
    values, right, bottom = np.asarray(m.latency_ms, float), WIDTH - RIGHT, TOP + PLOT_HEIGHT
    ticks = nice_steps(float(values.max()))
    most, count = ticks[-1], len(values)
    paced = m.staleness is not None

    def x(i: float) -> float:
        return LEFT + (right - LEFT) * (i + 0.5) / count

    def y(ms: float) -> float:
        return bottom - PLOT_HEIGHT * ms / most

    parts = []
    for tick in ticks:
        parts += [
            _line(LEFT, y(tick), right, y(tick)),
            _text(LEFT - 8, y(tick) + 4, f"{tick:g}", colour=SOFT, anchor="end"),
        ]
    parts.append(_text(LEFT - 8, TOP - 8, "ms", colour=SOFT, anchor="end"))
    groups = np.array_split(np.arange(count), min(count, COLUMNS))
    stale = np.zeros(count, bool)
    if m.staleness is not None:
        stale[: len(m.staleness.age_ms)] = m.staleness.age_ms > m.staleness.period_ms
    path, late = [], []
    for group in groups:
        low, high, middle = values[group].min(), values[group].max(), float(group.mean())
        path.append(f"M{x(middle):.1f} {y(low):.1f}V{y(high) - 0.1:.1f}")
        if stale[group].any():
            late.append(f"M{x(middle):.1f} {bottom + 3:.1f}v5")
    parts.append(
        f'<path d="{"".join(path)}" stroke="#3f6fd1" stroke-width="2.6" stroke-linecap="round" fill="none"/>'
    )
    if late:
        parts.append(f'<path d="{"".join(late)}" stroke="{STALE}" stroke-width="2" fill="none"/>')
    for share, dash in ((0.5, "6 4"), (0.99, "2 3")):
        level = float(np.quantile(values, share))
        parts += [
            _line(LEFT, y(level), right, y(level), INK, dash),
            _text(right, y(level) - 4, f"p{100 * share:g} {level:.1f} ms", anchor="end", size=11),
        ]
    rate = m.extra.get("rate_hz")
    end = f"{count / rate:.0f} s" if rate else f"{count} frames"
    parts += [
        _text(LEFT, bottom + 24, "0", colour=SOFT),
        _text(right, bottom + 24, end, colour=SOFT, anchor="end"),
    ]
    if paced:
        text = f"red: ticks that showed an old frame, {int(stale.sum())} of {m.staleness.ticks if m.staleness else 0}"
        parts.append(_text((LEFT + right) / 2, bottom + 24, text, colour=STALE, anchor="middle"))
    return parts


def _stages(m: Measurement) -> list[str]:
    latency = np.asarray(m.latency_ms, float)
    slow = latency >= np.quantile(latency, 0.99)
    table = {name: np.asarray(values, float) for name, values in m.stages_ms.items()}
    rows = (("all", np.ones(len(latency), bool)), ("slowest 1 %", slow))
    means = {
        label: {name: max(float(v[chosen].mean()), 0.0) for name, v in table.items()}
        for label, chosen in rows
    }
    most = max(sum(values.values()) for values in means.values()) or 1.0
    room = WIDTH - RIGHT - LEFT - 120
    parts = [_text(LEFT, STAGES_TOP - 12, "where the time went, mean", weight=600)]
    for row, (label, values) in enumerate(means.items()):
        x, y = LEFT + 84.0, STAGES_TOP + row * (BAR_HEIGHT + 10)
        parts.append(_text(x - 8, y + 17, label, colour=SOFT, anchor="end"))
        for i, ms in enumerate(values.values()):
            width = room * ms / most
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.2f}" height="{BAR_HEIGHT}" fill="{_colour(i)}"/>'
            )
            x += width
        parts.append(_text(x + 6, y + 17, f"{sum(values.values()):.1f} ms", size=11))
    for i, (name, ms) in enumerate(means["all"].items()):
        x = LEFT + (i % LEGEND_COLUMNS) * (WIDTH - LEFT - RIGHT) / LEGEND_COLUMNS
        y = LEGEND_TOP + i // LEGEND_COLUMNS * LEGEND_STEP
        parts += [
            f'<rect x="{x:.1f}" y="{y}" width="11" height="11" rx="2" fill="{_colour(i)}"/>',
            _text(x + 17, y + 10, f"{name} {ms:.2f}"),
        ]
    return parts


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]
