"""doctor: what of the product works on this machine, and the one line that mends what does not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pathlib
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from dinar_live import engines
from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.bench.images import FRAME_PSNR, MAX_PSNR, compare
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.render import Renderer

OK, MISSING, BROKEN = "ok", "missing", "broken"
GPU_INSTALL = "pip install 'dinar-live[gpu]'"
NVDIFFRAST_INSTALL = "pip install setuptools wheel ninja && pip install git+https://github.com/NVlabs/nvdiffrast.git --no-build-isolation"


@dataclass(frozen=True)
class Finding:
    """part: "cpu", "stream" or "gpu". name: what was looked at. state: OK, MISSING (something optional) or
    BROKEN. text: what was found.
    fix: the line that mends it, "" for OK."""

    part: str
    name: str
    state: str
    text: str
    fix: str = ""


class _Missing(Exception):
    """(what was found, what mends it)"""


def findings(self_test: bool = True) -> Iterator[Finding]:
    """Look at everything, in order; self_test: also render the demo avatar's check pictures with every
    backend that is there."""
    for name, check, fix in (
        ("python", _python, "install Python 3.11 or newer"),
        ("kernels", _kernels, "pip install --force-reinstall --no-deps dinar-live"),
        ("demo avatar", _demo_avatar, "pip install --force-reinstall --no-deps dinar-live"),
        ("openvino", _engine("openvino"), "pip install openvino"),
        ("torch", _engine("torch"), "pip install torch onnx"),
    ):
        yield _finding("cpu", name, check, fix)
    has_network = (
        any(spec.model is not None for spec in Avatar.demo().renderers.values()) if self_test else False
    )
    if self_test:
        yield _finding(
            "cpu",
            "pictures",
            _pictures(device="cpu", renderer="texture"),
            "report it: the pictures are wrong",
        )
        for engine in ("openvino", "torch") if has_network else ():
            if not engines.available_engines()[engine]:
                yield _finding(
                    "cpu",
                    f"{engine} pictures",
                    _pictures(device="cpu", engine=engine),
                    f"use another --engine than {engine}",
                )
    yield _finding(
        "stream", "sockets", _sockets, "allow programs to listen on 127.0.0.1 (firewall, container)"
    )
    yield _finding("stream", "encryption", _curve, "pip install --force-reinstall pyzmq")
    yield from _gpu_findings(self_test, has_network)


def _gpu_findings(self_test: bool, has_network: bool) -> Iterator[Finding]:
    driver = _finding("gpu", "driver", _driver, GPU_INSTALL)
    yield driver
    yield _finding("gpu", "nvrtc", _nvrtc, GPU_INSTALL)
    there = driver.state == OK
    tensorrt = _finding("gpu", "tensorrt", _tensorrt(there), engines.INSTALL_TENSORRT)
    torch = _finding(
        "gpu", "torch on the GPU", _torch_cuda(there), "install the CUDA build of torch: https://pytorch.org"
    )
    yield from (tensorrt, torch)
    yield _finding("gpu", "nvdiffrast", _nvdiffrast, NVDIFFRAST_INSTALL)
    yield _finding("gpu", "kernel cache", _kernel_cache, "set DINAR_CACHE to a folder of your own")
    yield _finding("gpu", "engine cache", _engine_cache, "set DINAR_CACHE to a folder of your own")
    if there and self_test:
        yield _finding(
            "gpu", "pictures", _pictures(device="cuda", renderer="texture"), "use --device cpu, and report it"
        )
        for engine, found in (("tensorrt", tensorrt), ("torch", torch)) if has_network else ():
            if found.state == OK:
                yield _finding(
                    "gpu",
                    f"{engine} pictures",
                    _pictures(device="cuda", engine=engine),
                    f"use another --engine than {engine}",
                )


def _finding(part: str, name: str, check: Callable[[], str], fix: str) -> Finding:
    try:
        return Finding(part, name, OK, check())
    except _Missing as e:
        text, mend = e.args
        return Finding(part, name, MISSING, text, mend)
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


def _engine(name: str) -> Callable[[], str]:
    def check() -> str:
        why_not = engines.available_engines()[name]
        if why_not:
            what, _, fix = why_not.partition(": ")
            raise (_Missing(what, fix) if name == "torch" else DinarError(what))
        return f"{name} {_version(name)}"

    return check


def _pictures(**options) -> Callable[[], str]:
    def check() -> str:
        avatar = Avatar.demo()
        wanted = options.get("renderer")
        networks = [name for name, spec in avatar.renderers.items() if spec.model is not None]
        name = wanted if wanted in avatar.renderers else next(iter(networks), None)
        if name is None:
            raise _Missing("the demo avatar has no network to try", "render an avatar that has one")
        checks, worst = avatar.checks, MAX_PSNR
        pictures = checks.rgba[name]
        with Renderer(
            avatar, pictures.shape[1:3], **{**options, "renderer": name}, background_compile=False
        ) as renderer:
            for i, picture in enumerate(pictures):
                pose = Pose(checks.body[i], checks.transl[i], checks.expression[i])
                frame = renderer.render(pose, Camera(checks.K[i], checks.world_to_camera[i]))
                worst = min(worst, compare(frame.rgba, picture).psnr)
        text = f"renderer {name}: {worst:.1f} dB from the bundle's check pictures"
        if worst < FRAME_PSNR:
            raise DinarError(f"{text}, expected at least {FRAME_PSNR:g}")
        return text

    return check


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


def _nvrtc() -> str:
    from dinar_live.kernels import cuda
    from dinar_live.kernels.cuda import compiler

    try:
        version = compiler.nvrtc_version()
    except cuda.CudaError as e:
        what, _, fix = str(e).partition("; ")
        raise _Missing(what, fix) from None
    return "NVRTC {}.{}".format(*version)


def _tensorrt(gpu: bool) -> Callable[[], str]:
    def check() -> str:
        bindings = _version("tensorrt") or _version("tensorrt-cu13") or _version("tensorrt_cu13_bindings")
        libraries = _version("tensorrt_cu13_libs") or _version("tensorrt-libs")
        if importlib.util.find_spec("tensorrt") is None:
            raise _Missing("TensorRT is not installed", engines.INSTALL_TENSORRT)
        if not gpu:
            return f"bindings {bindings or 'of unknown version'}, libraries {libraries or 'not from a package'}; not tried without a GPU"
        try:
            import tensorrt
        except (ImportError, OSError) as e:
            reason = " ".join(str(e).split())[:200]
            raise DinarError(
                f"bindings {bindings or 'present'}, but the libraries cannot be loaded ({reason})"
            ) from e
        return f"TensorRT {tensorrt.__version__}"

    return check


def _torch_cuda(gpu: bool) -> Callable[[], str]:
    def check() -> str:
        if not _version("torch"):
            raise _Missing("torch is not installed", "pip install torch onnx")
        if not gpu:
            return f"torch {_version('torch')}; not tried without a GPU"
        import torch

        if not torch.cuda.is_available():
            raise _Missing(
                f"torch {torch.__version__} sees no GPU",
                "install the CUDA build of torch: https://pytorch.org",
            )
        return f"torch {torch.__version__}, CUDA {torch.version.cuda}"

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
