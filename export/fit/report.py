"""What is written beside a fitted or distilled avatar: scores on frames that were not learned from, and the
worst of them to look at."""

from __future__ import annotations

import numpy as np

from dinar_live.export.capture import SPLITS, Capture
from dinar_live.export.evaluate import evaluate, sheet, summary, table, true_picture
from dinar_live.export.sheets import report_paths
from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.bench.report import write_json
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.render.sinks import write_png


def check_validation(capture: Capture) -> None:
    """Read the validation frames, so that a damaged one is known before the work is done. Raises InputError
    naming the file."""
    for i in np.flatnonzero(capture.split == SPLITS["validation"]):
        true_picture(capture, int(i))


def write_report(out, avatar: Avatar, capture: Capture) -> None:
    """Score every renderer on the validation frames, print the table, write sheet and figures; says so where
    there are no such frames. Where poses were refined, the frames are aligned first."""
    try:
        frames = capture.frames("validation")
    except InputError:
        print(f"{capture.name} has no validation frames: no scores")
        return
    content = {"avatar": avatar.name, "capture": capture.name, "provenance": avatar.provenance}
    if avatar.provenance.get("poses") == "refined":
        from .align import aligned

        capture = aligned(avatar, capture, frames)
        content["aligned"] = "both"
        print("poses are estimates: each frame's pose and translation were aligned to its picture first")
    evaluations = [evaluate(avatar, capture, frames, name) for name in avatar.renderers]
    for e in evaluations:
        print("\n".join(table(e)))
    picture, figures = report_paths(out)
    write_png(picture, sheet(evaluations[:1]))
    content["renderers"] = [summary(e) for e in evaluations]
    write_json(figures, content)
    print(f"report: {picture}, {figures}")
