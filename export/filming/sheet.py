"""The contact sheet of a film: what was understood, frame by frame, and what was dropped and why."""

from __future__ import annotations

import cv2
import numpy as np

from dinar_live.export.sheets import captioned, fitted
from dinar_live.runtime.render.sinks import contact_sheet
from dinar_live.runtime.vision.overlay import overlay
from dinar_live.runtime.vision.solver.photo_fit import open_solver_body

from .make import Film, Understood

CELLS = 24
SIDE = 300
ROOM = 0.15  # around the person, of their reach
DROPPED = (220, 60, 60)


def film_sheet(film: Film) -> np.ndarray:
    """RGB u8: frames spread over the film, all dropped ones among them as far as there is room."""
    dropped = [f for f in film.frames if f.why][: CELLS // 2]
    kept = film.kept
    number = min(CELLS - len(dropped), len(kept))
    spread = [kept[i] for i in np.linspace(0, len(kept) - 1, number).round().astype(int)]
    cells = [_cell(f) for f in sorted([*spread, *dropped], key=lambda f: f.look.time)]
    return contact_sheet(cells, columns=8)


def _cell(frame: Understood) -> np.ndarray:
    drawn = overlay(frame.rgb, frame.landmarks, frame.fit, open_solver_body())
    scale = drawn.shape[0] / frame.rgb.shape[0]
    points = frame.landmarks.points * scale
    low, high = points.min(0), points.max(0)
    room = ROOM * (high - low).max()
    (x0, y0), (x1, y1) = np.maximum(low - room, 0).astype(int), (high + room).astype(int)
    picture = fitted(np.ascontiguousarray(drawn[y0:y1, x0:x1]), SIDE)
    if frame.why:
        cv2.rectangle(picture, (0, 0), (SIDE - 1, SIDE - 1), DROPPED, 6)
    text = f"{frame.look.time:.1f} s: {frame.score.value:.2f}"
    return captioned(f"{text}, dropped" if frame.why else text, picture)
