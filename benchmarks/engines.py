"""Times the engines on the light network: python benchmarks/engines.py [--engines openvino torch] [--sizes
512x512 448x256] [--json FILE]

Every combination is measured in turn, several rounds, so that a busy moment of the machine hits all of them;
the table shows the best and the median run.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

import numpy as np

from dinar_live.engines import EngineError, available_engines, create_engine
from dinar_live.engines.yardstick import yardstick

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import light_network


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected HEIGHTxWIDTH, such as 512x256") from None
    if min(height, width) < 1 or height % light_network.STRIDE or width % light_network.STRIDE:
        raise argparse.ArgumentTypeError(f"{text!r}: expected multiples of {light_network.STRIDE}")
    return height, width


def open_cases(args: argparse.Namespace) -> list[dict]:
    model = light_network.build(args.channels, args.width)
    rng = np.random.default_rng(0)
    cases = []
    for name in args.engines:
        for precision in args.precisions:
            try:
                engine = create_engine(model, name, precision, args.threads)
            except EngineError as error:
                print(f"skipped {name} {precision}: {error}", file=sys.stderr)
                continue
            for size in args.sizes:
                start = time.perf_counter()
                session = engine.compile((1, *size))
                compile_s = time.perf_counter() - start
                features = session.inputs["features"]
                features[...] = rng.standard_normal(features.shape, np.float32)
                cases.append(
                    {
                        "engine": name,
                        "precision": engine.info.precision,
                        "threads": engine.info.threads,
                        "size": list(size),
                        "gflop": light_network.gflop(args.channels, args.width, size),
                        "compile_s": compile_s,
                        "session": session,
                        "ms": [],
                    }
                )
    return cases


def measure(cases: list[dict], rounds: int, runs: int) -> None:
    for _ in range(rounds):
        for case in cases:
            session = case["session"]
            for i in range(runs + 1):
                start = time.perf_counter()
                session.enqueue()
                session.synchronize()
                if i:  # the first run of a round fills the caches
                    case["ms"].append((time.perf_counter() - start) * 1e3)


def main() -> None:
    usable = [name for name, why_not in available_engines().items() if not why_not]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--engines", nargs="+", default=usable, choices=list(available_engines()))
    parser.add_argument("--precisions", nargs="+", default=["bf16", "f32"])
    parser.add_argument(
        "--sizes", nargs="+", type=_size, default=[(512, 512), (512, 320), (512, 256), (448, 256)]
    )
    parser.add_argument("--channels", type=int, default=16, help="channels of the texture")
    parser.add_argument("--width", type=int, default=32, help="channels of the half-resolution levels")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--runs", type=int, default=10, help="runs per round")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()

    scale = yardstick(args.threads)
    print("yardstick", ", ".join(f"{key} {value}" for key, value in scale.items()))
    cases = open_cases(args)
    measure(cases, args.rounds, args.runs)
    print(
        f"{'engine':<10}{'precision':<11}{'size':>9}{'GFLOP':>8}{'compile s':>11}{'best ms':>9}{'p50 ms':>9}{'GFLOP/s':>9}"
    )
    for case in cases:
        ms = case.pop("ms")
        del case["session"]
        case |= {"best_ms": min(ms), "p50_ms": statistics.median(ms)}
        size = "x".join(map(str, case["size"]))
        print(
            f"{case['engine']:<10}{case['precision']:<11}{size:>9}{case['gflop']:>8.2f}{case['compile_s']:>11.3f}"
            f"{case['best_ms']:>9.2f}{case['p50_ms']:>9.2f}{case['gflop'] / case['best_ms'] * 1e3:>9.0f}"
        )
    if args.json:
        report = {"yardstick": scale, "channels": args.channels, "width": args.width, "cases": cases}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
