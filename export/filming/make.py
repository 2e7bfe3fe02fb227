"""`dinar capture`: a film of a person who turns round in, a capture for `dinar fit` out. The steps in order."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.vision.landmarker import Landmarker
from dinar_live.runtime.vision.landmarks import Landmarks
from dinar_live.runtime.vision.masks import sharp_mask
from dinar_live.runtime.vision.solver.film_fit import fit_film
from dinar_live.runtime.vision.solver.photo_fit import FitOptions, PhotoFit, Picture, open_solver_body
from dinar_live.runtime.vision.solver.score import USABLE, FitScore, score

from .background import Background
from .choose import FRAMES, LEAST, Choice, choose, still
from .footage import Footage
from .pictures import Window, straight_rgba, window_of
from .sides import steadied
from .survey import Look, survey

LEFT_OUT = 6  # every so many frames one is kept for validation
FACE_SEEN = np.radians(110)  # turned further away, what looks like a face is hair
OFF = 0.12  # under the film's usual score: such a frame is dropped
SIZES = (128, 2048)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """frames: to take; size: pixels of the pictures' longer side; height: of the person, metres; focal: of the
    camera, in pixels of the film; person: number from the left; threads: for masks, 0 = all cores."""

    frames: int = 100
    size: int = 640
    height: float | None = None
    focal: float | None = None
    person: int | None = None
    threads: int = 0

    def __post_init__(self):
        if not FRAMES[0] <= self.frames <= FRAMES[1]:
            raise InputError(f"frames: got {self.frames}, expected {FRAMES[0]}..{FRAMES[1]}")
        if not SIZES[0] <= self.size <= SIZES[1]:
            raise InputError(f"size: got {self.size}, expected {SIZES[0]}..{SIZES[1]} pixels")
        if self.focal is not None and not 50 <= self.focal <= 1e5:
            raise InputError(f"focal: got {self.focal:g}, expected 50 to 100000 pixels")


@dataclass(frozen=True, eq=False)
class Understood:
    """One chosen frame. why: what is wrong with it, "" if it is in the capture."""

    look: Look
    rgb: np.ndarray
    landmarks: Landmarks
    fit: PhotoFit
    score: FitScore
    why: str = ""


@dataclass(frozen=True, eq=False)
class Film:
    """All that was understood. frames: the chosen ones in order; window: what of them becomes pictures; timed:
    whether their times mean something."""

    name: str
    frames: list[Understood]
    window: Window
    warnings: list[str]
    timed: bool = True

    @property
    def kept(self) -> list[Understood]:
        return [f for f in self.frames if not f.why]


def understand(footage: Footage, landmarker: Landmarker, options: Options, say: Say, progress) -> Film:
    """Choose frames, cut the person out, fit. say: told lines; progress(text, iterable, total): passes items on
    while it shows how many. Raises InputError, in a photographer's words."""
    bar = progress("looking", None, None)
    found = survey(footage, landmarker, person=options.person, progress=bar)
    if footage.video:
        found = replace(found, looks=steadied(found.looks))
    choice = choose(found, options.frames)
    say(
        f"{footage.name}: {found.frames} frames looked at, the person turns by {np.degrees(choice.turned):.0f} degrees; "
        f"{len(choice.looks)} frames taken"
    )
    rgbs, seen = _seen_closely(footage, landmarker, choice, options.threads, progress)
    if footage.video and still(found):
        behind = Background.of(rgbs, [_mask(s) for s in seen])
        seen = [replace(s, mask=behind.better(rgb, _mask(s))) for rgb, s in zip(rgbs, seen, strict=True)]
    times = [look.time for look in choice.looks] if footage.video else None
    body = open_solver_body()
    pictures = [Picture(s, options.focal) for s in seen]
    fits = fit_film(pictures, times, body, FitOptions(kind="any", height=options.height), report=say)
    scores = [score(s, f, body) for s, f in zip(seen, fits, strict=True)]
    usual = float(np.median([s.value for s in scores]))
    frames = [
        Understood(look, rgb, s, f, c, _why_not(c, usual, f, fits))
        for look, rgb, s, f, c in zip(choice.looks, rgbs, seen, fits, scores, strict=True)
    ]
    kept = [f for f in frames if not f.why]
    if len(kept) < LEAST or usual < USABLE:
        raise InputError(
            f"{footage.name}: the body fits only {len(kept)} of {len(frames)} frames (usual score {usual:.2f}, expected "
            f"{USABLE} and more); wear what lies close to the body, hold the arms away from it, film before a plain wall"
        )
    masks = [_mask(f.landmarks) for f in kept]
    return Film(footage.name, frames, window_of(masks, options.size), choice.warnings, footage.video)


def _seen_closely(
    footage: Footage, landmarker: Landmarker, choice: Choice, threads: int, progress
) -> tuple[list[np.ndarray], list[Landmarks]]:
    """Pictures and landmarks, with masks at full size, of the chosen frames."""
    looks = {look.number: look for look in choice.looks}
    rgbs, waiting = [], []
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for shot in progress("cutting the person out", footage.shots(wanted=looks.keys()), len(looks)):
            seen = looks[shot.number].seen
            mask = pool.submit(sharp_mask, shot.rgb, seen)
            face = abs(looks[shot.number].yaw) < FACE_SEEN
            waiting.append((landmarker.complete(shot.rgb, seen, mask=False, face=face), mask))
            rgbs.append(shot.rgb)
            while sum(not m.done() for _, m in waiting) > 4:
                waiting[-4][1].result()
        out = [replace(landmarks, mask=mask.result()) for landmarks, mask in waiting]
    if len(out) != len(looks):
        raise InputError(
            f"{footage.name}: {len(looks)} frames were chosen, {len(out)} can be read a second time"
        )
    return rgbs, out


def _mask(landmarks: Landmarks) -> np.ndarray:
    assert landmarks.mask is not None  # all were asked for
    return landmarks.mask


def _why_not(found: FitScore, usual: float, fit: PhotoFit, fits: Sequence[PhotoFit]) -> str:
    if found.value < USABLE:
        return f"the body does not fit (score {found.value:.2f})"
    if found.value < usual - OFF:
        return f"fits worse than the others ({found.value:.2f}, usual {usual:.2f})"
    far = float(np.median([np.linalg.norm(f.transl - fit.transl) for f in fits]))
    if far > 1.0:
        return f"the person is {far:.1f} m away from where they usually stand"
    return ""


def write_capture(film: Film, out: pathlib.Path) -> None:
    """Write the folder `out` (docs/evaluate.md#captures): beside the fields of every capture, of each frame `number`
    in the film, `time` in seconds, `score`, and `estimated` = 1; `window` (x, y, width, height) of the film's frames
    that the pictures show. It appears whole."""
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "images").mkdir(parents=True)
    kept, window = film.kept, film.window
    for i, frame in enumerate(kept):
        rgba = straight_rgba(frame.rgb, _mask(frame.landmarks), window)
        _write_png(part / "images" / f"{i:06d}.png", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))
    n = len(kept)
    poses, cameras = [f.fit.pose for f in kept], [f.fit.camera for f in kept]
    K = np.stack([window.camera(c.K) for c in cameras])
    expressions = np.zeros((n, open_solver_body().body.expression_dirs.shape[2]), np.float32)
    arrays: dict[str, Any] = {
        "poses": np.stack([p.body for p in poses]),
        "transl": np.stack([p.transl for p in poses]),
        "betas": kept[0].fit.betas.astype(np.float32),
        "expression": expressions,
        "K": K.astype(np.float32),
        "world_to_camera": np.stack([c.world_to_camera for c in cameras]).astype(np.float32),
        "image_size": np.array(window.size[::-1], np.int32),
        "split": (np.arange(n) % LEFT_OUT == LEFT_OUT // 2).astype(np.uint8),
        "close_up": np.zeros(n, np.uint8),
        "estimated": np.uint8(1),
        "number": np.array([f.look.number for f in kept], np.int32),
        "score": np.array([f.score.value for f in kept], np.float32),
        "window": np.array([window.x, window.y, window.taken[1], window.taken[0]], np.int32),
    }
    if film.timed:
        arrays["time"] = np.array([f.look.time for f in kept], np.float32)
    np.savez_compressed(part / "capture.npz", **arrays)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(part, out)


def _write_png(path: pathlib.Path, bgra: np.ndarray) -> None:
    if not cv2.imwrite(str(path), bgra, [cv2.IMWRITE_PNG_COMPRESSION, 6]):
        raise OSError(f"{path}: cannot be written")
