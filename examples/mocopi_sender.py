"""Plays a motion as Sony's mocopi app would send it: a sender to try `dinar live mocopi` with, and to test it.

    python examples/mocopi_sender.py [MOTION] [--port 12351] [--fps 50] [--seconds 20] [--loss 0.2]

Written from what is publicly known of the format (runtime/live/mocopi_format.py says what); it shares no code with
the receiver. The skeleton has the bones of the open body: mocopi's seven bones of the trunk and two of the neck share
what our three and one do.
"""

import argparse
import math
import random
import socket
import struct
import time

import numpy as np

from dinar_live.runtime.core.skeleton import JOINT_INDEX
from dinar_live.runtime.motion import demo_motion, load_motion
from dinar_live.runtime.motion.reference_body import SOLE, rest_joints

# Bone number -> (its parent, the joint whose place it has, the joint that it turns with, the part of that turn).
BONES: dict[int, tuple[int | None, str, str, float]] = {0: (None, "pelvis", "pelvis", 1.0)}
for number, (joint, part) in enumerate(
    (("spine1", 0.5), ("spine1", 0.5), ("spine2", 0.5), ("spine2", 0.5), ("spine3", 0.3), ("spine3", 0.3))
    + (("spine3", 0.4), ("neck", 0.5), ("neck", 0.5), ("head", 1.0)),
    1,
):
    BONES[number] = (number - 1, joint, joint, part)
for first, parent, side, joints in (
    (11, 7, "left", ("collar", "shoulder", "elbow", "wrist")),
    (15, 7, "right", ("collar", "shoulder", "elbow", "wrist")),
    (19, 0, "left", ("hip", "knee", "ankle", "foot")),
    (23, 0, "right", ("hip", "knee", "ankle", "foot")),
):
    for i, name in enumerate(joints):
        BONES[first + i] = (first + i - 1 if i else parent, f"{side}_{name}", f"{side}_{name}", 1.0)


def field(name: str, value: bytes) -> bytes:
    """A field: length, name, value."""
    return struct.pack("<I4s", len(value), name.encode()) + value


def head(port: int) -> bytes:
    """What every datagram begins with."""
    kind = field("ftyp", b"sony motion format") + field("vrsn", b"\x01")
    sender = field("ipad", b"\x7f\0\0\x01" + bytes(4)) + field("rcvp", struct.pack("<H", port))
    return field("head", kind) + field("sndf", sender)


def quaternion(axis_angle, part: float = 1.0) -> tuple[float, float, float, float]:
    """(x, y, z, w) of a part of a turn."""
    angle = float(np.linalg.norm(axis_angle))
    x, y, z = np.asarray(axis_angle, float) / max(angle, 1e-12) * math.sin(angle * part / 2)
    return float(x), float(y), float(z), math.cos(angle * part / 2)


class Performer:
    """A body with mocopi's 27 bones."""

    def __init__(self, port: int = 12351):
        self._port = port
        self.rest = rest_joints() - (0.0, SOLE, 0.0)

    def _place(self, number: int, pelvis) -> np.ndarray:
        parent, joint, _, _ = BONES[number]
        if parent is None:
            return np.asarray(pelvis, float)
        above = BONES[parent][1]
        return self.rest[JOINT_INDEX[joint]] - self.rest[JOINT_INDEX[above]]

    def skeleton(self) -> bytes:
        """The datagram of the bones and their rest pose."""
        bones = b""
        for number, (parent, _, _, _) in BONES.items():
            tran = struct.pack("<7f", 0, 0, 0, 1, *self._place(number, self.rest[0]))
            above = struct.pack("<H", 0xFFFF if parent is None else parent)
            bones += field(
                "bndt", field("bnid", struct.pack("<H", number)) + field("pbid", above) + field("tran", tran)
            )
        return head(self._port) + field("skdf", field("bons", bones))

    def frame(self, body, pelvis, number: int, seconds: float = 0.0) -> bytes:
        """The datagram of a pose. body: [55,3] axis-angle; pelvis: [3] metres."""
        bones = b""
        for bone, (_, _, joint, part) in BONES.items():
            turn = quaternion(body[JOINT_INDEX[joint]], part)
            tran = struct.pack("<7f", *turn, *self._place(bone, pelvis))
            bones += field("btdt", field("bnid", struct.pack("<H", bone)) + field("tran", tran))
        content = field("fnum", struct.pack("<I", number)) + field("time", struct.pack("<f", seconds))
        return head(self._port) + field(
            "fram", content + field("uttm", struct.pack("<d", seconds)) + field("btrs", bones)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Play a motion in mocopi's format.")
    parser.add_argument("motion", nargs="?", default="demo", help="a motion file, or 'demo'")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=12351)
    parser.add_argument("--fps", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="end after so long")
    parser.add_argument("--loss", type=float, default=0.0, help="part of the datagrams that is not sent")
    args = parser.parse_args()
    motion = demo_motion() if args.motion == "demo" else load_motion(args.motion)
    performer = Performer(args.port)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    began, number = time.monotonic(), 0
    while (t := number / args.fps) < args.seconds:
        body, pelvis, _ = motion.sample(t)
        datagrams = [performer.frame(body, pelvis, number, time.time())]
        if number % round(args.fps) == 0:
            datagrams.insert(0, performer.skeleton())
        for datagram in datagrams:
            if random.random() >= args.loss:
                sock.sendto(datagram, (args.host, args.port))
        number += 1
        time.sleep(max(began + number / args.fps - time.monotonic(), 0))


if __name__ == "__main__":
    main()
