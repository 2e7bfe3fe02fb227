"""Plays a motion as the page of a headset's browser would send it: a sender to try `dinar live webxr` with, and to test it.

    dinar live webxr                                   # prints the page's address
    python examples/webxr_sender.py http://127.0.0.1:8080/ [MOTION] [--seconds 20] [--fps 72]

Names and frame of the joints are those of the WebXR Body Tracking module, the message is that of docs/live.md; it shares
no code with the receiver. Each joint has axes of its own, as a headset's have. The wearer looks along -z and stands in a
T-pose for two seconds first. The address may end in #key=..., as it is printed.
"""

import argparse
import math
import struct
import time
import urllib.parse

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.skeleton import JOINT_INDEX, JOINT_NAMES
from dinar_live.runtime.motion import demo_motion, kinematics, load_motion
from dinar_live.runtime.motion.reference_body import rest_joints

NAMES = {  # SMPL-X joint -> XRBodyJoint; with left or right before both, but for the trunk
    "pelvis": "hips",
    "spine1": "spine-lower",
    "spine2": "spine-middle",
    "spine3": "chest",
    "neck": "neck",
    "head": "head",
    "hip": "upper-leg",
    "knee": "lower-leg",
    "ankle": "foot-ankle",
    "foot": "foot-ball",
    "collar": "shoulder",
    "shoulder": "arm-upper",
    "elbow": "arm-lower",
    "wrist": "hand-wrist",
    "thumb1": "hand-thumb-metacarpal",
    "thumb2": "hand-thumb-phalanx-proximal",
    "thumb3": "hand-thumb-phalanx-distal",
}
for ours, theirs in (("index", "index"), ("middle", "middle"), ("ring", "ring"), ("pinky", "little")):
    for number, part in enumerate(("proximal", "intermediate", "distal"), 1):
        NAMES[f"{ours}{number}"] = f"hand-{theirs}-phalanx-{part}"


def joint_name(ours: str) -> str | None:
    """The XRBodyJoint of an SMPL-X joint, None for jaw and eyes."""
    side, _, part = ours.partition("_")
    if side in ("left", "right"):
        return f"{side}-{NAMES[part]}" if part in NAMES else None
    return NAMES.get(ours)


JOINTS = [name for name in map(joint_name, JOINT_NAMES) if name]
ROWS = [JOINT_INDEX[name] for name in JOINT_NAMES if joint_name(name)]


class Wearer:
    """Somebody with a headset. seed: of the joints' axes. scale: size of the body against the open body's. facing:
    radians about y from +z."""

    def __init__(self, seed: int = 0, scale: float = 1.0, facing: float = math.pi):
        axes = np.random.default_rng(seed).normal(size=(55, 4))
        self.axes = axes / np.linalg.norm(axes, axis=1)[:, None]
        self.rest = rest_joints() * scale
        self.turn = rot.axis_angle_to_quaternion((0.0, facing, 0.0))

    def joints(self, body, pelvis=(0.0, 0.95, 0.0)) -> np.ndarray:
        """f32[52,7] of a pose, in the order of JOINTS: x, y, z in metres and quaternion x, y, z, w. body: [55,3]
        axis-angle; pelvis: [3] metres."""
        world = kinematics.global_rotations(rot.axis_angle_to_quaternion(np.asarray(body, float)[None]))
        places = kinematics.joint_positions(world, self.rest, np.asarray(pelvis, float)[None])[0]
        turns = rot.multiply(rot.multiply(self.turn, world[0]), self.axes)
        values = np.concatenate([rot.rotate(self.turn, places), turns[:, [1, 2, 3, 0]]], axis=1)
        return values[ROWS].astype(np.float32)


def message(joints: np.ndarray, number: int, session: int, time_ns: int) -> bytes:
    """The bytes of a frame."""
    block = struct.pack("<HHI", 52, 1, joints.nbytes) + joints.astype("<f4").tobytes()
    head = struct.pack(
        "<4sHHIHHQQQQIIQ", b"DNRL", 1, 34, 0, 64, 1, number, time_ns, 0, 0, len(block), session, 0
    )
    return head + block


def main() -> None:
    parser = argparse.ArgumentParser(description="Play a motion as a headset's page would send it.")
    parser.add_argument("page", help="the address that dinar live has printed, http://...")
    parser.add_argument("motion", nargs="?", default="demo", help="a motion file, or 'demo'")
    parser.add_argument("--fps", type=float, default=72.0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="end after so long")
    args = parser.parse_args()
    from websockets.sync.client import connect

    address = urllib.parse.urlsplit(args.page)
    key = urllib.parse.parse_qs(address.fragment).get("key")
    motion = demo_motion() if args.motion == "demo" else load_motion(args.motion)
    wearer, session = Wearer(), time.time_ns() & 0xFFFFFFFF
    with connect(
        f"ws://{address.netloc}/ws",
        subprotocols=["dinar-live", *(f"key.{k}" for k in key or ())],
        compression=None,
    ) as page:
        began, frame = time.monotonic(), 0
        while (t := frame / args.fps) < args.seconds:
            body, pelvis, _ = motion.sample(max(t - 2.0, 0.0))
            joints = wearer.joints(np.zeros((55, 3)) if t < 2.0 else body, pelvis)
            page.send(message(joints, frame + 1, session, time.monotonic_ns()))
            frame += 1
            time.sleep(max(began + frame / args.fps - time.monotonic(), 0))


if __name__ == "__main__":
    main()
