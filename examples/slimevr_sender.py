"""Plays a motion as SlimeVR's server sends it over VMC: a sender to try `dinar live slimevr` with, and to test it.

    python examples/slimevr_sender.py [MOTION] [--port 39539] [--fps 250] [--seconds 20] [--no-arms]

The layout is the server's, by its public source: one bundle without a time tag, in it T, OK, the root, the bones and
then trackers, which a receiver of bodies leaves alone. --no-arms: as where controllers track the arms.
"""

import argparse
import math
import socket
import struct
import time

import numpy as np
from vmc_sender import Performer, message

from dinar_live.runtime.motion import demo_motion, load_motion

_ARM = ("UpperArm", "LowerArm", "Hand", "Proximal", "Intermediate", "Distal")


def bundle(performer: Performer, body, pelvis, seconds: float, arms: bool = True) -> bytes:
    """The datagram of a pose. body: [55,3] axis-angle; pelvis: [3] metres; seconds: since the server's start."""
    messages = [
        message("/VMC/Ext/T", float(seconds)),
        message("/VMC/Ext/OK", 1),
        message("/VMC/Ext/Root/Pos", "root", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    ]
    for name, (*position, x, y, z, w) in performer.bones(body, pelvis):
        if (arms or not name.endswith(_ARM)) and "Eye" not in name and name != "Jaw":
            # the same rotation with all signs changed, which is how the server writes its own
            messages.append(message("/VMC/Ext/Bone/Pos", name, *position, -x, -y, -z, -w))
    messages.append(message("/VMC/Ext/Tra/Pos", "human://WAIST", *np.zeros(6).tolist(), 1.0))
    parts = b"".join(struct.pack(">i", len(m)) + m for m in messages)
    return b"#bundle\0" + struct.pack(">Q", 1) + parts


def main() -> None:
    parser = argparse.ArgumentParser(description="Play a motion as SlimeVR's server would.")
    parser.add_argument("motion", nargs="?", default="demo", help="a motion file, or 'demo'")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=39539)
    parser.add_argument("--fps", type=float, default=250.0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="end after so long")
    parser.add_argument("--no-arms", action="store_true", help="leave the arms out")
    args = parser.parse_args()
    motion = demo_motion() if args.motion == "demo" else load_motion(args.motion)
    performer = Performer()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    began, frame = time.monotonic(), 0
    while (t := frame / args.fps) < args.seconds:
        body, pelvis, _ = motion.sample(t)
        sock.sendto(bundle(performer, body, pelvis, t, not args.no_arms), (args.host, args.port))
        frame += 1
        time.sleep(max(began + frame / args.fps - time.monotonic(), 0))


if __name__ == "__main__":
    main()
