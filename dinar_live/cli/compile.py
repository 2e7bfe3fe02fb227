"""dinar compile AVATAR [--size WxH ...] [--engine tensorrt]: build an avatar's engines ahead of time, and check
what they compute. With the engine tensorrt-rtx also for GPUs that are elsewhere."""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Any

from tqdm import tqdm

from dinar_live import engines
from dinar_live.engines.nvidia import nvidia_problem
from dinar_live.runtime.avatar import Avatar, RendererSpec
from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.render import compiling
from dinar_live.runtime.render.compiling import DEVICE, HOST, Built, Instance
from dinar_live.runtime.render.host_engine import examples
from dinar_live.runtime.render.options import RenderOptions, RenderPlan
from dinar_live.runtime.render.parity import LIMITS

from . import common


def arguments(parser: argparse.ArgumentParser) -> None:
    common.avatar_argument(parser)
    parser.add_argument(
        "--size",
        type=common.size,
        action="append",
        metavar="WxH",
        help="frame size in pixels; may be given several times (default: 512x512)",
    )
    parser.add_argument(
        "--window",
        type=common.size,
        action="append",
        default=[],
        metavar="WxH",
        help="build for this part of the frame too; may be given several times",
    )
    parser.add_argument(
        "--windows",
        action="store_true",
        help="build for every part of the frame that a renderer on a GPU can use",
    )
    parser.add_argument("--views", type=int, default=1, choices=(1, 2), help="frames at once: 2 for stereo")
    parser.add_argument("--renderer", default="all", help="all, or one of the avatar's renderers")
    parser.add_argument(
        "--device", default="auto", help="auto (an NVIDIA GPU if it can be used), cpu, cuda or cuda:N"
    )
    parser.add_argument(
        "--engine",
        default="auto",
        help=f"auto, {', '.join(engines.engine_names())}; all: every one for GPUs that can be used here, each timed, so "
        "that auto takes the fastest",
    )
    parser.add_argument("--precision", default="auto", choices=engines.PRECISIONS, help="of the network")
    parser.add_argument(
        "--host", action="store_true", help="on a GPU: build also for a rasterizer on the CPU"
    )
    parser.add_argument("--rebuild", action="store_true", help="build even what is kept from an earlier time")
    parser.add_argument(
        "--level",
        type=int,
        choices=range(6),
        help="tensorrt: 0 builds fastest, 5 looks longest for the fastest kernels (default: the best that is kept, or 3)",
    )
    parser.add_argument(
        "--target",
        choices=engines.PLAN_TARGETS,
        help="tensorrt-rtx: build for GPUs of this compute capability, elsewhere (default: for the GPU here; without "
        f"one, {engines.PLAN_TARGETS[0]})",
    )
    parser.add_argument(
        "--to",
        metavar="DIR",
        help="keep the engines in this folder, for an image or another machine (default: the user's cache folder)",
    )
    parser.add_argument("--threads", type=int, default=0, help="0 = all cores")


ALL = "all"


class _Bar:
    """A progress bar for one build; tensorrt tells how far it is, others are done in a moment."""

    def __init__(self):
        self._bar: tqdm | None = None

    def start(self, instance: Instance) -> None:
        self._bar = tqdm(
            total=100,
            desc=f"  {_label(instance)}",
            bar_format="{desc}: {percentage:3.0f} %|{bar}| {elapsed} {postfix}",
            leave=False,
            disable=not sys.stderr.isatty(),
        )

    def progress(self, fraction: float, text: str) -> None:
        if self._bar is not None:
            self._bar.update(round(100 * fraction) - self._bar.n)
            self._bar.set_postfix_str(text[:60])

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _options(args: argparse.Namespace, bar: _Bar, avatar: Avatar, renderer: str) -> dict[str, Any]:
    """The options of create_engine that the arguments ask for and the engine may have."""
    known = engines.engine_options(args.engine)
    offered = {"progress": bar.progress, "optimization_level": args.level}
    offered |= _examples(avatar, renderer)
    options = {name: value for name, value in offered.items() if name in known}
    only_cpu = engines.engine_runs_on(args.engine) == "cpu"
    options |= _cache_option(args)
    if args.device != "auto" and not (only_cpu and args.device == "cpu"):
        options["device"] = args.device
    return options


def _cache_option(args: argparse.Namespace) -> dict[str, Any]:
    return {"cache_dir": pathlib.Path(args.to) / "engines"} if args.to else {}


def _examples(avatar: Avatar, renderer: str) -> dict[str, Any]:
    plan = RenderPlan(avatar, RenderOptions(renderer=renderer))
    return {"examples": lambda: examples(plan)}


def _label(instance: Instance) -> str:
    n, height, width = instance.key
    return f"{width}x{height}" + (f" x{n}" if n > 1 else "")


def _line(built: Built, engine: engines.Engine, on_gpu: bool) -> str:
    if not engine.keeps:
        made = f"compiled in {built.seconds:.2f} s, as at every start (nothing is kept)"
    elif built.from_cache:
        made = f"kept from an earlier build, loaded in {built.seconds:.2f} s"
    else:
        made = (
            f"built in {built.seconds:.1f} s and kept" if built.passed else f"built in {built.seconds:.1f} s"
        )
    psnr, error = LIMITS[engine.info.precision]
    verdict = (
        "ok" + (f", {built.ms:.3f} ms a run" if built.ms is not None else "")
        if built.passed
        else f"REFUSED, expected at least {psnr:.0f} dB and 99.9 % within {255 * error:.0f}/255"
    )
    where = f" ({built.instance.kind})" if on_gpu else ""
    mode = f" [{built.mode}]" if built.mode and built.mode != "graph" else ""
    return f"  {_label(built.instance)}{where}: {made}; {built.parity}: {verdict}{mode}"


def run(args: argparse.Namespace) -> int:
    avatar = common.open_avatar(args.avatar)
    if args.renderer != "all" and args.renderer not in avatar.renderers:
        raise InputError(f"--renderer: got {args.renderer!r}, the avatar has {', '.join(avatar.renderers)}")
    common.check_threads(args.threads)
    elsewhere = _for_gpus_elsewhere(args)
    refused = 0
    for name in avatar.renderers if args.renderer == "all" else (args.renderer,):
        spec = avatar.renderers[name]
        if not spec.type.needs_network:
            print(f"renderer {name}: has no network, nothing to compile")
            continue
        try:
            if elsewhere:
                _prepare(args, avatar, name, spec)
            elif args.engine == ALL:
                refused += _build_all(args, avatar, name, spec)
            else:
                refused += _build(args, avatar, name, spec)
        except engines.EngineError as error:
            raise DinarError(f"renderer {name!r}: {error}") from error
    if elsewhere:
        print("Nothing of this was run: each engine is checked when it is first used on a GPU.")
    if args.to:
        print(f"To use them: set DINAR_CACHE={args.to} where the avatar is rendered.")
    if refused:
        print(
            f"{refused} refused: the frames differ too much from the network's in float32; use --precision f32 or another --engine.",
            file=sys.stderr,
        )
    return 1 if refused else 0


def _for_gpus_elsewhere(args: argparse.Namespace) -> bool:
    """Whether engines are to be built that this machine cannot run."""
    if args.engine == ALL:
        if problem := nvidia_problem():
            raise InputError(f"--engine all: times engines on a GPU, and there is none here ({problem})")
        return False
    can = engines.builds_without_gpu(args.engine)
    if args.target is not None and not can:
        raise InputError(
            f"--target: the engine {args.engine} builds for the GPU at hand only; see docs/gpu.md"
        )
    return can and (args.target is not None or args.device == "auto" and bool(nvidia_problem()))


def _build_all(args: argparse.Namespace, avatar: Avatar, name: str, spec: RendererSpec) -> int:
    """Every engine for GPUs, one after the other; those that cannot be used are told."""
    refused, available = 0, engines.available_engines()
    for engine in engines.engine_names("gpu"):
        if why_not := available[engine]:
            print(f"renderer {name}: {why_not}")
            continue
        device = "cuda" if args.device == "auto" else args.device
        one = argparse.Namespace(**{**vars(args), "engine": engine, "device": device})
        try:
            refused += _build(one, avatar, name, spec)
        except engines.EngineError as error:
            print(f"renderer {name}: {engine}: {error}")
    return refused


def _build(args: argparse.Namespace, avatar: Avatar, name: str, spec: RendererSpec) -> int:
    """Build and check a renderer's engines here; returns how many were refused."""
    refused, bar = 0, _Bar()
    with engines.create_engine(
        spec.network,
        args.engine,
        args.precision,
        args.threads,
        **_options(args, bar, avatar, name),
    ) as engine:
        info, on_gpu = engine.info, engine.device_io is not None
        print(
            f"renderer {name}: {info.name} {info.version} {info.precision} on {info.device} ({info.reason})",
            flush=True,
        )
        kinds = [DEVICE] * on_gpu + [HOST] * (args.host or not on_gpu)
        for built in compiling.build_ahead(
            avatar,
            name,
            engine,
            _wanted(args, spec, kinds),
            rebuild=args.rebuild,
            threads=args.threads,
            started=bar.start,
            ready=bar.stop,
        ):
            print(_line(built, engine, on_gpu), flush=True)
            refused += not built.passed
    return refused


def _prepare(args: argparse.Namespace, avatar: Avatar, name: str, spec: RendererSpec) -> None:
    """Build a renderer's engines for GPUs elsewhere."""
    bar = _Bar()
    options = {"progress": bar.progress, **_examples(avatar, name)}
    options |= {"target": args.target} if args.target else {}
    with engines.create_builder(
        spec.network,
        args.engine,
        args.precision,
        **options,
        **_cache_option(args),
    ) as builder:
        info = builder.info
        print(f"renderer {name}: {info.name} {info.version} {info.precision} for {info.device}", flush=True)
        wanted = _wanted(args, spec, [DEVICE] + [HOST] * args.host)
        for ready in compiling.prepare_ahead(
            spec, builder, wanted, rebuild=args.rebuild, started=bar.start, ready=bar.stop
        ):
            made = (
                "kept from an earlier build"
                if ready.from_cache
                else f"built in {ready.seconds:.1f} s and kept"
            )
            print(
                f"  {_label(ready.instance)} ({ready.instance.kind}): {made}, {ready.bytes / 1e6:.1f} MB",
                flush=True,
            )


def _wanted(args: argparse.Namespace, spec: RendererSpec, kinds: list[str]) -> list[Instance]:
    sizes = compiling.sizes(spec, args.size or [(512, 512)], args.window, args.windows)
    return [Instance((args.views, *size), kind, frame) for size, frame in sizes for kind in kinds]
