"""Arguments that several verbs share."""

from __future__ import annotations

import argparse
import importlib.util
import math
import pathlib
import sys
import threading
from collections.abc import Collection
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from dinar_live import engines
from dinar_live.kernels.install import install_line
from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.render.options import MAX_THREADS, RenderOptions

from .progress import Progress

if TYPE_CHECKING:
    from dinar_live.runtime.motion import Motion

ENGINE_OPTIONS = {
    "device": "auto (an NVIDIA GPU if it can be used; see dinar doctor), cpu, cuda, cuda:N or intel (graphics or NPU of a laptop)",
    "engine": f"of the renderer network: auto, {', '.join(engines.engine_names())}",
    "rasterizer": "auto, native or nvdiffrast (GPU only, not for commercial use)",
    "precision": "of the renderer network",
    "threads": "0 = all cores",
}
"""Field of RenderOptions -> the help of its argument."""


def need(what: str, extra: str, *packages: str) -> None:
    """InputError, with the line that installs them, where packages of an extra are missing. To be called once
    everything that the user gave has been looked at, so that what is wrong there is told first."""
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise InputError(
            f"{what} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            f"{install_line(extra)}"
        )


def size(text: str) -> tuple[int, int]:
    """'512' or 'WIDTHxHEIGHT' as (height, width)."""
    parts = text.lower().split("x")
    if len(parts) not in (1, 2) or not all(p.isdigit() and int(p) for p in parts):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected pixels as 512 or WIDTHxHEIGHT")
    return int(parts[-1]), int(parts[0])


def colour(text: str) -> tuple[float, float, float] | None:
    """'transparent', or '#rrggbb' as three numbers in [0,1]."""
    if text == "transparent":
        return None
    digits = text.removeprefix("#")
    try:
        r, g, b = bytes.fromhex(digits)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected transparent or a colour as #rrggbb"
        ) from None
    return r / 255, g / 255, b / 255


def degrees(text: str) -> float:
    """Degrees as radians."""
    try:
        return math.radians(float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an angle in degrees") from None


def avatar_argument(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    """AVATAR: a bundle, or 'demo'."""
    parser.add_argument(
        "avatar",
        metavar="AVATAR",
        nargs="?" if optional else None,
        default="demo",
        help="avatar bundle (folder or .zip), or 'demo'",
    )


def page_arguments(parser: argparse.ArgumentParser) -> None:
    """--viewer --no-page --page-host --page-port --page-key --page-origin."""
    page = parser.add_mutually_exclusive_group()
    page.add_argument("--viewer", action="store_true", help="open the page to watch in a browser")
    page.add_argument("--no-page", action="store_true", help="serve no page")
    parser.add_argument(
        "--page-host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address of the page; one that other machines reach, such as 0.0.0.0, asks for the key in the printed address",
    )
    parser.add_argument("--page-port", type=int, default=8080, help="port of the page; 0 picks a free one")
    parser.add_argument("--page-key", action="store_true", help="ask for a key on this machine too")
    parser.add_argument(
        "--page-origin",
        action="append",
        default=[],
        metavar="https://NAME",
        help="where a proxy makes the page reachable; may be given several times",
    )


def realtime_argument(parser: argparse.ArgumentParser) -> None:
    """--realtime."""
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="run before ordinary programs, so that frames keep their times on a busy machine; Linux, needs the right to",
    )


def take_priority(args: argparse.Namespace) -> None:
    """Does what `realtime_argument` asks for; to be called before threads are started. Raises DinarError
    where that is not allowed."""
    if args.realtime:
        from dinar_live.runtime.core.process import run_in_real_time

        run_in_real_time()


def renderer_arguments(parser: argparse.ArgumentParser) -> None:
    """--size --renderer --device --engine --rasterizer --precision --threads."""
    parser.add_argument(
        "--size",
        type=size,
        default=(512, 512),
        metavar="WxH",
        help="frame size in pixels (default: 512x512)",
    )
    parser.add_argument("--renderer", default="auto", help="which of the avatar's renderers")
    engine_arguments(parser)


def engine_arguments(parser: argparse.ArgumentParser) -> None:
    """--device --engine --rasterizer --precision --threads."""
    defaults = {f.name: f.default for f in fields(RenderOptions)}
    choices = {"precision": engines.PRECISIONS}
    for name, text in ENGINE_OPTIONS.items():
        default = defaults[name]
        parser.add_argument(
            f"--{name}", type=type(default), default=default, choices=choices.get(name), help=text
        )


def renderer_options(args: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of Renderer that `renderer_arguments` added."""
    return {"size": args.size, "renderer": args.renderer, **engine_options(args)}


def engine_options(args: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of Renderer that `engine_arguments` added."""
    check_threads(args.threads)
    return {name: getattr(args, name) for name in ENGINE_OPTIONS}


def check_threads(threads: int) -> None:
    """InputError for an impossible --threads."""
    if not 0 <= threads <= MAX_THREADS:
        raise InputError(f"--threads: got {threads}, expected 0..{MAX_THREADS}")


class BuildProgress:
    """The `progress` of Renderer: a bar on a terminal, else one line when a build begins."""

    def __init__(self):
        self._bar: tqdm | None = None
        self._lock = threading.Lock()

    def __call__(self, fraction: float, text: str) -> None:
        with self._lock:  # a renderer may build on another thread
            if self._bar is None:
                print(
                    "building an engine for this GPU, once for each size; dinar compile does it ahead",
                    file=sys.stderr,
                    flush=True,
                )
                self._bar = tqdm(
                    total=100,
                    desc="build",
                    bar_format="{desc}: {percentage:3.0f} %|{bar}| {elapsed} {postfix}",
                    leave=False,
                    disable=not sys.stderr.isatty(),
                )
            self._bar.update(round(100 * fraction) - self._bar.n)
            self._bar.set_postfix_str(text[:60])
            if fraction >= 1:
                self._bar.close()
                self._bar = None


class TrainingBar:
    """Told the step and the mean loss while something is trained: a bar that begins with the first step that
    is reported, so that neither earlier stages nor the steps of an interrupted run count in its rate."""

    def __init__(self, total: int):
        self._total = total
        self._bar: tqdm | None = None

    def __call__(self, step: int, loss: float) -> None:
        if self._bar is None:
            self._bar = Progress(total=self._total, initial=step - 1, desc="training", unit="step")
        self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        self._bar.update(step - self._bar.n)

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(self, *exc) -> None:
        if self._bar is not None:
            self._bar.close()


def open_avatar(text: str) -> Avatar:
    """The avatar at a path, or the built-in one."""
    return Avatar.demo() if text == "demo" and not pathlib.Path(text).exists() else Avatar.load(text)


def file_arguments(parser: argparse._ActionsContainer) -> None:
    """--up --source-fps --map --take --hands-model: how a motion file is to be read."""
    parser.add_argument(
        "--up",
        choices=("auto", "y", "z", "-y"),
        default="auto",
        help="upward axis of a motion file (default: as its skeleton and its clip show it)",
    )
    parser.add_argument(
        "--source-fps",
        type=float,
        metavar="FPS",
        help="frames per second of a motion file, where it does not say or says it wrong",
    )
    parser.add_argument(
        "--map",
        metavar="FILE",
        help="of BVH: which of its joints is which; 'dinar convert MOTION --show-map' prints one to edit",
    )
    parser.add_argument(
        "--take", metavar="NAME", help="of glTF: which animation, by name or number (default: the first)"
    )
    parser.add_argument(
        "--hands-model",
        metavar="FILE",
        help="of SMPL-X .npz and dictionaries: your own SMPL-X model .npz (or a folder of MANO's), for hands in PCA coefficients",
    )


def file_options(args: argparse.Namespace, text: str, takes: Collection[str]) -> dict[str, Any]:
    """What `file_arguments` was given for a file (or 'demo') that takes these options of a loader. Raises
    InputError for any other."""
    given = {"up": args.up if args.up != "auto" else None, "fps": args.source_fps}
    given |= {key: getattr(args, key) for key in ("map", "take", "hands_model")}
    given = {key: value for key, value in given.items() if value is not None}
    if wrong := [
        f"--{'source-fps' if key == 'fps' else key.replace('_', '-')}" for key in given if key not in takes
    ]:
        raise InputError(f"{', '.join(wrong)}: means nothing for {text}")
    return given


def open_motion(text: str, args: argparse.Namespace | None = None) -> Motion:
    """The Motion in a file, or the built-in one; args: with what `file_arguments` added."""
    from dinar_live.runtime.motion import demo_motion, load_motion
    from dinar_live.runtime.motion.files import options_of

    demo = text == "demo" and not pathlib.Path(text).exists()
    options = {} if args is None else file_options(args, text, () if demo else options_of(text))
    return demo_motion() if demo else load_motion(text, **options)


def motion_filters(parser: argparse.ArgumentParser) -> None:
    """--smooth --floor-snap --lock-feet."""
    parser.add_argument(
        "--smooth",
        type=float,
        nargs="?",
        const=1.5,
        metavar="HZ",
        help="One-Euro filter against trembling: cut-off of a still pose, lower is smoother (default: off; 1.5 if no HZ)",
    )
    parser.add_argument(
        "--floor-snap",
        action="store_true",
        help="lift or lower the body in each frame, so that feet neither sink nor float; for flat ground (default: off)",
    )
    lock_argument(parser)


def lock_argument(parser: argparse.ArgumentParser, text: str = "") -> None:
    """--lock-feet; text: more for its help."""
    parser.add_argument(
        "--lock-feet",
        action="store_true",
        help=f"feet stay where they are put down: no sliding on the ground{text} (default: off)",
    )


def filtered(motion: Motion, args: argparse.Namespace, rig_joints=None) -> Motion:
    """The Motion after the filters that `motion_filters` added; rig_joints [55,3]: of the avatar whose feet
    count, if known."""
    from dinar_live.runtime.motion import lock_feet, smooth, snap_to_floor

    if args.smooth is not None:
        motion = smooth(motion, args.smooth)
    if args.floor_snap:
        motion = snap_to_floor(motion, rig_joints=rig_joints)
    return lock_feet(motion, rig_joints=rig_joints) if args.lock_feet else motion
