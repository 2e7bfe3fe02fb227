"""What a frame costs on a CPU with AVX2 only, stage by stage: python benchmarks/ladder.py [AVATAR] [--other CHECKOUT
--other-avatar AVATAR]

Caps the instruction set of a CPU that has more: ONEDNN_MAX_CPU_ISA=AVX2 for OpenVINO (its convolutions and fused
subgraphs heed it; of the renderers' networks only Resize and DepthToSpace do not, which take a hundredth of the time),
the variant v3 of our kernels, float32. --precision int8 or auto is for this checkout alone, --isa AVX2_VNNI for what
newer laptops have. With --other, a checkout of another revision with a virtual environment .venv is
measured in turns, each in a process of its own that is kept; figures are medians over rounds of the fastest frame of a
few, because other programs take turns too. Ratios are this checkout's over the other's.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys

STAGES = ("lbs", "project", "rasterize", "gather", "network", "compose")
CHILD = """
import json, os, sys
import numpy as np
from dinar_live.runtime import Avatar, Renderer
from dinar_live.kernels import _cpu
from dinar_live.runtime.bench.workload import shots
from dinar_live.runtime.motion import demo_motion
if os.environ.get("ONEDNN_MAX_CPU_ISA", "").startswith("AVX2"):
    _cpu.use_variant("v3")
avatar = Avatar.demo() if sys.argv[1] == "demo" else Avatar.load(sys.argv[1])
size = int(sys.argv[2])
work = shots(avatar, demo_motion(), (size, size), 12, 0.5)
renderers = {}
options = dict(precision=sys.argv[4], threads=int(sys.argv[3]), device="cpu", background_compile=False)
for line in sys.stdin:
    name, repeats = line.split()
    if name not in renderers:
        renderers[name] = Renderer(avatar, (size, size), renderer=name, **options)
    r, best = renderers[name], []
    for pose, camera in work:
        frames = [dict(r.render(pose, camera).timings) for _ in range(int(repeats))]
        best.append({k: min(f[k] for f in frames) for k in frames[0]})
    print(json.dumps({k: float(np.mean([b[k] for b in best])) for k in best[0]}), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("avatar", nargs="?", default="demo")
    parser.add_argument("--other", type=pathlib.Path, help="checkout of another revision, with .venv")
    parser.add_argument("--other-avatar", default="demo")
    parser.add_argument("--renderers", nargs="+", default=["light", "lite", "texture"])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="frames per pose, of which the fastest counts")
    parser.add_argument("--all-instructions", action="store_true", help="no cap")
    parser.add_argument("--precision", default="f32", help="of this checkout; the other's is f32")
    parser.add_argument("--isa", default="AVX2", help="the instruction set to cap to")
    args = parser.parse_args()
    env = dict(os.environ) if args.all_instructions else {**os.environ, "ONEDNN_MAX_CPU_ISA": args.isa}
    children = {"this": _child(pathlib.Path(sys.executable), args.avatar, args, args.precision, env)}
    jobs = [("this", name) for name in args.renderers]
    if args.other:
        python = args.other.absolute() / ".venv" / "bin" / "python"
        children["other"] = _child(python, args.other_avatar, args, "f32", env)
        jobs.insert(0, ("other", "light"))
    figures: dict[tuple[str, str], list[dict]] = {job: [] for job in jobs}
    for _ in range(args.rounds):
        for where, name in jobs:
            figures[where, name].append(_ask(children[where], name, args.repeats))
    for child in children.values():
        child.communicate()
    _report(figures)


def _child(
    python: pathlib.Path, avatar: str, args: argparse.Namespace, precision: str, env: dict
) -> subprocess.Popen:
    avatar = avatar if avatar == "demo" else str(pathlib.Path(avatar).absolute())
    command = [str(python), "-c", CHILD, avatar, str(args.size), str(args.threads), precision]
    return subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _ask(child: subprocess.Popen, name: str, repeats: int) -> dict:
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(f"{name} {repeats}\n")
    child.stdin.flush()
    return json.loads(child.stdout.readline())


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _report(figures: dict[tuple[str, str], list[dict]]) -> None:
    print(f"{'':<16}" + "".join(f"{s:>11}" for s in (*STAGES, "total", "rest")) + f"{'fps':>8}")
    base = None
    for (where, name), rounds in figures.items():
        rows = []
        for (
            r
        ) in rounds:  # of stages each in its fastest run: other programs interrupt a whole frame more often
            rest = sum(r[s] for s in STAGES if s != "network")
            rows.append({**{s: r[s] for s in STAGES}, "total": rest + r["network"], "rest": rest})
        row = {key: _median([r[key] for r in rows]) for key in (*STAGES, "total", "rest")}
        print(
            f"{where + ' ' + name:<16}"
            + "".join(f"{v:11.2f}" for v in row.values())
            + f"{1e3 / row['total']:8.1f}"
        )
        if where == "other":
            base = rows
        elif base is not None:
            pairs = {
                key: _median([b[key] / max(r[key], 1e-6) for r, b in zip(rows, base, strict=True)])
                for key in ("network", "total", "rest")
            }
            text = ", ".join(f"{key} {value:.2f}" for key, value in pairs.items())
            print(f"{'':<16}faster than the other's light by: {text}")


if __name__ == "__main__":
    main()
