"""Renders one frame of the demo avatar in a pose of your own.

python examples/01_render_a_frame.py          # writes out/01_frame.png, with alpha
"""

import numpy as np

from dinar_live import Avatar, Camera, Pose, Renderer
from dinar_live.runtime.core.skeleton import JOINT_INDEX
from dinar_live.runtime.render.sinks import write_png

SIZE = (512, 512)  # height, width

body = np.zeros((55, 3), np.float32)  # SMPL-X: axis-angle in radians for each joint; zero is a T-pose
body[JOINT_INDEX["left_shoulder"]] = (0, 0, -1.15)  # down beside the body
body[JOINT_INDEX["right_shoulder"]] = (0, 0, 0.2)
body[JOINT_INDEX["right_elbow"]] = (0, 0, -1.5)  # and a hand that waves

avatar = Avatar.demo()  # or Avatar.load("me")
camera = Camera.orbit(avatar.rig.joints[0], SIZE, azimuth=0.3)
with Renderer(avatar, SIZE, straight=True, background_compile=False) as renderer:
    print(renderer.describe())
    frame = renderer.render(Pose(body=body), camera)

write_png("out/01_frame.png", frame.rgba)  # u8[H,W,4]
print(", ".join(f"{stage} {ms:.1f} ms" for stage, ms in frame.timings.items()))
print("out/01_frame.png")
