"""A motion placed where the person of a photo stands."""

from __future__ import annotations

import numpy as np

from dinar_live import kernels
from dinar_live.runtime.avatar import Rig
from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.core.skeleton import JOINT_INDEX as J
from dinar_live.runtime.motion import AvatarMotion, Motion

FEET = [J[f"{side}_{part}"] for side in ("left", "right") for part in ("ankle", "foot")]
EASE = 0.8  # seconds from the photo's pose into the motion


class PlacedMotion:
    """A motion that begins in the photo's pose, on the photo's spot, facing as the person does.

    up f64[3] is the photo's vertical in its fit's world (y, or -y where the fit's world hangs upside down);
    ground: how high along it the feet stand. travel False: over one spot all the time. ease: seconds.
    """

    def __init__(self, motion: Motion, rig: Rig, photo: Pose, *, travel: bool = True, ease: float = EASE):
        self.rig = rig
        self.ease = ease
        self.motion: AvatarMotion = motion.for_avatar(
            rig.joints, rig.expression_names, root="start" if travel else "fixed"
        )
        expression = np.zeros(rig.expressions, np.float32)
        expression[: len(photo.expression)] = photo.expression
        self.photo = Pose(photo.body, photo.transl, expression)
        root = rot.axis_angle_to_quaternion(photo.body[0])
        self.up = np.array([0, 1.0 if rot.rotate(root, (0, 1.0, 0))[1] >= 0 else -1.0, 0])
        flip = (np.pi, 0, 0) if self.up[1] < 0 else (0, 0, 0)
        flip = rot.axis_angle_to_quaternion(flip)
        forward = rot.rotate(rot.conjugate(flip), rot.rotate(root, (0, 0, 1.0)))
        start = rot.rotate(rot.axis_angle_to_quaternion(self.motion.pose(0).body[0]), (0, 0, 1.0))
        yaw = np.arctan2(forward[0], forward[2]) - np.arctan2(start[0], start[2])
        self._turn = rot.multiply(flip, rot.axis_angle_to_quaternion((0, yaw, 0)))
        vertices, feet = self._stand(self.photo)
        self.ground = float((vertices @ self.up).min())
        first = self._turned(self.motion.pose(0))
        moved, moved_feet = self._stand(first)
        self._shift = feet - moved_feet
        self._shift[1] = self.up[1] * (self.ground - float((moved @ self.up).min()))

    def _stand(self, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Posed vertices f64[V,3] and the middle of the feet f64[3]."""
        joints = np.empty((55, 3), np.float32)
        v = kernels.lbs(self.rig.model, pose.body, pose.transl, pose.expression, joints_out=joints)
        return v.astype(np.float64), joints[FEET].mean(0).astype(np.float64)

    def _turned(self, pose: Pose) -> Pose:
        """The pose with the whole world turned about the origin."""
        rest = self.rig.joints[0].astype(np.float64)
        body = pose.body.copy()
        body[0] = rot.quaternion_to_axis_angle(
            rot.multiply(self._turn, rot.axis_angle_to_quaternion(pose.body[0]))
        )
        pelvis = rot.rotate(self._turn, rest + pose.transl)
        return Pose(body, pelvis - rest, pose.expression)

    def pose_at(self, t: float) -> Pose:
        """The pose at t seconds: the photo's at 0, the motion's own after `ease`."""
        turned = self._turned(self.motion.pose_at(t, loop=False))
        pose = Pose(turned.body, turned.transl + self._shift, turned.expression)
        x = np.clip(t / self.ease, 0, 1) if self.ease > 0 else 1.0
        share = float(x * x * (3 - 2 * x))
        if share >= 1:
            return pose
        a, b = (rot.axis_angle_to_quaternion(p.body) for p in (self.photo, pose))
        mixed = Pose(
            rot.quaternion_to_axis_angle(rot.slerp(a, b, share)),
            (1 - share) * self.photo.transl + share * pose.transl,
            (1 - share) * self.photo.expression + share * pose.expression,
        )
        vertices, _ = self._stand(mixed)  # bent legs must not lift the feet off the ground on the way
        heights = [float((self._stand(p)[0] @ self.up).min()) for p in (self.photo, pose)]
        wanted = (1 - share) * heights[0] + share * heights[1]
        lift = wanted - float((vertices @ self.up).min())
        return Pose(mixed.body, mixed.transl + lift * self.up, mixed.expression)
