"""The full DINAR renderer at 512x512, torch eager fp32 against the exported network in OpenVINO: python
benchmarks/dinar_renderer.py

Random weights; the time does not depend on them. The two run in turns. Prints the best of each and the ratios
within this run.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from dinar_live.engines import EngineError, create_engine
from dinar_live.export.checkpoint import load_checkpoint
from dinar_live.export.dinar.bake import renderer_onnx
from dinar_live.export.networks import random_state_dict
from dinar_live.export.networks.model import required


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    renderer = required(load_checkpoint(random_state_dict(0), networks=("renderer",)).renderer)
    features = np.random.default_rng(0).standard_normal((1, 24, args.size, args.size), np.float32)
    model, x = renderer_onnx(renderer), torch.from_numpy(features)

    def eager():
        with torch.inference_mode():
            renderer.render_sampled(x)

    def once(session):
        session.enqueue()
        session.synchronize()

    runs: dict[str, Callable[[], None]] = {"torch eager f32": eager}
    for precision in ("f32", "bf16"):
        try:
            session = create_engine(model, "openvino", precision=precision).compile((1, args.size, args.size))
        except EngineError as e:
            print(f"openvino {precision}: left out ({e})")
            continue
        session.inputs["features"][...] = features
        runs[f"openvino {precision}"] = partial(once, session)
    times = {name: [] for name in runs}
    for i in range(args.rounds + 1):  # the first round warms up
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if i:
                times[name].append(time.perf_counter() - began)
    base = times["torch eager f32"]
    result = {}
    for name, t in times.items():
        ratio = float(np.median(np.array(base) / np.array(t)))
        result[name] = {"best_s": min(t), "median_s": float(np.median(t)), "times_as_fast_as_torch": ratio}
        print(
            f"{name:16s} best {min(t):6.2f} s  median {np.median(t):6.2f} s  {ratio:5.2f} x torch (median of the rounds' ratios)"
        )
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
