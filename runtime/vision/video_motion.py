"""A video of one person -> a Motion: landmarks of every frame, one shape for all, poses, smoothed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.motion import smooth
from dinar_live.runtime.motion.kinematics import leg_length
from dinar_live.runtime.motion.motion import Motion

from .follow import PersonFollower
from .landmarks import Landmarks
from .live_person import expression_of
from .solver.body import SolverBody
from .solver.live import LiveSolver
from .solver.photo_fit import FitOptions, fit_photos, open_solver_body
from .solver.photo_fit import Picture as SolverPicture
from .video import VideoFile

SMOOTH_HZ = 1.5
STEPS = 5  # of the solver per frame: nobody waits
SHAPE_FRAMES = 6
LEAST_SEEN = 0.3  # of the frames must show the person
_TOES = (10, 11)


@dataclass(frozen=True, eq=False)
class WatchedVideo:
    """What the networks saw. landmarks: of each frame, None where nobody was; fps; losses: how often the person had
    to be found again; notes: what a user should know."""

    name: str
    landmarks: tuple[Landmarks | None, ...]
    fps: float
    losses: int
    notes: tuple[str, ...] = ()

    @property
    def seen(self) -> int:
        """Frames that show the person."""
        return sum(p is not None for p in self.landmarks)


def watch(
    video: VideoFile, follower: PersonFollower, progress: Callable[[int, int], None] | None = None
) -> WatchedVideo:
    """Look at every frame. progress: told frames done and expected (0 = unknown). Raises InputError where there is
    no frame, or the person is in too few of them."""
    found = []
    for frame in video:
        found.append(follower.see(frame, str(video.path)))
        if progress is not None:
            progress(len(found), video.expected)
    notes = []
    if video.expected > len(found) + 1:
        notes.append(
            f"only {len(found)} of {video.expected} frames can be read: the file is damaged after that"
        )
    out = WatchedVideo(video.path.stem, tuple(found), video.rate, follower.losses, tuple(notes))
    if out.seen == 0:
        raise InputError(f"{video.path}: no person found in {len(found)} frames")
    if out.seen < LEAST_SEEN * len(found):
        raise InputError(
            f"{video.path}: a person in only {out.seen} of {len(found)} frames, expected at least "
            f"{100 * LEAST_SEEN:.0f} %: the whole person, all the time"
        )
    return out


def motion_of(
    watched: WatchedVideo,
    *,
    body: SolverBody | None = None,
    height: float | None = None,
    smooth_hz: float | None = SMOOTH_HZ,
) -> Motion:
    """The motion, begun over the origin and standing on the floor. height: of the person, metres; smooth_hz: see
    `motion.smooth`, None = as it is. Frames that show nobody are filled in between their neighbours."""
    body = body or open_solver_body()
    betas = _shape(watched.landmarks, body, height)
    solver = LiveSolver(body, betas=betas, steps=STEPS)
    frames, poses, faces = [], [], []
    for i, landmarks in enumerate(watched.landmarks):
        if landmarks is None:
            solver.reset()
            continue
        solved = solver.update(landmarks)
        frames.append(i)
        poses.append(solved.pose)
        faces.append(expression_of(landmarks, solved, betas, body))
    rest = body.pose(np.broadcast_to(np.eye(3), (55, 3, 3)), np.zeros(3), betas).rest
    pelvis = np.stack([p.transl for p in poses]).astype(np.float64) + rest[0]
    pelvis -= _start(poses, pelvis, rest, body)
    count, names = len(watched.landmarks), body.body.expression_names
    q = rot.continuous(rot.axis_angle_to_quaternion(np.stack([p.body for p in poses])))
    motion = Motion(
        body=rot.quaternion_to_axis_angle(_turns_between(q, frames, count)),
        pelvis=_between(pelvis, frames, count),
        leg_length=leg_length(rest),
        fps=watched.fps,
        expression=_between(np.stack(faces), frames, count) if names else None,  # pyright: ignore[reportArgumentType]
        expression_names=tuple(names) if names else None,
        name=watched.name,
        notes=_notes(watched),
    )
    return motion if smooth_hz is None or count < 3 else smooth(motion, smooth_hz)


def _notes(watched: WatchedVideo) -> tuple[str, ...]:
    notes = list(watched.notes)
    if missing := len(watched.landmarks) - watched.seen:
        notes.append(
            f"nobody in {missing} of {len(watched.landmarks)} frames: filled in from their neighbours"
        )
    if watched.losses:
        notes.append(f"lost and found again {watched.losses} times")
    return tuple(notes)


def _shape(landmarks: Sequence[Landmarks | None], body: SolverBody, height: float | None) -> np.ndarray:
    """One shape from a few frames that show the person best, spread over the video."""
    found = [p for p in landmarks if p is not None]
    parts = np.array_split(np.arange(len(found)), min(SHAPE_FRAMES, len(found)))
    best = [found[max(part, key=lambda i: float(found[i].visibility.mean()))] for part in parts]
    options = FitOptions(kind="any", height=height, outline=False)
    return fit_photos([SolverPicture(p) for p in best], body, options)[0].betas


def _start(poses: Sequence[Pose], pelvis: np.ndarray, rest: np.ndarray, body: SolverBody) -> np.ndarray:
    """f64[3]: where the pelvis of the first frame is over ground, and how high the floor is. The camera is taken to
    look level."""
    shift = pelvis[0].copy()
    sole = float(rest[list(_TOES), 1].min() - body.body.template[:, 1].min())
    lowest = []
    for pose, at in zip(poses, pelvis, strict=True):
        local = rot.axis_angle_to_matrix(pose.body.astype(np.float64))
        joints = body.pose(local, at - rest[0], np.zeros(body.betas)).joints
        lowest.append(joints[list(_TOES), 1].min() - sole)
    shift[1] = np.percentile(lowest, 10)
    return shift


def _between(values: np.ndarray, frames: Sequence[int], count: int) -> np.ndarray:
    """Rows for all frames from those that are known, linear in between and held at the ends."""
    every = np.arange(count)
    return (
        np.stack([np.interp(every, frames, column) for column in values.T], axis=1)
        if values.shape[1]
        else (np.zeros((count, 0)))
    )


def _turns_between(q: np.ndarray, frames: Sequence[int], count: int) -> np.ndarray:
    """As `_between` for quaternions [n,55,4]."""
    out = np.empty((count, *q.shape[1:]))
    known = np.asarray(frames)
    for i in range(count):
        after = int(np.searchsorted(known, i))
        if after < len(known) and known[after] == i:
            out[i] = q[after]
        elif after in (0, len(known)):
            out[i] = q[min(after, len(known) - 1)]
        else:
            a, b = known[after - 1], known[after]
            out[i] = rot.slerp(q[after - 1], q[after], (i - a) / (b - a))
    return out
