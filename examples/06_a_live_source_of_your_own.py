"""A live source of your own, here arithmetic in place of a tracker, which moves the demo avatar.

python examples/06_a_live_source_of_your_own.py    # writes out/06_live_source.png: two seconds of it
"""

import math
import time

import numpy as np

from dinar_live import Avatar, Camera, Renderer
from dinar_live.runtime.core.skeleton import JOINT_INDEX
from dinar_live.runtime.live import Follower
from dinar_live.runtime.live.source import Sample, Skeleton, Source, SourceState
from dinar_live.runtime.render.sinks import contact_sheet, write_png

SIZE, SECONDS, LOOKS = (384, 256), 2.0, 6

BODY = Skeleton(leg_length=0.8)  # metres: the body that the poses were made for


class Waver(Source):
    """Waves its right hand; a real one would have a thread that listens, and keep the newest sample here."""

    def start(self) -> None:
        self._began = time.monotonic()

    def close(self) -> None:
        pass

    def read(self) -> Sample:
        now = time.monotonic()
        t = now - self._began
        body = np.zeros((55, 3), np.float32)
        body[JOINT_INDEX["left_shoulder"]] = (0, 0, -1.15)
        body[JOINT_INDEX["right_shoulder"]] = (0, 0, 0.2)
        body[JOINT_INDEX["right_elbow"]] = (0, 0, -1.3 + 0.5 * math.sin(5 * t))
        pelvis = np.array((0.1 * math.sin(2 * t), 0.95, 0.0))
        return Sample(t, now, int(60 * t), body, pelvis, np.zeros(0, np.float32))

    @property
    def skeleton(self) -> Skeleton:
        return BODY

    @property
    def state(self) -> SourceState:
        return SourceState("waver", connected=True, rate_hz=60.0)


avatar = Avatar.demo()
images = []
with Waver() as source, Renderer(avatar, SIZE, background_compile=False) as renderer:
    # Eases in from standing by, holds the last pose when samples stop. AvatarService(source=follower) streams it.
    follower = Follower(source, avatar.rig.joints, avatar.rig.expression_names, ease_s=0.5)
    for _ in range(LOOKS):
        pose = follower.pose_at(time.monotonic())
        camera = Camera.orbit(avatar.rig.joints[0] + pose.transl, SIZE)
        images.append(renderer.render(pose, camera).rgba.copy())
        time.sleep(SECONDS / LOOKS)
print(source.state)
write_png("out/06_live_source.png", contact_sheet(images, LOOKS))
print("out/06_live_source.png")
