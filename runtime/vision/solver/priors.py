"""What poses are likely: a mean and a spread for each axis of each joint, set by hand; no data of people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core.skeleton import JOINT_INDEX

from .body import JOINTS, SolverBody
from .columns import Columns, Equations
from .so3 import log, right_jacobian_inverse

HINGES = (("left_knee", 0, 1), ("right_knee", 0, 1), ("left_elbow", 1, -1), ("right_elbow", 1, 1))
HINGE_SIGMA = 0.05  # radians that a knee or an elbow bends the wrong way
KINDS = ("photo", "any")
CAUCHY = 2.5  # beyond so many sigmas a pose of the kind "photo" pulls less

# joint (both sides): mean, sigma of the axis-angle, radians; for the left, y and z of the mean change sign on the right
_ANY = {
    "spine1": ((0, 0, 0), (0.20, 0.15, 0.12)),
    "spine2": ((0, 0, 0), (0.20, 0.15, 0.12)),
    "spine3": ((0, 0, 0), (0.20, 0.15, 0.12)),
    "neck": ((0, 0, 0), (0.25, 0.25, 0.20)),
    "head": ((0, 0, 0), (0.25, 0.30, 0.20)),
    "collar": ((0, 0, 0), (0.12, 0.15, 0.15)),
    "shoulder": ((0, 0, -0.9), (0.5, 0.8, 0.8)),
    "elbow": ((0, -0.4, 0), (0.5, 0.9, 0.10)),
    "wrist": ((0, 0, 0), (0.25, 0.25, 0.25)),
    "hip": ((-0.1, 0, 0.05), (0.7, 0.3, 0.3)),
    "knee": ((0.2, 0, 0), (0.9, 0.08, 0.08)),
    "ankle": ((0, 0, 0), (0.35, 0.2, 0.2)),
    "foot": ((0, 0, 0), (0.02, 0.02, 0.02)),
}
# Somebody who stands for a photo: upright, straight legs, arms a little away.
_PHOTO = _ANY | {
    "spine1": ((0, 0, 0), (0.08, 0.08, 0.06)),
    "spine2": ((0, 0, 0), (0.08, 0.08, 0.06)),
    "spine3": ((0, 0, 0), (0.08, 0.08, 0.06)),
    "neck": ((0, 0, 0), (0.12, 0.20, 0.15)),
    "head": ((0, 0, 0), (0.15, 0.25, 0.15)),
    "shoulder": ((0, -0.1, -0.9), (0.3, 0.25, 0.5)),
    "elbow": ((0, -0.2, 0), (0.5, 0.3, 0.10)),
    "hip": ((-0.05, 0, 0.08), (0.12, 0.2, 0.15)),
    "knee": ((0.08, 0, 0), (0.12, 0.05, 0.05)),
    "ankle": ((0, 0, 0), (0.2, 0.2, 0.15)),
}
FINGER_SIGMA = 0.3
STILL = 0.02  # jaw, eyes: not seen


@dataclass(frozen=True, eq=False)
class PosePrior:
    """mean, sigma f64[55,3] of the joints' axis-angle in radians; the root is free. cauchy: see Equations."""

    mean: np.ndarray
    sigma: np.ndarray
    cauchy: float | None

    @classmethod
    def of(cls, kind: str, body: SolverBody) -> PosePrior:
        """kind: "photo" (stands for a photo) or "any"."""
        table = {"photo": _PHOTO, "any": _ANY}[kind]
        mean, sigma = np.zeros((JOINTS, 3)), np.full((JOINTS, 3), STILL)
        sigma[0] = 1e3
        for part, (m, s) in table.items():
            for name, sign in ((part, 1), (f"left_{part}", 1), (f"right_{part}", -1)):
                if name in JOINT_INDEX:
                    mean[JOINT_INDEX[name]] = np.multiply(m, (1, sign, sign))
                    sigma[JOINT_INDEX[name]] = s
        mean[25:] = body.hands_mean
        sigma[25:] = FINGER_SIGMA
        return cls(mean, sigma, CAUCHY if kind == "photo" else None)


def add_pose_prior(equations: Equations, columns: Columns, local: np.ndarray, prior: PosePrior) -> None:
    """local f64[55,3,3]: pull the free joints to the prior's mean, knees and elbows to the side they bend to."""
    free = columns.free
    angles = log(local[free])
    inverse = right_jacobian_inverse(angles)
    jacobian = np.zeros((len(free), 3, columns.size))
    for n in range(len(free)):
        jacobian[n, :, 3 * n : 3 * n + 3] = inverse[n]
    residuals = angles - prior.mean[free]
    flat = jacobian.reshape(-1, columns.size)
    equations.add(residuals.reshape(-1), flat, prior.sigma[free].reshape(-1), prior.cauchy)
    for name, axis, sign in HINGES:
        place = columns.place(JOINT_INDEX[name])
        if place is not None and sign * angles[place // 3, axis] < 0:
            n = place // 3
            equations.add(angles[n, axis : axis + 1], jacobian[n, axis : axis + 1], HINGE_SIGMA)


def add_follow_prior(
    equations: Equations, columns: Columns, local: np.ndarray, last: np.ndarray, sigma: float
) -> None:
    """Pull the free joints of `local` f64[55,3,3] to those of `last` (the frame before): sigma radians."""
    free = columns.free
    difference = log(np.matmul(last[free].transpose(0, 2, 1), local[free]))
    inverse = right_jacobian_inverse(difference)
    jacobian = np.zeros((len(free), 3, columns.size))
    for n in range(len(free)):
        jacobian[n, :, 3 * n : 3 * n + 3] = inverse[n]
    equations.add(difference, jacobian, sigma)


def add_place_prior(
    equations: Equations, columns: Columns, transl: np.ndarray, near: np.ndarray, sigma: float
) -> None:
    """Pull the translation f64[3] to `near`: sigma metres."""
    jacobian = np.zeros((3, columns.size))
    jacobian[:, columns.transl] = np.eye(3)
    equations.add(transl - near, jacobian, sigma)


def add_shape_prior(
    equations: Equations, columns: Columns, body: SolverBody, betas: np.ndarray, height: float | None,
    pictures: int = 1,
) -> None:  # fmt: skip
    """Betas have sigma 1; a given height in metres has one of half a centimetre.

    pictures: how many speak against the prior. It counts as often: clothes and lenses mislead all of them alike, so
    two agree on an error as readily as on the truth.
    """
    jacobian = np.zeros((columns.betas, columns.size))
    jacobian[:, columns.shape] = np.eye(columns.betas)
    equations.add(betas, jacobian, 1 / np.sqrt(pictures))
    if height is not None:
        value, slope = body.height(betas)
        row = np.zeros((1, columns.size))
        row[0, columns.shape] = slope
        equations.add(np.array([value - height]), row, 0.005)


def add_focal_prior(equations: Equations, columns: Columns, log_scale: float, sigma: float) -> None:
    """The focal length is the assumed one up to a factor exp(log_scale), of sigma `sigma`."""
    row = np.zeros((1, columns.size))
    row[0, -1] = 1
    equations.add(np.array([log_scale]), row, sigma)
