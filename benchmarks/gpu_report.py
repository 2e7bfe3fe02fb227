"""What benchmarks/gpu_check.py found: as JSON, as Markdown tables, as a plot (SVG)."""

from __future__ import annotations

import html
import json
import pathlib
from dataclasses import asdict, dataclass, field

import numpy as np

from dinar_live.runtime.bench.stats import percentiles

COLOURS = {
    "lbs": "#4c78a8",
    "rasterize": "#f58518",
    "gather": "#54a24b",
    "network": "#b279a2",
    "compose": "#e45756",
    "download": "#9d755d",
    "other": "#bab0ac",
}

LOAD = "#72b7b2"


def middle_and_tail(times: np.ndarray) -> dict[str, float]:
    """p50 and p99 of times [n], in their unit."""
    return {key: value for key, value in percentiles(times).items() if key in ("p50", "p99")}


@dataclass
class Check:
    """One thing that must hold. passed: None = could not be tried, which `text` explains."""

    name: str
    passed: bool | None
    text: str


@dataclass
class Stage:
    """One stage on its own, ms: p50 and p99 of repetitions inside of a graph; floor_ms: what its bytes or
    FLOPs take at this device's measured speed, None where that is unknown; work: those bytes or FLOPs in
    words."""

    name: str
    p50_ms: float
    p99_ms: float
    floor_ms: float | None
    work: str


@dataclass
class Run:
    """One way of rendering the same frames. total_ms: {"p50", "p99"} of pose in to frame in host memory;
    stages of one frame."""

    name: str
    renderer: str
    level: str
    total_ms: dict[str, float]
    stages: list[Stage] = field(default_factory=list)
    target_ms: float | None = None


@dataclass
class Load:
    """Frames that were asked for at a rate (asked_hz of all clients together; None = one after the other): those that
    came in a second, and ms from when each was due: p50, p99, worst."""

    name: str
    asked_hz: float | None
    fps: float
    p50_ms: float
    p99_ms: float
    worst_ms: float


@dataclass
class Report:
    """size (height, width). bandwidth_gbps and tflops: measured on the device, None where they were not. seconds: that
    all of it took."""

    device: str
    size: tuple[int, int]
    versions: dict[str, str]
    bandwidth_gbps: float | None = None
    tflops: float | None = None
    checks: list[Check] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        found = {check.passed for check in self.checks}
        return True in found and False not in found


def markdown(report: Report) -> str:
    """Tables to read or to paste into docs/gpu.md."""
    height, width = report.size
    speed = "" if report.bandwidth_gbps is None else f", copies at {report.bandwidth_gbps:.0f} GB/s"
    speed += "" if report.tflops is None else f", fp16 matrices at {report.tflops:.0f} TFLOP/s"
    lines = [f"# {report.device}, {width}x{height}{speed}", "", "| check | | |", "|---|---|---|"]
    mark = {True: "passed", False: "**FAILED**", None: "not tried"}
    lines += [f"| {c.name} | {mark[c.passed]} | {c.text} |" for c in report.checks]
    lines += ["", "| renderer | how | level | p50 ms | p99 ms | target ms |", "|---|---|---|---|---|---|"]
    for run in report.runs:
        p50, p99 = run.total_ms["p50"], run.total_ms["p99"]
        target = (
            ""
            if run.target_ms is None
            else f"{run.target_ms:g} ({'met' if p50 <= run.target_ms else '**missed**'})"
        )
        lines.append(f"| {run.renderer} | {run.name} | {run.level} | {p50:.3f} | {p99:.3f} | {target} |")
    if report.loads:
        lines += ["", "| load | asked fps | fps | p50 ms | p99 ms | worst ms |", "|---|---|---|---|---|---|"]
    for load in report.loads:
        asked = "" if load.asked_hz is None else f"{load.asked_hz:g}"
        late = f"{load.p50_ms:.2f} | {load.p99_ms:.2f} | {load.worst_ms:.2f}"
        lines.append(f"| {load.name} | {asked} | {load.fps:.1f} | {late} |")
    for run in report.runs:
        if run.stages:
            lines += [
                "",
                f"{run.renderer}, {run.name}: each stage alone",
                "",
                "| stage | p50 ms | p99 ms | floor ms | work |",
                "|---|---|---|---|---|",
            ]
            lines += [
                f"| {s.name} | {s.p50_ms:.4f} | {s.p99_ms:.4f} | {'' if s.floor_ms is None else f'{s.floor_ms:.4f}'} | {s.work} |"
                for s in run.stages
            ]
    lines += [
        "",
        "Versions: " + ", ".join(f"{k} {v}" for k, v in report.versions.items()),
        f"\nTook {report.seconds:.0f} s.",
        *[f"\nNote: {note}" for note in report.notes],
    ]
    return "\n".join(lines) + "\n"


def svg(report: Report) -> str:
    """Horizontal bars, one a run: its stages where they were measured, and the rest of the whole frame; then one a
    load, with a line from its p50 to its p99."""
    left, width, row = 330, 520, 26
    bars = [run.total_ms["p50"] for run in report.runs]
    bars += [load.p99_ms for load in report.loads if np.isfinite(load.p99_ms)]
    longest = max(bars, default=1.0)
    parts, y = [], 34
    for run in report.runs:
        x, total = float(left), run.total_ms["p50"]
        stages = [(s.name, s.p50_ms) for s in run.stages]
        stages.append(("other", max(0.0, total - sum(ms for _, ms in stages))))
        label = html.escape(f"{run.renderer}: {run.name}")
        parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{label}</text>')
        for name, ms in stages:
            w = width * ms / longest
            title = html.escape(f"{name} {ms:.3f} ms")
            colour = COLOURS.get(name, COLOURS["other"])
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{w:.2f}" height="{row - 6}" fill="{colour}"><title>{title}</title></rect>'
            )
            x += w
        parts.append(f'<text x="{x + 6:.1f}" y="{y + 15}">{total:.2f} ms</text>')
        y += row
    for load in (load for load in report.loads if np.isfinite(load.p99_ms)):
        p50, p99 = left + width * load.p50_ms / longest, left + width * load.p99_ms / longest
        asked = "" if load.asked_hz is None else f" at {load.asked_hz:g} Hz"
        label = html.escape(f"{load.name}{asked}: {load.fps:.0f} fps")
        middle = y + (row - 6) / 2
        parts += [
            f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{label}</text>',
            f'<path d="M{left},{y} H{p50:.1f} V{y + row - 6} H{left} Z" fill="{LOAD}"/>',
            f'<path d="M{p50:.1f},{middle} H{p99:.1f} M{p99:.1f},{y + 4} V{y + row - 10}" stroke="black"/>',
            f'<text x="{p99 + 6:.1f}" y="{y + 15}">{load.p50_ms:.2f}, p99 {load.p99_ms:.2f} ms</text>',
        ]
        y += row
    x = left
    for name, colour in COLOURS.items():
        parts.append(
            f'<rect x="{x}" y="{y + 8}" width="10" height="10" fill="{colour}"/><text x="{x + 14}" y="{y + 17}">{name}</text>'
        )
        x += 80
    title = html.escape(
        f"{report.device}, {report.size[1]}x{report.size[0]}: pose in to frame in host memory, p50"
    )
    size = f'width="{left + width + 190}" height="{y + 34}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12"><rect width="100%" height="100%" '
        f'fill="white"/><text x="8" y="18" font-weight="bold">{title}</text>{"".join(parts)}</svg>\n'
    )


def write(report: Report, folder: pathlib.Path) -> list[pathlib.Path]:
    """gpu_check.json, .md and .svg in `folder`; each is whole at any time."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "gpu_check.json": json.dumps({**asdict(report), "passed": report.passed}, indent=1) + "\n",
        "gpu_check.md": markdown(report),
        "gpu_check.svg": svg(report),
    }
    for name, text in files.items():
        new = folder / f".{name}.new"
        new.write_text(text, encoding="utf-8")
        new.replace(folder / name)
    return [folder / name for name in files]
