"""A moving tree of nodes, as glTF and FBX have it, as the skeleton that the retargeting of BVH reads.

Nodes may be turned, scaled and placed in any way at rest; a BVH joint is not turned at rest. So each joint's
frame is turned to lie along the world's axes in the rest pose, which changes nothing that can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.skeleton import JOINT_INDEX

from .bvh import Bvh
from .bvh_retarget import retarget
from .families import recognise
from .motion import Motion

MAX_NODES = 1024
MAX_VALUES = 40_000_000  # frames x nodes
_J = JOINT_INDEX
_LIMBS = ("hip", "knee", "ankle", "shoulder")


@dataclass(frozen=True, eq=False)
class Transforms:
    """Local transforms: place f64[...,J,3], rotation f64[...,J,4] (w, x, y, z), scale f64[...,J,3]."""

    place: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True, eq=False)
class NodeClip:
    """names, parents [J]: parents come first, -1 = root. rest [J,...]: without animation. moving [N,J,...].

    bind: world rotations f64[J,4] and places f64[J,3] of another pose that the file says is the skin's, in the
    world of the nodes; None if it has none.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    rest: Transforms
    moving: Transforms
    fps: float
    bind: tuple[np.ndarray, np.ndarray] | None = None


def worlds(parents: Sequence[int], local: Transforms) -> tuple[np.ndarray, np.ndarray]:
    """World rotations [N,J,4] and places [N,J,3] of local transforms [N,J,...]. Scales move children; they do
    not turn them."""
    rotations = np.empty_like(local.rotation)
    places = np.empty_like(local.place)
    linear: list[np.ndarray] = []
    for j, p in enumerate(parents):
        turn = rot.quaternion_to_matrix(local.rotation[:, j]) * local.scale[:, j, None, :]
        if p < 0:
            rotations[:, j], places[:, j] = local.rotation[:, j], local.place[:, j]
            linear.append(turn)
            continue
        rotations[:, j] = rot.multiply(rotations[:, p], local.rotation[:, j])
        places[:, j] = places[:, p] + (linear[p] @ local.place[:, j, :, None])[..., 0]
        linear.append(linear[p] @ turn)
    return rotations, places


def as_motion(clip: NodeClip, name: str, title: str, *, roll: str = "auto", up: str = "auto") -> Motion:
    """The clip on the body, through the retargeting of BVH. roll, up: as there. Raises MotionError."""
    joints = len(clip.names)
    frames = len(clip.moving.rotation)
    if joints > MAX_NODES or joints * frames > MAX_VALUES:
        raise MotionError(
            f"{title}: {frames} frames of {joints} nodes, expected at most {MAX_NODES} nodes and "
            f"{MAX_VALUES} of both multiplied"
        )
    source = recognise(clip.names, clip.parents, title).source
    at_rest = Transforms(*(v[None] for v in (clip.rest.place, clip.rest.rotation, clip.rest.scale)))
    rotations, places = worlds(clip.parents, at_rest)
    rest = rotations[0], places[0]
    notes = []
    if clip.bind is not None and _stands(clip.bind[1], source):
        rest = clip.bind
    elif not _stands(rest[1], source):
        notes.append("neither the nodes' rest pose nor a skin's bind pose is a standing figure")
    motion = retarget(_bvh(clip, *rest), title=title, roll=roll, up=up)
    # The retargeting leaves out a first frame of rest, so one was put there for it.
    kept = motion if motion.frames == frames else motion.slice(1, frames + 1)
    said = [n for n in motion.notes if not n.startswith("frame 0 is a rest pose")]
    return replace(kept, name=name, notes=(*said, *notes))


def _bvh(clip: NodeClip, rest: np.ndarray, rest_places: np.ndarray) -> Bvh:
    """The clip behind one frame of its rest pose."""
    world, places = worlds(clip.parents, clip.moving)
    world = np.concatenate([rest[None], world])
    places = np.concatenate([rest_places[None], places])
    turned = rot.multiply(world, rot.conjugate(rest))
    local, moved = turned.copy(), places.copy()
    offsets = rest_places.copy()
    for j, p in enumerate(clip.parents):
        if p >= 0:
            back = rot.conjugate(turned[:, p])
            local[:, j] = rot.multiply(back, turned[:, j])
            moved[:, j] = rot.rotate(back, places[:, j] - places[:, p])
            offsets[j] = rest_places[j] - rest_places[p]
    local[0] = (1.0, 0.0, 0.0, 0.0)
    return Bvh(_unique(clip.names), clip.parents, offsets, {}, local, moved, clip.fps)


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return tuple(out)


def _stands(places: np.ndarray, source: dict[int, int]) -> bool:
    """Whether joints [J,3] are a person who stands, legs not far from straight."""
    at = {(s, n): places[source[_J[f"{s}_{n}"]]] for s in ("left", "right") for n in _LIMBS}
    up = sum(at[s, "shoulder"] - at[s, "hip"] for s in ("left", "right"))
    across = at["left", "hip"] - at["right", "hip"]
    if min(np.linalg.norm(up), np.linalg.norm(across)) < 1e-9:
        return False
    up = rot.unit(up)
    bones = [at[s, b] - at[s, a] for s in ("left", "right") for a, b in (("hip", "knee"), ("knee", "ankle"))]
    straight = all(np.linalg.norm(b) > 1e-9 and rot.unit(b) @ up < -0.7 for b in bones)
    return straight and bool(abs(rot.unit(across) @ up) < 0.3)
