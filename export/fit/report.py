"""What is written beside a fitted or distilled avatar: scores on frames that were not learned from, and the worst of them to look at."""

from __future__ import annotations

import json
import os
import pathlib

from ...runtime.avatar import Avatar
from ...runtime.errors import InputError
from ...runtime.render.sinks import write_png
from ..capture import Capture
from ..evaluate import evaluate, sheet, summary, table


def report_paths(out) -> tuple[pathlib.Path, pathlib.Path]:
    """Where the report of the bundle `out` goes: sheet (.png) and figures (.json)."""
    out = pathlib.Path(out)
    return out.with_name(f"{out.stem}_report.png"), out.with_name(f"{out.stem}_report.json")


def write_report(out, avatar: Avatar, capture: Capture) -> None:
    """Score every renderer on the validation frames, print the table, write sheet and figures; says so where there are no such frames."""
    try:
        frames = capture.frames("validation")
    except InputError:
        print(f"{capture.name} has no validation frames: no scores")
        return
    evaluations = [evaluate(avatar, capture, frames, name) for name in avatar.renderers]
    for e in evaluations:
        print("\n".join(table(e)))
    picture, figures = report_paths(out)
    write_png(picture, sheet(evaluations[:1]))
    part = figures.with_name(f".{figures.name}.part")
    content = {"avatar": avatar.name, "capture": capture.name, "provenance": avatar.provenance}
    content["renderers"] = [summary(e) for e in evaluations]
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(part, figures)
    print(f"report: {picture}, {figures}")
