"""How good are the poses of `dinar pose VIDEO` and `dinar live VIDEO`, on a drawn film whose truth is known:

    python -m dinar_live.export.synthetic.turning ASSETS OUT --motion demo --start 12 --seconds 5 --height 480 --width 360
    python benchmarks/video_pose.py OUT/ada_plain.mp4 OUT/ada_truth

Everything is on the camera's axes, the pelvis laid on the true one, which is how the joints (the 22 of the body) are
compared: of the body that was measured, and as an avatar of the true proportions shows them. Of limbs, the direction
of the bone and the whole turn, which has its twist too: that of straight limbs can hardly be seen. Lag: by how many frames
the joints must be moved to lie best on the truth. Jitter: the second difference of the joints' errors from frame to
frame, so that the motion itself does not count. The live figures are of every frame, in order, one at a time; with
the filter `dinar live` has by default. CPU time is of the process, all threads.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np

from dinar_live.export.capture import Capture
from dinar_live.runtime.core.rotations import axis_angle_to_matrix
from dinar_live.runtime.core.skeleton import PARENTS
from dinar_live.runtime.live.seen_source import SMOOTH_HZ
from dinar_live.runtime.motion import OneEuro
from dinar_live.runtime.vision import live_person
from dinar_live.runtime.vision.follow import PersonFollower
from dinar_live.runtime.vision.landmarker import Landmarker
from dinar_live.runtime.vision.models import ModelFolder
from dinar_live.runtime.vision.solver.live import LiveSolver
from dinar_live.runtime.vision.solver.photo_fit import open_solver_body
from dinar_live.runtime.vision.solver.so3 import log
from dinar_live.runtime.vision.video import VideoFile
from dinar_live.runtime.vision.video_motion import motion_of, watch

# joints at both ends of the bones
LIMBS = {
    "pelvis": [(0, 3)],
    "thighs": [(1, 4), (2, 5)],
    "shanks": [(4, 7), (5, 8)],
    "upper arms": [(16, 18), (17, 19)],
    "forearms": [(18, 20), (19, 21)],
}
LAGS = np.arange(-1, 4.01, 0.1)  # frames


class Truth:
    """Of each frame, on the camera's axes (x right, y up, z to the camera): turns f64[n,55,3,3] and joints
    f64[n,22,3] from the pelvis on; rest f64[55,3] of the true body, pelvis f64[n,3]."""

    def __init__(self, folder: str):
        truth = Capture.open(folder)
        body = open_solver_body()
        posed = body.pose(
            np.broadcast_to(np.eye(3), (55, 3, 3)), np.zeros(3), _betas(truth.betas, body.betas)
        )
        self.rest = posed.rest
        R = np.diag([1.0, -1, -1]) @ truth.world_to_camera[:, :3, :3].astype(float)
        t = np.diag([1.0, -1, -1]) @ truth.world_to_camera[0, :3, 3].astype(float)
        local = axis_angle_to_matrix(truth.poses.astype(float))
        local[:, 0] = R @ local[:, 0]
        self.turns, self.joints = forward(local, self.rest)
        self.pelvis = (truth.transl.astype(float) + self.rest[0]) @ R[0].T + t


def _betas(betas: np.ndarray, count: int) -> np.ndarray:
    out = np.zeros(count)
    out[: min(count, len(betas))] = betas[:count]
    return out


def forward(local: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turns f64[n,55,3,3] and joints f64[n,22,3] from the pelvis on, of local turns f64[n,55,3,3]."""
    turns, joints = local.copy(), np.zeros((len(local), 55, 3))
    for j in range(1, 55):
        parent = PARENTS[j]
        turns[:, j] = turns[:, parent] @ local[:, j]
        joints[:, j] = joints[:, parent] + turns[:, parent] @ (rest[j] - rest[parent])
    return turns, joints[:, :22]


def report(name: str, frames: np.ndarray, body: np.ndarray, pelvis: np.ndarray, rest, truth: Truth) -> None:
    """Prints the figures of poses body f64[n,55,3] and pelvis f64[n,3] at some of the film's frames. rest: of the body
    that was measured, or None."""
    local = axis_angle_to_matrix(body)
    turns, shown = forward(local, truth.rest)
    true, print_cm = truth.joints[frames], lambda x: f"{100 * x:.1f}"
    errors = np.linalg.norm(shown - true, axis=2).mean()
    own = (
        ""
        if rest is None
        else f"{print_cm(np.linalg.norm(forward(local, rest)[1] - true, axis=2).mean())} cm, "
    )
    print(f"{name}: {len(frames)} frames; joints {own}on the true body {print_cm(errors)} cm")
    for limb, bones in LIMBS.items():
        ids, ends = zip(*bones, strict=True)
        off = np.linalg.norm(log(np.swapaxes(truth.turns[frames][:, ids], 2, 3) @ turns[:, ids]), axis=-1)
        a, b = _directions(shown, ids, ends), _directions(true, ids, ends)
        aside = np.arccos(np.clip((a * b).sum(2), -1, 1))
        print(
            f"  {limb}: direction {np.degrees(aside.mean()):.1f} degrees off, turn {np.degrees(off.mean()):.1f} "
            f"(median {np.degrees(np.median(off)):.1f}, 95 % {np.degrees(np.percentile(off, 95)):.0f})"
        )
    together = np.flatnonzero((np.diff(frames)[1:] == 1) & (np.diff(frames)[:-1] == 1))
    second = lambda x: np.linalg.norm((x[2:] - 2 * x[1:-1] + x[:-2])[together], axis=2).mean()  # noqa: E731
    print(
        f"  jitter {second(100 * (shown - true)):.2f} cm/frame^2 (the motion's own {second(100 * true):.2f})"
    )
    travel = pelvis - pelvis.mean(0) - (truth.pelvis[frames] - truth.pelvis[frames].mean(0))
    print(f"  pelvis path off by x {print_cm(np.abs(travel[:, 0]).mean())}, y {print_cm(np.abs(travel[:, 1]).mean())}, "
          f"depth {print_cm(np.abs(travel[:, 2]).mean())} cm")  # fmt: skip
    print(f"  lag {lag(shown, frames, truth.joints):.1f} frames")


def _directions(joints: np.ndarray, ids, ends) -> np.ndarray:
    """Unit vectors f64[n,k,3] along bones."""
    v = joints[:, list(ends)] - joints[:, list(ids)]
    return v / np.linalg.norm(v, axis=2, keepdims=True)


def lag(shown: np.ndarray, frames: np.ndarray, true: np.ndarray) -> float:
    """By how many frames the joints come late: where they lie best on the truth. Constant errors do not count."""
    every = np.arange(len(true))
    inner = (frames >= LAGS.max()) & (frames < len(true) - 1)
    flat = true.reshape(len(true), -1)
    costs = []
    for late in LAGS:
        then = np.stack([np.interp(frames[inner] - late, every, column) for column in flat.T], axis=1)
        off = shown[inner].reshape(inner.sum(), -1) - then
        costs.append(((off - off.mean(0)) ** 2).sum())
    return float(LAGS[int(np.argmin(costs))])


class Clock:
    """CPU time of calls, by name."""

    def __init__(self):
        self.seconds = defaultdict(list)

    def timed(self, name: str, f: Callable) -> Callable:
        def call(*args, **kwargs):
            began = time.process_time()
            try:
                return f(*args, **kwargs)
            finally:
                self.seconds[name].append(time.process_time() - began)

        return call

    def report(self, frames: int) -> None:
        for name, seconds in self.seconds.items():
            print(
                f"  {name}: {1000 * np.median(seconds):.1f} ms a call, {1000 * sum(seconds) / frames:.1f} ms a frame"
            )


def live(film: str, landmarker: Landmarker, truth: Truth, hz: float) -> None:
    """What `dinar live VIDEO` shows, frame by frame."""
    clock = Clock()
    for name, method in (("detector", "largest"), ("body's points", "follow"), ("hand or face", "complete")):
        setattr(landmarker, method, clock.timed(name, getattr(landmarker, method)))
    measured, expressed, update = live_person.fit_photos, live_person.expression_of, LiveSolver.update
    live_person.fit_photos = clock.timed("measuring", measured)
    live_person.expression_of = clock.timed("expression", expressed)
    LiveSolver.update = clock.timed("solver", update)
    person = live_person.LivePerson(landmarker)
    found, raw = [], []
    with VideoFile(film) as video:
        for i, frame in enumerate(video):
            if (now := person.see(frame, i / video.fps)) is not None:
                found.append(i)
                raw.append(now)
        count, fps = len(video.times), video.fps
    LiveSolver.update, live_person.fit_photos, live_person.expression_of = update, measured, expressed
    frames, rest = np.array(found), raw[0].rest
    body, pelvis = np.stack([p.body for p in raw]).astype(float), np.stack([p.pelvis for p in raw])
    report("live, no filter", frames, body, pelvis, rest, truth)
    euro = OneEuro(hz)
    smooth = [euro.step(i / fps, b, p) for i, b, p in zip(found, body, pelvis, strict=True)]
    report(
        f"live, One-Euro {hz:g} Hz",
        frames,
        np.stack([b for b, _ in smooth]),
        np.stack([p for _, p in smooth]),
        rest,
        truth,
    )
    print(f"CPU time, {count} frames, lost {person.losses} times:")
    clock.report(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("film")
    parser.add_argument("truth")
    parser.add_argument("--model", default="full")
    parser.add_argument("--smooth", type=float, default=SMOOTH_HZ)
    args = parser.parse_args()
    truth = Truth(args.truth)
    landmarker = Landmarker(ModelFolder(), body=args.model)
    with VideoFile(args.film) as video:
        watched = watch(video, PersonFollower(landmarker))
    for hz in (None, args.smooth):
        motion = motion_of(watched, smooth_hz=hz)
        name = f"dinar pose, {'no filter' if hz is None else f'One-Euro {hz:g} Hz, both ways'}"
        frames = np.arange(motion.frames)
        report(name, frames, motion.body.astype(float), motion.pelvis.astype(float), None, truth)
    live(args.film, landmarker, truth, args.smooth)


if __name__ == "__main__":
    main()
