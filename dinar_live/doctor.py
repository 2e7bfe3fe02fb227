"""doctor: what works on this machine, and for what does not the one line that repairs it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pathlib
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from dinar_live import engines
from dinar_live.engines.nvidia import driver_cuda, gpu_extra
from dinar_live.kernels.install import install_line, reinstall_line
from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.bench.images import FRAME_PSNR, MAX_PSNR, compare
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.memory import DEFAULT_MEMORY
from dinar_live.runtime.render.options import RenderOptions
from dinar_live.runtime.render.video import ffmpeg

OK, MISSING, BROKEN = "ok", "missing", "broken"
NVDIFFRAST_INSTALL = "pip install setuptools wheel ninja && pip install git+https://github.com/NVlabs/nvdiffrast.git --no-build-isolation"


@dataclass(frozen=True)
class Finding:
    """part: "cpu", "stream", "video" or "gpu". name: what was looked at. state: OK, MISSING (something optional) or
    BROKEN. text: what was found.
    fix: the line that repairs it, "" for OK."""

    part: str
    name: str
    state: str
    text: str
    fix: str = ""


_WARM_UP_SECONDS = 3.0  # of each renderer that is measured


class _Missing(Exception):
    """(what was found, the line that repairs it)"""


def findings(self_test: bool = True) -> Iterator[Finding]:
    """Look at everything, in order; self_test: also render the demo avatar's check frames with every
    engine that is there."""
    for name, check, fix in (
        ("python", _python, "install Python 3.11 or newer"),
        ("kernels", _kernels, reinstall_line()),
        ("demo avatar", _demo_avatar, reinstall_line()),
        *((name, _engine(name), engines.engine_backend(name).install) for name in _cpu_engines()),
    ):
        yield _finding("cpu", name, check, fix)
    networks = self_test and any(spec.type.needs_network for spec in Avatar.demo().renderers.values())
    if self_test:
        yield _finding(
            "cpu",
            "pictures",
            _pictures(RenderOptions(device="cpu", renderer="texture")),
            "report it: the pictures are wrong",
        )
        available = engines.available_engines()
        there = [name for name in _cpu_engines() if not available[name]]
        yield from _engine_pictures("cpu", there if networks else [])
        yield _finding("cpu", "quality", _quality, "report it: the demo avatar cannot be measured")
    yield _finding("cpu", "memory", _memory, "")
    yield _finding(
        "stream", "sockets", _sockets, "allow programs to listen on 127.0.0.1 (firewall, container)"
    )
    yield _finding("stream", "encryption", _curve, "pip install --force-reinstall pyzmq")
    yield _finding("video", "H.264 (.mp4)", _video(ffmpeg.H264), ffmpeg.INSTALL)
    yield _finding("video", "VP9 (.webm)", _video(ffmpeg.VP9), ffmpeg.INSTALL)
    yield from _gpu_findings(self_test, networks)


def _gpu_findings(self_test: bool, networks: bool) -> Iterator[Finding]:
    install = install_line(gpu_extra())
    driver = _finding("gpu", "driver", _driver, install)
    yield driver
    yield _finding("gpu", "packages of CUDA", _cuda_packages(install), install)
    yield _finding("gpu", "nvrtc", _nvrtc, install)
    has_gpu, usable = driver.state == OK, []
    for name in engines.engine_names("gpu"):
        backend = engines.engine_backend(name)
        label = f"{name} on the GPU" if backend.runs_on == "both" else name
        finding = _finding("gpu", label, _gpu_engine(name, has_gpu), backend.install_here)
        yield finding
        if finding.state == OK:
            usable.append(name)
    yield _finding("gpu", "nvdiffrast", _nvdiffrast, NVDIFFRAST_INSTALL)
    yield _finding("gpu", "kernel cache", _kernel_cache, "set DINAR_CACHE to a folder of your own")
    yield _finding("gpu", "engine cache", _engine_cache, "set DINAR_CACHE to a folder of your own")
    if has_gpu and self_test:
        yield _finding(
            "gpu",
            "pictures",
            _pictures(RenderOptions(device="cuda", renderer="texture")),
            "use --device cpu, and report it",
        )
        yield from _engine_pictures("cuda", usable if networks else [])


def _cpu_engines() -> list[str]:
    """Those that everybody has; of the others it is for a measurement to say whether they can be used."""
    return [name for name in engines.engine_names("cpu") if engines.engine_backend(name).automatic]


def _engine_pictures(device: str, names: Sequence[str]) -> Iterator[Finding]:
    for name in names:
        yield _finding(
            "cpu" if device == "cpu" else "gpu",
            f"{name} pictures",
            _pictures(RenderOptions(device=device, engine=name)),
            f"use another --engine than {name}",
        )


def _finding(part: str, name: str, check: Callable[[], str], fix: str) -> Finding:
    try:
        return Finding(part, name, OK, check())
    except _Missing as e:
        text, repair = e.args
        return Finding(part, name, MISSING, text, repair)
    except Exception as e:  # a doctor survives whatever it finds; what it was is told
        text = (
            " ".join(str(e).split())
            if isinstance(e, DinarError | engines.EngineError)
            else f"{type(e).__name__}: {e}"
        )
        return Finding(part, name, BROKEN, text[:500], fix)


def healthy(found: list[Finding]) -> bool:
    """Whether nothing that is there is broken. What is missing for a GPU is no fault."""
    return all(f.state != BROKEN for f in found)


def as_json(found: list[Finding]) -> dict:
    """{"healthy", "findings": [...]} for programs."""
    return {"healthy": healthy(found), "findings": [asdict(f) for f in found]}


# ---- CPU and streaming -------------------------------------------------------------------------------------


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _python() -> str:
    return f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, dinar-live {_version('dinar-live')}"


def _kernels() -> str:
    from dinar_live.kernels import _cpu

    return f"{_cpu.variant()} of {', '.join(_cpu.variants())}; {_cpu.available_threads()} cores"


def _demo_avatar() -> str:
    avatar = Avatar.demo()
    return f"{avatar.name}, renderers {', '.join(avatar.renderers)}"


def _quality() -> str:
    """What `dinar demo` would choose here."""
    from dinar_live.runtime.motion import demo_motion
    from dinar_live.runtime.service import AvatarService
    from dinar_live.runtime.service.demand import Demand
    from dinar_live.runtime.service.quality import DEFAULT_FPS

    avatar = Avatar.demo()
    source = demo_motion().for_avatar(avatar.rig.joints, avatar.rig.expression_names)
    with AvatarService(avatar, source=source, device="cpu", demand=Demand(DEFAULT_FPS)) as service:
        service.warm_up(_WARM_UP_SECONDS)
        quality = service.quality
    if quality is None:
        raise DinarError("nothing was measured")
    return f"demo avatar at 512x512, --fps {DEFAULT_FPS:g}: {quality['why']}"


def _engine(name: str) -> Callable[[], str]:
    def check() -> str:
        why_not = engines.available_engines()[name]
        if why_not:
            what, _, fix = why_not.partition(": ")
            if engines.engine_backend(name).bundled:
                raise DinarError(what)
            raise _Missing(what, fix)
        return _described(name)

    return check


def _described(name: str) -> str:
    """An engine and the version of its package."""
    modules = engines.engine_backend(name).requires
    packages = importlib.metadata.packages_distributions().get(modules[0], modules[:1]) if modules else ()
    return f"{name} {_version(packages[0])}".rstrip() if packages else name


def _pictures(options: RenderOptions) -> Callable[[], str]:
    def check() -> str:
        avatar = Avatar.demo()
        networks = [name for name, spec in avatar.renderers.items() if spec.type.needs_network]
        name = options.renderer if options.renderer in avatar.renderers else next(iter(networks), None)
        if name is None:
            raise _Missing("the demo avatar has no network to try", "render an avatar that has one")
        checks, worst = avatar.checks, MAX_PSNR
        if checks is None:
            raise DinarError("the demo avatar has no check pictures")
        pictures = checks.rgba[name]
        _, height, width, _ = pictures.shape
        wanted = options.changed((height, width), renderer=name, smooth_edges=False, background_compile=False)
        with Renderer(avatar, options=wanted) as renderer:
            for i, picture in enumerate(pictures):
                pose = Pose(checks.body[i], checks.transl[i], checks.expression[i])
                frame = renderer.render(pose, Camera(checks.K[i], checks.world_to_camera[i]))
                worst = min(worst, compare(frame.rgba, picture).psnr)
        text = f"renderer {name}: {worst:.1f} dB from the bundle's check pictures"
        if worst < FRAME_PSNR:
            raise DinarError(f"{text}, expected at least {FRAME_PSNR:g}")
        return text

    return check


def _memory() -> str:
    text = f"compiled sizes of a server take about {DEFAULT_MEMORY / 2**20:.0f} MiB at most (dinar serve --memory)"
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        text += f"; this machine has {installed / 2**30:.1f} GiB"
    return text


def _sockets() -> str:
    import zmq

    with zmq.Context() as context, context.socket(zmq.PAIR) as a, context.socket(zmq.PAIR) as b:
        a.linger = b.linger = 0
        port = a.bind_to_random_port("tcp://127.0.0.1")
        b.connect(f"tcp://127.0.0.1:{port}")
        b.send(b"hello")
        if not a.poll(3000):
            raise DinarError("a message to 127.0.0.1 did not arrive within 3 s")
    return f"pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()}: a message over 127.0.0.1 arrived"


def _curve() -> str:
    import zmq

    if not zmq.has("curve"):
        raise DinarError("this libzmq was built without CURVE: others on the network cannot be let in safely")
    return "CURVE"


def _video(codecs: Sequence[str]) -> Callable[[], str]:
    def check() -> str:
        encoder, reason = ffmpeg.find_encoder(codecs)
        if encoder is None:
            raise _Missing(f"{reason}; OpenCV writes VP9 without alpha instead", ffmpeg.INSTALL)
        return str(encoder)

    return check


# ---- GPU ---------------------------------------------------------------------------------------------------


def _driver() -> str:
    from dinar_live.kernels import cuda

    try:
        device = cuda.Device()
    except cuda.CudaError as e:
        what, _, fix = str(e).partition("; ")
        raise _Missing(what, fix) from None
    version = "{}.{}".format(*device.driver_version)
    return f"{device.name}, {device.arch}, {device.memory / 2**30:.0f} GiB, driver for CUDA {version}"


def _cuda_packages(install: str) -> Callable[[], str]:
    def check() -> str:
        driver, packages = driver_cuda(), _version("cuda-bindings")
        if not packages:
            raise _Missing("the package cuda-bindings is not installed", install)
        major = int(packages.split(".")[0])
        if driver is not None and major > driver[0]:
            raise DinarError(
                f"cuda-bindings {packages} is for CUDA {major}, the driver runs CUDA {driver[0]}.{driver[1]} and older"
            )
        return f"cuda-bindings {packages}, for drivers of CUDA {major} and newer"

    return check


def _nvrtc() -> str:
    from dinar_live.kernels import cuda
    from dinar_live.kernels.cuda import compiler

    try:
        version = compiler.nvrtc_version()
    except cuda.CudaError as e:
        what, _, fix = str(e).partition("; ")
        raise _Missing(what, fix) from None
    return "NVRTC {}.{}".format(*version)


def _gpu_engine(name: str, has_gpu: bool) -> Callable[[], str]:
    def check() -> str:
        backend = engines.engine_backend(name)
        if missing := backend.missing():
            raise _Missing(f"not installed: {', '.join(missing)}", backend.install_here)
        if not has_gpu:
            return f"{_described(name)}; not tried without a GPU"
        try:
            return engines.describe_gpu(name)
        except engines.EngineUnusable:
            raise
        except engines.EngineError as e:
            what, _, fix = str(e).partition(": ")
            raise _Missing(what, fix or backend.install_here) from None

    return check


def _nvdiffrast() -> str:
    if importlib.util.find_spec("nvdiffrast") is None:
        raise _Missing(
            "nvdiffrast is not installed (optional; its licence allows research and evaluation only)",
            NVDIFFRAST_INSTALL,
        )
    return f"nvdiffrast {_version('nvdiffrast')}; its licence allows research and evaluation only"


def _kernel_cache() -> str:
    from dinar_live.kernels.cuda.cache import Cache

    return _private_folder(Cache.of_user().folder)


def _engine_cache() -> str:
    from dinar_live.engines.cache import EngineCache

    return _private_folder(EngineCache().folder)


def _private_folder(folder: pathlib.Path | None) -> str:
    """It is there (now, if it was not), can be written, and is nobody else's; DinarError otherwise."""
    if folder is None:
        raise _Missing(
            "this user has no home folder: compiled kernels are not kept",
            "set DINAR_CACHE to a folder of your own",
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not os.access(folder, os.W_OK):
        raise DinarError(f"{folder} cannot be written")
    if os.name == "posix" and os.stat(folder).st_mode & 0o022:
        raise DinarError(f"others can write to {folder}")
    return f"{folder}: writable, by this user only"
