"""What an installed wheel must do, alone: run by the release workflow with the wheel and its dependencies only.

python wheel_smoke.py
"""

import pathlib
import sys

import dinar_live
from dinar_live import Avatar, Camera, Pose, Renderer
from dinar_live.cli.main import main

checkout = pathlib.Path(__file__).resolve().parents[2]
place = pathlib.Path(dinar_live.__file__).resolve()
if place.is_relative_to(checkout / "dinar_live"):
    sys.exit(f"{place}: this is the checkout, not an installed wheel")
avatar = Avatar.demo()
camera = Camera.orbit(avatar.rig.joints[0], (256, 256), azimuth=0.5)
with Renderer(avatar, size=(256, 256)) as renderer:
    frame = renderer.render(Pose(), camera)
share = float((frame.rgba[..., 3] > 128).mean())
if not 0.02 < share < 0.8:
    sys.exit(f"the body covers {share:.3f} of the frame")
if main(["inspect", "demo"]):
    sys.exit("dinar inspect demo failed")
print(f"{place.parent}: a frame in {frame.timings['total']:.0f} ms, body on {100 * share:.0f} % of it")
