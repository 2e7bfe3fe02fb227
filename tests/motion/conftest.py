"""Motions made for the tests, and a small BVH writer."""

import dataclasses
import types

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.skeleton import JOINT_NAMES, PARENTS
from dinar_live.runtime.motion import demo_motion
from dinar_live.runtime.motion import reference_body as ref
from dinar_live.runtime.motion.bvh import Bvh


def other_side(name):
    """The name of the joint on the other side of the body."""
    return name.replace("left", "*").replace("right", "left").replace("*", "right")


MIRROR = [JOINT_NAMES.index(other_side(n)) for n in JOINT_NAMES]


@pytest.fixture(scope="session")
def demo():
    return demo_motion(30)


@pytest.fixture(scope="session")
def rest():
    return ref.rest_joints()


@pytest.fixture(scope="session")
def tools():
    """The functions below, for test modules (which cannot import each other)."""
    return types.SimpleNamespace(
        mirror=MIRROR,
        other_side=other_side,
        skeleton_bvh=skeleton_bvh,
        mirrored=mirrored,
        mirrored_body=mirrored_body,
        angle_between=angle_between,
        bvh_text=bvh_text,
    )


def skeleton_bvh(body, pelvis, rest, names=JOINT_NAMES, unit=100.0, fps=30.0) -> Bvh:
    """SMPL-X poses [N,55,3] and pelvis path [N,3] as a BVH of the same skeleton, `unit` file units to the
    metre."""
    offsets = np.array([rest[j] - (rest[p] if p >= 0 else 0) for j, p in enumerate(PARENTS)]) * unit
    positions = np.broadcast_to(offsets, (len(body), 55, 3)).copy()
    positions[:, 0] = np.asarray(pelvis) * unit
    ends = {j: np.array((0, 0, 0.02 * unit)) for j in range(55) if j not in PARENTS}
    ends[15] = np.array((0, 0.15 * unit, 0))
    return Bvh(
        tuple(names), tuple(PARENTS), offsets, ends, rot.axis_angle_to_quaternion(body), positions, fps
    )


def mirrored(bvh: Bvh, names_of_other_side) -> Bvh:
    """The figure in a mirror that swaps x and -x."""
    swap = [bvh.names.index(names_of_other_side(n)) for n in bvh.names]
    flip = np.array((-1.0, 1.0, 1.0))
    return dataclasses.replace(
        bvh,
        parents=tuple(swap[bvh.parents[j]] if bvh.parents[j] >= 0 else -1 for j in swap),
        names=tuple(bvh.names),
        offsets=bvh.offsets[swap] * flip,
        positions=bvh.positions[:, swap] * flip,
        rotations=bvh.rotations[:, swap] * (1.0, 1.0, -1.0, -1.0),
        ends={swap[j]: e * flip for j, e in bvh.ends.items()},
    )


def mirrored_body(body):
    """SMPL-X poses [N,55,3] in the same mirror."""
    return body[:, MIRROR] * (1.0, -1.0, -1.0)


def angle_between(a, b):
    """Degrees between rotations given as axis-angle [...,3]."""
    d = rot.multiply(rot.conjugate(rot.axis_angle_to_quaternion(a)), rot.axis_angle_to_quaternion(b))
    return np.degrees(np.linalg.norm(rot.quaternion_to_axis_angle(d), axis=-1))


def bvh_text(bvh: Bvh, order="zxy", seconds="0.0333333") -> str:
    """A file with position channels on the root and rotations in `order`; needs scipy for the angles."""
    from scipy.spatial.transform import Rotation

    channels = " ".join(f"{a.upper()}rotation" for a in order)
    lines = ["HIERARCHY"]

    def write(j, depth):
        pad = "  " * depth
        lines.append(f"{pad}{'ROOT' if j == 0 else 'JOINT'} {bvh.names[j]}")
        lines.append(pad + "{")
        lines.append(f"{pad}  OFFSET " + " ".join(f"{x:.6f}" for x in bvh.offsets[j]))
        lines.append(
            f"{pad}  CHANNELS " + ("6 Xposition Yposition Zposition " if j == 0 else "3 ") + channels
        )
        written.append(j)
        for c in bvh.children(j):
            write(c, depth + 1)
        if j in bvh.ends:
            lines.extend(
                [
                    f"{pad}  End Site",
                    pad + "  {",
                    f"{pad}    OFFSET " + " ".join(f"{x:.6f}" for x in bvh.ends[j]),
                    pad + "  }",
                ]
            )
        lines.append(pad + "}")

    written = []
    write(0, 0)
    lines += ["MOTION", f"Frames: {bvh.frames}", f"Frame Time: {seconds}"]
    turns = Rotation.from_quat(bvh.rotations[:, written].reshape(-1, 4)[:, [1, 2, 3, 0]]).as_euler(
        order.upper(), degrees=True
    )
    turns = turns.reshape(bvh.frames, -1)
    for position, row in zip(bvh.positions[:, 0], turns, strict=True):
        lines.append(" ".join(f"{x:.6f}" for x in (*position, *row)))
    return "\n".join(lines) + "\n"
