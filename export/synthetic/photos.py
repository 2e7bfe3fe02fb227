"""Photos of synthetic people: how people stand for a photo, where the camera is, and the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core.skeleton import JOINT_INDEX as J

from .assets import Assets
from .person import Person

SUPERSAMPLING = 2
# arm: lift, swing, twist, elbow (radians; the builder's convention), and how often
STANDING_ARMS = {
    "a pose": ((-0.82, 0, 0, 0.12), 0.34),
    "down": ((-1.16, -0.05, 0, 0.2), 0.34),
    "hip": ((-0.85, 0.25, 0.85, 1.4), 0.1),
    "in front": ((-1.1, -0.5, 0.5, 0.9), 0.08),
    "side": ((-0.2, 0, 0, 0.15), 0.08),
    "bent": ((-1.12, -0.55, 0.2, 1.5), 0.06),
}


@dataclass(frozen=True, eq=False)
class Photo:
    """rgba u8[S,S,4], straight alpha; pose f32[55,3], transl f32[3], expression f32[E], matrix f64[3,4]
    =
    K @ world_to_camera[:3]: the true fit."""

    rgba: np.ndarray
    pose: np.ndarray
    transl: np.ndarray
    expression: np.ndarray
    matrix: np.ndarray


def standing(rng: np.random.Generator, assets: Assets, rest: np.ndarray) -> np.ndarray:
    """A pose f64[55,3] of someone who stands for a photo; rest f64[30,3]: relaxed hands."""
    poser = assets.poser
    p = np.zeros((55, 3))
    names = list(STANDING_ARMS)
    chance = np.array([STANDING_ARMS[n][1] for n in names])
    arm = rng.choice(names, p=chance / chance.sum())
    for side in (1, -1):
        if side < 0 and rng.random() < 0.2:
            arm = rng.choice(names, p=chance / chance.sum())
        poser._arm(p, side, np.array(STANDING_ARMS[arm][0]) + rng.normal(0, [0.13, 0.1, 0.1, 0.1]))
        poser._hand(p, side, rng.uniform(0, 0.35), 0.3, rest)
        bend = max(0.0, rng.normal(0.02, 0.05))
        poser._leg(p, side, bend, 0.06 + rng.normal(0, 0.05), 0.08 + rng.normal(0, 0.08), 1.6 * bend)
    for k in ("spine1", "spine2", "spine3"):
        p[J[k]] = rng.normal(0, 0.03, 3)
    p[J["head"]], p[J["neck"]] = rng.normal(0, [0.07, 0.12, 0.05]), rng.normal(0, 0.04, 3)
    return p


def yaw(rng: np.random.Generator) -> float:
    """Where the person turns, radians from the camera: mostly front, often back, else anywhere."""
    r = rng.random()
    if r < 0.62:
        return float(rng.normal(0, 0.22))
    return float(np.pi + rng.normal(0, 0.25)) if r < 0.78 else float(rng.uniform(-np.pi, np.pi))


def other_yaw(rng: np.random.Generator, first: float) -> float:
    """Where the person turns in a further photo: mostly half round from the first, often to a side."""
    r = rng.random()
    if r < 0.65:
        return float(first + np.pi + rng.normal(0, 0.2))
    if r < 0.85:
        return float(first + rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.25))
    return yaw(rng)


def take_several(
    person: Person, rng: np.random.Generator, assets: Assets, size: int, rest: np.ndarray, count: int
) -> list[Photo]:
    """Photos of one person in the same clothes, as for `dinar export --photo FRONT --photo BACK`; often in
    the same pose. As `take`."""
    first = drawn_pose(person, rng, assets, rest)
    turn = yaw(rng)
    out = [take(person, rng, assets, size, first, turn)]
    for _ in range(count - 1):
        pose = first if rng.random() < 0.5 else drawn_pose(person, rng, assets, rest)
        out.append(take(person, rng, assets, size, pose, other_yaw(rng, turn)))
    return out


def drawn_pose(
    person: Person, rng: np.random.Generator, assets: Assets, rest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A pose f64[55,3], mostly of someone who stands for a photo, and an expression f64[62].
    rest f64[30,3]: hands_mean_l and _r of the body."""
    if rng.random() < 0.8:
        return standing(rng, assets, rest), np.zeros(62)
    return assets.poser.sample_pose(rng, rest, bool(person.drapes))


def take(
    person: Person,
    rng: np.random.Generator,
    assets: Assets,
    size: int,
    drawn: tuple[np.ndarray, np.ndarray],
    turn: float,
) -> Photo:
    """One photo of size x size pixels of the person in a pose of `drawn_pose`, turned by `turn` radians."""
    builder = assets.builder
    pose, expression = drawn[0].copy(), drawn[1]
    pose[0] = [0, turn, 0]
    pose, expression = pose.astype(np.float32), expression.astype(np.float32)
    transl = np.zeros(3, np.float32)
    v = builder.posed(person.flat, pose.astype(float), expression, transl)
    centre, extent = (v.max(0) + v.min(0)) / 2, np.ptp(v, 0).max()
    focal = size * rng.uniform(1.0, 2.5)
    aside = rng.uniform(-0.02, 0.02, 2) * size
    K = np.array([[focal, 0, size / 2 + aside[0]], [0, focal, size / 2 + aside[1]], [0, 0, 1]])
    up = rng.normal(0.05, 0.09)
    distance = focal / size * extent / rng.uniform(0.76, 0.92) + 0.15
    direction = np.array([0, up, 1]) / np.hypot(up, 1)
    view = builder.look_at(centre + direction * distance, centre, rng.normal(0, 0.02))
    rgba = builder.render(person.flat, v, K, view, size, ss=SUPERSAMPLING)
    return Photo(rgba, pose, transl, expression, K @ view[:3])
