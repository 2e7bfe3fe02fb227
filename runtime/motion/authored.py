"""Clips of our own: a demonstration that uses the whole body, and an idle loop for when nobody drives.
Computed, the same every time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.skeleton import JOINT_INDEX

from . import kinematics
from . import reference_body as ref
from .gestures import HANDS, arm, arm_rotations, hand_rotations
from .legs import solve_leg
from .motion import Motion
from .tracks import bump, ease, track, wave

_J = JOINT_INDEX
_EXPRESSIONS = (
    "smile",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthOpen",
    "pucker",
    "lipsStretch",
    "mouthFunnel",
    "browRaise",
    "browDown",
    "eyesClosed",
    "eyeBlinkLeft",
    "cheekSquintLeft",
)
_HANG = arm(flex=1, abduct=7, twist=0, elbow=13, pronate=22, shrug=-5)
_FOOT_X, _FOOT_Z, _TOE_OUT = 0.120, 0.168, 0.13  # stance: ball of the foot, metres from the middle; radians

# The demonstration, seconds.
_DEMO = 26.0
_WAVE, _COUNT, _TALK = 2.9, 6.5, 10.2
_STEPS_FROM, _STEP, _STEPS, _TURN_FROM, _TURN_STEPS = 14.0, 0.5, 16, 5, 10
_POINT = 22.7


@dataclass
class _Figure:
    """What an animator moves, over times t [N]. Metres; radians as pitch, yaw, roll (arms in degrees, see
    gestures.arm)."""

    t: np.ndarray
    sway: np.ndarray = field(
        init=False
    )  # pelvis to the left, forward and down of where it stands at ease, [N,3]
    yaw: np.ndarray = field(init=False)  # where the body faces
    hips: np.ndarray = field(init=False)  # pelvis angles [N,3]
    chest: np.ndarray = field(init=False)  # against the pelvis [N,3]
    head: np.ndarray = field(init=False)  # against the chest [N,3]
    gaze: np.ndarray = field(init=False)  # both eyes [N,3]
    arms: dict = field(init=False)  # side -> [N,8]
    hands: dict = field(init=False)  # side -> [N,15,3], as left hands
    feet: dict = field(init=False)  # side -> yaw, heel pitch, lift, back: [N] each
    face: dict = field(init=False)  # expression -> [N]
    mouth: np.ndarray = field(init=False)  # 0 closed .. 1 open for a loud vowel

    def __post_init__(self):
        n = len(self.t)
        self.sway, self.hips, self.chest, self.head, self.gaze = (np.zeros((n, 3)) for _ in range(5))
        self.yaw, self.mouth = np.zeros(n), np.zeros(n)
        self.arms = {s: np.tile(_HANG, (n, 1)) for s in ("left", "right")}
        self.hands = {s: np.tile(HANDS["relaxed"], (n, 1, 1)) for s in ("left", "right")}
        self.feet = {
            s: {"yaw": np.zeros(n), "pitch": np.zeros(n), "lift": np.zeros(n), "back": np.zeros(n)}
            for s in ("left", "right")
        }
        self.face = {name: np.zeros(n) for name in _EXPRESSIONS}

    def motion(self, fps: float, name: str) -> Motion:
        rest = ref.rest_joints()
        n = len(self.t)
        local = np.zeros((n, 55, 4))
        local[..., 0] = 1.0
        facing = _euler(np.stack([np.zeros(n), self.yaw, np.zeros(n)], -1))
        pelvis_turn = rot.multiply(facing, _euler(self.hips))
        stand = np.array((0.0, rest[0, 1] - ref.SOLE - 0.004, 0.0))  # knees not locked
        pelvis = stand + rot.rotate(facing, self.sway)
        local[:, 0] = pelvis_turn
        for joint, part in (("spine1", 0.3), ("spine2", 0.35), ("spine3", 0.35)):
            local[:, _J[joint]] = _euler(part * self.chest)
        for joint, part in (("neck", 0.45), ("head", 0.55)):
            local[:, _J[joint]] = _euler(part * self.head)
        for eye in ("left_eye", "right_eye"):
            local[:, _J[eye]] = _euler(self.gaze)
        zero = np.zeros(n)
        # mostly the jaw, which every SMPL-X body has; a little of the shape, which only some have
        local[:, _J["jaw"]] = _euler(np.stack([0.20 * self.mouth, zero, zero], -1))
        face = self.face | {"mouthOpen": self.face["mouthOpen"] + 0.2 * self.mouth}
        for side in ("Left", "Right"):
            face[f"mouthSmile{side}"] = 0.35 * self.face["smile"]
        for side, sign in (("left", 1.0), ("right", -1.0)):
            for joint, q in (
                arm_rotations(side, self.arms[side]) | hand_rotations(side, self.hands[side])
            ).items():
                local[:, joint] = q
            foot = self.feet[side]
            home = np.stack([np.full(n, sign * _FOOT_X), zero, _FOOT_Z - foot["back"]], -1)
            turned = rot.axis_angle_to_quaternion(np.stack([zero, foot["yaw"], zero], -1))
            ball = rot.rotate(turned, home)
            ball[:, 1] += rest[_J["left_foot"], 1] - ref.SOLE + foot["lift"]
            world = solve_leg(
                side, rest, pelvis, pelvis_turn, ball, foot["yaw"] + sign * _TOE_OUT, foot["pitch"]
            )
            parent = pelvis_turn
            for joint in ("hip", "knee", "ankle", "foot"):
                joint = _J[f"{side}_{joint}"]
                local[:, joint] = rot.multiply(rot.conjugate(parent), world[joint])
                parent = world[joint]
        return Motion(
            body=rot.quaternion_to_axis_angle(local),
            pelvis=pelvis,
            leg_length=kinematics.leg_length(rest),
            fps=fps,
            expression=np.stack([np.clip(face[e], 0, 1) for e in _EXPRESSIONS], -1),
            expression_names=_EXPRESSIONS,
            name=name,
            cyclic=True,
        )

    def breathe(self, duration: float, cycles: int) -> None:
        """Chest, shoulders and a little of everything, so that nothing ever stands still."""
        t = self.t
        breath = wave(t, duration, cycles)
        self.chest[:, 0] -= 0.014 * breath
        self.head[:, 0] += 0.010 * wave(t, duration, cycles, -0.06)
        self.sway[:, 1] += 0.0015 * breath
        for side, late in (("left", 0.0), ("right", 0.04)):
            self.arms[side][:, 7] += 0.9 * breath
            self.arms[side][:, 1] += 0.7 * wave(t, duration, cycles, -0.1 - late)
            self.arms[side][:, 3] += 1.2 * wave(t, duration, 3, late * 5)
        self.sway[:, 0] += 0.006 * wave(t, duration, 3, 0.3)
        self.sway[:, 2] += 0.004 * wave(t, duration, 4, 0.1)
        self.head += 0.012 * np.stack(
            [wave(t, duration, 5, 0.2), wave(t, duration, 3, 0.55), wave(t, duration, 4, 0.8)], -1
        )

    def blink(self, *times: float) -> None:
        for at in times:
            self.face["eyesClosed"] = np.maximum(
                self.face["eyesClosed"], bump(self.t, at, at + 0.09, at + 0.27)
            )

    def shift(self, *keys: tuple[float, float]) -> None:
        """Weight from one leg to the other: keys (time, -1 right .. 1 left). The free hip drops and the trunk
        stays upright."""
        side = track(self.t, *keys)
        self.sway[:, 0] += 0.040 * side
        self.sway[:, 1] -= 0.008 * np.abs(side)
        self.hips += np.stack([0 * side, -0.04 * side, 0.055 * side], -1)
        self.chest += np.stack([0 * side, 0.05 * side, -0.075 * side], -1)
        self.head[:, 2] += 0.03 * side

    def look(self, *keys: tuple[float, tuple[float, float]]) -> None:
        """Look at (pitch, yaw) in degrees: the eyes lead, then the head, then the chest a little."""
        aim = np.radians(track(self.t, *keys))
        early = np.radians(track(self.t + 0.16, *keys))
        late = np.radians(track(self.t - 0.10, *keys))
        self.head[:, :2] += 0.75 * aim
        self.chest[:, :2] += 0.12 * late
        self.gaze[:, :2] += np.clip(1.1 * early - 0.87 * aim, -0.45, 0.45)

    def talk(self, start: float, stop: float, seed: int) -> None:
        """Lips for speech that is not heard: syllables of uneven length and shape, with pauses."""
        random = np.random.default_rng(seed)
        at = start
        while at < stop - 0.3:
            if random.random() < 0.12:
                at += random.uniform(0.18, 0.34)
                continue
            length, size = random.uniform(0.15, 0.25), random.uniform(0.4, 0.95)
            shape = ("lipsStretch", "pucker", "mouthFunnel", "lipsStretch")[random.integers(4)]
            opened = bump(self.t, at, at + 0.45 * length, at + 1.25 * length)
            self.mouth += size * (0.7 if shape == "pucker" else 1.0) * opened
            self.face[shape] += random.uniform(0.1, 0.35) * opened
            self.head[:, 0] += 0.02 * size * opened
            at += length

    def walk(self, start: float, step: float, steps: int, turn_from: int, turn_steps: int) -> None:
        """Step on the spot, left foot first; from step `turn_from` on, turn once around to the left."""
        t = self.t
        phase = (t - start) / step
        going = ease(phase / 1.2) * (1 - ease((phase - steps + 1.2) / 1.2))
        turn_end = turn_from + turn_steps

        def heading(p):
            ramp = (p - turn_from) / turn_steps
            # mostly even speed, with soft ends
            return 2 * np.pi * (0.6 * np.clip(ramp, 0, 1) + 0.4 * ease(ramp))

        soft = np.linspace(-0.6, 0.6, 25)
        self.yaw += np.mean([heading(phase + d) for d in soft], axis=0)
        turning = ease((phase - turn_from + 1) / 1.5) * (1 - ease((phase - turn_end + 1.5) / 1.5))
        self.head[:, 1] += 0.32 * turning
        self.gaze[:, 1] += 0.12 * turning
        side = np.sin(np.pi * phase) * going  # 1 = the left foot is up
        stride = np.sin(np.pi * (phase - 0.12)) * going
        self.sway[:, 0] -= 0.030 * side
        self.sway[:, 1] -= (0.010 + 0.004 * np.cos(2 * np.pi * phase)) * going
        self.sway[:, 2] -= 0.012 * going
        self.hips += np.stack([0.03 * going, -0.06 * stride, -0.04 * side], -1)
        self.chest += np.stack([0.01 * going, 0.13 * stride, 0.06 * side], -1)
        self.head[:, 1] -= 0.06 * stride
        self.head[:, 0] -= 0.02 * np.cos(2 * np.pi * (phase - 0.1)) * going
        for name, sign in (("left", 1.0), ("right", -1.0)):
            swing = np.sin(np.pi * (phase - 0.22)) * going * -sign  # the arm goes with the other leg
            pose = self.arms[name]
            pose[:, 0] += 21 * swing + 3 * going
            pose[:, 3] += (12 + 11 * np.sin(np.pi * (phase - 0.36)) * -sign) * going
            pose[:, 1] += (
                4.5 * ease((phase + 0.9) / 0.9) * (1 - ease((phase - steps) / 1.2))
            )  # clear of the lifted thigh
            pose[:, 5] += 5 * np.sin(np.pi * (phase - 0.5)) * -sign * going
        self._plant(phase, steps, turn_from, turn_end, heading)

    def _plant(self, phase, steps: int, turn_from: int, turn_end: int, heading) -> None:
        """Feet: planted except in their own steps, in which they take the heading of the middle of their next
        stance."""
        for index, side in enumerate(("left", "right")):
            foot, yaw = self.feet[side], 0.0
            for k in range(index, steps, 2):
                height = 0.065 if turn_from <= k <= turn_end else 0.115
                up = (phase - k - 0.06) / 0.92
                foot["lift"] += height * np.where(
                    (up > 0) & (up < 1), np.sin(np.pi * np.clip(up, 0, 1)) ** 2, 0.0
                )
                foot["pitch"] += (0.28 + 2.6 * height) * bump(phase, k - 0.25, k + 0.36, k + 0.98)
                foot["back"] += 0.25 * height * bump(phase, k + 0.14, k + 0.42, k + 0.9)
                # turning left, the left foot opens ahead of the body and the right one closes behind it
                target = float(heading(k + (1.9, 1.3)[index])) if k + 2 < steps else 2 * np.pi
                foot["yaw"] += (target - yaw) * ease((phase - k - 0.14) / 0.72)
                yaw = target


def _euler(angles) -> np.ndarray:
    """Pitch, yaw, roll [N,3] -> quaternion [N,4]: yaw first, then pitch, then roll."""
    return rot.euler_to_quaternion(np.asarray(angles)[:, [1, 0, 2]], "yxz")


def _times(duration: float, fps: float) -> np.ndarray:
    if not 1 <= fps <= 1000:
        raise MotionError(f"fps: got {fps:g}, expected 1 to 1000")
    return np.arange(round(duration * fps)) * (duration / round(duration * fps))


def idle_motion(fps: float = 30.0) -> Motion:
    """12 s of standing at ease: breath, sway, glances, blinks. Loops without a seam; expressions by the open
    body's names."""
    duration = 12.0
    f = _Figure(_times(duration, fps))
    f.breathe(duration, 3)
    f.shift((0.0, 0.0), (2.5, 0.0), (4.3, 0.7), (7.4, 0.7), (9.4, -0.25), (11.6, 0.0))
    f.look(
        (0.6, (0, 0)),
        (1.3, (2, 9)),
        (3.2, (2, 9)),
        (3.8, (0, 0)),
        (6.4, (0, 0)),
        (7.2, (3, -12)),
        (8.6, (3, -12)),
        (9.3, (0, 0)),
    )
    f.blink(1.0, 3.6, 6.5, 7.1, 9.2)
    f.face["smile"] += 0.12 + track(f.t, (8.8, 0.0), (9.6, 0.16), (10.8, 0.16), (11.8, 0.0))
    f.face["browRaise"] += 0.25 * bump(f.t, 6.5, 7.1, 8.4)
    return f.motion(len(f.t) / duration, "idle")


def demo_motion(fps: float = 30.0) -> Motion:
    """26 s of everything a body does: looks around, waves, counts, talks, walks on the spot, turns once
    around, points and winks.

    Loops without a seam; expressions by the open body's names. Raises MotionError for an impossible fps.
    """
    f = _Figure(_times(_DEMO, fps))
    t = f.t
    f.breathe(_DEMO, 7)
    f.shift(
        (0.2, 0.0),
        (1.4, 0.8),
        (3.0, 0.8),
        (4.0, -0.35),
        (5.8, -0.35),
        (7.2, 0.6),
        (9.6, 0.6),
        (10.8, -0.6),
        (12.6, -0.5),
        (13.7, 0.0),
        (22.2, 0.0),
        (23.2, -0.7),
        (24.6, -0.6),
        (25.8, 0.0),
    )
    f.look(
        (0.3, (0, 0)),
        (0.9, (-2, 24)),
        (1.4, (-2, 24)),
        (2.1, (3, -20)),
        (2.5, (3, -20)),
        (3.1, (0, 0)),
        (7.0, (0, 0)),
        (7.4, (7, -10)),
        (8.0, (1, -3)),
        (8.3, (1, 0)),
        (10.4, (0, 0)),
        (11.1, (0, 9)),
        (12.0, (0, -7)),
        (12.9, (-2, 0)),
        (13.5, (0, 0)),
    )
    _wave_hello(f)
    _count(f)
    _speak(f)
    f.walk(_STEPS_FROM, _STEP, _STEPS, _TURN_FROM, _TURN_STEPS)
    _point(f)
    f.blink(0.75, 1.75, 2.75, 6.0, 8.1, 10.3, 12.2, 13.6, 15.8, 17.0, 19.3, 21.9, 25.3)
    f.face["smile"] += 0.10
    return f.motion(len(t) / _DEMO, "demo")


def _wave_hello(f: _Figure) -> None:
    t, a = f.t, _WAVE
    ready, up = arm(26, 30, -30, 95, 35), arm(18, 56, -78, 114)
    keys = [(a, _HANG), (a + 0.38, ready), (a + 0.8, up), (a + 2.75, up), (a + 3.15, ready), (a + 3.6, _HANG)]
    f.arms["right"] += track(t, *keys) - _HANG
    swing = ease((t - a - 0.55) / 0.4) * (1 - ease((t - a - 2.4) / 0.5))
    f.arms["right"][:, 3] += 17 * swing * np.sin(2 * np.pi * 1.75 * (t - a - 0.75))
    f.arms["right"][:, 2] += 6 * swing * np.sin(2 * np.pi * 1.75 * (t - a - 0.75))
    f.arms["right"][:, 6] -= 14 * swing * np.sin(2 * np.pi * 1.75 * (t - a - 0.84))
    f.hands["right"] += _hand_track(
        t, (a + 0.1, "relaxed"), (a + 0.65, "open"), (a + 2.7, "open"), (a + 3.4, "relaxed")
    )
    f.head[:, 2] += 0.11 * track(t, (a + 0.3, 0.0), (a + 1.0, -1.0), (a + 2.5, -1.0), (a + 3.3, 0.0))
    f.chest[:, 2] += 0.05 * track(t, (a + 0.1, 0.0), (a + 0.8, 1.0), (a + 2.6, 1.0), (a + 3.4, 0.0))
    f.face["smile"] += 0.9 * track(t, (a + 0.2, 0.0), (a + 0.8, 1.0), (a + 2.7, 0.9), (a + 3.8, 0.0))
    f.face["browRaise"] += 0.6 * bump(t, a + 0.2, a + 0.7, a + 1.9)
    f.talk(a + 0.9, a + 1.5, 3)


def _count(f: _Figure) -> None:
    t, a = f.t, _COUNT
    up, beat = arm(24, 16, -24, 122, 72, -4), arm(30, 17, -24, 112, 72, 8)
    keys = [(a, _HANG), (a + 0.7, up)]
    for k in range(3):  # each number is thrown a little forward
        at = a + 0.95 + 0.7 * k
        keys += [(at, up), (at + 0.2, beat), (at + 0.5, up)]
    end = a + 3.25
    keys += [(end - 0.1, up), (end + 0.7, _HANG)]
    f.arms["right"] += track(t, *keys) - _HANG
    shapes = [(a + 0.15, "relaxed"), (a + 0.65, "fist")]
    for k, shape in enumerate(("point", "two", "three")):
        at = a + 0.9 + 0.7 * k
        shapes += [(at, ("fist", "point", "two")[k]), (at + 0.24, shape)]
        f.head[:, 0] += 0.07 * bump(t, at, at + 0.24, at + 0.6)
        f.mouth += 0.8 * bump(t, at, at + 0.16, at + 0.4)
        f.face["smile"] += 0.3 * bump(t, at, at + 0.2, at + 0.45)
        f.face["browRaise"] += 0.3 * bump(t, at - 0.05, at + 0.2, at + 0.6)
    shapes += [(end - 0.1, "three"), (end + 0.25, "open"), (end + 0.8, "relaxed")]
    f.hands["right"] += _hand_track(t, *shapes)


def _speak(f: _Figure) -> None:
    t, a = f.t, _TALK
    low, wide, one = arm(14, 10, -14, 78, -38, 0), arm(16, 24, -34, 70, -58, -10), arm(24, 8, -6, 88, -20, -6)
    f.arms["left"] += (
        track(
            t,
            (a, _HANG),
            (a + 0.6, low),
            (a + 1.0, low),
            (a + 1.4, wide),
            (a + 1.9, wide),
            (a + 2.4, low),
            (a + 2.8, low),
            (a + 3.5, _HANG),
        )
        - _HANG
    )
    f.arms["right"] += (
        track(
            t,
            (a + 0.1, _HANG),
            (a + 0.75, low),
            (a + 1.05, low),
            (a + 1.45, wide),
            (a + 1.9, wide),
            (a + 2.3, one),
            (a + 2.55, low),
            (a + 2.8, one),
            (a + 3.55, _HANG),
        )
        - _HANG
    )
    for side, late in (("left", 0.0), ("right", 0.08)):
        f.hands[side] += _hand_track(
            t,
            (a + late, "relaxed"),
            (a + 0.6 + late, "soft"),
            (a + 1.0, "soft"),
            (a + 1.5 + late, "open"),
            (a + 2.0, "open"),
            (a + 2.5 + late, "soft"),
            (a + 3.4, "relaxed"),
        )
    f.talk(a + 0.1, a + 3.2, 11)
    f.face["browRaise"] += 0.55 * bump(t, a + 0.9, a + 1.4, a + 2.2)
    f.face["browDown"] += 0.35 * bump(t, a + 2.0, a + 2.4, a + 3.0)
    f.face["smile"] += 0.35 * track(
        t, (a + 2.6, 0.0), (a + 3.3, 1.0), (a + 5.0, 0.3), (a + 11.5, 0.3), (a + 12.4, 0.0)
    )
    f.head[:, 2] += 0.06 * track(
        t, (a + 0.8, 0.0), (a + 1.4, 1.0), (a + 2.0, 1.0), (a + 2.6, -0.5), (a + 3.4, 0.0)
    )


def _point(f: _Figure) -> None:
    t, a = f.t, _POINT
    back, aim, shot = arm(30, 18, -10, 100, 40), arm(66, 6, 0, 26, 55), arm(70, 6, 0, 16, 55, -6)
    f.arms["left"] += (
        track(
            t,
            (a, _HANG),
            (a + 0.4, back),
            (a + 0.75, shot),
            (a + 1.0, aim),
            (a + 1.75, aim),
            (a + 2.6, _HANG),
        )
        - _HANG
    )
    f.hands["left"] += _hand_track(
        t, (a, "relaxed"), (a + 0.4, "fist"), (a + 0.7, "point"), (a + 1.8, "point"), (a + 2.5, "relaxed")
    )
    f.head[:, 2] += 0.12 * track(t, (a + 0.5, 0.0), (a + 1.0, 1.0), (a + 1.6, 1.0), (a + 2.3, 0.0))
    f.head[:, 0] += 0.05 * bump(t, a + 0.5, a + 0.9, a + 1.6)
    f.chest[:, 1] -= 0.10 * track(t, (a + 0.2, 0.0), (a + 0.75, 1.0), (a + 1.7, 1.0), (a + 2.5, 0.0))
    f.face["smile"] += 0.9 * track(t, (a + 0.4, 0.0), (a + 0.95, 1.0), (a + 1.9, 0.8), (a + 2.9, 0.0))
    wink = 0.75 * track(t, (a + 0.95, 0.0), (a + 1.07, 1.0), (a + 1.32, 1.0), (a + 1.5, 0.0))
    f.face["eyeBlinkLeft"] += wink
    f.face["cheekSquintLeft"] += 0.4 * wink


def _hand_track(t, *keys: tuple[float, str]) -> np.ndarray:
    """What to add to a relaxed hand [N,15,3]: keys (time, shape of HANDS)."""
    return track(t, *((at, HANDS[shape]) for at, shape in keys)) - HANDS["relaxed"]
