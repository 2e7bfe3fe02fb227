"""Plays a motion file on the demo avatar: BVH, or SMPL-X, AMASS and BEAT2 .npz.

python examples/05_drive_by_a_motion_file.py             # the motion in the package
python examples/05_drive_by_a_motion_file.py walk.bvh    # writes out/05_motion.png: eight moments of it
"""

import sys

from dinar_live import Avatar, Camera, Renderer, demo_motion, load_motion
from dinar_live.runtime.render.sinks import contact_sheet, write_png

SIZE, MOMENTS = (384, 256), 8

avatar = Avatar.demo()
motion = load_motion(sys.argv[1]) if len(sys.argv) > 1 else demo_motion()
print(f"{motion.name}: {motion.duration:.1f} s, {motion.fps:g} frames a second")
# For this body: scaled by its legs, feet on the ground, beginning over the origin.
fitted = motion.for_avatar(avatar.rig.joints, avatar.rig.expression_names)
for note in fitted.notes:
    print(f"note: {note}")

images = []
with Renderer(avatar, SIZE, background_compile=False) as renderer:
    for i in range(MOMENTS):
        pose = fitted.pose_at(i * motion.duration / MOMENTS)
        camera = Camera.orbit(avatar.rig.joints[0] + pose.transl, SIZE, azimuth=0.2)
        images.append(renderer.render(pose, camera).rgba.copy())  # a frame's memory is used again
write_png("out/05_motion.png", contact_sheet(images, 4))
print("out/05_motion.png")
