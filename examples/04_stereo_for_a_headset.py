"""Asks a server for both eyes of a headset, with alpha and depth, as docs/vr.md describes it.

python examples/04_stereo_for_a_headset.py    # writes out/04_stereo.png: both eyes, and the left one's depth
"""

import numpy as np

from dinar_live import Avatar, AvatarService, Client, Server, demo_motion
from dinar_live.runtime.render.sinks import contact_sheet, write_png
from dinar_live.runtime.stream import FrameFormat, OpenXRView

SIZE = 448
EYES_APART = 0.063  # metres
# What xrLocateViews gives for each eye: its pose (x right, y up, z back) and its angles left, right, up, down.
FOV_LEFT, FOV_RIGHT = (-0.42, 0.36, 0.4, -0.4), (-0.36, 0.42, 0.4, -0.4)
UPRIGHT = (0.0, 0.0, 0.0, 1.0)  # quaternion x y z w


def eye(x: float, fov) -> OpenXRView:
    return OpenXRView(np.array((x, 0.9, 2.8)), np.array(UPRIGHT), np.array(fov), SIZE, SIZE)


avatar = Avatar.demo()
with AvatarService(avatar, size=(SIZE, SIZE)) as service:
    service.warm_up()
    with (
        Server(service.render, service.capabilities(), ready=service.ready) as server,
        Client(server.endpoint, format=FrameFormat(depth="inverse")) as client,
    ):
        pose = demo_motion().for_avatar(avatar.rig.joints).pose_at(1.0)
        eyes = (eye(-EYES_APART / 2, FOV_LEFT), eye(EYES_APART / 2, FOV_RIGHT))
        frame = client.render(pose, eyes)

left, right = frame.views  # each has rgba u8[H,W,4], premultiplied, and depth f32[H,W] in metres, 0 = nothing
depth = frame.depth if frame.depth is not None else np.zeros((SIZE, SIZE))  # the left eye's
there = depth > 0
near, far = depth[there].min(), depth[there].max()
grey = np.zeros_like(left.rgba)
grey[there, :3] = (255 - 200 * (depth[there] - near) / (far - near))[:, None]
grey[there, 3] = 255
print(f"{near:.2f} to {far:.2f} m away, {frame.bytes / 1000:.0f} kB, {frame.latency_ms:.0f} ms")
write_png("out/04_stereo.png", contact_sheet([left.rgba, right.rgba, grey], 3))
print("out/04_stereo.png")
