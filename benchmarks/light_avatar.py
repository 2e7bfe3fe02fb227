"""The demo avatar with a light renderer network of random weights, to measure with: python
benchmarks/light_avatar.py -o out/light

dinar bench out/light --scenario single --renderer light
"""

import argparse
from dataclasses import replace

import light_network
import numpy as np

from dinar_live.export.checks import make_checks
from dinar_live.runtime import Avatar, Pose
from dinar_live.runtime.avatar import RendererSpec

TEXTURE = 256  # texels a side, as in DINAR


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-o", "--output", required=True, help="bundle to write")
    parser.add_argument("--channels", type=int, default=16, help="of the neural texture")
    parser.add_argument("--width", type=int, default=32, help="channels of the network at half resolution")
    args = parser.parse_args()
    demo = Avatar.demo()
    texture = np.random.default_rng(0).standard_normal((TEXTURE, TEXTURE, args.channels)).astype(np.float16)
    model = light_network.build(args.channels, args.width)
    spec = RendererSpec(texture, model=model, margin=light_network.reach(), stride=light_network.STRIDE)
    provenance = {"method": "random weights, for measuring only"}
    avatar = replace(demo, name="light", renderers={"light": spec}, checks=None, provenance=provenance)
    make_checks(avatar, [Pose()]).save(args.output, overwrite=True)
    gflop = light_network.gflop(args.channels, args.width)
    print(
        f"{args.output}: {gflop:.1f} GFLOP at 512x512, margin {light_network.reach()} px, model {len(model) / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
