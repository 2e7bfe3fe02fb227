"""SharedGpu: what all Renderers of a process share on one NVIDIA GPU: a stream, the kernels, bodies, textures
and networks."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from dinar_live import engines
from dinar_live.runtime.avatar import RendererSpec, Rig
from dinar_live.runtime.render.bounds import BodyBounds
from dinar_live.runtime.render.compiled_sizes import CompiledSizes, Key

if TYPE_CHECKING:
    from dinar_live.kernels.cuda import DeviceBody, DeviceScene

Accept = Callable[[engines.Engine, engines.DeviceSession], None]
"""Called once with an engine and its instance before anybody uses them; its EngineError refuses the
engine."""

_gpus: weakref.WeakValueDictionary[int, SharedGpu] = weakref.WeakValueDictionary()
_gpus_lock = threading.Lock()


class SharedNetwork:
    """An engine and its instances, used by every Renderer whose avatar has this model.onnx."""

    def __init__(self, engine: engines.Engine):
        self.engine = engine
        self.users = 1
        self.sessions: CompiledSizes[engines.DeviceSession] = CompiledSizes(
            engine.compile_device, evict=False
        )

    def close_sessions(self) -> None:
        """Of an engine that nobody uses any more: what it builds is not waited for."""
        self.engine.cancel()
        for session in self.sessions.close():
            session.close()

    def close(self) -> None:
        self.close_sessions()
        self.engine.close()


class SharedGpu:
    """GPU number `index`. Everything runs on one stream, so frames of several Renderers follow one another on
    the device; `lock` is held while one of them puts its work there. Use `shared_gpu`. Raises
    kernels.cuda.CudaError.

    cuda: the package kernels.cuda, or what stands in for it."""

    def __init__(self, cuda: ModuleType | Any, index: int):
        self.cuda = cuda
        self.index = index
        self.device = cuda.Device(index)
        self.stream = self.device.stream()
        self.program = cuda.Program(self.device)
        self.lock = threading.RLock()
        self._building = (
            threading.Lock()
        )  # not `lock`: frames go on while an engine is built, which may take minutes
        self._rigs: weakref.WeakKeyDictionary[Rig, tuple[DeviceBody, BodyBounds]] = (
            weakref.WeakKeyDictionary()
        )
        self._scenes: weakref.WeakKeyDictionary[Rig, weakref.WeakKeyDictionary[RendererSpec, dict]] = (
            weakref.WeakKeyDictionary()
        )
        self._networks: dict[tuple[str, str, str], SharedNetwork] = {}

    def body(self, rig: Rig) -> tuple[DeviceBody, BodyBounds]:
        """The rig's DeviceBody, and BodyBounds with a pose of their own."""
        with self.lock:
            if rig not in self._rigs:
                self._rigs[rig] = self.cuda.DeviceBody(self.device, rig.model), BodyBounds(rig)
            body, bounds = self._rigs[rig]
        return body, bounds.share()

    def scene(self, rig: Rig, spec: RendererSpec, dtype: str) -> DeviceScene:
        """The DeviceScene of a renderer's texture, float16 or float32."""
        with self.lock:
            scenes = self._scenes.setdefault(rig, weakref.WeakKeyDictionary()).setdefault(spec, {})
            key = np.dtype(dtype).name
            if key not in scenes:
                scenes[key] = self.cuda.DeviceScene(
                    self.device,
                    len(rig.model.vertices),
                    rig.faces,
                    rig.uv,
                    rig.uv_faces,
                    spec.float_texture(),
                    dtype=np.dtype(dtype),
                    neural=None if spec.neural is None else spec.float_neural(),
                )
            return scenes[key]

    def network(
        self,
        model: bytes,
        engine: str,
        precision: str,
        full: Key,
        accept: Accept,
        progress: engines.Progress | None = None,
    ) -> SharedNetwork:
        """The network of an ONNX file with an instance for `full`; give it back with `release`. EngineError
        if no engine can run it."""
        key = hashlib.sha256(model).hexdigest(), engine, precision
        offered = {"device": f"cuda:{self.index}", "progress": progress}
        known = engines.engine_options(engine)
        options = {name: value for name, value in offered.items() if name in known and value is not None}
        made: list[SharedNetwork] = []

        def accepted(opened: engines.Engine) -> None:
            candidate = SharedNetwork(opened)
            try:
                accept(opened, candidate.sessions.require(full))
            except BaseException:
                candidate.close_sessions()
                raise
            made.append(candidate)

        with self._building:
            if network := self._networks.get(key):
                network.sessions.require(full)
                network.users += 1
                return network
            engines.create_engine(model, engine, precision=precision, accept=accepted, **options)
            (network,) = made
            self._networks[key] = network
            return network

    def release(self, network: SharedNetwork) -> None:
        """The caller uses it no more; the last one closes it."""
        with self._building:
            network.users -= 1
            if network.users:
                return
            self._networks = {key: n for key, n in self._networks.items() if n is not network}
        with self.lock:  # nobody captures
            self.device.make_current()
            self.stream.synchronize()
        network.close()


def shared_gpu(index: int = 0) -> SharedGpu:
    """The process's SharedGpu of this number, made on first use. Raises kernels.cuda.CudaError in one
    sentence where there is none."""
    from dinar_live.kernels import cuda  # only where a GPU is wanted

    with _gpus_lock:
        gpu = _gpus.get(index)
        if gpu is None:
            gpu = _gpus[index] = SharedGpu(cuda, index)
        return gpu
