"""Walks around the moving demo avatar and writes a video.

python examples/02_orbit_video.py             # writes out/02_orbit.mp4 (3 seconds)
"""

import math

from dinar_live import Avatar, Camera, Renderer, demo_motion
from dinar_live.runtime.render.sinks import VideoSink

SIZE, FPS, SECONDS = (384, 288), 20, 3

avatar = Avatar.demo()
motion = demo_motion().for_avatar(avatar.rig.joints, avatar.rig.expression_names)
video = VideoSink("out/02_orbit.mp4", SIZE, FPS)
with Renderer(avatar, SIZE, background=(0.87, 0.89, 0.91)) as renderer:
    for i in range(FPS * SECONDS):
        pose = motion.pose_at(i / FPS)
        camera = Camera.orbit(
            avatar.rig.joints[0] + pose.transl,  # where the pelvis is now, metres
            SIZE,
            azimuth=2 * math.pi * i / (FPS * SECONDS),
            elevation=0.1,
        )
        video.write(renderer.render(pose, camera).rgba)
video.close()
print("out/02_orbit.mp4")
