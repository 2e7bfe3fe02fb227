"""What writing a clip costs: the renderer alone and with writing, in turns in one run.

python benchmarks/video.py [AVATAR] [--renderer NAME] [--frames 300] [--size 512] [--rounds 3] [--suffix .mp4]

Time with writing counts everything: finding the encoder, the first frame, the last one compressed, the file in
its place and checked.
"""

import argparse
import pathlib
import sys
import tempfile
import time

import numpy as np

from dinar_live import Renderer, demo_motion
from dinar_live.runtime.render.framing import FollowingCamera, body_extent
from dinar_live.runtime.render.sinks import VideoSink

FPS = 30.0

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("avatar", nargs="?", default="demo")
parser.add_argument("--renderer", default="auto")
parser.add_argument("--frames", type=int, default=300)
parser.add_argument("--size", type=int, default=512)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", type=int, default=0)
parser.add_argument("--suffix", default=".mp4")


def main() -> int:
    from dinar_live.cli.common import open_avatar

    args = parser.parse_args()
    avatar, size = open_avatar(args.avatar), (args.size, args.size)
    fitted = demo_motion().for_avatar(avatar.rig.joints, avatar.rig.expression_names)
    follow = FollowingCamera(avatar.rig.joints[0], body_extent(avatar.rig), size)
    moments = [(pose, follow.at(pose.transl)) for pose in map(fitted.pose_at, np.arange(args.frames) / FPS)]
    rates: dict[str, list[float]] = {"alone": [], "writing": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        Renderer(
            avatar,
            size,
            renderer=args.renderer,
            background=(0.87, 0.89, 0.91),
            threads=args.threads,
            background_compile=False,
        ) as renderer,
    ):
        print(renderer.describe())
        for pose, camera in moments:  # every size of window is compiled
            renderer.render(pose, camera)
        for n in range(args.rounds):
            began = time.perf_counter()
            for pose, camera in moments:
                renderer.render(pose, camera)
            rates["alone"].append(args.frames / (time.perf_counter() - began))
            path = pathlib.Path(folder) / f"{n}{args.suffix}"
            began = time.perf_counter()
            sink = VideoSink(path, size, FPS)
            for pose, camera in moments:
                sink.write(renderer.render(pose, camera).rgba)
            sink.close()
            rates["writing"].append(args.frames / (time.perf_counter() - began))
            alone, writing = (rates[name][-1] for name in rates)
            print(
                f"round {n + 1}: alone {alone:6.1f} fps, with writing {writing:6.1f} fps, ratio "
                f"{writing / alone:.2f}, {path.stat().st_size / 1e3:.0f} kB",
                flush=True,
            )
    ratios = np.divide(rates["writing"], rates["alone"])
    print(
        f"{getattr(sink, 'label', args.suffix)}: ratio {np.median(ratios):.2f} (median), {ratios.min():.2f} to {ratios.max():.2f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
