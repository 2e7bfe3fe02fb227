"""Figure: a body to be moved by an animator's means, one part at a time, into a clip."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dinar_live.runtime.core import rotations as rot
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
HANG = arm(flex=1, abduct=7, twist=0, elbow=13, pronate=22, shrug=-5)
_FOOT_X, _FOOT_Z, _TOE_OUT = 0.120, 0.168, 0.13  # stance: ball of the foot, metres from the middle; radians


@dataclass
class Figure:
    """What an animator moves, over times t [N]. Metres; radians as pitch, yaw, roll (arms in degrees, see
    gestures.arm)."""

    t: np.ndarray
    sway: np.ndarray = field(init=False)  # pelvis left, forward, down of where it stands at ease, [N,3]
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
        self.sway = np.zeros((n, 3))
        self.hips = np.zeros((n, 3))
        self.chest = np.zeros((n, 3))
        self.head = np.zeros((n, 3))
        self.gaze = np.zeros((n, 3))
        self.yaw = np.zeros(n)
        self.mouth = np.zeros(n)
        self.arms = {s: np.tile(HANG, (n, 1)) for s in ("left", "right")}
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
