"""A first look at all of a film: where the person is and which way they look, how sharp and how light each frame is,
whether the camera moves and who else is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.vision import envelope
from dinar_live.runtime.vision.body_network import BodySeen
from dinar_live.runtime.vision.landmarker import Landmarker
from dinar_live.runtime.vision.people import box, chosen, height_of, outside
from dinar_live.runtime.vision.solver.start import root_turn

LOOKS_PER_SECOND = 15.0
MOST_LOOKS = 600
PEOPLE_SECONDS = 1.0  # between two counts of people
SHARP_SIDE = 320  # pixels of the person's height at which sharpness is measured
STEADY_SIDE = 640  # pixels of the longer side at which the background is followed
OTHER = 0.5  # of the person's height: smaller people are far away
CORNERS = 120
LEAST_CORNERS = 12  # followed from the first frame; with fewer nothing is said on the camera
FLIP = np.array([1.0, -1.0, -1.0])


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen in one frame. yaw: where the person looks, radians, 0 to the camera, pi / 2 to the picture's
    right; sharpness, light (0..255) of the person; shift: of the background since the first frame, share of the longer
    side, NaN where it cannot be told; people: large ones beside this one; counted: whether they were looked for."""

    number: int
    time: float
    seen: BodySeen
    yaw: float
    sharpness: float
    light: float
    shift: float
    people: int
    counted: bool
    cut: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Survey:
    """Of a whole film. looks: frames with the person; lost: times of those without; size (height, width)."""

    name: str
    looks: list[Look]
    lost: list[float]
    size: tuple[int, int]
    frames: int = field(default=0)

    @property
    def yaws(self) -> np.ndarray:
        """f64[n]: the way the person looks, without jumps at a half turn, outliers evened out."""
        yaw = np.unwrap([look.yaw for look in self.looks])
        width = min(5, len(yaw) - 1 + len(yaw) % 2)
        padded = np.pad(yaw, width // 2, mode="edge")
        return np.array([np.median(padded[i : i + width]) for i in range(len(yaw))])


def survey(
    footage,
    landmarker: Landmarker,
    *,
    person: int | None = None,
    progress: Callable[[int], None] = lambda n: None,
) -> Survey:
    """Look at a film. progress: told how many frames were looked at. Raises InputError where there is nobody."""
    every = max(1, round(footage.fps / LOOKS_PER_SECOND)) if footage.video else 1
    looks, lost, size, count = [], [], (0, 0), 0
    before: BodySeen | None = None
    ground: _Background | None = None
    counted = -PEOPLE_SECONDS
    for shot in footage.shots(every=every):
        count += 1
        if count > MOST_LOOKS:
            raise InputError(f"{footage.name}: more than {MOST_LOOKS} pictures; expected at most so many")
        size = (shot.rgb.shape[0], shot.rgb.shape[1])
        people = []
        if shot.time - counted >= PEOPLE_SECONDS or before is None:
            people = landmarker.people(shot.rgb)
            counted = shot.time
        if before is None or not footage.video:
            seen = _who(people, person, footage.name) if people else None
        else:
            seen = landmarker.follow(shot.rgb, before)
            seen = seen if seen is not None or not people else _nearest(people, before)
        if seen is None:
            lost.append(shot.time)
            before = None
            progress(count)
            continue
        before = seen
        gray = cv2.cvtColor(shot.rgb, cv2.COLOR_RGB2GRAY)
        if ground is None:
            ground = _Background(gray, seen)
        looks.append(_look(shot, gray, seen, ground.shift(gray) if footage.video else float("nan"), people))
        progress(count)
    if not looks:
        raise InputError(
            f"{footage.name}: nobody was found; expected one person, from head to feet, in good light"
        )
    return Survey(footage.name, looks, lost, size, count)


def _who(people: list[BodySeen], person: int | None, name: str) -> BodySeen:
    return people[chosen(people, person, name)]


def _nearest(people: list[BodySeen], before: BodySeen) -> BodySeen:
    return min(people, key=lambda p: float(np.abs(box(p) - box(before)).sum()))


def _look(shot, gray: np.ndarray, seen: BodySeen, shift: float, people: list[BodySeen]) -> Look:
    forward = root_turn(seen.world * FLIP)[:, 2]
    tall = height_of(seen)
    scale = min(1.0, SHARP_SIDE / max(tall, 1.0))
    size = max(8, round(gray.shape[1] * scale)), max(8, round(gray.shape[0] * scale))
    small = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    on = envelope.bones(seen, (size[1], size[0]), np.array([scale, scale]), 0.3) > 0
    edges = cv2.Laplacian(cv2.GaussianBlur(small, (0, 0), 0.7).astype(np.float32), cv2.CV_32F)
    others = sum(height_of(p) > OTHER * tall and _apart(p, seen) for p in people)
    return Look(
        shot.number,
        shot.time,
        seen,
        float(np.arctan2(forward[0], forward[2])),
        float(np.sqrt((edges[on] ** 2).mean())) if on.any() else 0.0,
        float(small[on].mean()) if on.any() else 0.0,
        shift,
        others,
        bool(people),
        outside(seen),
    )


def _apart(a: BodySeen, b: BodySeen) -> bool:
    """Whether these are two people: their boxes have less than half of the smaller one in common."""
    p, q = box(a), box(b)
    common = np.prod(np.clip(np.minimum(p[2:], q[2:]) - np.maximum(p[:2], q[:2]), 0, None))
    return bool(common < 0.5 * min(np.prod(p[2:] - p[:2]), np.prod(q[2:] - q[:2])))


class _Background:
    """Corners of the first frame beside the person, followed into later ones."""

    def __init__(self, gray: np.ndarray, seen: BodySeen):
        self._scale = min(1.0, STEADY_SIDE / max(gray.shape))
        self._first = self._small(gray)
        free = (envelope.distance(seen) > 0.8).astype(np.uint8)
        free = cv2.resize(free, self._first.shape[::-1], interpolation=cv2.INTER_NEAREST)
        self._corners = cv2.goodFeaturesToTrack(self._first, CORNERS, 0.03, 8, mask=free)

    def _small(self, gray: np.ndarray) -> np.ndarray:
        size = max(8, round(gray.shape[1] * self._scale)), max(8, round(gray.shape[0] * self._scale))
        return cv2.resize(gray, size, interpolation=cv2.INTER_AREA)

    def shift(self, gray: np.ndarray) -> float:
        """How far the background has moved, share of the longer side; NaN where too little can be followed."""
        if self._corners is None or len(self._corners) < LEAST_CORNERS:
            return float("nan")
        now = self._small(gray)
        moved, good, _ = cv2.calcOpticalFlowPyrLK(self._first, now, self._corners, None)  # pyright: ignore[reportCallIssue, reportArgumentType]
        good = good.ravel() > 0
        if good.sum() < max(LEAST_CORNERS, 0.4 * len(good)):
            return float("nan")
        change = (moved - self._corners).reshape(-1, 2)[good]
        return float(np.linalg.norm(np.median(change, 0)) / max(now.shape))
