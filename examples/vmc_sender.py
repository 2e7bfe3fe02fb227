"""Plays a motion over the VMC protocol, as a performer's app would: a sender to try `dinar live vmc` with,
and to test it.

    python examples/vmc_sender.py [MOTION] [--port 39539] [--fps 60] [--seconds 20] [--separate] [--vrm1]
    [--loss 0.2]

Written from the protocol's specification (https://protocol.vmc.info) and Unity's conventions alone; it shares
no code with the receiver. The model it pretends to be has the bones of the open body. --vrm1: bones with axes
of their own, as VRM 1 has them; it first stands in a T-pose for three seconds.
"""

import argparse
import math
import random
import socket
import struct
import time

import numpy as np

from dinar_live.runtime.core.skeleton import JOINT_NAMES, PARENTS
from dinar_live.runtime.motion import demo_motion, load_motion
from dinar_live.runtime.motion.reference_body import SOLE, rest_joints

_LIMBS = {
    "hip": "UpperLeg",
    "knee": "LowerLeg",
    "ankle": "Foot",
    "foot": "Toes",
    "collar": "Shoulder",
    "shoulder": "UpperArm",
    "elbow": "LowerArm",
    "wrist": "Hand",
    "eye": "Eye",
}
_MIDDLE = {
    "pelvis": "Hips",
    "spine1": "Spine",
    "spine2": "Chest",
    "spine3": "UpperChest",
    "neck": "Neck",
    "head": "Head",
    "jaw": "Jaw",
}
_PARTS = {"1": "Proximal", "2": "Intermediate", "3": "Distal"}


def bone_name(joint: str) -> str:
    """Unity's HumanBodyBones name of an SMPL-X joint."""
    if joint in _MIDDLE:
        return _MIDDLE[joint]
    side, part = joint.split("_")
    if part in _LIMBS:
        return side.title() + _LIMBS[part]
    return side.title() + {"pinky": "Little"}.get(part[:-1], part[:-1].title()) + _PARTS[part[-1]]


def string(text: str) -> bytes:
    """An OSC string: ended by a zero and filled up to a multiple of four bytes."""
    data = text.encode() + b"\0"
    return data + b"\0" * (-len(data) % 4)


def message(address: str, *arguments) -> bytes:
    """An OSC message of strings, ints and floats."""
    tags, data = ",", b""
    for a in arguments:
        tags += {str: "s", int: "i", float: "f"}[type(a)]
        data += string(a) if isinstance(a, str) else struct.pack(">i" if isinstance(a, int) else ">f", a)
    return string(address) + string(tags) + data


def bundle(messages: list[bytes], seconds: float) -> bytes:
    """An OSC bundle with the time as its tag: seconds since 1900 in 32.32 fixed point."""
    tag = struct.pack(">Q", int((seconds + 2208988800) * 2**32))
    return b"#bundle\0" + tag + b"".join(struct.pack(">i", len(m)) + m for m in messages)


def matrix(axis_angle) -> np.ndarray:
    """Rodrigues: axis-angle [3] -> rotation matrix [3,3]."""
    angle = float(np.linalg.norm(axis_angle))
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = np.asarray(axis_angle, float) / angle
    k = np.array(((0, -z, y), (z, 0, -x), (-y, x, 0)))
    return np.eye(3) + math.sin(angle) * k + (1 - math.cos(angle)) * (k @ k)


def quaternion(m: np.ndarray) -> tuple[float, float, float, float]:
    """Rotation matrix -> (x, y, z, w), by the largest of the four (Shepperd)."""
    parts = np.array((m[0, 0], m[1, 1], m[2, 2], np.trace(m)))
    i = int(np.argmax(parts))
    if i == 3:
        q = np.array((m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], 1 + parts[3]))
    else:
        j, k = (i + 1) % 3, (i + 2) % 3
        q = np.zeros(4)
        q[i], q[j], q[k], q[3] = (
            1 + 2 * m[i, i] - np.trace(m),
            m[i, j] + m[j, i],
            m[i, k] + m[k, i],
            m[k, j] - m[j, k],
        )
    return tuple(q / np.linalg.norm(q))


# Unity is left-handed with y up and +z forward: the character's left is -x. M m M mirrors a rotation into it.
_MIRROR = np.diag((-1.0, 1.0, 1.0))


class Performer:
    """A VRM model that does what a motion says.

    axes: one rotation matrix [3,3] per joint, its bone's axes in the T-pose (default: upright). without:
    joints that the model lacks; their rotations go to the bones below.
    """

    def __init__(self, axes=None, without=()):
        self.rest = rest_joints() - (0.0, SOLE, 0.0)
        self.axes = np.tile(np.eye(3), (len(PARENTS), 1, 1)) if axes is None else np.asarray(axes)
        self.joints = [j for j, name in enumerate(JOINT_NAMES) if name not in without]

    def bones(self, body, pelvis) -> list[tuple[str, list[float]]]:
        """(name, position and quaternion in Unity's axes) of every bone. body: [55,3] axis-angle; pelvis: [3]
        metres."""
        world = []
        for j, p in enumerate(PARENTS):
            world.append((world[p] if p >= 0 else np.eye(3)) @ matrix(body[j]))
        out = []
        for j in self.joints:
            p = PARENTS[j]
            while p >= 0 and p not in self.joints:
                p = PARENTS[p]
            if p < 0:
                position, rotation = np.asarray(pelvis, float), world[j] @ self.axes[j]
            else:
                position = self.axes[p].T @ (self.rest[j] - self.rest[p])
                rotation = (world[p] @ self.axes[p]).T @ world[j] @ self.axes[j]
            values = (*(_MIRROR @ position), *quaternion(_MIRROR @ rotation @ _MIRROR))
            out.append((bone_name(JOINT_NAMES[j]), [float(v) for v in values]))
        return out

    def messages(self, body, pelvis, faces=(), t: float = 0.0) -> list[bytes]:
        """One frame: root, bones, face (name, value), OK, T."""
        out = [message("/VMC/Ext/Root/Pos", "root", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)]
        out += [message("/VMC/Ext/Bone/Pos", name, *values) for name, values in self.bones(body, pelvis)]
        out += [message("/VMC/Ext/Blend/Val", name, float(value)) for name, value in faces]
        if faces:
            out.append(message("/VMC/Ext/Blend/Apply"))
        return [*out, message("/VMC/Ext/OK", 1), message("/VMC/Ext/T", float(t))]


def random_axes(seed: int) -> np.ndarray:
    """Bone axes [55,3,3] that no one would guess."""
    return np.stack([matrix(v) for v in np.random.default_rng(seed).uniform(-2, 2, (len(PARENTS), 3))])


def main() -> None:
    parser = argparse.ArgumentParser(description="Play a motion over the VMC protocol.")
    parser.add_argument("motion", nargs="?", default="demo", help="a motion file, or 'demo'")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=39539)
    parser.add_argument("--fps", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="end after so long")
    parser.add_argument("--separate", action="store_true", help="every message in a datagram of its own")
    parser.add_argument("--vrm1", action="store_true", help="bones with axes of their own; a T-pose first")
    parser.add_argument("--loss", type=float, default=0.0, help="part of the datagrams that is not sent")
    args = parser.parse_args()
    motion = demo_motion() if args.motion == "demo" else load_motion(args.motion)
    performer = Performer(random_axes(1) if args.vrm1 else None)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    began, frame = time.monotonic(), 0
    while (t := frame / args.fps) < args.seconds:
        if args.vrm1 and t < 3:
            body, pelvis, expression = np.zeros((55, 3)), performer.rest[0], ()
        else:
            body, pelvis, expression = motion.sample(t - 3 if args.vrm1 else t)
        messages = performer.messages(
            body, pelvis, tuple(zip(motion.expression_names or (), expression, strict=False)), t
        )
        for datagram in messages if args.separate else [bundle(messages, time.time())]:
            if random.random() >= args.loss:
                sock.sendto(datagram, (args.host, args.port))
        frame += 1
        time.sleep(max(began + frame / args.fps - time.monotonic(), 0))


if __name__ == "__main__":
    main()
