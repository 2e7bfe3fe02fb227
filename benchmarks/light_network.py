"""The light renderer network with random weights, to measure with: python benchmarks/light_network.py -o
light.onnx"""

import argparse
import pathlib

from dinar_live.export.fit.light import STRIDE, build_onnx, gflop, random_weights, reach

__all__ = ["STRIDE", "build", "gflop", "reach"]


def build(channels: int = 16, width: int = 32, seed: int = 0) -> bytes:
    """ONNX file of the network with random weights; `channels` are the texture's, `width` the channels at
    half resolution."""
    return build_onnx(random_weights(channels, width, seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    parser.add_argument("--channels", type=int, default=16, help="channels of the texture")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.output.write_bytes(build(args.channels, args.width, args.seed))
    print(
        f"{args.output}: {gflop(args.channels, args.width):.2f} GFLOP at 512x512, a crop is exact from a margin of {reach()} px"
    )


if __name__ == "__main__":
    main()
