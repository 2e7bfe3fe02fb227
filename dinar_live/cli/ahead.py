"""What makes an avatar ends by building the engines that this machine can build for it: `compile_ahead`."""

from __future__ import annotations

import argparse
import pathlib
import sys
import time

from tqdm import tqdm

from dinar_live import engines
from dinar_live.engines.nvidia import nvidia_problem
from dinar_live.runtime.avatar import Avatar, RendererSpec
from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.render import compiling
from dinar_live.runtime.render.compiling import DEVICE, Instance

SIZE = (512, 512)
"""(height, width) in pixels of frames that engines are built for."""


def argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-compile",
        action="store_true",
        help="do not build the engines for NVIDIA GPUs that this machine can build at the end",
    )


def compile_ahead(args: argparse.Namespace, out: pathlib.Path) -> None:
    """Build the engines for frames of SIZE of every network of the avatar at `out`: on a machine with a GPU those that
    "auto" would take there, else those that can be built without one (tensorrt-rtx, where its packages are). Says what
    was built, in a line each; what fails is told too, and is no fault of the avatar."""
    names = [] if args.no_compile else _engines()
    if not names:
        return
    avatar = Avatar.load(out)
    for renderer, spec in avatar.renderers.items():
        if not spec.type.needs_network:
            continue
        for name in names:
            try:
                print(f"renderer {renderer}: {_built(avatar, renderer, spec, name)}", flush=True)
            except (engines.EngineError, DinarError) as error:
                print(f"note: renderer {renderer}: {name} builds none: {error}", file=sys.stderr)
                continue
            break


def _engines() -> list[str]:
    """Those that keep what they build, the best first."""
    if nvidia_problem():
        return [name for name in engines.engine_names("gpu") if engines.can_build_ahead(name)]
    available = engines.available_engines()
    keeping = ("tensorrt", "tensorrt-rtx")
    return [name for name in engines.engine_names("gpu") if name in keeping and not available[name]]


def _built(avatar: Avatar, renderer: str, spec: RendererSpec, name: str) -> str:
    wanted = [Instance((1, *size), DEVICE, frame) for size, frame in compiling.sizes(spec, [SIZE])]
    bar = tqdm(total=100, desc=f"{name} for {renderer}", leave=False, disable=not sys.stderr.isatty())

    def progress(fraction: float, text: str) -> None:
        bar.update(round(100 * fraction) - bar.n)

    began, text = time.perf_counter(), f"{SIZE[1]}x{SIZE[0]}"
    try:
        if nvidia_problem():
            with engines.create_builder(spec.network, name, progress=progress) as builder:
                ready = list(compiling.prepare_ahead(spec, builder, wanted))
                size = sum(one.bytes for one in ready) / 1e6
                text += f" for {builder.info.device}, {size:.1f} MB, checked when it is first used there"
        else:
            with engines.create_engine(spec.network, name, progress=progress) as engine:
                (one,) = compiling.build_ahead(avatar, renderer, engine, wanted)
                if not one.passed:
                    raise engines.EngineError(f"it was refused: {one.parity}")
                text += f" on {engine.info.device}; {one.parity}"
    finally:
        bar.close()
    return f"{name} {text} ({time.perf_counter() - began:.1f} s)"
