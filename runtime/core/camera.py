"""Camera: a pinhole with OpenCV axes (x right, y down, z forward)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import InputError
from .validate import checked


@dataclass(frozen=True, eq=False)
class Camera:
    """K: [3,3] intrinsics in pixels, last row 0 0 1. world_to_camera: [4,4] rigid transform, metres. pixel ~
    K @ x_camera.

    Raises InputError, naming the field.
    """

    K: np.ndarray
    world_to_camera: np.ndarray

    def __repr__(self) -> str:
        fx, fy = self.K[0, 0], self.K[1, 1]
        x, y, z = self.position
        return f"Camera(focal lengths {fx:.4g} and {fy:.4g} px, at ({x:.4g}, {y:.4g}, {z:.4g}) m)"

    def __post_init__(self):
        object.__setattr__(self, "K", checked("Camera.K", self.K, (3, 3), 1e6))
        object.__setattr__(
            self, "world_to_camera", checked("Camera.world_to_camera", self.world_to_camera, (4, 4), 1e4)
        )
        if self.K[0, 0] <= 0 or self.K[1, 1] <= 0 or not np.array_equal(self.K[2], [0, 0, 1]):
            raise InputError(
                f"Camera.K: got {self.K.tolist()}, expected positive focal lengths and a last row of 0 0 1"
            )
        R = self.world_to_camera[:3, :3].astype(np.float64)
        if (
            not np.array_equal(self.world_to_camera[3], [0, 0, 0, 1])
            or np.abs(R @ R.T - np.eye(3)).max() > 1e-3
            or np.linalg.det(R) < 0
        ):
            raise InputError(
                f"Camera.world_to_camera: got {self.world_to_camera.tolist()}, expected a rotation, a translation and a last row of 0 0 0 1"
            )

    @property
    def matrix(self) -> np.ndarray:
        """K @ world_to_camera[:3]: f64[3,4], world metres to (px*z, py*z, z)."""
        return self.K.astype(np.float64) @ self.world_to_camera[:3].astype(np.float64)

    @property
    def position(self) -> np.ndarray:
        """The camera's place in the world, f64[3], metres."""
        R, t = self.world_to_camera[:3, :3].astype(np.float64), self.world_to_camera[:3, 3].astype(np.float64)
        return -R.T @ t

    @classmethod
    def look_at(
        cls, eye, target, size: tuple[int, int], *, fov_y: float = 0.45, up=(0.0, 1.0, 0.0)
    ) -> Camera:
        """A camera at `eye` looking at `target` (metres); `size` (height, width) in pixels, `fov_y` the
        vertical field of view in radians."""
        eye, target, up = (
            checked(f"Camera.look_at {n}", v, (3,)).astype(np.float64)
            for n, v in (("eye", eye), ("target", target), ("up", up))
        )
        height, width = size
        z = target - eye
        x = np.cross(z, up)
        if np.linalg.norm(z) < 1e-6 or np.linalg.norm(x) < 1e-9:
            raise InputError(
                f"Camera.look_at: got eye {eye.tolist()}, target {target.tolist()}, up {up.tolist()}; expected a view direction not along "
                f"`up`"
            )
        z, x = z / np.linalg.norm(z), x / np.linalg.norm(x)
        R = np.stack([x, np.cross(z, x), z])
        f = height / 2 / np.tan(fov_y / 2)
        w2c = np.eye(4)
        w2c[:3, :3], w2c[:3, 3] = R, -R @ eye
        return cls(K=np.array([[f, 0, width / 2], [0, f, height / 2], [0, 0, 1]]), world_to_camera=w2c)

    @classmethod
    def orbit(
        cls,
        target,
        size: tuple[int, int],
        *,
        azimuth: float = 0.0,
        elevation: float = 0.0,
        distance: float = 4.5,
        fov_y: float = 0.45,
    ) -> Camera:
        """A camera on a sphere about `target`; azimuth 0 looks at the front of a T-posed body (along -Z),
        growing towards its left. Radians, metres."""
        ca, sa, ce, se = np.cos(azimuth), np.sin(azimuth), np.cos(elevation), np.sin(elevation)
        return cls.look_at(
            np.asarray(target, np.float64) + distance * np.array([sa * ce, se, ca * ce]),
            target,
            size,
            fov_y=fov_y,
        )

    @classmethod
    def from_openxr(cls, position, orientation, fov, size: tuple[int, int]) -> Camera:
        """From an OpenXR view: pose of the eye (position metres, orientation quaternion x y z w; x right, y
        up, z back) and fov = (left, right, up, down) angles in radians, left and down negative; `size`
        (height, width). Asymmetric frusta keep their principal point."""
        p = checked("Camera.from_openxr position", position, (3,)).astype(np.float64)
        q = checked("Camera.from_openxr orientation", orientation, (4,)).astype(np.float64)
        l, r, u, d = checked("Camera.from_openxr fov", fov, (4,), np.pi / 2 - 1e-3).astype(np.float64)
        if abs(np.linalg.norm(q) - 1) > 1e-2:
            raise InputError(
                f"Camera.from_openxr orientation: got a quaternion of length {np.linalg.norm(q):g}, expected 1"
            )
        if not (l < r and d < u):
            raise InputError(
                f"Camera.from_openxr fov: got left {l:g}, right {r:g}, up {u:g}, down {d:g}; expected left < right and down < up"
            )
        x, y, z, w = q / np.linalg.norm(q)
        R = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        R = np.diag([1.0, -1.0, -1.0]) @ R.T  # OpenXR camera axes (y up, z back) to OpenCV's
        height, width = size
        fx, fy = width / (np.tan(r) - np.tan(l)), height / (np.tan(u) - np.tan(d))
        w2c = np.eye(4)
        w2c[:3, :3], w2c[:3, 3] = R, -R @ p
        return cls(
            K=np.array([[fx, 0, -np.tan(l) * fx], [0, fy, np.tan(u) * fy], [0, 0, 1]]), world_to_camera=w2c
        )
