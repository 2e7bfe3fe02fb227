"""Cameras for a teacher: all around a posed person, the whole body and close views, as captures have them."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from dinar_live import kernels
from dinar_live.runtime.avatar import Rig
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.core.skeleton import JOINT_INDEX

ELEVATION = np.radians([-15.0, 35.0])
ROLL = 0.06  # radians, standard deviation
DISTANCE = 2.2, 6.0  # metres from the middle of what is shown
FULL_BODY, UPPER_BODY, HEAD = 0, 1, 2  # as close_up in captures
SHARES = 0.7, 0.18, 0.12  # of the three framings
# Share of the picture that the larger extent of the bare body takes; hair and clothes stand off it and must
# fit in full-body views.
FILL = ((0.6, 0.86), (0.75, 1.1), (0.6, 0.95))
OFF_CENTRE = 0.04, 0.08, 0.08  # how far off the middle it may be, share of the picture, standard deviation


def _joints(*names: str) -> list[int]:
    return [JOINT_INDEX[n] for n in names]


class CameraSampler:
    """Draws cameras for one body and picture size (height, width)."""

    def __init__(self, rig: Rig, size: tuple[int, int]):
        self._rig = rig
        self._size = size

    @cached_property
    def _parts(self) -> tuple[np.ndarray, ...]:
        """The vertices of each framing: all, those of chest, head and arms, those of the head."""
        m = self._rig.model
        joint = m.skin_index[np.arange(len(m.skin_index)), m.skin_weight.argmax(1)]
        head = _joints("head", "jaw", "left_eye", "right_eye")
        upper = [
            *head,
            *_joints(
                "spine2", "spine3", "neck", "left_collar", "right_collar", "left_shoulder", "right_shoulder"
            ),
        ]
        return (
            np.arange(len(joint)),
            np.flatnonzero(np.isin(joint, upper)),
            np.flatnonzero(np.isin(joint, head)),
        )

    def draw(self, rng: np.random.Generator, pose: Pose) -> tuple[Camera, int]:
        """A camera that sees the posed person, and its framing (0 full body, 1 upper body, 2 head). From any
        side, -15..35 degrees high; distance, focal length and principal point vary."""
        framing = int(rng.choice(3, p=SHARES))
        vertices = kernels.lbs(self._rig.model, pose.body, pose.transl, pose.expression)[
            self._parts[framing]
        ].astype(np.float64)
        target = (vertices.min(0) + vertices.max(0)) / 2
        azimuth, elevation = rng.uniform(-np.pi, np.pi), rng.uniform(*ELEVATION)
        # never inside the body: what is shown must be whole in front of the camera
        radius = np.linalg.norm(vertices - target, axis=1).max()
        distance = max(rng.uniform(*DISTANCE), 2 * radius)
        camera = Camera.orbit(target, self._size, azimuth=azimuth, elevation=elevation, distance=distance)
        roll = rng.normal(0, ROLL)
        w2c = camera.world_to_camera.astype(np.float64)
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]
        w2c = turn @ w2c
        return Camera(self._intrinsics(rng, vertices @ w2c[:3, :3].T + w2c[:3, 3], framing), w2c), framing

    def _intrinsics(self, rng: np.random.Generator, points: np.ndarray, framing: int) -> np.ndarray:
        """K f64[3,3] that shows points f64[n,3] (camera axes) at a random fill, near the middle of the
        picture."""
        height, width = self._size
        flat = points[:, :2] / points[:, 2:]
        low, high = flat.min(0), flat.max(0)
        focal = rng.uniform(*FILL[framing]) / ((high - low) / [width, height]).max()
        # what is left beside the person bounds how far off the middle a whole body may be
        free = np.maximum(0.5 * (1 - focal * (high - low) / [width, height]) - 0.04, 0)
        off = (
            np.clip(rng.normal(0, OFF_CENTRE[framing], 2), -free, free)
            if framing == FULL_BODY
            else rng.normal(0, OFF_CENTRE[framing], 2)
        )
        centre = (0.5 + off) * [width, height] - focal * (low + high) / 2
        return np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
